from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoverd.system import reading

Start = Callable[[str], "subprocess.Popen[bytes]"]


def settle() -> None:
    """Wait until a file just written no longer counts as changing."""
    time.sleep(0.025)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=5000), block=st.integers(1, 700))
def test_a_quiet_file_is_read_whole(tmp_path: Path, dir_fd: int, data: bytes, block: int) -> None:
    """Whatever is in it, however it is read: the same bytes, not torn, stat from before."""
    (tmp_path / "f").write_bytes(data)
    found = reading.read_stable(dir_fd, "f")
    assert (found.data, found.torn, found.grown, found.stat.st_size) == (data, False, False, len(data))
    with reading.stream_stable(dir_fd, "f", block) as stream:
        verdicts = [stream.torn]
        blocks = list(stream)
        verdicts.append(stream.torn)
    assert verdicts == [True, False]
    assert b"".join(blocks) == data
    assert {len(one) for one in blocks[:-1]} <= {block}


def plant(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        (path.parent / "secret").write_text("secret")
        path.symlink_to("secret")
    else:
        if os.geteuid() != 0:
            pytest.skip("only root can make device nodes")
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "link", "device"])
def test_only_regular_files_are_read(tmp_path: Path, dir_fd: int, kind: str) -> None:
    """Promise 12: what is planted in place of a file is neither opened, nor followed, nor waited for."""
    plant(tmp_path / "f", kind)
    expected = OSError if kind == "link" else reading.NotRegular
    for call in (
        lambda: reading.read_stable(dir_fd, "f"),
        lambda: reading.open_regular(dir_fd, "f"),
        lambda: reading.stream_stable(dir_fd, "f", 100),
    ):
        began = time.monotonic()
        with pytest.raises(expected) as caught:
            call()
        assert time.monotonic() - began < 1
        assert caught.value.errno == (errno.ELOOP if kind == "link" else errno.EINVAL)
    with pytest.raises(FileNotFoundError):
        reading.read_stable(dir_fd, "absent")


