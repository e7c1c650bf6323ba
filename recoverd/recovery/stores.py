"""What a look at live state needs of a repository, and no more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from recoverd.repository.trees import Entry


class Trees(Protocol):
    """Where trees are read from."""

    def tree(self, tree_hash: str) -> tuple[Entry, ...]: ...


class Store(Trees, Protocol):
    """Where a survey puts what it finds. Hashes are BLAKE3 in hex."""

    def read(self, object_hash: str) -> bytes: ...

    def put(self, data: bytes) -> str: ...
    def put_all(self, contents: Sequence[bytes]) -> list[str]: ...
    def put_tree(self, entries: Sequence[Entry]) -> str: ...
    def put_blocks(self, hashes: Iterable[str | None], block_size: int, size: int) -> str: ...


class Memo(Protocol):
    """What the catalog offers a survey; losing it only costs time."""

    def memo(self, judge: str, hashes: Sequence[str]) -> dict[str, bytes]: ...
    def remember(self, judge: str, verdicts: Mapping[str, bytes]) -> None: ...
    def stat_cache(self, item_key: str, directories: Collection[str] | None = None) -> dict[str, bytes]: ...
    def save_stat_cache(self, item_key: str, rows: Mapping[str, bytes | None]) -> None: ...
