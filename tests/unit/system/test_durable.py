from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.system import durable
from recoverd.system.processes import own_identity


class Failure(Exception):
    pass


@pytest.mark.parametrize("call", ["open", "fchmod", "write", "fsync", "close", "rename"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_old_or_new_at_every_failure_point(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, call: str, when: str
) -> None:
    """Whatever call fails or is interrupted: old content or all of the new, and no temporary file is left."""
    (tmp_path / "f").write_bytes(b"old")
    real: Callable[..., Any] = getattr(os, call)
    fired: list[str] = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        if fired or (call == "open" and when == "after"):
            return real(*args, **kwargs)
        fired.append(call)
        if when == "after" or call == "close":
            real(*args, **kwargs)
        raise Failure

    monkeypatch.setattr(os, call, failing)
    try:
        durable.write_file(dir_fd, "f", b"new" * 100)
        failed = False
    except Failure:
        failed = True
    monkeypatch.undo()
    assert failed == bool(fired)
    assert (tmp_path / "f").read_bytes() in ({b"old", b"new" * 100} if failed else {b"new" * 100})
    if call != "rename" and failed:
        assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_full_disk_keeps_the_old_content(tmpfs: Path) -> None:
    """ENOSPC in the middle of a write: the old content stays, the half file goes."""
    (tmpfs / "f").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        durable.write_path(str(tmpfs / "f"), b"x" * (8 << 20))
    assert (tmpfs / "f").read_bytes() == b"old"
    assert os.listdir(tmpfs) == ["f"]


def test_short_writes_are_continued(tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may take less than it was given; all of it arrives anyway."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    durable.write_file(dir_fd, "f", bytes(range(256)))
    assert (tmp_path / "f").read_bytes() == bytes(range(256))


@pytest.mark.parametrize("taken", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("parts", [[b"abc"], [b"", b"a", b""], [b"ab", b"cde", b"", b"f"], [b"a", b"b" * 50, b"cd"]])
def test_short_writes_of_many_parts_are_continued(
    parts: list[bytes], taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may stop anywhere, also between two parts."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:taken]))
    monkeypatch.setattr(os, "writev", lambda fd, given: write(fd, b"".join(given)[:taken]))
    with (tmp_path / "file").open("wb") as file:
        durable.write_all(file.fileno(), *parts)
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def test_mode_is_exact_and_links_are_replaced_not_followed(tmp_path: Path, dir_fd: int) -> None:
    """The mode does not depend on the umask, and a symlink planted at the name is replaced, its target untouched."""
    (tmp_path / "target").write_bytes(b"mine")
    (tmp_path / "f").symlink_to("target")
    umask = os.umask(0o777)
    try:
        durable.write_file(dir_fd, "f", b"new", mode=0o640)
    finally:
        os.umask(umask)
    found = (tmp_path / "f").lstat()
    assert stat.S_ISREG(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert (tmp_path / "target").read_bytes() == b"mine"


def test_leftovers_are_told_from_live_files() -> None:
    """A temporary name says which process of which boot made it: only those of the dead are leftovers."""
    live = durable.temporary_name()
    own = own_identity()
    assert live.startswith(durable.TEMPORARY_PREFIX)
    assert live != durable.temporary_name()
    assert not durable.is_leftover(live)
    assert durable.is_leftover(live.replace(own.boot_id, "0" * 8 + own.boot_id[8:]))
    assert durable.is_leftover(live.replace(f"-{own.pid}-", f"-{2**22 + 1}-"))
    assert durable.is_leftover(live.replace(f"-{own.start_ticks}-", f"-{own.start_ticks - 1}-"))
    for foreign in ("", "data.json", ".tmp-", ".tmp-whatever", "x" + live, live + "/x"):
        assert not durable.is_leftover(foreign)


def test_the_name_of_a_forked_child_is_its_own() -> None:
    """A child that inherited the cache still names itself: its leftovers must not look like the parent's."""
    durable.temporary_name()
    program = "import os; from recoverd.system.durable import temporary_name as t; t(); pid = os.fork()\n"
    program += "if pid == 0: print(t(), os.getpid(), flush=True)\nelse: os.waitpid(pid, 0)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    name, pid = output.stdout.decode().split()
    assert f"-{pid}-" in name
    assert durable.is_leftover(name)


def test_make_directories(tmp_path: Path) -> None:
    """Missing levels are made with the mode asked for; what exists is left alone; a file in the way is an error."""
    deep = tmp_path / "a" / "b" / "c"
    durable.make_directories(str(deep))
    durable.make_directories(str(deep))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (deep, deep.parent, deep.parent.parent)] == [0o700] * 3
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        durable.make_directories(str(tmp_path / "file"))
    with pytest.raises(NotADirectoryError):
        durable.make_directories(str(tmp_path / "file" / "below"))


def test_write_path_and_syncfs(tmp_path: Path, dir_fd: int) -> None:
    """recoverd's own files by path; syncfs works and reports a bad descriptor."""
    durable.write_path(str(tmp_path / "f"), b"")
    assert (tmp_path / "f").read_bytes() == b""
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    durable.syncfs(dir_fd)
    with pytest.raises(OSError):
        durable.syncfs(99_999)


def test_what_lies_in_the_place_of_an_own_file_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    """Promise 7: a FIFO hangs nobody, and a link leads nowhere."""
    (tmp_path / "file").write_bytes(b"data")
    with durable.open_own(str(tmp_path / "file")) as file:
        assert file.read() == b"data"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    for name, sentence in (("fifo", "no regular file"), ("directory", "Is a directory"), ("link", "it is a link")):
        with pytest.raises(OSError, match=sentence):
            durable.open_own(str(tmp_path / name))
    with pytest.raises(FileNotFoundError):
        durable.open_own(str(tmp_path / "nothing"))
