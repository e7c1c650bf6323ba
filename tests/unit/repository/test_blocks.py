"""Block lists of large files."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise, repeat

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from recoverd.errors import RepositoryError
from recoverd.repository.blocks import LIST_BLOCKS, decode_blocks, decode_part, hash_blocks, list_objects
from recoverd.repository.reachability import references_in

HASHES = ["aa" * 32, "bb" * 32, None]
MIDDLE, LARGE = LIST_BLOCKS**2, LIST_BLOCKS**3


def numbered(number: int) -> str:
    """The hash of a block, another one for each number."""
    return f"{number:064x}"


def stored(hashes: Sequence[str | None], block_size: int, size: int) -> dict[str, bytes]:
    """The objects of a list by hash, that of the file last."""
    return {blake3(data).hexdigest(): data for data in list_objects(hashes, block_size, size)}


def read(objects: dict[str, bytes]) -> list[str | None]:
    """The blocks of the last list, one element for each."""
    found: list[str | None] = []

    def below(data: bytes, block_size: int, size: int) -> None:
        listed = decode_part(data, block_size, size) if found or data is not top else decode_blocks(data)
        for content, length in listed.pieces():
            if content is None or not listed.of_parts:
                found.extend([content] * -(-length // block_size))
            else:
                below(objects[content], block_size, length)

    top = list(objects.values())[-1]
    first = decode_blocks(top)
    below(top, first.block_size, first.size)
    return found


def one_list(hashes: Sequence[str | None], block_size: int, size: int) -> bytes:
    """A list of all blocks, as it was made of every file before there were parts. Its own words: no code is shared."""
    runs: list[str] = []
    holes = 0
    for content in (*hashes, "end"):
        if content is None:
            holes += 1
            continue
        runs += [str(holes)] if holes else []
        runs += [f'"{content}"']
        holes = 0
    return f'{{"blocks":1,"block_size":{block_size},"size":"{size}","list":[{",".join(runs[:-1])}]}}'.encode()


@st.composite
def files(draw: st.DrawFn) -> tuple[list[str | None], int, int]:
    """Blocks (None is a hole) of files of any number of levels, block size and size."""
    count = draw(st.one_of(st.integers(0, 3 * LIST_BLOCKS), st.integers(MIDDLE - 40, MIDDLE + 80)))
    edges = sorted({0, count, *draw(st.lists(st.integers(0, count), max_size=8))})
    blocks: list[str | None] = []
    for start, end in pairwise(edges):
        kind = draw(st.sampled_from(["numbered", *HASHES]))
        blocks += [numbered(at) if kind == "numbered" else kind for at in range(start, end)]
    block_size = draw(st.integers(1, 2**20))
    return blocks, block_size, max(0, count * block_size - draw(st.integers(0, block_size - 1)))


@given(files())
def test_every_list_comes_back_with_its_holes(file: tuple[list[str | None], int, int]) -> None:
    """Promise 7: blocks, holes and the short last block add up to the file, through however many lists."""
    blocks, block_size, size = file
    objects = stored(blocks, block_size, size)
    assert read(objects) == blocks
    assert list(objects)[-1] == hash_blocks(iter(blocks), block_size, size)
    for data in objects.values():
        assert len(decode_blocks(data).runs) <= LIST_BLOCKS


@given(files())
def test_what_a_list_refers_to_is_all_that_it_needs(file: tuple[list[str | None], int, int]) -> None:
    """Promise 3: prune keeps what this tells, and verify looks for it."""
    objects = stored(*file)
    waiting, seen, leaves = {list(objects)[-1]}, set(), set()
    while waiting:
        node = waiting.pop()
        seen.add(node)
        found = references_in(objects[node])
        waiting |= {one.hex() for one in found.below} - seen
        leaves |= {found.leaves[at : at + 8].hex() for at in range(0, len(found.leaves), 8)}
    assert seen == objects.keys()
    assert leaves == {one[:16] for one in file[0] if one is not None}


@given(files())
def test_a_list_of_one_part_is_what_it_always_was(file: tuple[list[str | None], int, int]) -> None:
    """Promise 6: small files keep the very bytes of their lists; the lists of old large ones can still be read."""
    flat = one_list(*file)
    if len(file[0]) <= LIST_BLOCKS:
        assert list(list_objects(*file)) == [flat]
    assert read({"": flat}) == file[0]
    assert decode_blocks(flat).hashes == tuple(dict.fromkeys(one for one in file[0] if one is not None))


@given(files(), st.data())
def test_there_is_one_spelling(file: tuple[list[str | None], int, int], data: st.DataObject) -> None:
    """Equal content is equal bytes: other bytes are refused, or are the list of another file."""
    objects = list(stored(*file).values())
    whole = data.draw(st.sampled_from(objects))
    at = data.draw(st.integers(0, len(whole)))
    other = data.draw(
        st.sampled_from(
            [b"", b" ", b"0", b"1", b"33", b"a", b'"', b",", b"[", b'"%s",' % (b"c" * 64), whole[at : at + 67]]
        )
    )
    changed = whole[:at] + other + whole[at + data.draw(st.sampled_from([0, 1, 67])) :]
    try:
        found = decode_blocks(changed)
    except RepositoryError:
        return
    document = json.loads(changed)
    assert document["block_size"] == found.block_size
    assert json.dumps(document, separators=(",", ":")).encode() == changed
    assert int(document["size"]) == sum(length for _, length in found.pieces())
    assert found.of_parts == ("parts" in document)
    assert not found.of_parts or len(found.runs) <= LIST_BLOCKS


@pytest.mark.parametrize("count", [LIST_BLOCKS + 1, MIDDLE, MIDDLE + 1, 12_800, LARGE, 2 * LARGE])
def test_one_block_changed_is_one_list_of_each_level(count: int) -> None:
    """Promise 11: cost follows what changed. 12,800 blocks of 16 KiB are a database of 200 MB, twice LARGE are 1 GB."""
    blocks: list[str | None] = [numbered(at) for at in range(count)]
    before = stored(blocks, 16384, count * 16384)
    levels = next(level for level in range(1, 9) if count <= LIST_BLOCKS**level)
    for place in (0, count // 2, count - 1):
        changed = [*blocks[:place], "ff" * 32, *blocks[place + 1 :]]
        fresh = [data for name, data in stored(changed, 16384, count * 16384).items() if name not in before]
        assert len(fresh) == levels or (place == count - 1 and len(fresh) < levels)  # the last part may be a small one
        assert sum(map(len, fresh)) <= levels * (LIST_BLOCKS * 67 + 100)  # 10 kB for any of them, before compression


@pytest.mark.parametrize("count", [LIST_BLOCKS, 2 * LIST_BLOCKS, MIDDLE - 1, MIDDLE, MIDDLE + 5 * LIST_BLOCKS])
def test_a_file_that_grows_keeps_its_lists(count: int) -> None:
    """Promise 11: also where one more block needs one more level."""
    blocks: list[str | None] = [numbered(at) for at in range(count + 1)]
    before = stored(blocks[:-1], 4096, count * 4096)
    after = stored(blocks, 4096, (count + 1) * 4096)
    assert len(after.keys() - before.keys()) <= 3


def test_equal_pieces_share_their_lists() -> None:
    """What repeats in a file is listed once."""
    assert len(stored(["aa" * 32] * LARGE, 512, LARGE * 512)) == 3


def test_a_vast_hole_is_one_number() -> None:
    """Sparse files stay sparse: a list of a million holes takes no room, and reading it no memory."""
    objects = list(list_objects(chain(repeat(None, 1_000_000), ["aa" * 32]), 4096, 4096 * 1_000_001))
    assert sum(map(len, objects)) < 700
    assert [decode_blocks(data).runs[0] for data in objects] == ["aa" * 32, 18, 16, 30]
    assert read({blake3(data).hexdigest(): data for data in objects}) == [*[None] * 1_000_000, "aa" * 32]
    vast = b'{"blocks":1,"block_size":1,"size":"9223372036854775807","list":[9223372036854775807]}'
    assert list(decode_blocks(vast).pieces()) == [(None, 2**63 - 1)]
    vast = b'{"blocks":2,"block_size":1,"size":"9223372036854775807","parts":[8]}'
    assert list(decode_blocks(vast).pieces()) == [(None, 2**63 - 1)]


def test_memory_does_not_follow_the_size_of_the_file() -> None:
    """Promise 11: blocks are taken as they come, and lists are given out as soon as they are full."""

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            for _ in list_objects((numbered(at) for at in range(count)), 16384, count * 16384):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(MIDDLE)  # what is made once
    assert peak(LARGE) < peak(MIDDLE) + 40_000 < 200_000


@pytest.mark.parametrize(
    ("blocks", "block_size", "size"),
    [
        ([None], 4, 5),
        ([None], 4, 0),
        ([], 4, 1),
        ([], 0, 0),
        ([], 4, -1),
        (["x"], 4, 4),
        ([None] * 40, 4, 41 * 4),
        ([None] * 40, 4, 39 * 4),
        (["aa" * 32] * 40, 4, 36 * 4),
    ],
)
def test_lists_that_do_not_fit_are_not_made(blocks: list[str | None], block_size: int, size: int) -> None:
    """Promise 6: what could not be read back is refused when it is written."""
    with pytest.raises(ValueError, match=r".+"):
        list(list_objects(blocks, block_size, size))


def _parts(count: int, size: int, parts: Callable[[int], str] = lambda at: f'"{numbered(at)}"') -> bytes:
    listed = ",".join(parts(at) for at in range(count))
    return f'{{"blocks":2,"block_size":4,"size":"{size}","parts":[{listed}]}}'.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"tree":1,"entries":[]}',
        b'{"blocks":1,"block_size":4,"size":"8","list":[1]}',  # too few
        b'{"blocks":1,"block_size":4,"size":"8","list":[3]}',  # too many
        b'{"blocks":1,"block_size":4,"size":"8","list":[1,1]}',  # two ways to say the same
        b'{"blocks":1,"block_size":0,"size":"8","list":[2]}',
        b'{"blocks":1,"block_size":4,"size":8,"list":[2]}',
        b'{"blocks":1,"block_size":4,"size":"8","list":[2]} ',
        b'{"blocks":1,"block_size":4,"size":"8","list":["%s",0]}' % (b"a" * 64),
        b'{"blocks":1,"block_size":4,"size":"8","parts":[2]}',
        b'{"blocks":2,"block_size":4,"size":"8","list":[2]}',
        _parts(1, 32 * 4),  # one part needs none
        _parts(2, 32 * 4),
        _parts(1, 33 * 4),
        _parts(3, 33 * 4),
        _parts(33, 33 * 32 * 4),  # more than a list holds
        _parts(2, 33 * 4, lambda _: "1"),
        _parts(2, 33 * 4, lambda at: ["", '"x"'][at]),
    ],
)
def test_malformed_lists_are_refused(data: bytes) -> None:
    """Promise 7."""
    with pytest.raises(RepositoryError):
        decode_blocks(data)


def test_lists_of_parts_are_told_by_their_size() -> None:
    """The neighbours of what is refused above."""
    assert [len(decode_blocks(one).runs) for one in (_parts(2, 33 * 4), _parts(2, 64 * 4 - 3), _parts(32, 4096))] == [
        2, 2, 32,
    ]  # fmt: skip
    assert decode_blocks(_parts(2, 4097)).step == MIDDLE * 4


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (one_list([numbered(1)] * 33, 4, 33 * 4), 33 * 4),  # the form of old files is none of a part
        (one_list([numbered(1)] * 32, 4, 32 * 4), 31 * 4),
        (one_list([numbered(1)] * 32, 4, 32 * 4), 32 * 4 - 1),
        (one_list([numbered(1)] * 32, 2, 32 * 2), 32 * 4),
        (one_list([None] * 32, 4, 32 * 4), 32 * 4),  # a hole is a number in the list above
        (b'{"blocks":2,"block_size":4,"size":"132","parts":[2]}', 132),
        (_parts(2, 33 * 4), 32 * 4),
        (_parts(2, 33 * 4), 34 * 4),
    ],
)
def test_a_part_is_that_of_its_place(data: bytes, size: int) -> None:
    """Promise 7: no other bytes than the file had, also where a list that is whole stands in the wrong place."""
    decode_blocks(data)
    with pytest.raises(RepositoryError, match="does not fit its place"):
        decode_part(data, 4, size)


def test_a_newer_list_is_named() -> None:
    """Refused with what to do, not misread."""
    with pytest.raises(RepositoryError, match="newer than"):
        decode_blocks(b'{"blocks":3,"list":[]}')


def test_blocks_are_taken_as_they_come() -> None:
    """A list is given out before the block behind it is asked for: who makes blocks holds a list of them."""
    asked = 0

    def blocks() -> Iterator[str]:
        nonlocal asked
        for number in range(100):
            asked += 1
            yield numbered(number)

    made = list_objects(blocks(), 4, 400)
    assert [(len(next(made)) > 0, asked) for _ in range(4)] == [(True, 32), (True, 64), (True, 96), (True, 100)]
