"""Packs: what goes in comes out, bit for bit or not at all, and with the tools of every Linux system."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from recoverd.errors import RepositoryError
from recoverd.repository.packs import (
    FRAME_BYTES,
    INDEX_NAME,
    Index,
    PackWriter,
    encode_index,
    read_frame,
    read_index,
    tar_header,
)
from recoverd.repository.zstandard import Compressor, ZstdError, decompress


def memory_file() -> int:
    return os.memfd_create("pack")


def write(fd: int, objects: list[bytes], *, compression: int = 3) -> tuple[str, Index]:
    writer = PackWriter(fd, compression=compression)
    for data in dict.fromkeys(objects):
        writer.add(blake3(data).hexdigest(), data)
    return writer.finish()


def read_all(fd: int, index: Index) -> dict[str, bytes]:
    frames = {location.frame_offset: read_frame(fd, location) for location in index.values()}
    return {name: frames[where.frame_offset][where.offset : where.offset + where.size] for name, where in index.items()}


def content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


SMALL = [b"", b"{}", b'{"a": 1}\n' * 20, bytes(range(256)), b"x" * 511, b"x" * 512, b"x" * 513]


@given(st.lists(st.binary(max_size=2000), max_size=12))
@settings(max_examples=40)
def test_any_objects_come_back(objects: list[bytes]) -> None:
    """Promise 7: any bytes of any size."""
    fd = memory_file()
    try:
        name, index = write(fd, objects)
        assert blake3(content(fd)).hexdigest() == name
        assert read_index(fd, name) == index
        assert read_all(fd, index) == {blake3(data).hexdigest(): data for data in objects}
    finally:
        os.close(fd)


def test_small_objects_share_a_frame_and_large_ones_have_their_own() -> None:
    """Small JSON compresses well together; a large block is read without its neighbours."""
    small = [b'{"number": %d, "state": "waiting"}' % number for number in range(1000)]
    big = os.urandom(FRAME_BYTES)
    fd = memory_file()
    _, index = write(fd, [*small[:500], big, *small[500:]])
    frames = {where.frame_offset for where in index.values()}
    assert 3 <= len(frames) <= 10
    alone = [name for name, where in index.items() if where.frame_offset == index[blake3(big).hexdigest()].frame_offset]
    assert alone == [blake3(big).hexdigest()]
    assert max(where.frame_size for where in index.values()) < 2 * FRAME_BYTES
    os.close(fd)


def test_objects_can_be_located_while_the_pack_grows() -> None:
    """A writer reads back what it has just put."""
    fd = memory_file()
    writer = PackWriter(fd, compression=1)
    for number in range(5):
        data = b"%d" % number * 1000
        name = blake3(data).hexdigest()
        writer.add(name, data)
        where = writer.locate(name)
        assert read_frame(fd, where)[where.offset : where.offset + where.size] == data
    _, index = writer.finish()
    assert read_index(fd, "x") == index
    os.close(fd)


def test_the_same_objects_make_the_same_pack() -> None:
    """A pack holds no time and no chance: it is named by its content, and nothing else."""
    one, two = memory_file(), memory_file()
    assert write(one, SMALL) == write(two, SMALL)
    assert content(one) == content(two)
    os.close(one)
    os.close(two)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_is_noticed_or_harmless(mask: int) -> None:
    """Promise 7: with any single byte of the file changed, no object comes out with other bytes."""
    fd = memory_file()
    name, index = write(fd, SMALL)
    good = content(fd)
    harmless = 0
    for position in range(len(good)):
        os.pwrite(fd, bytes([good[position] ^ mask]), position)
        try:
            assert read_index(fd, name) == index
        except RepositoryError:
            pass
        # the catalog knows the places even when the index is lost; each object is checked on its way out
        for object_hash, where in index.items():
            try:
                data = read_frame(fd, where)[where.offset : where.offset + where.size]
            except ZstdError:
                continue
            harmless += blake3(data).hexdigest() == object_hash
        os.pwrite(fd, good[position : position + 1], position)
    assert harmless  # damage elsewhere in the file does no harm
    assert content(fd) == good
    os.close(fd)


def test_a_pack_that_is_cut_anywhere_is_refused() -> None:
    """Promise 6: a torn pack is never taken for a whole one, whatever its length."""
    fd = memory_file()
    name, _ = write(fd, SMALL)
    for length in range(os.fstat(fd).st_size - 1, -1, -1):
        os.ftruncate(fd, length)
        with pytest.raises(RepositoryError):
            read_index(fd, name)
    os.close(fd)


def test_a_pack_with_something_appended_is_refused() -> None:
    """The footer is at the end, or the file is not what was written."""
    fd = memory_file()
    name, _ = write(fd, SMALL)
    os.pwrite(fd, b"\0", os.fstat(fd).st_size)
    with pytest.raises(RepositoryError):
        read_index(fd, name)
    os.close(fd)


@pytest.mark.parametrize(
    "index",
    [
        b"[]",
        b"{}",
        b'{"pack":2,"frames":[]}',
        b'{"pack":1,"frames":[{"offset":0,"length":99999,"size":5,"objects":[]}]}',
        b'{"pack":1,"frames":[{"offset":-1,"length":1,"size":5,"objects":[]}]}',
        b'{"pack":1,"frames":[{"offset":0,"length":1,"size":1e3,"objects":[]}]}',
        b'{"pack":1,"frames":[{"offset":0,"length":1,"size":999999999999999,"objects":[]}]}',
        b'{"pack":1,"frames":[{"offset":0,"length":1,"size":5,"objects":[{"hash":"%s","offset":3,"size":3}]}]}'
        % (b"a" * 64),
        b'{"pack":1,"frames":[{"offset":0,"length":1,"size":5,"objects":[{"hash":"../x","offset":0,"size":3}]}]}',
        b"[" * 50_000,
    ],
)
def test_a_prepared_index_is_refused(index: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile pack whose hashes are all right still can't point outside itself or ask for endless memory."""
    fd = memory_file()
    monkeypatch.setattr("recoverd.repository.packs.encode_index", lambda _: index)
    name, _ = write(fd, SMALL)
    monkeypatch.undo()
    with pytest.raises(RepositoryError, match=r"not what recoverd writes|has version"):
        read_index(fd, name)
    os.close(fd)


