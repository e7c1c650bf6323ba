"""Block lists: the content of a large file as blocks of one size, with its holes (docs/repository-format.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from recoverd.errors import RepositoryError
from recoverd.values import dataclass

BLOCKS_VERSION = 1
HOLE_BYTES = 4096
"""What a hole is measured in: what most file systems allocate at once, and the page of most machines."""
_HOLE = bytes(HOLE_BYTES)
_CANONICAL = re.compile(
    rb'\{"blocks":1,"block_size":[1-9][0-9]{0,15},"size":"(?:0|[1-9][0-9]{0,18})",'
    rb'"list":\[(?:(?:"[0-9a-f]{64}"|[1-9][0-9]{0,18})(?:,(?:"[0-9a-f]{64}"|[1-9][0-9]{0,18}))*)?\]\}'
)
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BlockList:
    """`runs` holds hashes of blocks, and numbers: so many blocks in a row are a hole."""

    block_size: int
    size: int  # bytes of the file; the last block may be shorter
    runs: tuple[str | int, ...]

    def pieces(self) -> Iterator[tuple[str | None, int]]:
        """(hash, length in bytes) in the order of the file; hash None is a hole of that length."""
        at = 0
        for run in self.runs:
            length = min(self.block_size * (run if isinstance(run, int) else 1), self.size - at)
            yield (None if isinstance(run, int) else run), length
            at += length


def encode_blocks(hashes: Sequence[str | None], block_size: int, size: int) -> bytes:
    """The canonical bytes of a block list. `hashes` has one element per block, None for a hole.

    Raises ValueError when their number does not fit the sizes.
    """
    if block_size < 1 or size < 0 or len(hashes) != -(-size // block_size):
        raise ValueError(f"{len(hashes)} blocks of {block_size} bytes do not make a file of {size} bytes")
    runs: list[str | int] = []
    for content, group in groupby(hashes):
        if content is None:
            runs.append(sum(1 for _ in group))
        elif _HASH.fullmatch(content):
            runs.extend(group)  # type: ignore[arg-type]  # equal to content, hence no None
        else:
            raise ValueError(f"{content!r} is no hash")
    document = {"blocks": BLOCKS_VERSION, "block_size": block_size, "size": str(size), "list": runs}
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def decode_blocks(data: bytes) -> BlockList:
    """Raises RepositoryError unless the bytes are what `encode_blocks` makes."""
    if not _CANONICAL.fullmatch(data):
        version = re.match(rb'\{"blocks":([0-9]{1,9}),', data)
        if version and int(version[1]) > BLOCKS_VERSION:
            raise RepositoryError(
                f"a block list has version {int(version[1])}, newer than this recoverd understands ({BLOCKS_VERSION})",
                hint="use the recoverd that wrote it, or a newer one",
            )
        raise RepositoryError("a block list was expected, and something else is stored there")
    document = json.loads(data)
    found = BlockList(document["block_size"], int(document["size"]), tuple(document["list"]))
    blocks = sum(run if isinstance(run, int) else 1 for run in found.runs)
    holes_meet = any(isinstance(a, int) and isinstance(b, int) for a, b in pairwise(found.runs))
    if blocks != -(-found.size // found.block_size) or holes_meet:
        raise RepositoryError("a block list does not fit the size of its file")
    return found


def has_hole(data: bytes) -> bool:
    """Whether bytes that begin at a multiple of HOLE_BYTES could have a hole in them: an aligned piece of zeros."""
    if not data.count(0):
        return False
    return any(data[at : at + HOLE_BYTES] == _HOLE[: len(data) - at] for at in range(0, len(data), HOLE_BYTES))


def data_runs(data: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of what must be written of such bytes, where zeros may be holes."""
    start: int | None = None
    for at in range(0, len(data), HOLE_BYTES):
        is_hole = data[at : at + HOLE_BYTES] == _HOLE[: len(data) - at]
        if is_hole and start is not None:
            yield start, at
            start = None
        elif not is_hole and start is None:
            start = at
    if start is not None:
        yield start, len(data)
