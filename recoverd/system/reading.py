"""Reading files that somebody may be writing: a read is either known to be of one piece, or marked torn.

A file changed during a read when its size, mtime, ctime or inode did. Kernels keep file times in ticks of up
to 10 ms, so a second write in the tick of the first shows in no time stamp: a ctime less than 20 ms before the
read counts as changed too.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

from recoverd.values import dataclass

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_RECENT_NS = 20_000_000
MOST_ATTRIBUTE_BYTES = 1 << 20
"""What the extended attributes of one file may take in memory and in a tree: xfs holds hundreds of megabytes."""


class NotRegular(OSError):
    """A FIFO, socket, device or directory stands where a regular file was expected; it was not read."""


@dataclass(frozen=True, slots=True)
class FileRead:
    data: bytes
    stat: os.stat_result  # from before the read
    torn: bool  # it kept changing: `data` may be of no single instant
    grown: bool  # append-only: longer by now; `data` is its first length
    attributes: tuple[tuple[str, bytes], ...] = ()  # extended ones, by name; read together with the bytes


def _not_regular(name: str) -> NotRegular:
    return NotRegular(errno.EINVAL, "not a regular file", name)


def _refuse(name: str, mode: int) -> OSError:
    if modes.S_ISLNK(mode):
        return OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    return _not_regular(name)


def open_regular(dir_fd: int, name: str) -> int:
    """A regular file in an open directory, opened for reading; the caller closes it.

    The file is looked at before it is opened, so that no FIFO, socket or device is ever opened. Raises
    OSError (ELOOP for a symlink), NotRegular, FileNotFoundError.
    """
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        mode = os.fstat(handle).st_mode
        if not modes.S_ISREG(mode):
            raise _refuse(name, mode)
        # through the handle: what is opened is what was looked at, whatever the name stands for by now
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(handle)


def _is_recent(ctime_ns: int) -> bool:
    # a ctime well in the future is of a clock that was set back since: a new write would show
    return -_RECENT_NS < time.time_ns() - ctime_ns < _RECENT_NS


def attributes_of(where: int | str) -> tuple[tuple[str, bytes], ...]:
    """Extended attributes (ACLs and capabilities are among them) of an open file or directory, or of a path, never
    through a link; without those that can't be read, and from where they grow past MOST_ATTRIBUTE_BYTES."""
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
    except OSError:
        return ()  # the file system has none, or the file vanished
    found, room = [], MOST_ATTRIBUTE_BYTES
    for name in sorted(names) if names else ():  # those of the system come before those of users
        with suppress(OSError):  # removed meanwhile, or only for others to read: that takes none of the rest
            value = os.getxattr(where, name, follow_symlinks=follow)
            room -= len(value)
            if room < 0:
                break
            found.append((name, value))
    return tuple(found)


