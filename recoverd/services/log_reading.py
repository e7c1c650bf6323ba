"""Reading a service's log: its newest lines, and what comes, through rotation."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator

from recoverd.errors import ServiceError, StateError
from recoverd.services.logs import KEPT
from recoverd.system.walk import open_parent
from recoverd.values import dataclass

_MOST_BYTES = 4 * 1024 * 1024  # read from the end of one log; what is before is not shown
_BLOCK_BYTES = 64 * 1024
_PAUSE_S = 0.2
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def read_log(path: str, lines: int, *, follow: bool = False) -> Iterator[str]:
    """The newest `lines` lines of a log, oldest first, also out of PATH.1 and so on where the log itself has fewer.

    With `follow` the lines that are added come too, as soon as they are whole, for ever; when the log is rotated, the
    rest of the old file comes before the new one. Bytes that are not UTF-8 are kept as surrogates. The directory may
    belong to the service's user, so nothing but a plain file with one name is read. Raises ServiceError at once.
    """
    fd = _open(path)
    if fd is None and not follow:
        raise ServiceError(
            f"there is no log {path} yet", hint="it comes with the first start; `recoverd status` shows what runs"
        )
    end = os.fstat(fd).st_size if fd is not None else 0
    if fd is not None and follow:
        end = _whole(fd, end)
    newest = _newest(path, fd, end, lines)
    if follow:
        return _and_more(path, fd, end, newest)
    if fd is not None:
        os.close(fd)
    return iter(newest)


def last_line(path: str) -> str:
    """The last line of a log that is not empty; "" when there is none or it can't be read."""
    try:
        return next((line.strip() for line in reversed(list(read_log(path, 5))) if line.strip()), "")
    except ServiceError:
        return ""


def _newest(path: str, fd: int | None, end: int, count: int) -> list[str]:
    found = _tail(fd, end, count) if fd is not None else []
    for number in range(1, KEPT + 1):
        if len(found) >= count or (older := _open(f"{path}.{number}")) is None:
            break
        try:
            found = _tail(older, os.fstat(older).st_size, count - len(found)) + found
        finally:
            os.close(older)
    return found


def _tail(fd: int, end: int, count: int) -> list[str]:
    """The last lines before `end`, read backwards; an unfinished one counts."""
    if count <= 0:
        return []
    data, start = b"", end
    while start > 0 and data.count(b"\n") <= count and len(data) < _MOST_BYTES:
        begin = max(0, start - _BLOCK_BYTES)
        data, start = os.pread(fd, start - begin, begin) + data, begin
    return [_text(line) for line in data.removesuffix(b"\n").split(b"\n")[-count:]] if data else []


def _whole(fd: int, end: int) -> int:
    """Where the last whole line before `end` ends, so that one which is being written comes later, in one piece."""
    begin = max(0, end - _BLOCK_BYTES)
    newline = os.pread(fd, end - begin, begin).rfind(b"\n")
    return begin + newline + 1 if newline >= 0 else begin


def _and_more(path: str, fd: int | None, end: int, newest: list[str]) -> Iterator[str]:
    """The newest lines, then those that are added to the file that has the log's name at the time."""
    yield from newest
    reading = _Reading(fd, end)
    try:
        while True:
            yield from reading.added()
            current = _open(path)
            if current is not None and not reading.is_of(current):
                yield from reading.added()  # between our last look and the rotation
                yield from reading.unfinished()
                reading.close()
                reading = _Reading(current, 0)
                continue
            if current is not None:
                os.close(current)
            time.sleep(_PAUSE_S)
    finally:
        reading.close()


@dataclass(slots=True)
class _Reading:
    """One file, read as it grows."""

    fd: int | None
    position: int
    rest: bytes = b""  # a line that is not whole yet

    def added(self) -> Iterator[str]:
        if self.fd is None:
            return
        if os.fstat(self.fd).st_size < self.position:
            self.position, self.rest = 0, b""  # somebody emptied it
        while data := os.pread(self.fd, _BLOCK_BYTES, self.position):
            self.position += len(data)
            *whole, self.rest = (self.rest + data).split(b"\n")
            yield from map(_text, whole)

    def unfinished(self) -> Iterator[str]:
        if self.rest:
            yield _text(self.rest)

    def is_of(self, fd: int) -> bool:
        return self.fd is not None and os.path.samestat(os.fstat(self.fd), os.fstat(fd))

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def _open(path: str) -> int | None:
    """The log, opened for reading; None when it is absent. Raises ServiceError."""
    try:
        directory, name = open_parent(path)
        try:
            fd = os.open(name, _FLAGS, dir_fd=directory)
        finally:
            os.close(directory)
    except FileNotFoundError:
        return None
    except StateError as error:
        raise ServiceError(f"the log {path} can't be read: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise ServiceError(
            f"the log {path} can't be read: {error.strerror}", hint="read it as the service's user, or as root"
        ) from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(fd)
        raise ServiceError(f"the log {path} is not a plain file with one name", hint="move away what is there")
    return fd


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
