from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import RepositoryError, StateError
from recoverd.recovery.dressing import owner_here
from recoverd.recovery.extraction import Extraction, extract_entry, extract_tree
from recoverd.repository.trees import Entry
from recoverd.system.walk import owner_names

MIB = 1 << 20


@pytest.fixture
def out(tmp_path: Path) -> Any:
    (tmp_path / "out").mkdir()
    fd = os.open(tmp_path / "out", os.O_RDONLY)
    yield tmp_path / "out", fd
    os.close(fd)


def test_everything_about_a_file_comes_back(bench: Any, out: Any) -> None:
    """Content, mode with its special bits, time to the nanosecond, attributes; directories' times last."""
    path, fd = out
    user, group = owner_names(os.geteuid(), os.getegid())
    note = (("user.note", b"\0\xff"),)
    program = bench.entry("p", b"#!", mode=0o4751, xattrs=note, user=user, group=group)
    inside = bench.entry("d", {"p": program, "odd": b"1"}, mode=0o2750, mtime_ns=-5_000_000_001)
    notes = extract_entry(bench.source, inside, fd, "d")
    found = (path / "d" / "p").stat()
    assert stat.S_IMODE(found.st_mode) == 0o4751
    assert found.st_mtime_ns == 1_700_000_000_123_456_789
    assert ((path / "d").stat().st_mtime_ns, stat.S_IMODE((path / "d").stat().st_mode)) == (-5_000_000_001, 0o2750)
    if not notes:
        assert os.getxattr(path / "d" / "p", "user.note") == b"\0\xff"


def test_a_tree_with_links_of_both_kinds(bench: Any, out: Any) -> None:
    """Symlinks come back as they were, dangling or not; names of one hard-link group are one file again."""
    path, fd = out
    one = bench.entry("one", b"shared", hard_link="7")
    link = replace(
        one, name="link", type="symlink", size=0, hash=None, hard_link=None, target="../../etc/passwd", mode=0o777
    )
    tree = bench.source.put_tree([one, link, bench.entry("sub", {"two": replace(one, name="two"), "alone": b"shared"})])
    assert extract_tree(bench.source, tree, fd) == []
    assert os.path.samefile(path / "one", path / "sub" / "two")
    assert not os.path.samefile(path / "one", path / "sub" / "alone")
    assert os.readlink(path / "link") == "../../etc/passwd"
    assert os.lstat(path / "link").st_mtime_ns == link.mtime_ns


def test_two_versions_of_one_link_group_are_two_files(bench: Any, out: Any) -> None:
    """Promise 7: names that were one file come back with the content that each was recorded with, be it that they come
    from two snapshots, or that the file was written to between two reads of it."""
    path, fd = out
    one, two, three = (
        bench.entry(name, data, hard_link="a") for name, data in zip("abc", (b"1", b"2", b"1"), strict=True)
    )
    extraction = Extraction(bench.source, fd)
    for entry in (one, two, three):
        extraction.write(entry, entry.name)
    assert [(path / name).read_bytes() for name in "abc"] == [b"1", b"2", b"1"]
    assert os.path.samefile(path / "a", path / "c")


def test_setuid_bits_act_for_nobody_else(bench: Any, out: Any) -> None:
    """Promise 12: a setuid program whose owner has no name here does not come back as one of whoever has his number;
    nor does one whose owner could not be given. That is told once, for however many."""
    path, fd = out
    user, group = owner_names(os.geteuid(), os.getegid())
    mine = bench.entry("mine", b"#!", mode=0o6755, user=user, group=group)
    strangers = {
        name: bench.entry(name, b"#!", mode=0o6755, user="no-such-user-here", group="no-such-group-here")
        for name in ("s1", "s2")
    }
    shared = bench.entry("shared", {}, mode=0o2775, user=user, group="no-such-group-here")
    tree = bench.source.put_tree([mine, *strangers.values(), shared])
    notes = extract_tree(bench.source, tree, fd)
    modes = {name: stat.S_IMODE((path / name).stat().st_mode) for name in ("mine", "s1", "s2", "shared")}
    assert modes == {"mine": 0o6755, "s1": 0o755, "s2": 0o755, "shared": 0o2775}
    assert notes == ["s1 and 1 more: its setuid or setgid bit is left out: its owner is not the one that it was"]


def test_groups_keep_items_apart(bench: Any, out: Any) -> None:
    """Link ids count within an item: the same id in two items is two files."""
    path, fd = out
    extraction = Extraction(bench.source, fd)
    extraction.write(bench.entry("a", b"1", hard_link="1"), "a", group="one")
    extraction.write(bench.entry("b", b"2", hard_link="1"), "b", group="two")
    assert ((path / "a").read_bytes(), (path / "b").read_bytes()) == (b"1", b"2")


