"""What the files of a database say by themselves, and how it is to be copied (pure).

Offsets are those of SQLite's file format: page size at 16, versions at 18 and 19 (2 is WAL), change counter at 24,
pages at 28, "version valid for" at 92. A -wal begins with a magic number whose last bit tells the byte order of its
checksums, the version of its format, the page size, a count, two salts, and a checksum of all that. The byte of the
-shm file that every connection locks is 128; of the database a writer that keeps a journal locks the byte 0x40000001,
one that is about to write 0x40000000 too, and readers the 510 bytes that follow.
"""

from __future__ import annotations

import struct
from enum import StrEnum

from recoverd.values import dataclass

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
USE_BYTE = 128
PENDING_BYTE, RESERVED_BYTE = 0x40000000, 0x40000001
SHARED_BYTES, SHARED_LENGTH = 0x40000002, 510
_WAL_VERSION = 2
WAL_HEADER_BYTES = 32
_WAL_MAGIC, _WAL_FORMAT = 0x377F0682, 3007000


def is_wal_header(head: bytes) -> bool:
    """Whether a -wal that begins so is one for SQLite; else it takes it for an empty one."""
    if len(head) < WAL_HEADER_BYTES:
        return False
    magic, version = struct.unpack_from(">II", head)
    if magic & ~1 != _WAL_MAGIC or version != _WAL_FORMAT:
        return False
    first = second = 0
    for one, other in struct.iter_unpack(">II" if magic & 1 else "<II", head[:24]):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return struct.unpack_from(">II", head, 24) == (first, second)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a database; None where these bytes are none."""

    page_size: int
    pages: int | None  # None: the number that stands there is not valid
    is_wal: bool

    @classmethod
    def parse(cls, head: bytes) -> Header | None:
        if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
            return None
        size = int.from_bytes(head[16:18], "big")
        page_size = 65536 if size == 1 else size
        if page_size < 512 or page_size & (page_size - 1):
            return None
        valid = head[24:28] == head[92:96]
        pages = int.from_bytes(head[28:32], "big")
        return cls(page_size, pages if valid and pages else None, _WAL_VERSION in head[18:20])

    def truncated(self, size_bytes: int) -> str | None:
        """A sentence when a file of this size has lost its end; SQLite itself does not notice a part of a page."""
        wanted = (self.pages or 0) * self.page_size
        if size_bytes < wanted:
            return f"is truncated: it has {size_bytes} bytes where its header says {wanted}"
        if size_bytes % self.page_size:
            return f"is truncated: {size_bytes} bytes are no whole number of pages of {self.page_size} bytes"
        return None

    def settled(self, head: bytes, pages: int, version: tuple[int, ...]) -> bytes:
        """The header as every copy has it: this many pages, one change, and `version` as SQLite's that made it."""
        major, minor, patch = version[:3]
        writer = major * 1_000_000 + minor * 1_000 + patch
        one = (1).to_bytes(4, "big")
        return head[:24] + one + pages.to_bytes(4, "big") + head[32:92] + one + writer.to_bytes(4, "big")


class How(StrEnum):
    """How a database is copied."""

    LIVE = "live"  # its bytes and its -wal's, held as one more reader among those that use it in WAL mode
    LOCKED = "locked"  # its bytes, under the lock of SQLite's readers, which holds up writers that keep a journal
    QUIET = "quiet"  # its bytes: nobody uses it, and SQLite would create files beside it
    IMAGE = "image"  # file by file with what lies beside it; SQLite recovers the copy
    RAW = "raw"  # its bytes, for SQLite could do nothing with them


@dataclass(frozen=True, slots=True)
class Files:
    """A database and what lies beside it; sizes in bytes, 0 where nothing is."""

    head: bytes  # the first HEADER_BYTES
    size: int
    wal: int
    hot: bool  # a journal lies there, of a transaction that nobody will finish
    in_use: bool  # processes have it open in WAL mode, none of them for itself

    def how(self) -> How:
        """How it can be copied without changing anything that is live.

        A -wal or a journal that nobody uses was left by a process that died: SQLite would bring the database in order,
        and delete it.
        """
        header = Header.parse(self.head)
        if not self.size:
            return How.RAW
        if self.wal:
            return How.LIVE if self.in_use and header is not None else How.IMAGE
        if self.hot:
            return How.IMAGE
        if header is None:
            return How.RAW
        if header.is_wal:
            return How.LIVE if self.in_use else How.QUIET
        return How.LOCKED


def what_it_is(head: bytes, size: int, *, blank: bool) -> str:
    """A sentence for bytes that are no database."""
    if not size:
        return "is empty (0 bytes)"
    if blank:
        return f"holds only NUL bytes ({size} of them)"
    if not head.startswith(MAGIC):
        return "does not begin as an SQLite database does"
    return "has a damaged header"
