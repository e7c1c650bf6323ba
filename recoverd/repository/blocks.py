"""Block lists: the content of a large file as blocks of one size, with its holes (docs/repository-format.md).

The list of a file of more than LIST_BLOCKS blocks is a list of lists, of as few levels as do. Where one begins is fixed
by its place in the file, so a change of one block changes one list of each level, whatever the size of the file; and a
file that grows keeps the lists it had.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import groupby, islice, pairwise

from blake3 import blake3

from recoverd.errors import RepositoryError
from recoverd.values import dataclass

BLOCKS_HEAD = b'{"blocks":'  # of all lists
BLOCKS_VERSION = 2
LIST_BLOCKS = 32
"""The most elements of a list. A change of one block stores one list of each level anew, so fewer elements take fewer
bytes: with 32 it is 3 to 5 kB in databases of 200 MB to 10 GB, where 64 take 5 to 8 kB, and 256 take 11 to 19 kB; with
16 it is 2 to 3 kB, but twice the lists, of which each has its place in a catalog to be kept and looked up."""
HOLE_BYTES = 4096
"""What a hole is measured in: what most file systems allocate at once, and the page of most machines."""
_HOLE = bytes(HOLE_BYTES)
_RUN = rb'(?:"[0-9a-f]{64}"|[1-9][0-9]{0,18})'
_CANONICAL = re.compile(
    rb'\{"blocks":(?:1|(2)),"block_size":[1-9][0-9]{0,15},"size":"(?:0|[1-9][0-9]{0,18})",'
    rb'"(?(1)parts|list)":\[(?:%b(?:,%b)*)?\]\}' % (_RUN, _RUN)
)
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BlockList:
    """One list: of a whole file, or of the piece of it that a part is of. `runs` holds hashes, and numbers: so many in
    a row are a hole."""

    block_size: int
    size: int  # bytes of the file, or of the piece; the last block may be shorter
    runs: tuple[str | int, ...]
    step: int  # bytes that a hash stands for: a block, or, if it is of a part, all the blocks of that

    @property
    def of_parts(self) -> bool:
        """Whether the hashes are those of further lists."""
        return self.step > self.block_size

    @property
    def hashes(self) -> tuple[str, ...]:
        """What it refers to, each once."""
        return tuple(dict.fromkeys(run for run in self.runs if isinstance(run, str)))

    def pieces(self) -> Iterator[tuple[str | None, int]]:
        """(hash, length in bytes) in the order of the file; hash None is a hole of that length."""
        at = 0
        for run in self.runs:
            length = min(self.step * (run if isinstance(run, int) else 1), self.size - at)
            yield (None if isinstance(run, int) else run), length
            at += length


def list_objects(hashes: Iterable[str | None], block_size: int, size: int) -> Iterator[bytes]:
    """The objects that store a block list in their canonical form, parts before what names them, the list of the file
    last. `hashes` has one element per block, None for a hole, and is asked for as many at a time as a list holds.

    Raises ValueError when their number does not fit the sizes.
    """
    if block_size < 1 or size < 0:
        raise ValueError(f"blocks of {block_size} bytes do not make a file of {size} bytes")
    waiting = iter(hashes)
    yield from _objects(waiting, block_size, size, top=True)
    if next(waiting, _END) is not _END:
        raise ValueError(f"there are more blocks of {block_size} bytes than make a file of {size} bytes")


def hash_blocks(hashes: Iterable[str | None], block_size: int, size: int) -> str:
    """The hash under which `put_blocks` stores this list. Raises ValueError, as `list_objects`."""
    last = b""
    for data in list_objects(hashes, block_size, size):
        last = data
    return blake3(last).hexdigest()


_END = object()


def _objects(
    hashes: Iterator[str | None], block_size: int, size: int, *, top: bool
) -> Generator[bytes, None, str | None]:
    """Yields the objects of a list; returns its hash, None where all of it is a hole."""
    step = _step(block_size, size)
    found: list[str | None]
    if step > block_size:
        found = []
        for at in range(0, size, step):
            found.append((yield from _objects(hashes, block_size, min(step, size - at), top=False)))
    else:
        count = -(-size // step)
        found = [_checked(content) for content in islice(hashes, count)]
        if len(found) < count:
            raise ValueError(f"there are fewer blocks of {block_size} bytes than make a file of {size} bytes")
    if not top and not any(found):
        return None
    version, key = (2, "parts") if step > block_size else (1, "list")
    runs = ",".join(_runs(found))
    data = f'{{"blocks":{version},"block_size":{block_size},"size":"{size}","{key}":[{runs}]}}'.encode("ascii")
    yield data
    return blake3(data).hexdigest()


def _checked(content: object) -> str | None:
    if content is None or (isinstance(content, str) and _HASH.fullmatch(content)):
        return content
    raise ValueError(f"{content!r} is no hash")


def _runs(found: Sequence[str | None]) -> Iterator[str]:
    """The elements of a list as JSON: hashes, and how many in a row are none."""
    for content, group in groupby(found):
        if content is None:
            yield str(len(list(group)))
        else:
            yield from (f'"{content}"' for _ in group)


def _step(block_size: int, size: int) -> int:
    """What each element of a list of so many bytes stands for, in bytes."""
    step = block_size
    while -(-size // step) > LIST_BLOCKS:
        step *= LIST_BLOCKS
    return step


def decode_blocks(data: bytes) -> BlockList:
    """One list; what it names is not read.

    Raises RepositoryError unless the bytes are what `list_objects` makes, or one list of more than LIST_BLOCKS blocks:
    all large files had such a one before there were parts.
    """
    matched = _CANONICAL.fullmatch(data)
    if not matched:
        version = re.match(rb'\{"blocks":([0-9]{1,9}),', data)
        if version and int(version[1]) > BLOCKS_VERSION:
            raise RepositoryError(
                f"a block list has version {int(version[1])}, newer than this recoverd understands ({BLOCKS_VERSION})",
                hint="use the recoverd that wrote it, or a newer one",
            )
        raise RepositoryError("a block list was expected, and something else is stored there")
    document = json.loads(data)
    block_size, size, of_parts = document["block_size"], int(document["size"]), bool(matched[1])
    step = _step(block_size, size) if of_parts else block_size
    found = BlockList(block_size, size, tuple(document["parts" if of_parts else "list"]), step)
    count = sum(run if isinstance(run, int) else 1 for run in found.runs)
    holes_meet = any(isinstance(a, int) and isinstance(b, int) for a, b in pairwise(found.runs))
    if count != -(-size // step) or holes_meet or of_parts is not found.of_parts:
        raise RepositoryError("a block list does not fit the size of its file")
    return found


def decode_part(data: bytes, block_size: int, size: int) -> BlockList:
    """One that another list names, of `size` bytes of the file. Raises RepositoryError unless it is just that."""
    found = decode_blocks(data)
    if (found.block_size, found.size, found.step) != (block_size, size, _step(block_size, size)) or not found.hashes:
        raise RepositoryError("a part of a block list does not fit its place")
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
