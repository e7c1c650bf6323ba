"""How a database is copied, and what its header says (pure)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from recoverd.state.databases.header import MAGIC, WAL_HEADER_BYTES, Files, Header, How, is_wal_header

ROLLBACK = MAGIC + bytes([16, 0, 1, 1]) + bytes(4) + b"\0\0\0\7" + b"\0\0\0\3" + bytes(60) + b"\0\0\0\7" + bytes(4)
WAL = ROLLBACK[:18] + b"\2\2" + ROLLBACK[20:]
GARBAGE = b"\xa5" * 100


@pytest.mark.parametrize(
    ("files", "how"),
    [
        (Files(ROLLBACK, 12288, 0, hot=False, in_use=False), How.LOCKED),
        (Files(ROLLBACK, 12288, 0, hot=True, in_use=False), How.IMAGE),
        (Files(WAL, 12288, 0, hot=False, in_use=False), How.QUIET),
        (Files(WAL, 12288, 0, hot=False, in_use=True), How.LIVE),
        (Files(WAL, 12288, 999, hot=False, in_use=True), How.LIVE),
        (Files(WAL, 12288, 999, hot=False, in_use=False), How.IMAGE),
        (Files(ROLLBACK, 12288, 999, hot=False, in_use=False), How.IMAGE),  # SQLite reads any -wal
        (Files(GARBAGE, 12288, 999, hot=False, in_use=False), How.IMAGE),  # its first page may be in there
        (Files(GARBAGE, 12288, 999, hot=False, in_use=True), How.IMAGE),
        (Files(GARBAGE, 12288, 0, hot=True, in_use=False), How.IMAGE),
        (Files(GARBAGE, 12288, 0, hot=False, in_use=False), How.RAW),
        (Files(b"", 0, 999, hot=True, in_use=True), How.RAW),  # SQLite would delete its -wal
    ],
)  # fmt: skip
def test_how(files: Files, how: How) -> None:
    """Nothing that SQLite would change by opening it is opened."""
    assert files.how() is how


def test_sizes() -> None:
    """SQLite itself does not see that a part of the last page is gone."""
    header = Header.parse(ROLLBACK)
    assert header == Header(4096, 3, is_wal=False)
    assert header.truncated(12288) is None
    assert header.truncated(16384) is None
    assert "where its header says 12288" in str(header.truncated(12287))
    assert "no whole number of pages" in str(header.truncated(12289))


@pytest.mark.parametrize("head", [b"", ROLLBACK[:99], GARBAGE, MAGIC + bytes(84), MAGIC + b"\3\0" + ROLLBACK[18:]])
def test_no_header(head: bytes) -> None:
    assert Header.parse(head) is None


def test_pages_that_an_old_writer_left_wrong() -> None:
    """The number counts only if the change counter is that of "version valid for"."""
    stale = ROLLBACK[:24] + b"\0\0\0\x08" + ROLLBACK[28:]
    header = Header.parse(stale)
    assert header is not None
    assert header.pages is None
    assert header.truncated(4096) is None
    settled = Header.parse(header.settled(stale, 5, (3, 40, 1)))
    assert settled is not None
    assert settled.pages == 5


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_a_settled_header_is_one(tmp_path: Path, page_size: int) -> None:
    """SQLite takes it for good, and what applications keep there stays."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA page_size={page_size}")
        database.execute("CREATE TABLE t (x)")
        database.execute("PRAGMA user_version=77")
        database.execute("PRAGMA application_id=99")
        database.commit()
        wanted = [database.execute(f"PRAGMA {each}").fetchone() for each in KEPT]
    data = path.read_bytes()
    header = Header.parse(data[:100])
    assert header is not None
    assert header.pages == len(data) // page_size
    path.write_bytes(header.settled(data[:100], header.pages, sqlite3.sqlite_version_info) + data[100:])
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert [database.execute(f"PRAGMA {each}").fetchone() for each in KEPT] == wanted


KEPT = ("page_size", "page_count", "user_version", "application_id", "schema_version")


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_the_header_of_a_wal(tmp_path: Path, page_size: int) -> None:
    """One that SQLite wrote is known; with any bit of it turned it is none, as for SQLite."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA page_size={page_size}")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE one (id)")
        head = (tmp_path / "store.db-wal").read_bytes()[:WAL_HEADER_BYTES]
    assert is_wal_header(head)
    for bit in range(8 * WAL_HEADER_BYTES):
        turned = bytearray(head)
        turned[bit // 8] ^= 1 << bit % 8
        assert not is_wal_header(bytes(turned)), bit
    assert not is_wal_header(head[:-1])
    assert not is_wal_header(bytes(WAL_HEADER_BYTES))


def test_the_header_of_a_wal_in_the_other_byte_order() -> None:
    """As a machine of that order writes it."""
    first = second = 0
    words = (0x377F0683, 3007000, 4096, 1, 0xDEADBEEF, 0x01234567)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) % 2**32
        second = (second + other + first) % 2**32
    assert is_wal_header(b"".join(word.to_bytes(4, "big") for word in (*words, first, second)))
