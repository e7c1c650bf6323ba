"""The kernel stops a child at each system call that changes a disk, and asks here what is to become of it.

A seccomp filter whose listener is outside the child (seccomp_unotify(2)): so every call counts, whoever makes it:
Python, a second thread, or SQLite's C. It is let pass, made to fail, made to write half, or the child is killed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE_MS = 60_000  # without any call

# Name: numbers on x86_64 and aarch64 (None: not there), then where its files stand among its arguments, as pairs
# (descriptor of a directory, path). -1 in second place: the descriptor is the file; in first place: no descriptor.
CALLS: dict[str, tuple[int | None, int | None, tuple[tuple[int, int], ...]]] = {
    **{
        name: (here, there, ((0, -1),))
        for name, here, there in (
            ("write", 1, 64),
            ("pwrite64", 18, 68),
            ("writev", 20, 66),
            ("pwritev", 296, 70),
            ("pwritev2", 328, 287),
            ("sendfile", 40, 71),
            ("fsync", 74, 82),
            ("fdatasync", 75, 83),
            ("syncfs", 306, 267),
            ("sync_file_range", 277, 84),
            ("ftruncate", 77, 46),
            ("fallocate", 285, 47),
            ("fchmod", 91, 52),
            ("fchown", 93, 55),
            ("fsetxattr", 190, 7),
            ("fremovexattr", 199, 16),
        )
    },
    **{
        name: (here, None, ((-1, 0),))
        for name, here in (
            ("open", 2),
            ("creat", 85),
            ("mkdir", 83),
            ("rmdir", 84),
            ("unlink", 87),
            ("chmod", 90),
            ("chown", 92),
            ("lchown", 94),
            ("mknod", 133),
        )
    },
    **{
        name: (here, there, ((0, 1),))
        for name, here, there in (
            ("openat", 257, 56),
            ("openat2", 437, 437),
            ("mkdirat", 258, 34),
            ("mknodat", 259, 33),
            ("unlinkat", 263, 35),
            ("fchmodat", 268, 53),
            ("fchownat", 260, 54),
            ("utimensat", 280, 88),
        )
    },
    **{name: (here, there, ((-1, 0),)) for name, here, there in (("truncate", 76, 45), ("setxattr", 188, 5))},
    "lsetxattr": (189, 6, ((-1, 0),)),
    "copy_file_range": (326, 285, ((2, -1),)),
    "rename": (82, None, ((-1, 0), (-1, 1))),
    "link": (86, None, ((-1, 0), (-1, 1))),
    "symlink": (88, None, ((-1, 1),)),
    "symlinkat": (266, 36, ((1, 2),)),
    "renameat": (264, 38, ((0, 1), (2, 3))),
    "renameat2": (316, 276, ((0, 1), (2, 3))),
    "linkat": (265, 37, ((0, 1), (2, 3))),
    "sync": (162, 81, ()),
}
OPENS = {"open": 1, "openat": 2}  # where the flags are: only those that create or empty a file are stopped
WRITES = ("write", "writev", "pwrite64")
TAKE_SPACE = {*WRITES, "pwritev", "pwritev2", "copy_file_range", "sendfile", "fallocate", "open", "openat"}
TAKE_SPACE |= {"openat2", "creat", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat"}
SYNCS = {"fsync", "fdatasync", "syncfs", "sync", "sync_file_range"}

# --- the filter in the child

_MACHINES = {"x86_64": (0, 0xC000003E, 317, 438), "aarch64": (1, 0xC00000B7, 277, 438)}
_COLUMN, _ARCHITECTURE, _SECCOMP, _PIDFD_GETFD = _MACHINES.get(platform.machine(), (0, 0, -1, -1))
NUMBERS = {number: name for name, (*both, _) in CALLS.items() if (number := both[_COLUMN]) is not None}
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF: ld [k], jeq, jset, ret
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_NO_NEW_PRIVS, _SET_FILTER, _NEW_LISTENER = 38, 1, 1 << 3
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_CONTINUE = 1
_AT_CWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


def listen() -> int:
    """From now on this process asks before each call of `CALLS`; the descriptor where it does. Raises OSError."""
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHITECTURE), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, 0)]
    for number, name in NUMBERS.items():
        if name in OPENS:
            flags = 16 + 8 * OPENS[name]
            program += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, flags), (_ANY_BIT, 0, 1, os.O_CREAT | os.O_TRUNC)]
            program += [(_RETURN, 0, 0, _ASK), (_RETURN, 0, 0, _ALLOW)]
        else:
            program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ASK)]
    program.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    head = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    if _SECCOMP < 0 or _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(errno.ENOSYS, f"no filter is known for {platform.machine()}")
    listener = int(_libc.syscall(_SECCOMP, _SET_FILTER, _NEW_LISTENER, ctypes.create_string_buffer(head)))
    if listener < 0:
        raise OSError(ctypes.get_errno(), f"seccomp(2): {os.strerror(ctypes.get_errno())}")
    return listener


# --- the supervisor outside


class Call:
    """One call under way: what it is, and the files below one of the `roots` that it is about."""

    def __init__(self, data: bytes, roots: tuple[str, ...]) -> None:
        self.id, self.pid, _, number, _, _, *self.arguments = struct.unpack("QIIiIQ6Q", data)
        self.name = NUMBERS[number]
        self.paths = [path for pair in CALLS[self.name][2] if (path := self._path(*pair)).startswith(roots)]
        self.counts = bool(self.paths) or self.name == "sync"

    def _path(self, directory: int, path: int) -> str:
        named = b""
        if path >= 0 and (address := self.arguments[path]):
            named = self.memory(address, 4096).split(b"\0", 1)[0]
        if named.startswith(b"/"):
            return os.path.normpath(os.fsdecode(named))
        fd = (
            _AT_CWD
            if directory < 0
            else struct.unpack("i", struct.pack("I", self.arguments[directory] & 0xFFFFFFFF))[0]
        )
        try:
            base = os.readlink(f"/proc/{self.pid}/" + ("cwd" if fd == _AT_CWD else f"fd/{fd}"))
        except OSError:
            return ""
        return os.path.normpath(os.path.join(base, os.fsdecode(named))) if named else base

    def memory(self, address: int, length: int) -> bytes:
        """Up to `length` bytes of the child's memory; fewer where the mapping ends."""
        fd = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = b""
            while len(found) < length:  # up to the end of a page at a time: the next one may not be there
                size = min(length - len(found), 4096 - (address + len(found)) % 4096)
                try:
                    found += os.pread(fd, size, address + len(found))
                except OSError:
                    break
                if length == 4096 and b"\0" in found:
                    break
            return found
        finally:
            os.close(fd)

    def write_half(self) -> int:
        """Do half of a write in the child's stead; how many bytes that is, 0 where half is nothing."""
        parts = [(self.arguments[1], self.arguments[2])]
        if self.name == "writev":
            parts = list(struct.iter_unpack("QQ", self.memory(self.arguments[1], 16 * self.arguments[2])))
        data = b"".join(self.memory(address, length) for address, length in parts)
        data = data[: sum(length for _, length in parts) // 2]
        if not data:
            return 0
        status = Path(f"/proc/{self.pid}/status").read_text()  # the call may be that of a second thread
        pidfd = os.pidfd_open(int(status.split("Tgid:")[1].split()[0]))
        fd = int(_libc.syscall(_PIDFD_GETFD, pidfd, int(self.arguments[0]), 0))
        os.close(pidfd)
        try:
            return os.pwrite(fd, data, self.arguments[3]) if self.name == "pwrite64" else os.write(fd, data)
        finally:
            os.close(fd)

    def could_fail_with(self, error: int) -> bool:
        """Whether a disk would say this here: a full one takes no space, a read-only one no change."""
        if self.name in OPENS and error != errno.EIO and os.path.lexists(self.paths[0]):
            flags = self.arguments[OPENS[self.name]]
            return error == errno.EROFS and bool(flags & (os.O_WRONLY | os.O_RDWR))
        if error in {errno.ENOSPC, errno.EDQUOT}:
            return self.name in TAKE_SPACE or self.name in SYNCS  # network disks say so at the sync
        return error != errno.EROFS or self.name not in SYNCS

    def __str__(self) -> str:
        return f"{self.name} {' '.join(self.paths)}"


class Supervisor:
    """Lets calls of a child pass, counted from 1, but for the fault that the request asks for."""

    def __init__(self, listener: int, pid: int, request: dict[str, Any]) -> None:
        self._listener, self._pid = listener, pid
        self._roots = tuple(str(request["root"]).split(os.pathsep))
        self._refused = int(request.get("refused", 0))  # flags that no rename of this disk knows
        self._fault, self._at = str(request.get("fault", "")), int(request.get("at", 0))
        self._error, self._lasting = int(request.get("error", 0)), bool(request.get("lasting"))
        self._ends = not request.get("endless")  # an endless one is told to end, once it has begun
        self._broken = str(request.get("broken") or "//")  # what lies below is read-only all the time
        self.calls: list[str] = []
        self.hit = ""

    def watch(self) -> None:
        """Until the child is gone."""
        pidfd = os.pidfd_open(self._pid)
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while pidfd not in (ready := [fd for fd, _ in poll.poll(PATIENCE_MS)]):
            if not ready:
                os.kill(self._pid, signal.SIGABRT)  # it hangs
                continue
            data = bytearray(80)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, data, True)
            except FileNotFoundError:
                continue  # a signal took the call back, or ended the child
            self._decide(Call(bytes(data), self._roots))
        os.close(pidfd)

    def _answer(self, call: Call, value: int = 0, error: int = 0, *, go_on: bool = False) -> None:
        with suppress(FileNotFoundError):  # the same
            fcntl.ioctl(self._listener, _ANSWER, struct.pack("QqiI", call.id, value, -error, go_on * _CONTINUE))

    def _told(self, call: Call) -> str:
        """A call in a word, with its paths as they are below their root."""
        told = str(call)
        for root in self._roots:
            told = told.replace(root, "")
        return told

    def _decide(self, call: Call) -> None:
        if not call.counts:
            return self._answer(call, go_on=True)
        if any(path.startswith(self._broken) for path in call.paths) and call.could_fail_with(errno.EROFS):
            return self._answer(call, error=errno.EROFS)
        if call.name == "renameat2" and call.arguments[4] & self._refused:
            return self._answer(call, error=errno.EINVAL)
        self.calls.append(self._told(call))
        number = len(self.calls)
        here = number == self._at or (self._lasting and number > self._at > 0)
        if here and self._fault in {"kill", "tear"}:
            if self._fault == "tear" and call.name in WRITES:
                call.write_half()
            self.hit = self.calls[-1]
            return os.kill(self._pid, signal.SIGKILL)
        if here and self._fault == "short" and call.name in WRITES and (done := call.write_half()):
            self.hit = self.calls[-1]
            self._answer(call, value=done)
        elif here and self._fault == "error" and call.could_fail_with(self._error):
            self.hit = self.hit or self.calls[-1]
            self._answer(call, error=self._error)
        else:
            self._answer(call, go_on=True)
        if not self._ends:
            self._ends = True
            os.kill(self._pid, signal.SIGTERM)
        return None
