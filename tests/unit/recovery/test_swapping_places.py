"""Swaps where links were planted, where something is mounted, and where directories are many."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import StateError
from recoverd.recovery import intents
from recoverd.recovery.quarantine import undo
from recoverd.recovery.swapping import finish_intent
from recoverd.system import swap

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount or to give files away")


def test_planted_links_are_replaced_not_followed(bench: Any, tmp_path: Path) -> None:
    """Promise 12: a link in place of a document or of its directory is what gets replaced; its target is untouched."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_bytes(b"root")
    (bench.live / "d").mkdir()
    (bench.live / "d" / "passwd").symlink_to("../../etc/passwd")
    (bench.live / "d" / "sub").symlink_to("../../etc")
    os.mkfifo(bench.live / "d" / "pipe")
    bench.restore(bench.of("d", b"1", "passwd"), bench.of("d", b"2", "sub/passwd"), bench.of("d", b"3", "pipe"))
    assert bench.live_state(tmp_path / "etc") == {"passwd": b"root"}
    assert bench.live_state(bench.live / "d") == {"passwd": b"1", "pipe": b"3", "sub": None, "sub/passwd": b"2"}
    undo("svc", None, state_dir=bench.state_dir)
    assert (bench.live / "d" / "sub").is_symlink()


def test_directories_swapped_under_us(bench: Any, tmp_path: Path) -> None:
    """A hostile owner keeps swapping a directory on the way with a link to elsewhere: nothing is written there, and
    each restore is whole or refused."""
    (bench.live / "d" / "sub").mkdir(parents=True)
    (bench.live / "d" / "sub" / "f").write_bytes(b"old")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f").write_bytes(b"outside")
    (bench.live / "d" / "bait").symlink_to(tmp_path / "elsewhere")
    fd = os.open(bench.live / "d", os.O_RDONLY)
    stop = threading.Event()

    def flip() -> None:
        while not stop.wait(0.0005):
            swap.exchange(fd, "sub", fd, "bait")

    thread = threading.Thread(target=flip)
    thread.start()
    refused = 0
    try:
        for number in range(40):
            try:
                bench.restore(bench.of("d", b"new %d" % number, "sub/f"))
            except (StateError, OSError):
                refused += 1
            try:
                finish_intent("svc", bench.state_dir)
            except StateError:
                os.unlink(intents.intent_path(bench.state_dir, "svc"))
    finally:
        stop.set()
        thread.join()
        os.close(fd)
    assert bench.live_state(tmp_path / "elsewhere") == {"f": b"outside"}


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., None]]:
    points: list[Path] = []

    def attach(point: Path, kind: str, options: str) -> None:
        command = ["mount", "-t", kind, "-o", options, "none", str(point)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip(f"needs the right to mount {kind}")
        points.append(point)

    yield attach
    for point in reversed(points):
        subprocess.run(["umount", "-l", point], check=True)


def test_a_mount_root_is_restored_by_its_children(bench: Any, mount: Callable[..., None]) -> None:
    """A directory item that is a mount of its own can't be renamed: its children are, and extra ones are removed."""
    (bench.live / "d").mkdir()
    mount(bench.live / "d", "tmpfs", "size=4m")
    for name in ("same", "extra"):
        (bench.live / "d" / name).write_bytes(b"bad")
    before = bench.live_state()
    after = {"d": None, "d/new": None, "d/new/x": b"x", "d/same": b"good"}
    bench.restore(bench.of("d", {"same": b"good", "new": {"x": b"x"}}, whole=True))
    assert bench.live_state() == after
    assert bench.left() == []
    for expected in (before, after):
        undo("svc", None, state_dir=bench.state_dir)
        assert bench.live_state() == expected
    bench.interrupt(bench.of("d", {"y": b"y"}, whole=True), times=2)
    finish_intent("svc", bench.state_dir)
    assert bench.live_state() == {"d": None, "d/y": b"y"}


def test_a_mount_inside_a_directory_is_refused_not_broken(bench: Any, mount: Callable[..., None]) -> None:
    """A file system mounted below the item: swapping its root is refused before anything changes."""
    (bench.live / "d" / "inner").mkdir(parents=True)
    mount(bench.live / "d" / "inner", "tmpfs", "size=4m")
    with pytest.raises(StateError, match="another file system") as caught:
        bench.restore(bench.of("d", {"inner": {"x": b""}}))
    assert caught.value.hint is not None
    assert bench.left() == []
    bench.restore(bench.of("d", b"inside", "inner/x"))  # a document in it has a place of its own there
    assert (bench.live / "d" / "inner" / "x").read_bytes() == b"inside"


def test_a_whole_directory_is_not_swapped_with_what_is_mounted_below(bench: Any, mount: Callable[..., None]) -> None:
    """A rename would take the mounted file system along, to quarantine: such a directory is swapped file by file."""
    (bench.live / "d" / "sub" / "inner").mkdir(parents=True)
    mount(bench.live / "d" / "sub" / "inner", "tmpfs", "size=4m")
    for name in ("a", "sub/b", "sub/inner/c"):
        (bench.live / "d" / name).write_bytes(b"live")
    with pytest.raises(StateError, match="another file system"):  # what it lacks there can't be taken away either
        bench.restore(bench.of("d", {"a": b"new"}, whole=True))
    bench.restore(bench.of("d", {"a": b"new", "sub": {"b": b"new"}}))
    assert (bench.live / "d" / "sub" / "inner").is_mount()
    assert bench.live_state(bench.live / "d") == {
        "a": b"new",
        "sub": None,
        "sub/b": b"new",
        "sub/inner": None,
        "sub/inner/c": b"live",
    }
    assert bench.left() == []


def test_lower_directories_of_an_overlay(bench: Any, mount: Callable[..., None], tmp_path: Path) -> None:
    """Overlay file systems refuse to rename lower directories (EXDEV): the same is done file by file then."""
    for name in ("lower/d/sub", "upper", "work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lower" / "d" / "sub" / "a").write_bytes(b"bad")
    (tmp_path / "lower" / "d" / "b").write_bytes(b"bad")
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work,redirect_dir=off"
    mount(bench.live, "overlay", layers)
    before = bench.live_state()
    after = {"d": None, "d/c": b"new", "d/sub": None, "d/sub/a": b"good"}
    bench.restore(
        bench.of("d", {"sub": {"a": b"good"}, "c": b"new"}, whole=True),
        bench.of("other", b"o", "made/x"),
    )
    assert bench.live_state() == after | {"other": None, "other/made": None, "other/made/x": b"o"}
    undo("svc", None, state_dir=bench.state_dir)
    assert bench.live_state() == before


@as_root
def test_new_directories_belong_to_whom_the_old_ones_do(bench: Any) -> None:
    """A parent that no snapshot describes gets owner and mode of the directory above it, so that the service can
    use it; the place of an item that is gone altogether as well."""
    (bench.live / "d").mkdir(mode=0o2770)
    os.chmod(bench.live / "d", 0o2770)
    os.chown(bench.live / "d", 4242, 4343)
    bench.restore(bench.of("d", b"x", "sub/deep/x"))
    for name in ("d/sub", "d/sub/deep"):
        found = (bench.live / name).stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4242, 4343, 0o2770)


def test_many_directories_need_few_descriptors(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """File by file over more directories than may be open: they are entered again, and must be the same ones."""
    monkeypatch.setattr("recoverd.recovery.board._MAX_OPEN", 3)
    value = {f"d{number}": {"f": b"new"} for number in range(12)}
    for name in value:
        (bench.live / "all" / name).mkdir(parents=True)
        (bench.live / "all" / name / "f").write_bytes(b"old")
    before = bench.live_state()
    descriptors = len(os.listdir("/proc/self/fd"))
    bench.restore(bench.of("all", value))
    assert {data for data in bench.live_state().values() if data is not None} == {b"new"}
    undo("svc", None, state_dir=bench.state_dir)
    assert bench.live_state() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
