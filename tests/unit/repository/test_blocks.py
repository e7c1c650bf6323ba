"""Block lists of large files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.errors import RepositoryError
from recoverd.repository.blocks import decode_blocks, encode_blocks

HASHES = ["aa" * 32, "bb" * 32, None]


@given(st.lists(st.sampled_from(HASHES), max_size=30), st.integers(1, 2**20), st.integers(0, 2**20))
def test_every_list_comes_back_with_its_holes(blocks: list[str | None], block_size: int, cut: int) -> None:
    """Promise 7: blocks, holes and the short last block add up to the file."""
    size = max(0, len(blocks) * block_size - cut % block_size)
    found = decode_blocks(encode_blocks(blocks, block_size, size))
    pieces = list(found.pieces())
    assert sum(length for _, length in pieces) == size
    expanded: list[str | None] = []
    for content, length in pieces:
        expanded += [content] * (1 if content else -(-length // block_size))
    assert expanded == blocks


def test_a_vast_hole_is_one_number() -> None:
    """Sparse files stay sparse: a list of a million holes takes no room, and reading it no memory."""
    data = encode_blocks([None] * 1_000_000 + ["aa" * 32], 4096, 4096 * 1_000_001)
    assert len(data) < 200
    assert list(decode_blocks(data).pieces()) == [(None, 4096 * 1_000_000), ("aa" * 32, 4096)]
    vast = b'{"blocks":1,"block_size":1,"size":"9223372036854775807","list":[9223372036854775807]}'
    assert list(decode_blocks(vast).pieces()) == [(None, 2**63 - 1)]


@pytest.mark.parametrize(
    ("blocks", "block_size", "size"), [([None], 4, 5), ([None], 4, 0), ([], 4, 1), ([], 0, 0), (["x"], 4, 4)]
)
def test_lists_that_do_not_fit_are_not_made(blocks: list[str | None], block_size: int, size: int) -> None:
    """Promise 6: what could not be read back is refused when it is written."""
    with pytest.raises(ValueError, match=r".+"):
        encode_blocks(blocks, block_size, size)


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
    ],
)
def test_malformed_lists_are_refused(data: bytes) -> None:
    """Promise 7."""
    with pytest.raises(RepositoryError):
        decode_blocks(data)


def test_a_newer_list_is_named() -> None:
    """Refused with what to do, not misread."""
    with pytest.raises(RepositoryError, match="newer than"):
        decode_blocks(b'{"blocks":2,"list":[]}')
