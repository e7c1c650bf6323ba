"""Tar archives: read back by Python's tarfile and by the system's tar, with everything that belongs to a file."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.errors import RepositoryError
from recoverd.repository.tar import TarStream
from recoverd.repository.trees import Entry

FILE = Entry("f", "file", 0o640, 1000, 1001, "alice", "staff", 0, 1_700_000_000_123_456_789)
MIB = 1 << 20


def file(content: bytes, **more: Any) -> Entry:
    return replace(FILE, size=len(content), hash="0" * 64, **more)


def archive(*members: tuple[Entry, str, bytes | None]) -> bytes:
    out = io.BytesIO()
    stream = TarStream(out.write)
    for entry, path, content in members:
        stream.add(entry, path, iter([content]) if content is not None else None)
    stream.finish()
    assert stream.size_bytes == len(out.getvalue())
    return out.getvalue()


def read(data: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape")


NAMES = st.lists(
    st.binary(min_size=1, max_size=120)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in {b".", b".."}),
    min_size=1,
    max_size=4,
).map(lambda parts: os.fsdecode(b"/".join(parts)))


@given(
    NAMES,
    st.binary(max_size=2000),
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 1),
    st.integers(-(2**62), 2**62),
    st.text(max_size=50).filter(lambda text: "\0" not in text and "\n" not in text),
)
def test_whatever_is_put_in_comes_out(name: str, content: bytes, mode: int, uid: int, mtime_ns: int, user: str) -> None:
    """Any name, also one that is no text; owners beyond two million; times before 1970, to the nanosecond."""
    name = "app/" + name
    entry = file(content, mode=mode, uid=uid, mtime_ns=mtime_ns, user=user.encode("utf-8", "replace").decode())
    with read(archive((entry, name, content))) as tar:
        (member,) = tar.getmembers()
        assert os.fsencode(member.name) == os.fsencode(name)
        assert (member.mode, member.uid, member.uname) == (mode, uid, entry.user)
        extracted = tar.extractfile(member)
        assert extracted is not None
        assert extracted.read() == content
        exact = member.pax_headers.get("mtime", str(int(member.mtime)))
        seconds, _, fraction = exact.partition(".")
        sign = -1 if exact.startswith("-") else 1
        assert int(seconds) * 10**9 + sign * int(fraction.ljust(9, "0") or 0) == mtime_ns


def test_directories_links_and_attributes() -> None:
    linked = file(b"x" * 10, hard_link="7")
    target = "t" * 150
    data = archive(
        (replace(FILE, type="dir", hash="0" * 64, mode=0o2750), "d", None),
        (linked, "d/a", b"x" * 10),
        (replace(linked, name="b"), "d/b", b"x" * 10),
        (replace(FILE, type="symlink", target=target, mode=0o777), "d/link", None),
        (file(b"", xattrs=(("user.key", b"a\0=\n\xff"),)), "d/attributes", b""),
    )
    with read(data) as tar:
        members = {member.name: member for member in tar.getmembers()}
    assert members["d"].isdir()
    assert members["d"].mode == 0o2750
    assert members["d/a"].isreg()
    assert members["d/b"].islnk()
    assert members["d/b"].linkname == "d/a"
    assert members["d/link"].issym()
    assert members["d/link"].linkname == target
    assert (
        members["d/attributes"].pax_headers["SCHILY.xattr.user.key"].encode("utf-8", "surrogateescape") == b"a\0=\n\xff"
    )


def sparse() -> tuple[Entry, list[tuple[int, int]], list[bytes | int]]:
    """A hole at the start, one in the middle, one at the end."""
    pieces: list[bytes | int] = [MIB, b"a" * MIB, b"b" * 1024, 3 * MIB, b"c" * MIB, 512]
    size = sum(piece if isinstance(piece, int) else len(piece) for piece in pieces)
    return (
        replace(FILE, size=size, blocks="0" * 64, block_size=MIB, sparse=True),
        [
            (MIB, MIB + 1024),
            (5 * MIB + 1024, MIB),
        ],
        pieces,
    )


def test_holes_stay_holes(tmp_path: Path) -> None:
    """GNU's sparse format 1.0, read by Python and by the system's tar; the archive is as small as the data."""
    entry, data, pieces = sparse()
    content = b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in pieces)
    out = io.BytesIO()
    stream = TarStream(out.write)
    stream.add(entry, "app/" + "long" * 40 + "/f", iter(pieces), data=data)
    stream.add(file(b"after"), "app/after", iter([b"after"]))
    stream.finish()
    assert len(out.getvalue()) < 3 * MIB
    with read(out.getvalue()) as tar:
        first, second = tar.getmembers()
        extracted = tar.extractfile(first)
        assert extracted is not None
        assert first.size == len(content)
        assert extracted.read() == content
        assert second.name == "app/after"
    subprocess.run(["tar", "-xf", "-", "-C", str(tmp_path)], input=out.getvalue(), check=True)
    path = next(tmp_path.glob("app/long*/f"))
    assert path.read_bytes() == content
    assert path.stat().st_blocks * 512 < len(content)
    assert path.stat().st_mtime_ns == FILE.mtime_ns


def test_holes_are_written_as_zeros_where_nobody_asks_for_them() -> None:
    entry, _, pieces = sparse()
    out = io.BytesIO()
    stream = TarStream(out.write)
    stream.add(replace(entry, sparse=False), "f", iter(pieces))
    stream.finish()
    with read(out.getvalue()) as tar:
        extracted = tar.extractfile("f")
        assert extracted is not None
        assert extracted.read() == b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in pieces)


def test_the_system_tar_says_nothing_against_it(tmp_path: Path) -> None:
    """No warning on stderr, and the names as they were."""
    data = archive(
        (file(b"1"), "app/ä ö\n.json", b"1"),
        (file(b"2"), os.fsdecode(b"app/\xff\xfe"), b"2"),
        (file(b"3", xattrs=(("user.x", b"\xff"),)), "app/" + "n" * 200, b"3"),
    )
    done = subprocess.run(["tar", "-xf", "-", "-C", str(tmp_path)], input=data, check=True, capture_output=True)
    assert done.stderr == b""
    assert {os.fsencode(path.name) for path in (tmp_path / "app").iterdir()} == {
        "ä ö\n.json".encode(),
        b"\xff\xfe",
        b"n" * 200,
    }


@pytest.mark.parametrize("content", [b"", b"12", b"1234"])
def test_content_of_another_length_is_an_error(content: bytes) -> None:
    """A record and its content that do not agree must not shift everything that follows."""
    with pytest.raises(RepositoryError, match="its record says 3"):
        archive((file(b"123"), "f", content))


def test_memory_is_bounded() -> None:
    """A gigabyte of hole and a stream of chunks pass through; nothing is gathered."""
    import tracemalloc

    def chunks() -> Iterator[bytes | int]:
        for _ in range(32):
            yield b"x" * MIB
        yield 64 * MIB

    entry = replace(FILE, size=96 * MIB, blocks="0" * 64, block_size=MIB)
    stream = TarStream(len)
    tracemalloc.start()
    stream.add(entry, "f", chunks())
    stream.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB
