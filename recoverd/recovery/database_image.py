"""The bytes of a database that are stored: of a private copy, or of the live file while it stays as it is."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from recoverd.recovery.stat_rows import pack_stat
from recoverd.state.databases.header import HEADER_BYTES, Header
from recoverd.system.reading import read_exactly
from recoverd.values import dataclass

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class DatabaseImage:
    """The bytes of a database: those of an open file, up to `size`, behind a header that may be another one."""

    fd: int
    size: int
    head: bytes = b""
    status: os.stat_result | None = None  # what it must stay like while it is read

    @classmethod
    def settled(cls, fd: int, status: os.stat_result) -> DatabaseImage:
        """As `fd` would be copied: without what only counts changes, and what lies behind its last page."""
        import sqlite3

        head = os.pread(fd, HEADER_BYTES, 0)
        header = Header.parse(head)
        if header is None:
            return cls(fd, status.st_size, status=status)
        pages = header.pages or status.st_size // header.page_size
        head = header.settled(head, pages, sqlite3.sqlite_version_info)
        return cls(fd, pages * header.page_size, head, status)

    def pieces(self, size: int = _PIECE) -> Iterator[bytes]:
        """All bytes, `size` of them at a time. Raises OSError."""
        for at in range(0, self.size, size):
            if self.status is not None and not at % _PIECE and not is_same(os.fstat(self.fd), self.status):
                raise OSError(errno.ESTALE, "kept changing while it was read")  # not read to its end in vain
            wanted = min(size, self.size - at)
            piece = read_exactly(self.fd, at, wanted)
            if len(piece) < wanted:  # who owns it can cut it off, the private copy as well
                raise OSError(errno.ESTALE, "kept changing while it was read")
            yield piece if at else self.head + piece[len(self.head) :]

    @property
    def page_size(self) -> int:
        """A power of two from 512 to 65536, also for bytes that are no database."""
        size = int.from_bytes((self.head or os.pread(self.fd, 18, 0))[16:18], "big")
        return size if size >= 512 and not size & (size - 1) else 65536 if size == 1 else 512


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two stats are of one file that nobody has changed in between, as far as its times show."""
    return os.path.samestat(one, other) and pack_stat(one) == pack_stat(other)
