"""Paths that are not what they should be: state, state_dir and repository. One sentence, a hint, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = os.geteuid() == 0


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def directory(path: Path) -> None:
    path.mkdir()


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket may not be long
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("plant", [fifo, link, directory, bound])
def test_a_state_path_that_is_no_file(saved: Any, plant: Callable[[Path], None]) -> None:
    """Promise 12: never opened, never followed, told, and kept when known-good state takes its place."""
    saved.main.unlink()
    plant(saved.main)
    seen = saved.run("assess", "--json", timeout_s=20).fine(1).json["services"][0]
    assert seen["items"][0]["verdict"] in {"corrupt", "missing", "unreadable"}
    assert seen["items"][0]["problems"][0]["problem"]
    saved.run("snapshot", timeout_s=20).fine(1)
    done = saved.run("restore", timeout_s=20)
    assert "Traceback" not in done.err
    if done.status == 0:
        assert saved.main.read_text() == '{"counter": 1}'
        assert not saved.main.is_symlink()
    else:
        assert "hint: " in done.out
    assert Path("/etc/hostname").exists()


@pytest.mark.skipif(ROOT, reason="root can read everything")
def test_a_state_file_that_cannot_be_read(saved: Any) -> None:
    """Seven verdicts instead of one: what can't be read is not called corrupt, and not rolled back."""
    saved.main.chmod(0)
    assert "unreadable" in saved.run("assess").fine(1).out
    assert "blocked" in saved.run("restore").fine(1).out
    saved.main.chmod(0o600)
    assert saved.main.read_text() == '{"counter": 1}'


def test_a_repository_of_another_format(saved: Any, files: Any) -> None:
    """A newer recoverd's repository is refused by name and number, never written to."""
    path = saved.repository / "format.json"
    document = json.loads(path.read_bytes())
    document["format"] = 2
    path.write_text(json.dumps(document))
    before = files(saved.repository)
    for command in ("list", "snapshot", "restore", "prune"):
        saved.run(command).refused(1, str(saved.repository), "format 2")
    assert "format 2" in saved.run("check").fine(2).out
    assert files(saved.repository) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "x"}', b"\xff" * 100])
def test_a_damaged_format_file(saved: Any, content: bytes, files: Any) -> None:
    """A repository that can't be recognised is not taken for an empty one."""
    (saved.repository / "format.json").write_bytes(content)
    before = files(saved.repository)
    saved.run("snapshot").refused(1, str(saved.repository), "format.json")
    saved.run("check").fine(2)
    assert files(saved.repository) == before


def test_a_repository_path_that_is_a_file(world: Any) -> None:
    """A typo must not cost what is there."""
    world.state_dir.mkdir()
    world.repository.write_text("precious")
    for command in ("snapshot", "restore"):
        world.run(command).refused(1, str(world.repository))
    assert "precious" in world.repository.read_text()
    assert world.run("check").status == 2
    assert world.main.read_text() == '{"counter": 1}'


def test_a_repository_in_a_full_directory_of_something_else(world: Any) -> None:
    """A directory that holds other things is not turned into a repository."""
    world.repository.mkdir(parents=True)
    (world.repository / "thesis.txt").write_text("precious")
    done = world.run("snapshot")
    assert "Traceback" not in done.err
    assert (world.repository / "thesis.txt").read_text() == "precious"


def test_a_lost_repository_is_not_silently_made_anew(saved: Any) -> None:
    """Reading commands say what is gone; the next snapshot starts a new one, and says so by its number."""
    shutil.rmtree(saved.repository)
    for command in ("show notes/1", "prune"):
        saved.run(*command.split()).refused(1, "there is no repository at")
    assert saved.run("check").status == 1
    assert "notes/1" in saved.run("snapshot").fine().out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if not ROOT:
        pytest.skip("mounting needs root")
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(where)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_loses_nothing(world: Any, small_disk: Path) -> None:
    """Promises 3 and 6: a snapshot that does not fit fails in a sentence; what was saved stays and can be restored."""
    (world.conf / "recoverd.yaml").write_text(f"state_dir: {small_disk}/state\n")
    world.run("snapshot").fine()
    (world.tasks / "big.json").write_text(json.dumps({"noise": os.urandom(3 << 20).hex()}))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(2 << 20))
    done = world.run("snapshot").fine(1)
    assert "No space left" in done.out + done.err or "full" in done.out + done.err
    listed = world.json("list")["snapshots"]
    assert [one["id"] for one in listed] == ["notes/1"]
    assert world.run("show", "notes/1", "main").fine().out == '{"counter": 1}'
    world.main.write_bytes(b"")
    (world.tasks / "big.json").unlink()
    world.run("restore")  # with the disk that full it may or may not fit
    filler.unlink()
    world.run("restore").fine()
    assert world.main.read_text() == '{"counter": 1}'
    world.run("snapshot").fine()


@pytest.fixture
def read_only(world: Any) -> Iterator[Any]:
    """A world whose state directory can't be written."""
    world.run("snapshot").fine()
    if ROOT:
        mount = ["mount", "--bind", "-r", str(world.state_dir), str(world.state_dir)]
        done = subprocess.run(mount, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
        yield world
        subprocess.run(["umount", "-l", str(world.state_dir)], check=True)
    else:
        for one in (world.state_dir, *world.state_dir.rglob("*")):
            one.chmod(0o500 if one.is_dir() else 0o400)
        yield world
        for one in (world.state_dir, *world.state_dir.rglob("*")):
            one.chmod(0o700)


def test_a_state_directory_that_cannot_be_written(read_only: Any) -> None:
    """What only looks still works; what must write says so and leaves live state as it is."""
    read_only.run("list").fine()
    read_only.run("assess").fine()
    assert "can't be written" in read_only.run("check").fine(2).out
    read_only.main.write_bytes(b"")
    for command in ("snapshot", "restore", "run"):
        done = read_only.run(command, timeout_s=30)
        assert done.status == 1, (command, done)
        assert "Traceback" not in done.err
        said = done.out + done.err
        assert "Read-only file system" in said or "Permission denied" in said or "can't be written" in said, done
    assert read_only.main.read_bytes() == b""