def test_what_is_swapped_in_at_the_last_moment(tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the open a FIFO takes the file's place: no hang, and no content is made of it."""
    os.mkfifo(tmp_path / "fifo")
    real = os.open

    def swapping(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        return real("fifo" if name == "f" else name, flags, mode, dir_fd=dir_fd)

    (tmp_path / "f").write_bytes(b"")
    settle()
    monkeypatch.setattr(os, "open", swapping)
    with pytest.raises(reading.NotRegular):
        reading.read_stable(dir_fd, "f", tries=2)


WRITER = """
import mmap, os, struct, time
size = 200_000
fd = os.open({path!r}, os.O_RDWR)
beat = mmap.mmap(os.open({path!r} + ".beat", os.O_RDWR), 16)
print("ready", flush=True)
letter, longest, last = 0, 0, time.monotonic_ns()
while True:
    letter = (letter + 1) % 26
    for offset in range(0, size, 10_000):
        os.pwrite(fd, bytes([65 + letter]) * 10_000, offset)
        now = time.monotonic_ns()
        longest, last = max(longest, now - last), now
        beat[:] = struct.pack("=QQ", longest, last)
"""


class Heart:
    """When the writer wrote last, and its longest pause: one that a loaded machine holds up in the middle of its work
    leaves a file that is quiet and half written, which nobody can tell from a whole one."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(16))
        self._path = path

    def paused_ms(self) -> float:
        """Its longest pause until now, in milliseconds."""
        asked = time.monotonic_ns()
        while True:
            longest, last = struct.unpack("=QQ", self._path.read_bytes())
            if last > asked:
                return float(longest) / 1e6


def of_one_instant(data: bytes) -> bool:
    """Whether the writer's file ever was like this: up to some block its letter, from there on the one before."""
    blocks = [data[offset] for offset in range(0, len(data), 10_000)]
    turn = next((n for n, letter in enumerate(blocks) if letter != blocks[0]), len(blocks))
    return set(blocks[turn:]) <= {65 + (blocks[0] - 66) % 26} and all(
        set(data[n * 10_000 : (n + 1) * 10_000]) == {letter} for n, letter in enumerate(blocks)
    )


def test_a_file_that_is_rewritten_all_the_time_is_torn(tmp_path: Path, dir_fd: int, child: Start) -> None:
    """A torn read is never taken for good: under a writer in place, what is not marked torn is of one instant."""
    (tmp_path / "f").write_bytes(b"A" * 200_000)
    heart = Heart(tmp_path / "f.beat")
    child(WRITER.format(path=str(tmp_path / "f")))
    for _ in range(15):
        found = reading.read_stable(dir_fd, "f", tries=2)
        assert found.torn or of_one_instant(found.data) or heart.paused_ms() > 10
        with reading.stream_stable(dir_fd, "f", 4096) as stream:
            content = b"".join(stream)
            assert stream.torn or of_one_instant(content) or heart.paused_ms() > 10


def test_a_writer_that_replaces_atomically_is_never_torn(tmp_path: Path, dir_fd: int, child: Start) -> None:
    """Well-behaved writers (temporary file and rename) always give one version or the next, never a mix."""
    (tmp_path / "f").write_bytes(b"A" * 100_000)
    child(
        "import os, time\nprint('ready', flush=True)\nn = 0\nwhile True:\n"
        f"    n = (n + 1) % 26\n    open({str(tmp_path / 't')!r}, 'wb').write(bytes([65 + n]) * 100_000)\n"
        f"    os.rename({str(tmp_path / 't')!r}, {str(tmp_path / 'f')!r})\n    time.sleep(0.1)"
    )
    for _ in range(20):
        found = reading.read_stable(dir_fd, "f")
        assert not found.torn
        assert len(found.data) == 100_000
        assert len(set(found.data)) == 1


def test_a_log_that_only_grows_is_taken_at_its_first_length(tmp_path: Path, dir_fd: int, child: Start) -> None:
    """A file that only grew is taken at its first length: whole lines up to there, not torn."""
    (tmp_path / "f").write_bytes(b"")
    child(
        f"fd = open({str(tmp_path / 'f')!r}, 'ab', 0)\nprint('ready', flush=True)\n"
        "n = 0\nwhile n < 500_000:\n    fd.write(b'%09d\\n' % n); n += 1"
    )
    for _ in range(12):
        found = reading.read_stable(dir_fd, "f", append_only=True, tries=2)
        assert not found.torn
        assert len(found.data) == found.stat.st_size
        lines = found.data[: len(found.data) // 10 * 10]
        assert lines == b"".join(b"%09d\n" % n for n in range(len(lines) // 10))
        with reading.stream_stable(dir_fd, "f", 1000, append_only=True) as stream:
            assert len(b"".join(stream)) == stream.stat.st_size
            assert not stream.torn


def test_growth_during_the_read_is_told(tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`grown` says that there is more by now; without append_only the same growth makes the read torn."""
    path = tmp_path / "f"
    path.write_bytes(b"line\n" * 1000)
    settle()
    real, real_at = os.read, os.pread

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more\n")

    def read(fd: int, size: int) -> bytes:
        data = real(fd, size)
        grow()
        return data

    def pread(fd: int, size: int, offset: int) -> bytes:
        data = real_at(fd, size, offset)
        grow()
        return data

    monkeypatch.setattr(os, "read", read)
    monkeypatch.setattr(os, "pread", pread)
    found = reading.read_stable(dir_fd, "f", append_only=True)
    assert (found.data, found.torn, found.grown) == (b"line\n" * 1000, False, True)
    for append_only in (True, False):
        with reading.stream_stable(dir_fd, "f", 10_000, append_only=append_only) as stream:
            assert len(b"".join(stream)) == stream.stat.st_size
            assert (stream.torn, stream.grown) == (not append_only, append_only)
    assert reading.read_stable(dir_fd, "f", tries=2).torn


def test_a_log_that_shrinks_is_torn(tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Append-only is a promise of the writer; when the file shrinks meanwhile, it is torn like any other."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * 10_000)
    settle()
    with reading.stream_stable(dir_fd, "f", 4000, append_only=True) as stream:
        for _ in stream:
            os.truncate(path, 100)
        assert stream.torn
    real = os.read

    def shrinking(fd: int, size: int) -> bytes:
        data = real(fd, size)
        os.truncate(path, os.stat(path).st_size // 2)
        return data

    monkeypatch.setattr(os, "read", shrinking)
    assert reading.read_stable(dir_fd, "f", append_only=True, tries=2).torn


def test_a_fresh_change_is_waited_for(tmp_path: Path, dir_fd: int) -> None:
    """ctime within 20 ms of the read counts as changed: the file is read again once the tick has passed."""
    (tmp_path / "f").write_bytes(b"fresh")
    assert reading.read_stable(dir_fd, "f", tries=1).torn
    (tmp_path / "f").write_bytes(b"fresh")
    began = time.monotonic()
    assert not reading.read_stable(dir_fd, "f").torn
    assert 0.015 < time.monotonic() - began < 0.5


def test_changes_that_hide_their_mtime(tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that puts mtime and size back is still caught: by ctime, which nobody can set."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    settle()
    before = path.stat()
    real = os.read

    def rewriting(fd: int, size: int) -> bytes:
        data = real(fd, size)
        path.write_bytes(b"new")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return data

    monkeypatch.setattr(os, "read", rewriting)
    assert reading.read_stable(dir_fd, "f", tries=2).torn


def test_a_clock_that_was_set_back_tears_nothing(tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ctime far in the future is of another clock, not of a change just now."""
    (tmp_path / "f").write_bytes(b"state")
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3_600_000_000_000)
    assert not reading.read_stable(dir_fd, "f", tries=1).torn


def test_short_reads_are_continued(tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may give less than asked for (2 GiB at most): the rest is read too."""
    (tmp_path / "f").write_bytes(bytes(range(256)) * 4)
    settle()
    real, real_at = os.read, os.pread
    monkeypatch.setattr(os, "read", lambda fd, size: real(fd, min(size, 100)))
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: real_at(fd, min(size, 100), offset))
    found = reading.read_stable(dir_fd, "f", tries=1)
    assert (found.data, found.torn) == (bytes(range(256)) * 4, False)
    with reading.stream_stable(dir_fd, "f", 1000) as stream:
        assert os.fstat(stream.fileno()).st_size == 1024
        assert [len(block) for block in stream] == [1000, 24]
        assert not stream.torn


def test_threads_read_while_one_waits(tmp_path: Path, dir_fd: int) -> None:
    """The back-off of one file does not hold up the reading of others."""
    (tmp_path / "quiet").write_bytes(b"q")
    settle()
    (tmp_path / "f").write_bytes(b"fresh")
    thread = threading.Thread(target=reading.read_stable, args=(dir_fd, "f"))
    thread.start()
    assert not reading.read_stable(dir_fd, "quiet").torn
    assert thread.is_alive()
    thread.join()


def test_a_hole_is_told_and_not_read(tmp_path: Path, dir_fd: int) -> None:
    """Whole blocks of a hole come as their number, all others as bytes; together they are the file."""
    with (tmp_path / "f").open("wb") as file:
        file.write(b"a" * 1000)
        file.seek(1 << 30)
        file.write(b"b" * 5000)
        file.truncate((3 << 30) + 100)
    settle()
    with reading.stream_stable(dir_fd, "f", 1 << 20) as stream:
        pieces = list(stream.pieces())
        assert not stream.torn
    if (tmp_path / "f").stat().st_blocks * 512 > 1 << 20:
        pytest.skip("the file system has no holes")
    assert [piece if isinstance(piece, int) else len(piece) for piece in pieces] == [1 << 20, 1023, 1 << 20, 2047, 100]
    assert isinstance(pieces[0], bytes)
    assert pieces[0].rstrip(b"\0") == b"a" * 1000
    assert isinstance(pieces[2], bytes)
    assert pieces[2].rstrip(b"\0") == b"b" * 5000
