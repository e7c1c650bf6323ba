from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recoverd.errors import LockHeld
from recoverd.system import locks

Start = Callable[[str], "subprocess.Popen[bytes]"]


def holder(path: Path, *, exclusive: bool = True) -> str:
    return (
        "import time; from recoverd.system.locks import acquire\n"
        f"lock = acquire({str(path)!r}, exclusive={exclusive})\nprint('ready', flush=True)\ntime.sleep(60)"
    )


def test_a_killed_holder_frees_its_lock(tmp_path: Path, child: Start) -> None:
    """Promise 9: no stale lock, ever (restic#1450). The error names who holds it, from the kernel."""
    path = tmp_path / "lock"
    process = child(holder(path))
    with pytest.raises(LockHeld) as caught:
        locks.acquire(str(path), what="the repository")
    assert caught.value.pid == process.pid
    assert "python" in (caught.value.command or "")
    assert str(caught.value).startswith(f"the repository is in use by process {process.pid}")
    assert locks.is_held(str(path))
    process.kill()
    process.wait()
    assert not locks.is_held(str(path))
    with locks.acquire(str(path)) as lock:
        states = [lock.held]
    lock.release()
    assert [*states, lock.held] == [True, False]
    assert path.exists()


def test_waiting_gets_the_lock_when_it_is_given_back(tmp_path: Path) -> None:
    """`wait_s` is a deadline, not a fixed pause; giving up takes about that long and not longer."""
    path = str(tmp_path / "lock")
    first = locks.acquire(path)
    threading.Timer(0.2, first.release).start()
    began = time.monotonic()
    with locks.acquire(path, wait_s=10):
        assert 0.15 < time.monotonic() - began < 2
        began = time.monotonic()
        with pytest.raises(LockHeld) as caught:
            locks.acquire(path, wait_s=0.2)
        assert 0.15 < time.monotonic() - began < 1
        assert caught.value.pid == os.getpid()
    first.release()


def test_readers_share_and_exclude_writers(tmp_path: Path, child: Start) -> None:
    """Shared readers.lock: any number of readers, each visible, and no writer among them."""
    path = tmp_path / "lock"
    process = child(holder(path, exclusive=False))
    with locks.acquire(str(path), exclusive=False):
        assert {pid for pid, _ in locks.holders(str(path))} == {process.pid, os.getpid()}
        with pytest.raises(LockHeld) as caught:
            locks.acquire(str(path))
        assert caught.value.pid == process.pid


def test_a_lock_is_not_inherited_by_programs(tmp_path: Path, child: Start) -> None:
    """A service started by recoverd must not keep recoverd's locks: descriptors close on exec."""
    path = str(tmp_path / "lock")
    lock = locks.acquire(path)
    program = subprocess.Popen(["sleep", "60"], close_fds=False)
    lock.release()
    try:
        assert not locks.is_held(path)
    finally:
        program.kill()
        program.wait()


def test_release_frees_it_even_where_a_forked_child_has_a_copy(tmp_path: Path) -> None:
    """Workers forked under a lock do not prolong it."""
    path = str(tmp_path / "lock")
    lock = locks.acquire(path)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    lock.release()
    try:
        locks.acquire(path).release()
    finally:
        os.close(write)
        os.waitpid(pid, 0)


def test_a_lock_file_that_was_deleted_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody removes the file between open and flock: the lock is taken again on the file that is there now."""
    path = str(tmp_path / "lock")
    real = fcntl.flock
    removed: list[str] = []

    def flock(fd: int, operation: int) -> None:
        if not removed:
            removed.append(path)
            os.unlink(path)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locks.acquire(path), pytest.raises(LockHeld):
        locks.acquire(path)
    assert removed


def test_planted_links_and_modes(tmp_path: Path) -> None:
    """The file is private, and a symlink in its place is not followed."""
    path = tmp_path / "lock"
    locks.acquire(str(path)).release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    path.symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        locks.acquire(str(path))
    assert not (tmp_path / "other").exists()


def test_absent_files_are_held_by_nobody(tmp_path: Path) -> None:
    """Asking creates nothing."""
    path = str(tmp_path / "lock")
    assert not locks.is_held(path)
    assert locks.holders(path) == []
    assert os.listdir(tmp_path) == []


def test_a_lock_that_the_kernel_does_not_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holders in another pid namespace are not in /proc/locks: still held, and the error says so without a pid."""
    path = str(tmp_path / "lock")
    with locks.acquire(path):
        monkeypatch.setattr(locks, "holders", lambda _: [])
        assert locks.is_held(path)
        with pytest.raises(LockHeld) as caught:
            locks.acquire(path)
        assert caught.value.pid is None
        assert "another process" in str(caught.value)


def test_other_device_numbers_in_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """btrfs and overlayfs list another device than stat tells: the process is asked what it has open."""
    path = str(tmp_path / "lock")
    monkeypatch.setattr(os, "major", lambda _: 4095)
    with locks.acquire(path):
        assert [pid for pid, _ in locks.holders(path)] == [os.getpid()]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can create files everywhere")
def test_a_directory_that_can_only_be_read(tmp_path: Path) -> None:
    """Reading a repository that one may not write: the existing lock file is enough for a shared lock."""
    path = tmp_path / "lock"
    path.touch()
    tmp_path.chmod(0o500)
    try:
        locks.acquire(str(path), exclusive=False).release()
        with pytest.raises(PermissionError):
            locks.acquire(str(tmp_path / "other"))
    finally:
        tmp_path.chmod(0o700)