def test_an_index_is_spelled_as_json_spells_it() -> None:
    """The format on disk: an index that is put together by hand is what any JSON writer makes of the same frames."""
    frames = [
        (0, 7, 2048, [("a" * 64, 512, 100), ("b" * 64, 1536, 0)]),
        (7, 2**40, 2**33, []),
        (2**41, 1, 512, [("0" * 64, 512, 2**50)]),
    ]
    for count in range(4):
        listed = [
            {
                "offset": offset,
                "length": length,
                "size": size,
                "objects": [{"hash": name, "offset": at, "size": of} for name, at, of in objects],
            }
            for offset, length, size, objects in frames[:count]
        ]
        document = {"pack": 1, "frames": listed}
        assert encode_index(frames[:count]) == json.dumps(document, separators=(",", ":")).encode()


def test_a_pack_that_is_synced_is_the_same(tmp_path: Path) -> None:
    """What the disk is told, and when, changes no byte."""
    made = []
    for sync in (False, True):
        fd = os.open(tmp_path / f"{sync}", os.O_RDWR | os.O_CREAT)
        writer = PackWriter(fd, compression=1)
        for number in range(300):
            data = random.Random(number).randbytes(20_000)
            writer.add(blake3(data).hexdigest(), data)
        made.append((writer.finish(sync=sync), content(fd)))
        os.close(fd)
    assert made[0] == made[1]


def test_decompression_is_bounded() -> None:
    """A small frame that claims little and holds much takes no more memory than it claims."""
    bomb = Compressor(3).frame([bytes(50_000_000)])
    assert len(bomb) < 10_000
    with pytest.raises(ZstdError, match="larger"):
        decompress(bomb, 1000)
    with pytest.raises(ZstdError):
        decompress(bomb, 60_000_000)
    for length in range(0, len(bomb), 97):
        with pytest.raises(ZstdError):
            decompress(bomb[:length], 50_000_000)
    with pytest.raises(ZstdError):
        decompress(bomb + b"x", 50_000_000)


