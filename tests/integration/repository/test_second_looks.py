"""What a checksum of the compressor does not find: whole frames with other bytes, and a catalog that is wrong.

Each of these is the only check that stands between such damage and a restore, or a deletion.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from recoverd.errors import DamagedObject, RepositoryError
from recoverd.repository.packs import PackWriter, read_index
from recoverd.repository.pruning import prune


def forge(bench: Any, contents: dict[bytes, bytes]) -> Path:
    """Put a pack in which other bytes lie under the hash of each content; every checksum of its file is right."""
    temporary = bench.path / "packs" / "forged"
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    writer = PackWriter(fd, compression=3)
    for content, other in contents.items():
        writer.add(blake3(content).hexdigest(), other)
    name, _ = writer.finish()
    os.close(fd)
    place: Path = bench.path / "packs" / name[:2] / f"{name}.tar.zst"
    place.parent.mkdir(exist_ok=True)
    temporary.rename(place)
    return place


def replace_pack(bench: Any, contents: dict[bytes, bytes]) -> None:
    """Some objects of the only pack are others now; trees stay."""
    (pack,) = bench.packs()
    with bench.repository.reader() as reader:
        fd = os.open(pack, os.O_RDONLY)
        objects = {reader.read(key): reader.read(key) for key in read_index(fd, pack.name)}
        os.close(fd)
    pack.unlink()
    forge(bench, objects | contents)
    bench.reopen()


def test_other_bytes_of_the_right_size_are_never_read(bench: Any) -> None:
    """Promise 7: the hash of an object is checked on the way out, also where its frame is whole."""
    first = bench.capture({"a": b"wanted" * 50, "b": b"whole"})
    replace_pack(bench, {b"wanted" * 50: b"forged" * 50})
    with bench.repository.reader() as reader:
        entry = reader.item_entry(first.items["main"].root)
        damaged, whole = reader.tree(entry.hash)
        assert reader.read(whole.hash) == b"whole"
        with pytest.raises(DamagedObject):
            reader.read(damaged.hash)
        with pytest.raises(DamagedObject):
            reader.contents([whole, damaged])


def test_other_bytes_never_move_to_a_new_pack(bench: Any) -> None:
    """Promise 7: a pack whose frames are whole and whose objects are not is left as it is, to be healed."""
    large = os.urandom(100_000)
    bench.capture({"a": b"wanted" * 50, "large": large})
    bench.capture({"a": b"wanted" * 50})
    older = min(bench.packs(), key=lambda path: -path.stat().st_size)
    newer = next(path for path in bench.packs() if path != older)
    newer.rename(bench.state_dir / "newer")
    replace_pack(bench, {b"wanted" * 50: b"forged" * 50})
    (bench.state_dir / "newer").rename(newer)
    bench.reopen()
    forged = next(path for path in bench.packs() if path != newer)
    with bench.repository.writer(wait_s=0, what="a prune") as writer:
        done = prune(bench.repository, writer, {"svc": [1]})
    assert forged.exists()
    assert any("stays" in note for note in done.notes)


def test_a_pack_is_asked_itself_before_it_is_deleted(bench: Any) -> None:
    """Promise 3: a catalog that has lost one row of it."""
    bench.capture({"a": b"needed" * 50})
    second = bench.capture({"a": b"needed" * 50, "b": b"more" * 50})
    bench.repository.close()
    with sqlite3.connect(bench.state_dir / "catalog.sqlite") as database:
        changed = database.execute(
            "UPDATE objects SET hash = randomblob(32) WHERE hash = ?", (blake3(b"needed" * 50).digest(),)
        )
        assert changed.rowcount == 1
    database.close()
    bench.reopen()
    with bench.repository.writer(wait_s=0, what="a prune") as writer:
        prune(bench.repository, writer, {"svc": [1]})
    assert bench.files(second) == {"a": b"needed" * 50, "b": b"more" * 50}


@pytest.mark.parametrize("at", [-80, -76, -72, -60, -32, -1], ids=["magic", "length", "what", "version", "hash", "end"])
def test_each_word_of_a_footer_is_checked(bench: Any, at: int) -> None:
    """Promise 7: what leads to an index is what recoverd wrote, or the index is not believed."""
    bench.capture({"a": b"wanted" * 50})
    (pack,) = bench.packs()
    data = bytearray(pack.read_bytes())
    data[at] ^= 0x01
    pack.write_bytes(data)
    fd = os.open(pack, os.O_RDONLY)
    try:
        with pytest.raises(RepositoryError):
            read_index(fd, pack.name)
    finally:
        os.close(fd)
