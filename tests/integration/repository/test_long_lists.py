"""Files of so many blocks that their lists are stored in parts: what a change costs, and whom damage hurts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from recoverd.errors import DamagedObject, RepositoryError
from recoverd.recovery.live_copies import offer_files
from recoverd.repository.blocks import LIST_BLOCKS, decode_blocks, list_objects
from recoverd.repository.catalog import Catalog
from recoverd.repository.pruning import Pruned, prune
from recoverd.repository.references import Kind
from recoverd.repository.repack_plan import RepackLimits
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.repository.verifying import Verified, verify
from recoverd.repository.writer import Writer

BLOCK = 16


def file(name: str, blocks: str, size: int, *, block: int = BLOCK) -> Entry:
    return Entry(name, "file", 0o600, 0, 0, "", "", size, 1, blocks=blocks, block_size=block)


def hashes(writer: Writer, content: bytes) -> Iterator[str | None]:
    """Stores the blocks of a file as they are asked for."""
    for at in range(0, len(content), BLOCK):
        block = content[at : at + BLOCK]
        yield writer.put(block) if block.count(0) != len(block) else None


def save(bench: Any, files: dict[str, bytes], service: str = "svc") -> Any:
    """A snapshot of such files."""
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        entries = [
            file(name, writer.put_blocks(hashes(writer, content), BLOCK, len(content)), len(content))
            for name, content in files.items()
        ]
        (made,) = writer.commit([bench.draft(writer.put_tree(entries), service=service)])
    return made


def restored(bench: Any, snapshot: Any) -> dict[str, bytes]:
    with bench.repository.reader() as reader:
        tree = reader.tree(snapshot.items["main"].root)
        return {entry.name: b"".join(map(bytes, reader.file_chunks(entry))) for entry in tree}


def parts(content: bytes) -> list[bytes]:
    """The objects of the list of a file, parts before what names them."""
    blocks = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
    found = (blake3(one).hexdigest() if one.count(0) != len(one) else None for one in blocks)
    return list(list_objects(found, BLOCK, len(content)))


def test_files_of_all_numbers_of_blocks_come_back(bench: Any) -> None:
    """Promise 7: short lists, parts, parts of parts, holes of some blocks and of whole parts, short last blocks."""
    count = LIST_BLOCKS * LIST_BLOCKS
    contents = {
        f"{number}-{short}": os.urandom(number * BLOCK - short)
        for number in (1, LIST_BLOCKS, LIST_BLOCKS + 1, 2 * LIST_BLOCKS + 5, count, count + 1)
        for short in (0, 3)
    }
    one, piece = os.urandom(BLOCK), LIST_BLOCKS * BLOCK
    contents |= {
        "a hole": bytes(count * 3 * BLOCK),
        "holes": one + bytes(3 * piece - BLOCK) + one + bytes(count * BLOCK) + one * 40 + bytes(50 * BLOCK + 1),
        "the same again": one * count * 2,
    }
    assert restored(bench, save(bench, contents)) == contents
    bench.reopen()
    assert verify(bench.repository).damage == ()


def test_lists_as_they_were_before_there_were_parts_are_read_and_kept(bench: Any) -> None:
    """Promise 6: snapshots of an earlier recoverd restore, verify and prune as ever, and the next capture shares their
    blocks with them."""
    content = os.urandom(200 * BLOCK)
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        listed = '","'.join(one for one in hashes(writer, content) if one is not None)
        blocks = writer.put(f'{{"blocks":1,"block_size":{BLOCK},"size":"{len(content)}","list":["{listed}"]}}'.encode())
        (old,) = writer.commit([bench.draft(writer.put_tree([file("f", blocks, len(content))]))])
    assert restored(bench, old) == {"f": content}
    before = sum(path.stat().st_size for path in bench.packs())
    new = save(bench, {"f": content})
    assert new.items["main"].root != old.items["main"].root
    assert sum(path.stat().st_size for path in bench.packs()) - before < 200 * 64 + 2000  # the lists, and no block
    assert pruned(bench, {"svc": [2]}).packs.removed == 1
    assert restored(bench, old) == {"f": content}
    assert verify(bench.reopen()).damage == ()


def test_one_changed_page_of_200_MB_stores_a_few_kilobytes(bench: Any) -> None:
    """Promise 11: cost follows what changed. As many blocks as a database of 200 MB has; all there is of the change but
    its block, which is tiny here: lists, tree, index and record."""
    content = bytearray(os.urandom(12_800 * BLOCK))
    first = save(bench, {"f": bytes(content)})
    before = sum(path.stat().st_size for path in bench.packs())
    content[6_000 * BLOCK] ^= 1
    second = save(bench, {"f": bytes(content)})
    grown = sum(path.stat().st_size for path in bench.packs()) - before
    assert first.new_bytes > 12_800 * 32
    assert second.new_bytes == grown
    assert grown < 4_500
    assert restored(bench, second) == {"f": bytes(content)}
    content += os.urandom(BLOCK)
    save(bench, {"f": bytes(content)})
    assert sum(path.stat().st_size for path in bench.packs()) - before - grown < 4_500, "nor does growing cost more"


def test_a_block_that_was_never_put_is_refused(bench: Any) -> None:
    """Promise 6: no record is written that could not be read back, through however many lists it names the object."""
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        found = list(hashes(writer, os.urandom(2000 * BLOCK)))
        found[700] = blake3(b"never put").hexdigest()
        tree = writer.put_tree([file("f", writer.put_blocks(found, BLOCK, 2000 * BLOCK), 2000 * BLOCK)])
        with pytest.raises(RepositoryError, match="not stored"):
            writer.commit([bench.draft(tree)])
    assert bench.packs() == []


def test_a_part_of_another_place_is_refused(bench: Any) -> None:
    """Promise 7: also where every hash is right, a file gets no bytes but its own: lists that do not fit are damage."""
    content = os.urandom(2 * LIST_BLOCKS * BLOCK)
    *pieces, top = parts(content)
    cut = parts(content[: LIST_BLOCKS * BLOCK - BLOCK])[0]
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        list(hashes(writer, content))
        for one in (*pieces, cut):
            writer.put(one)
        first = decode_blocks(top).hashes[0]
        wrong = writer.put(top.replace(first.encode(), blake3(cut).hexdigest().encode()))
        right = writer.put(top)
        writer.commit([bench.draft(writer.put_tree([file("f", right, len(content))]))])
    with bench.repository.reader() as reader:
        assert b"".join(map(bytes, reader.file_chunks(file("f", right, len(content))))) == content
        with pytest.raises(DamagedObject, match="does not fit its place"):
            list(reader.file_chunks(file("f", wrong, len(content))))


# --- damage


def put_alone(bench: Any, data: bytes) -> Path:
    """An object in a pack of its own."""
    before = set(bench.packs())
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        writer.put(data)
        writer.commit([bench.draft(EMPTY_TREE, service="nothing")])
    (pack,) = set(bench.packs()) - before
    return Path(pack)


@pytest.fixture
def history(bench: Any) -> tuple[bytes, list[dict[str, bytes]]]:
    """The list of some blocks of `large` is in a pack of its own, for svc/1 and svc/2, between which the file has grown
    elsewhere; in svc/3 one of these blocks has changed."""
    one, other = os.urandom(1500 * BLOCK), os.urandom(300 * BLOCK)
    grown = one[: 20 * BLOCK] + os.urandom(BLOCK) + one[21 * BLOCK :] + os.urandom(5 * BLOCK)
    changed = bytearray(grown)
    changed[3 * LIST_BLOCKS * BLOCK] ^= 1
    part = parts(one)[3]
    put_alone(bench, part)
    contents = [{"large": data, "other": other} for data in (one, grown, bytes(changed))]
    for files in contents:
        save(bench, files)
    return part, contents


def packs_of(bench: Any, data: bytes) -> list[Path]:
    found = bench.repository.catalog.locations(blake3(data).hexdigest())
    return [bench.path / "packs" / pack[:2] / f"{pack}.tar.zst" for pack, _ in found]


def verified(bench: Any) -> Verified:
    return verify(bench.reopen())


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_lost_part_hurts_its_file_alone(bench: Any, history: tuple[bytes, list[dict[str, bytes]]], how: str) -> None:
    """Promise 7: it is named with the file and the snapshots it is missing from, and all others restore."""
    part, contents = history
    name = blake3(part).hexdigest()
    (pack,) = packs_of(bench, part)
    if how == "gone":
        pack.unlink()
    else:
        data = bytearray(pack.read_bytes())
        data[40] ^= 1
        pack.write_bytes(data)
    found = verified(bench)
    (loss,) = (one for one in found.damage if one.object == name)
    assert (loss.snapshots, loss.files) == (("svc/1", "svc/2"), ("/srv/large",))
    assert set(found.hurt) == {"svc/1", "svc/2"}
    assert found.lost.keys() == {name}
    shape = found.lost[name]
    assert (shape.kind, shape.block_size) == (Kind.LIST, BLOCK)
    assert shape.sizes == (1500 * BLOCK, 1505 * BLOCK)
    for snapshot, files in zip(bench.repository.snapshots("svc"), contents, strict=True):
        with bench.repository.reader() as reader:
            large, other = reader.tree(snapshot.items["main"].root)
            assert b"".join(map(bytes, reader.file_chunks(other))) == files["other"]
            if snapshot.sequence < 3:
                with pytest.raises(DamagedObject, match=name):
                    list(reader.file_chunks(large))
            else:
                assert b"".join(map(bytes, reader.file_chunks(large))) == files["large"]


@pytest.mark.parametrize("live", [0, 1])
def test_a_live_file_has_the_lists_it_was_stored_with(
    bench: Any, history: tuple[bytes, list[dict[str, bytes]]], tmp_path: Path, live: int
) -> None:
    """What heal looks for: the file in each of the sizes it had, as long as what is lost of it is the same."""
    part, contents = history
    name = blake3(part).hexdigest()
    for pack in packs_of(bench, part):
        pack.unlink()
    (tmp_path / "large").write_bytes(contents[live]["large"])
    offered: dict[str, bytes] = {}

    def offer(data: bytes, _: str) -> str:
        offered[blake3(data).hexdigest()] = data
        return blake3(data).hexdigest()

    offer_files({str(tmp_path / "large"): False}, verified(bench).lost, offer, io_timeout_s=30)
    assert offered[name] == part


def test_a_lost_block_is_looked_for_in_files_of_all_sizes(
    bench: Any, history: tuple[bytes, list[dict[str, bytes]]]
) -> None:
    _, contents = history
    block = contents[0]["large"][100 * BLOCK : 101 * BLOCK]
    name = blake3(block).hexdigest()
    bench.repository.catalog.trust.distrust([(name, pack.name[:64]) for pack in packs_of(bench, block)], 1)
    found = verify(bench.repository, only=())
    assert found.lost[name].sizes == (1500 * BLOCK, 1505 * BLOCK)
    assert {one.snapshots for one in found.damage} == {("svc/1", "svc/2", "svc/3")}


# --- deletion

EAGER = RepackLimits(young=0, waste_share=0)


def pruned(bench: Any, doomed: dict[str, Sequence[int]]) -> Pruned:
    bench.reopen()
    with bench.repository.writer(wait_s=0, what="a prune") as writer:
        return prune(bench.repository, writer, doomed, limits=EAGER)


def test_what_is_shared_stays_and_the_rest_goes(bench: Any, history: tuple[bytes, list[dict[str, bytes]]]) -> None:
    """Promise 3: parts of lists are followed, level by level, also where only an older snapshot led to them before."""
    _, contents = history
    assert pruned(bench, {"svc": [1, 2], "nothing": [1]}).kept_data is None
    (last,) = bench.repository.snapshots("svc")
    assert restored(bench, last) == contents[2]
    assert verify(bench.reopen()).damage == ()
    assert pruned(bench, {"svc": [3]}).kept_data is None
    assert bench.packs() == []


def test_blocks_are_asked_for_together(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog is asked about all the blocks of a list at once, whether it is of one part of a file or of two files;
    what it is asked does not grow with what was read before."""
    content = {name: b"".join(b"%s %14d" % (name.encode(), n) for n in range(LIST_BLOCKS * 40)) for name in ("a", "b")}
    made = save(bench, content)
    asked: list[int] = []
    one_by_one: list[str] = []
    all_locations, locations = Catalog.all_locations, Catalog.locations

    def together(catalog: Catalog, hashes: Sequence[str]) -> Any:
        asked.append(len(hashes))
        return all_locations(catalog, hashes)

    def alone(catalog: Catalog, object_hash: str) -> Any:
        one_by_one.append(object_hash)
        return locations(catalog, object_hash)

    monkeypatch.setattr(Catalog, "all_locations", together)
    monkeypatch.setattr(Catalog, "locations", alone)
    assert restored(bench, made) == content
    assert max(asked) == LIST_BLOCKS
    assert len(asked) < 2 * (40 + 10)  # its parts, and now and then the lists that name them once more
    assert len(one_by_one) <= 3  # the tree and the two lists of whole files


def test_what_is_expected_of_a_large_file_is_bounded(bench: Any) -> None:
    """Whoever reads it has no more in memory than leads to the block that is read."""
    size = LIST_BLOCKS * LIST_BLOCKS * 3
    made = save(bench, {"a": b"".join(b"%16d" % n for n in range(size))})
    with bench.repository.reader() as reader:
        (entry,) = reader.tree(made.items["main"].root)
        seen = [len(reader._neighbours) for _ in reader.file_chunks(entry)]
        assert len(seen) == size
        assert max(seen) <= 3 * LIST_BLOCKS
        assert not reader._neighbours
