"""What a restore remembers of what it wrote: the look after the swap believes it only where it is exactly so."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import StateError
from recoverd.recovery import early_sync
from recoverd.recovery import staging as rooms
from recoverd.recovery.early_sync import EarlySync
from recoverd.recovery.extraction import Extraction
from recoverd.recovery.stat_rows import Row, join_names, pack_stat
from recoverd.recovery.written import QUIET_NS, WrittenDirectory, rows_of
from recoverd.system.walk import owner_names

LATER_NS = time.time_ns() + 3600 * 10**9


@pytest.fixture
def out(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    (tmp_path / "out").mkdir()
    fd = os.open(tmp_path / "out", os.O_RDONLY)
    yield tmp_path / "out", fd
    os.close(fd)


def own(bench: Any, name: str, value: Any, **facts: Any) -> Any:
    """An entry as a capture of our own files records it."""
    user, group = owner_names(os.geteuid(), os.getegid())
    mine = {"uid": os.geteuid(), "gid": os.getegid(), "user": user, "group": group}
    if isinstance(value, dict):
        value = {
            key: own(bench, key, below) if isinstance(below, bytes | dict) else below for key, below in value.items()
        }
    return bench.entry(name, value, **(mine | facts))


def rows(written: dict[str, WrittenDirectory], before_ns: int = LATER_NS) -> dict[str, Row]:
    return dict(rows_of(written, judge="0" * 64, unchecked=True, before_ns=before_ns))


def test_rows_are_what_a_walk_would_see(bench: Any, out: Any) -> None:
    """Names and stats are those of the files on the disk, so a walk that finds the same need not read them; files of
    other owners and modes, attributes and links among them."""
    path, fd = out
    link = own(bench, "l", b"", type="symlink", size=0, hash=None, target="x", mode=0o777)
    tree = own(bench, "d", {"b": b"1", "a": own(bench, "a", b"22", mode=0o604), "l": link, "sub": {"c": b"333"}})
    written = Extraction(bench.source, fd).write(tree, "d")
    found = rows(written)
    assert found.keys() == {"", "sub"}
    top = path / "d"
    assert found[""].names == join_names(["a", "b", "l"], ["sub"])
    assert found[""].stats == b"".join(pack_stat((top / name).lstat()) for name in ("a", "b", "l", "sub"))
    assert (found[""].files, found[""].size_bytes, found[""].unchecked, found[""].root) == (2, 3, 2, tree.hash)
    assert found["sub"].stats == pack_stat((top / "sub" / "c").lstat())
    assert found[""].children == {"sub": (found["sub"].root, found["sub"].good)}
    assert found[""].trusted_whole
    assert (top / "a").stat().st_mode & 0o7777 == 0o604


def test_what_came_out_otherwise_is_read_again(bench: Any, out: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 10: a directory with hard links, or with an owner or attributes that could not be brought back, has no
    row; neither has one that was written within a tick of the swap, as a later write might not show."""
    _, fd = out
    linked = own(bench, "d", {"f": own(bench, "f", b"1", hard_link="f"), "sub": {"c": b"3"}})
    written = Extraction(bench.source, fd).write(linked, "linked")
    assert rows(written).keys() == {"sub"}
    newest = (out[0] / "linked" / "sub" / "c").stat().st_ctime_ns
    assert rows(written, newest + QUIET_NS).keys() == {"sub"}
    assert rows(written, newest + QUIET_NS - 1) == {}
    stranger = own(bench, "d", {"f": own(bench, "f", b"1", user="no-such-user-here")})
    assert rows(Extraction(bench.source, fd).write(stranger, "stranger")) == {}

    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(os, "setxattr", refuse)
    bare = own(bench, "d", {"f": own(bench, "f", b"1", xattrs=(("user.x", b"1"),))})
    assert rows(Extraction(bench.source, fd).write(bare, "bare")) == {}


def test_attributes_that_files_get_by_themselves_are_seen(
    bench: Any, out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default ACL gives what is created attributes that its entry does not have: that is not what was captured."""
    monkeypatch.setattr(os, "listxattr", lambda *_, **__: ["system.posix_acl_access"])
    monkeypatch.setattr(os, "getxattr", lambda *_, **__: b"acl")
    assert rows(Extraction(bench.source, out[1]).write(own(bench, "d", {"f": b"1"}), "d")) == {}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(bench: Any, out: Any, mask: int) -> None:
    """Files get the mode of their entry, whatever mask recoverd runs under."""
    modes = [0o600, 0o666, 0o640, 0o777, 0o400, 0o000, 0o4755]
    before = os.umask(mask)
    try:
        entry = own(bench, "d", {f"{m:o}": own(bench, f"{m:o}", b"1", mode=m) for m in modes}, mode=0o755)
        written = Extraction(bench.source, out[1]).write(entry, "d")
    finally:
        os.umask(before)
    assert [(out[0] / "d" / f"{mode:o}").stat().st_mode & 0o7777 for mode in modes] == modes
    assert rows(written).keys() == {""}


def test_what_is_written_is_read_back(bench: Any, out: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 10: a file system that keeps other bytes than it was given ends the restore, for a small file and for a
    block of a large one."""
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real(fd, size, at).replace(b"good", b"evil"))
    with pytest.raises(StateError, match="does not hold what was just written"):
        Extraction(bench.source, out[1]).write(own(bench, "f", b"good"), "f")
    blocks = bench.source.put_blocks([bench.source.put(b"good" * 4)], 16, 16)
    large = own(bench, "l", b"", hash=None, blocks=blocks, block_size=16, size=16)
    with pytest.raises(StateError, match="does not hold what was just written"):
        Extraction(bench.source, out[1]).write(large, "l")


def test_an_early_sync_hides_no_error(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may begin early; an error of it is told once to each open file description, so the early sync has one of
    its own, and fails without a word. What counts is the sync at the end."""
    early: list[os.stat_result] = []
    held: list[int] = []

    def fail(fd: int) -> None:
        early.append(os.fstat(fd))
        held.append(fd)
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(early_sync, "_STEP_BYTES", 1)
    monkeypatch.setattr(early_sync, "syncfs", fail)
    with bench.stage(bench.of("docs", {"x": b"x"}, whole=True)) as staging:
        place = staging.places[0]
        assert early
        assert os.path.samestat(early[0], os.fstat(place.fd))
        assert place.fd not in held
    monkeypatch.setattr(rooms, "syncfs", fail)
    with pytest.raises(StateError, match="can't stage"):
        bench.stage(bench.of("docs", {"x": b"x"}, whole=True))


def test_no_thread_is_left_and_none_is_needed(out: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started the sync at the end does it all."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with EarlySync(out[1]) as early:
        early.wrote(1 << 30)