def test_a_full_disk_is_an_error_and_no_pack(tmp_path: Path) -> None:
    """Promise 6: writing happens in a second thread, and its errors still arrive."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = PackWriter(fd, compression=3)
    with pytest.raises(OSError, match="No space"):
        for number in range(100):
            writer.add(blake3(b"%d" % number).hexdigest(), os.urandom(FRAME_BYTES))
        writer.finish()
    writer.close()
    os.close(fd)


def test_after_a_write_that_failed_half_way_nothing_of_the_pack_can_be_located(tmp_path: Path) -> None:
    """What is written behind a part of a frame is not where its length says: a reader would get other bytes."""
    fd = os.open(tmp_path / "pack", os.O_RDWR | os.O_CREAT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = PackWriter(fd, compression=1)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FRAME_BYTES, hard))  # a full disk: the first part finds room
        writer.add("a" * 64, random.Random(1).randbytes(2 * FRAME_BYTES))
        writer.add("b" * 64, b"small")
        with pytest.raises(OSError):
            writer.locate("a" * 64)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))  # room again
        with pytest.raises(OSError):
            writer.locate("b" * 64)
        with pytest.raises(OSError):
            writer.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.close()
        os.close(fd)


def test_headers_are_those_of_python_too() -> None:
    """Promise 8: the quick header is a correct ustar header."""
    for name in ("ab" * 32, "f" * 64, "0" * 64, INDEX_NAME):
        for size in (0, 1, 511, 512, 8 * 1024**3 - 1):
            found = tarfile.TarInfo.frombuf(tar_header(name.encode(), size), "ascii", "strict")
            assert (found.name, found.size, found.mode, found.uid, found.mtime) == (name, size, 0o600, 0, 0)


OBJECTS = [*SMALL, os.urandom(300_000), *[b'{"n": %d}' % number for number in range(500)]]


@pytest.mark.parametrize(
    "command",
    [
        "tar --zstd -xf pack.tar.zst -C out",
        "zstd -dc pack.tar.zst | tar -xf - -C out",
        "zstd -q -t pack.tar.zst && zstd -dc < pack.tar.zst | tar -xf - -C out",
    ],
)
def test_tar_and_zstd_read_a_pack(command: str, tmp_path: Path) -> None:
    """Promise 8: the data is yours without the tool."""
    if not (shutil.which("tar") and shutil.which("zstd")):
        pytest.skip("tar and zstd are not installed")
    fd = os.open(tmp_path / "pack.tar.zst", os.O_RDWR | os.O_CREAT)
    write(fd, OBJECTS)
    os.close(fd)
    (tmp_path / "out").mkdir()
    done = subprocess.run(["sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    members = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    index = json.loads(members.pop(INDEX_NAME))
    assert members == {blake3(data).hexdigest(): data for data in OBJECTS}
    assert {entry["hash"] for frame in index["frames"] for entry in frame["objects"]} == members.keys()


def test_b3sum_finds_the_names_right(tmp_path: Path) -> None:
    """Promise 8: packs and objects are checked with b3sum alone."""
    if not shutil.which("b3sum"):
        pytest.skip("b3sum is not installed")
    fd = os.open(tmp_path / "pack", os.O_RDWR | os.O_CREAT)
    name, _ = write(fd, OBJECTS)
    os.close(fd)
    done = subprocess.run(["b3sum", "pack"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == name


def test_the_archive_is_whole_by_itself() -> None:
    """Promise 8: the decompressed frames are one tar archive with its end, whatever reads it."""
    fd = memory_file()
    _, index = write(fd, OBJECTS)
    parts = {where.frame_offset: read_frame(fd, where) for where in index.values()}
    archive = b"".join(parts[offset] for offset in sorted(parts))
    with tarfile.open(fileobj=io.BytesIO(archive + bytes(1024))) as tar:
        assert len(tar.getnames()) == len(set(OBJECTS))
    os.close(fd)
