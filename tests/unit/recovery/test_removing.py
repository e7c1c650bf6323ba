"""Promise 12: who nests directories as deep as he likes hinders no removal, and none leaves what it removes."""

from __future__ import annotations

import os
from pathlib import Path

from recoverd.recovery.places import empty, remove_tree

LEVELS = 1500  # more than there are stack frames, or descriptors by default


def nest(directory: Path, levels: int = LEVELS) -> None:
    """Directories in one another, each with a file; the innermost can't be entered by its owner."""
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(levels):
        os.mkdir("d", dir_fd=here)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=here))
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        if level % 100 in {98, 99}:
            os.chmod(f"/proc/self/fd/{here}", 0o500)
        os.close(here)
        here = below
    os.fchmod(here, 0)
    os.close(here)


def test_a_tree_deeper_than_the_stack_is_removed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    nest(tmp_path / "tree")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "tree" / "link").symlink_to(outside)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        remove_tree(fd, "tree")
    finally:
        os.close(fd)
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["kept"]


def test_what_is_to_go_last_goes_last(tmp_path: Path) -> None:
    """Also when the rest is deeper than the stack: the evidence of what is removed is there until then."""
    (tmp_path / "last").mkdir()
    nest(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        empty(fd, last="last")
    finally:
        os.close(fd)
    assert os.listdir(tmp_path) == []
