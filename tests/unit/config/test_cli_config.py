"""`recoverd config validate|show|schema|paths`, as people and programs see it."""

# ruff: noqa: E501 (output stands here as it is printed)

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import recoverd
from recoverd.cli import config
from recoverd.cli.terminal import Terminal
from recoverd.config.wording import schema_text
from recoverd.errors import ConfigError, UsageError

Write = Callable[[Mapping[str, str]], Path]
FILES = {
    "recoverd.yaml": "state_dir: /srv/r\n",
    "conf.d/a.yaml": "services: {a: {state: {m: {file: /srv/a}}}}\n",
    "conf.d/a.yaml.d/x.yaml": "services: {a: {autosave: {every: 30s}}}\n",
}


def run(action: str, *paths: Path, as_json: bool = False) -> int:
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    args = parser.parse_args([action])
    args.config, args.json, args.no_color = [str(path) for path in paths], as_json, True
    return config.run(args, Terminal(sys.stdout, sys.stderr, color="never", json=as_json))


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    found = json.loads(capsys.readouterr().out)
    assert found["recoverd"] == recoverd.__version__
    return found


def test_validate(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """One line per file when all is well."""
    root = write(FILES)
    assert run("validate", root) == 0
    assert capsys.readouterr().out == (
        f"{root}/recoverd.yaml: ok\n{root}/conf.d/a.yaml: ok\n{root}/conf.d/a.yaml.d/x.yaml: ok\n3 files, 1 service: no problems\n"
    )
    run("validate", root, as_json=True)
    found = document(capsys)
    assert found["command"] == "config validate"
    assert found["files"] == [f"{root}/{name}" for name in FILES]
    assert (found["services"], found["problems"]) == (["a"], [])


def test_validate_a_broken_one(write: Write) -> None:
    root = write({**FILES, "conf.d/b.yaml": "services: {b: {}}\n"})
    with pytest.raises(ConfigError):
        run("validate", root)


def test_validate_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("validate", tmp_path)
    out = capsys.readouterr().out
    assert "no configuration file was found" in out
    assert out.endswith("0 files, 0 services: no problems\n")


def test_show(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Every effective value with its origin."""
    root = write(FILES)
    assert run("show", root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"state_dir: /srv/r  # from {root}/recoverd.yaml:1" in lines
    assert f"      every: 30s  # from {root}/conf.d/a.yaml.d/x.yaml:1" in lines
    assert "timezone: UTC  # default" in lines
    run("show", root, as_json=True)
    found = document(capsys)
    assert found["command"] == "config show"
    assert found["config"]["services"]["a"]["autosave"]["every"] == "30s"
    assert found["from"]["services.a.autosave.every"] == f"{root}/conf.d/a.yaml.d/x.yaml:1"
    assert "timezone" not in found["from"]


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema itself, byte for byte, so that it can be saved for an editor."""
    for as_json in (False, True):
        assert run("schema", as_json=as_json) == 0
        assert capsys.readouterr().out == schema_text()


def test_paths(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """The places with what became of each; a broken configuration does not keep them from being told."""
    root = write({**FILES, "conf.d/broken.yaml": "[", "conf.d/e.yaml": "", "conf.d/o.yaml.d/x.yaml": "{}"})
    assert run("paths", root, root / "none") == 0
    lines = [line.replace(f"{root}/", "").split(None, 1) for line in capsys.readouterr().out.splitlines()]
    assert dict(lines) == {
        "none": "absent",
        "recoverd.yaml": "found",
        "conf.d/a.yaml": "found",
        "conf.d/a.yaml.d/x.yaml": "found, changes conf.d/a.yaml",
        "conf.d/broken.yaml": "found",
        "conf.d/e.yaml": "found, empty",
        "conf.d/o.yaml.d/x.yaml": "found, but o.yaml is absent",
    }
    run("paths", root, as_json=True)
    found = document(capsys)
    assert found["command"] == "config paths"
    assert {"path": f"{root}/conf.d/e.yaml", "standing": "empty", "by": None, "changes": None} in found["places"]


def test_an_unknown_action_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="valdate"):
        run("valdate")


def test_names_cannot_drive_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file name with escape sequences is printed with escapes."""
    (tmp_path / "a\x1b[31m.yaml").write_text("# nothing\n")
    run("validate", tmp_path)
    run("paths", tmp_path)
    run("show", tmp_path)
    assert "\x1b" not in capsys.readouterr().out
