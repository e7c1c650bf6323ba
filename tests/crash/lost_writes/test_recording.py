"""Recording: whatever a process does to its directory is replayed, also from several threads and processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.crash.lost_writes import choices as model
from tests.crash.lost_writes.recording import Recorder, available, parse

pytestmark = pytest.mark.skipif(not available(), reason="needs strace")

EVERYTHING = r"""
import ctypes, os, sys, threading
os.chdir(sys.argv[1])
def write(path, data, flags=os.O_CREAT | os.O_WRONLY):
    fd = os.open(path, flags, 0o600); os.write(fd, data); return fd
os.mkdir("a"); os.mkdir("b"); os.mkdir("gone"); os.rmdir("gone")
a = os.open("a", os.O_RDONLY)
fd = os.open("one, \"two\"\n", os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o640, dir_fd=a)
os.write(fd, b"0123456789"); os.pwrite(fd, b"ab", 3); os.lseek(fd, 8, 0); os.write(fd, b"xyz"); os.ftruncate(fd, 10)
os.writev(fd, [b"p", b"q"]); os.fsync(fd); os.fsync(a); os.close(fd)
for _ in range(2):
    os.close(write("log", b"line\n", os.O_CREAT | os.O_WRONLY | os.O_APPEND))
os.close(write("log", b"anew", os.O_WRONLY | os.O_TRUNC))
os.link("log", "b/link"); os.symlink("log", "b/symlink"); os.rename("log", "b/log"); os.replace("b/log", "a/log")
renameat2 = ctypes.CDLL(None).renameat2
assert renameat2(-100, b"a", -100, b"b", 2) == 0
assert renameat2(-100, b"a/symlink", a, b"moved", 1) == 0
def fill(n): [os.fsync(write(f"{n}-{m}", b"x" * 100)) for m in range(20)]
threads = [threading.Thread(target=fill, args=n) for n in "ab"]
[one.start() for one in threads]
if os.fork() == 0:
    write("of the child", b"c" * 9)
    os._exit(0)
os.wait(); [one.join() for one in threads]
fd = write("unlinked", b"1"); os.unlink("unlinked"); os.write(fd, b"2"); os.fsync(fd)
os.truncate("a-1", 5); os.sync()
fd = write("last", b"l"); print("told", flush=True); os.fdatasync(fd)
"""


def test_a_replay_is_what_happened(tmp_path: Path) -> None:
    """The recorder compares all names and bytes itself, and fails when they differ."""
    root = tmp_path / "root"
    root.mkdir()
    seen: list[str] = []
    status: list[tuple[int, bytes]] = []
    recorder = Recorder(root, lambda path: False, lambda name, path: seen.append(name))
    recorder.adopt()
    command = [sys.executable, "-c", EVERYTHING, str(root)]
    recorder.run(command, dict(os.environ), lambda done: status.append((done.returncode, done.stderr)))
    assert status == [(0, b"")]
    assert len(seen) > 120
    assert {"create", "mkdir", "rename", "renameat2", "fsync", "sync", "told", "fdatasync"} <= set(seen)
    assert seen[-2:] == ["told", "fdatasync"]
    found = recorder.disk.image(model.NOTHING)
    assert found["a-2"][1] == b"x" * 100
    assert "last" not in found
    everything = recorder.disk.image(model.EVERYTHING)
    assert everything["last"][1] == b"l"
    assert everything['b/one, "two"\n'][1] == b"012ab567xy\0pq"


def test_what_is_not_understood_is_an_error(tmp_path: Path) -> None:
    """A write that went by unseen would never be lost."""
    code = "import mmap, os, sys; f = open(sys.argv[1] + '/f', 'wb+'); f.truncate(9); mmap.mmap(f.fileno(), 9)"
    recorder = Recorder(tmp_path, lambda path: False, lambda name, path: None)
    recorder.adopt()
    with pytest.raises(AssertionError, match="through memory"):
        recorder.run([sys.executable, "-c", code, str(tmp_path)], dict(os.environ))


def test_a_sync_that_others_interrupt_begins_where_it_began() -> None:
    lines = [
        "7 fsync(3</x> <unfinished ...>\n",
        '8 write(4</y>, "\\x61", 1) = 1\n',
        "7 <... fsync resumed>) = 0\n",
        "8 +++ exited with 0 +++\n",
        '7 unlink("\\x61") = -1 ENOENT (No such file or directory)\n',
    ]
    calls = [(call.name, call.process, call.began, call.result) for call in parse(iter(lines))]
    assert calls == [
        ("fsync", "7", True, 0),
        ("write", "8", False, 1),
        ("fsync", "7", False, 0),
        ("unlink", "7", False, -1),
    ]
