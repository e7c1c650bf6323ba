"""A file item in a directory item that leaves it out: two items with rules of their own, restored together or apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

CONFIGURATION = """
services:
  log:
    root: {root}
    state:
      manifest: {{file: log/list.json, format: json, schema: {{type: array, minItems: 1}}}}
      parts: {{directory: log, exclude: [list.json], format: opaque}}
    restore: {{scope: {scope}}}
"""
PARTS = {"log/a.part": b"a" * 10, "log/deep/b.part": b"b" * 10, "log/list.json": b'["a", "deep/b"]'}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(params=["item", "service"])
def log(world: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Captured once; `log.data` is where its state lies."""
    world.data = tmp_path / "data"
    for name, data in PARTS.items():
        (world.data / name).parent.mkdir(parents=True, exist_ok=True)
        (world.data / name).write_bytes(data)
    world.declare(CONFIGURATION.format(root=world.data, scope=request.param))
    world.run("snapshot").fine()
    return world


def test_each_is_captured_once(log: Any, tmp_path: Path) -> None:
    listed = log.json("list")["snapshots"][0]
    assert {name: one["verdict"] for name, one in listed["items"].items()} == {"manifest": "ok", "parts": "ok"}
    log.run("restore", "--to", str(tmp_path / "out")).fine()
    written = {name.rpartition("/log/")[2]: data for name, data in contents(tmp_path / "out").items()}
    assert sorted(written.values()) == sorted(PARTS.values())


@pytest.mark.parametrize("lost", ["the file", "the file's bytes", "all of the directory", "a part, and the file"])
def test_what_is_lost_comes_back_and_an_undo_takes_it_back(log: Any, lost: str) -> None:
    """A file that must be there is missed, which a directory item alone would not; both sides are one transaction."""
    if lost == "the file":
        (log.data / "log/list.json").unlink()
    elif lost == "the file's bytes":
        (log.data / "log/list.json").write_bytes(bytes(20))
    elif lost == "all of the directory":
        shutil.rmtree(log.data / "log")
    else:
        (log.data / "log/a.part").write_bytes(b"")
        (log.data / "log/list.json").unlink()
    before = contents(log.data)
    done = log.run("--json", "restore").fine()
    assert json.loads(done.out)["services"][0]["outcome"] == "restored"
    assert contents(log.data) == PARTS
    log.run("assess").fine()
    log.run("undo").fine()
    assert contents(log.data) == before


def test_an_older_snapshot_brings_both_back(log: Any) -> None:
    for name in PARTS:
        (log.data / name).write_bytes(b'["newer"]')
    (log.data / "log/more.part").write_bytes(b"more")
    newer = contents(log.data)
    log.run("snapshot").fine()
    log.run("restore", "--snapshot", "log/1").fine()
    assert contents(log.data) == PARTS
    log.run("restore", "--snapshot", "log/2").fine()
    assert contents(log.data) == newer