def read_exactly(fd: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes at `offset`; fewer only at the end of the file. Raises OSError."""
    data = os.pread(fd, length, offset)
    if len(data) == length or not data:
        return data
    parts = [data]
    done = len(data)
    while done < length and (data := os.pread(fd, length - done, offset + done)):
        parts.append(data)
        done += len(data)
    return b"".join(parts)


def read_stable(
    dir_fd: int,
    name: str,
    *,
    append_only: bool = False,
    tries: int = 5,
    found: os.stat_result | None = None,
    most_bytes: int | None = None,
) -> FileRead:
    """All of a regular file, read again with growing pauses (20, 40, 80 … ms) while it changes.

    The last try's bytes are returned with `torn` when it never held still. With `append_only`, a file that
    only grew is taken at its first length. `found`: what the caller's own look at the name has just told, to save
    another one. Raises OSError (ELOOP for a symlink; EFBIG past `most_bytes`, before anything is read), NotRegular,
    FileNotFoundError.
    """
    # few system calls a file: the look at the name doubles as the stat before the read, and the stat after
    # it proves that the file opened was the one looked at; a FIFO put there in between does not block (O_NONBLOCK),
    # and device nodes are nothing that a service user could put there
    for attempt in range(tries):
        before = found or os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        found = None
        if before.st_mode & 0o170000 != 0o100000:
            raise _refuse(name, before.st_mode)
        quiet = not -_RECENT_NS < time.time_ns() - before.st_ctime_ns < _RECENT_NS
        size = before.st_size
        if most_bytes is not None and size > most_bytes:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
        fd = os.open(name, _OPEN, dir_fd=dir_fd)
        try:
            data = os.read(fd, size + 1)
            if len(data) < size:
                data = _read_rest(fd, data, size)
            attributes = attributes_of(fd)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        if (
            quiet
            and after.st_ctime_ns == before.st_ctime_ns
            and len(data) == after.st_size == size
            and after.st_ino == before.st_ino
            and after.st_mtime_ns == before.st_mtime_ns
            and after.st_dev == before.st_dev
        ):
            return FileRead(data, before, False, False, attributes)
        last = attempt == tries - 1
        if append_only and os.path.samestat(before, after) and len(data) >= size:
            grown = after.st_size > size
            if grown or (last and after.st_size == size):
                return FileRead(data[:size], before, False, grown, attributes)
        if not last:
            time.sleep(_RECENT_NS * 2**attempt / 1e9)
    if not modes.S_ISREG(after.st_mode):
        raise _not_regular(name)
    return FileRead(data, before, True, False, attributes)


def _read_rest(fd: int, data: bytes, size: int) -> bytes:
    """The kernel gives at most 2 GiB at a time, and less on a signal: go on up to `size` or the end."""
    parts = [data]
    have = len(data)
    while have < size + 1:
        part = os.read(fd, min(size + 1 - have, 1 << 30))
        if not part:
            break
        parts.append(part)
        have += len(part)
    return b"".join(parts)


class StableStream:
    """A large file, block by block; iterate it to the end, then look at `torn` and `grown`.

    Blocks are `block_size` bytes, the last may be shorter; what is past the length at opening is not read.
    `stat` is from before the first block. A use as context manager, or `close`, ends it early.
    """

    def __init__(self, fd: int, block_size: int, *, append_only: bool) -> None:
        self._fd = fd
        self._block_size = block_size
        self._append_only = append_only
        self.stat = os.fstat(fd)
        for attempt in range(3):
            if not _is_recent(self.stat.st_ctime_ns):
                break
            time.sleep(_RECENT_NS * 2**attempt / 1e9)
            self.stat = os.fstat(fd)
        self._quiet = not _is_recent(self.stat.st_ctime_ns)
        self.torn = True  # until proven otherwise at the end
        self.grown = False

    def fileno(self) -> int:
        """The open descriptor, for those who look for holes; its offset is not used."""
        return self._fd

    def __iter__(self) -> Iterator[bytes]:
        """Every block, those of holes as zeros."""
        zeros = bytes(self._block_size)
        for piece in self.pieces():
            if isinstance(piece, int):
                for _ in range(piece):
                    yield zeros
            else:
                yield piece

    def pieces(self) -> Iterator[bytes | int]:
        """Every block; a number stands for so many blocks in a row that are one hole, and costs nothing to read: who
        makes a file of sixteen tebibytes with nothing in it keeps nobody waiting."""
        offset, size = 0, self.stat.st_size
        sparse = self.stat.st_blocks * 512 < size
        while offset < size:
            if sparse and (blocks := self._hole_at(offset)):
                yield blocks
                offset += blocks * self._block_size
                continue
            wanted = min(self._block_size, size - offset)
            block = os.pread(self._fd, wanted, offset)
            while len(block) < wanted:
                part = os.pread(self._fd, wanted - len(block), offset + len(block))
                if not part:
                    break
                block += part
            offset += len(block)
            if block:
                yield block
            if len(block) < wanted:
                break
        self._judge(offset)

    def _hole_at(self, offset: int) -> int:
        """How many whole blocks from there on are a hole."""
        try:
            data = os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                return 0  # a file system that can't tell
            data = self.stat.st_size  # nothing follows
        return (min(data, self.stat.st_size) - offset) // self._block_size

    def _judge(self, length: int) -> None:
        before, after = self.stat, os.fstat(self._fd)
        whole = length == before.st_size
        same = (
            self._quiet
            and after.st_size == before.st_size
            and after.st_mtime_ns == before.st_mtime_ns
            and after.st_ctime_ns == before.st_ctime_ns
        )
        if self._append_only and whole and after.st_size >= before.st_size:
            self.torn, self.grown = False, after.st_size > before.st_size
        else:
            self.torn = not (whole and same)

    def close(self) -> None:
        """Close the file; harmless when done twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> StableStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def stream_stable(dir_fd: int, name: str, block_size: int, *, append_only: bool = False) -> StableStream:
    """Open a regular file once, to be read block by block with one verdict at the end.

    Raises as `open_regular`. There is no second try: the caller decides whether a torn file is worth another read.
    """
    return StableStream(open_regular(dir_fd, name), block_size, append_only=append_only)