def test_sparse_files_stay_sparse(bench: Any, out: Any) -> None:
    """Holes in the middle and at the end come back as holes, and the length is right."""
    path, fd = out
    block = bench.source.put(b"x" * MIB)
    blocks = bench.source.put_blocks([None, block, None, None], MIB, 4 * MIB - 5)
    big = bench.entry("big", b"")
    big = replace(big, hash=None, blocks=blocks, block_size=MIB, size=4 * MIB - 5, sparse=True)
    extract_entry(bench.source, big, fd, "big")
    solid = replace(big, name="solid", sparse=False)
    extract_entry(bench.source, solid, fd, "solid")
    assert (path / "solid").stat().st_blocks * 512 >= 4 * MIB - 5  # zeros that were no holes keep their room
    found = (path / "big").stat()
    assert found.st_size == 4 * MIB - 5
    assert found.st_blocks * 512 < 2 * MIB
    assert (path / "big").read_bytes() == bytes(MIB) + b"x" * MIB + bytes(2 * MIB - 5)


def test_nothing_is_followed_or_overwritten(bench: Any, out: Any) -> None:
    """Promise 12: what is planted in the way, a link or a file, ends the extraction; its target is untouched."""
    path, fd = out
    (path.parent / "secret").write_bytes(b"secret")
    for value in (b"evil", {"x": b"evil"}):
        (path / "f").symlink_to("../secret")
        with pytest.raises(FileExistsError):
            extract_entry(bench.source, bench.entry("f", value), fd, "f")
        (path / "f").unlink()
    assert (path.parent / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_names_that_are_paths_are_refused(bench: Any, out: Any, name: str) -> None:
    """A tree is data from elsewhere: no name in it leads out of the directory."""
    with pytest.raises(RepositoryError):
        extract_entry(bench.source, bench.entry("f", b""), out[1], name)


class Lying:
    """A source that gives less than its record says, or an entry of no known type."""

    def tree(self, _: str) -> tuple[Entry, ...]:
        return ()

    def contents(self, entries: Any) -> Any:
        return [b"short" for _ in entries]

    def file_chunks(self, _: Entry) -> Any:
        yield b"short"


def test_a_source_that_lies_is_caught(bench: Any, out: Any) -> None:
    """Promise 7: content of another length than recorded is never taken for the file."""
    entry = bench.entry("f", b"longer than that")
    with pytest.raises(RepositoryError, match="5 bytes"):
        extract_entry(Lying(), entry, out[1], "f")
    with pytest.raises(RepositoryError, match="unknown type"):
        extract_entry(Lying(), replace(entry, type="portal"), out[1], "g")


def test_bottomless_directories_end(bench: Any, out: Any) -> None:
    """A service user can nest directories without end; that is a clear error, not a crash."""
    entry = bench.entry("d", {})
    for _ in range(405):
        entry = bench.entry("d", {"d": entry})
    with pytest.raises(StateError, match="deeper than 400"):
        extract_entry(bench.source, entry, out[1], "d")


def test_attributes_that_can_not_be_set_are_told(bench: Any, out: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without attributes does not stop a restore, but it is said what is missing."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, os.strerror(95))

    large = bench.entry("large", b"1", xattrs=(("user.x", bytes(70_000)),))  # more than Linux takes
    (note,) = extract_entry(bench.source, large, out[1], "large")
    assert note.startswith("large: the attribute user.x can't be set here")
    monkeypatch.setattr(os, "setxattr", refuse)
    entry = bench.entry("d", {"f": bench.entry("f", b"1", xattrs=(("user.x", b"1"),))})
    (note,) = extract_entry(bench.source, entry, out[1], "d")
    assert note.startswith("f: the attribute user.x can't be set here")
    monkeypatch.setattr(os, "setxattr", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    (note,) = extract_entry(bench.source, entry, out[1], "e")
    assert "No space left" in note  # there is plenty: it is too large for this file system
    monkeypatch.setattr("recoverd.recovery.dressing.free_bytes", lambda _: (0, 0))
    with pytest.raises(OSError, match="No space"):
        extract_entry(bench.source, entry, out[1], "g")


def test_owners_by_name_then_by_number(bench: Any, out: Any) -> None:
    """On another machine the same user has another number: names count first, numbers where the name is unknown."""
    entry = bench.entry("f", b"", uid=4242, gid=4343, user="root", group="no-such-group-here")
    assert owner_here(entry) == (0, 4343)
    assert owner_here(replace(entry, user="no-such-user-here", group="")) == (4242, 4343)
    if os.geteuid() == 0:
        extract_entry(bench.source, replace(entry, user=""), out[1], "f")
        found = (out[0] / "f").stat()
        assert (found.st_uid, found.st_gid) == (4242, 4343)
        link = replace(entry, type="symlink", hash=None, target="x", user="")
        extract_entry(bench.source, link, out[1], "l")
        assert os.lstat(out[0] / "l").st_uid == 4242
