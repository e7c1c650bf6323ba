"""What a repository amounts to, from listing alone."""

from __future__ import annotations

import os

from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """`files` and `size_bytes` count packs and records."""

    size_bytes: int
    files: int
    packs: int
    snapshots: int


def measured(packs_path: str, snapshots_path: str) -> Statistics:
    """Bytes and numbers below the two directories. Raises OSError when they can't be listed."""
    packs = [size for directory in directories(packs_path) for size in _sizes(directory, ".tar.zst")]
    records = [size for directory in directories(snapshots_path) for size in _sizes(directory, ".json")]
    return Statistics(sum(packs) + sum(records), len(packs) + len(records), len(packs), len(records))


def directories(path: str) -> list[str]:
    """The directories in one, by path. Raises OSError."""
    with os.scandir(path) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _sizes(path: str, suffix: str) -> list[int]:
    with os.scandir(path) as entries:
        return [entry.stat(follow_symlinks=False).st_size for entry in entries if entry.name.endswith(suffix)]
