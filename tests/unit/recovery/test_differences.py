"""Differences between trees: complete, and found without looking where hashes are equal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.recovery.differences import differ, differences
from recoverd.repository.trees import EMPTY_TREE, Entry, hash_tree

Content = dict[str, Any] | str
contents = st.recursive(
    st.sampled_from("abc"), lambda below: st.dictionaries(st.sampled_from("xyz"), below, max_size=3), max_leaves=8
)


@dataclass
class Trees:
    held: dict[str, tuple[Entry, ...]] = field(default_factory=lambda: {EMPTY_TREE: ()})
    asked: list[str] = field(default_factory=list)

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        self.asked.append(tree_hash)
        return self.held[tree_hash]

    def entry(self, name: str, content: Content, mtime_ns: int = 1) -> Entry:
        plain = Entry(name, "file", 0o600, 0, 0, "", "", 1, mtime_ns)
        if isinstance(content, str):
            return replace(plain, hash=content * 64)
        entries = tuple(self.entry(key, value, mtime_ns) for key, value in content.items())
        tree = hash_tree(entries)
        self.held[tree] = entries
        return replace(plain, type="dir", size=0, hash=tree)

    def root(self, content: Content, mtime_ns: int = 1) -> str:
        entry = self.entry("item", content, mtime_ns)
        tree = hash_tree([entry])
        self.held[tree] = (entry,)
        return tree


def flat(content: Content, path: str = "") -> dict[str, str]:
    """Every path with what lies there."""
    if isinstance(content, str):
        return {path: content}
    found = {path: "dir"}
    for name, below in content.items():
        found |= flat(below, f"{path}/{name}" if path else name)
    return found


@given(contents, contents)
def test_what_differs_is_what_differs(before: Content, after: Content) -> None:
    """Told once each: a path that only one side has, or that both have differently; nothing below a whole one."""
    trees = Trees()
    found = {one.path: one for one in differences(trees, trees.root(before), trees.root(after))}
    left, right = flat(before), flat(after)
    for path in left.keys() | right.keys():
        differs = left.get(path) != right.get(path)
        parts = path.split("/") if path else []
        above = ["/".join(parts[:count]) for count in range(len(parts))]
        assert (path in found) is (differs and not any(one in found for one in above)), path
    assert differ(trees, trees.root(before), trees.root(after)) is bool(found)


@given(contents)
def test_times_alone_are_no_difference(content: Content) -> None:
    """Not of files, and not of directories, at any depth."""
    trees = Trees()
    assert not differ(trees, trees.root(content, 1), trees.root(content, 2))


def test_equal_hashes_are_not_looked_into() -> None:
    """The cost follows what changed."""
    trees = Trees()
    before, after = trees.root({"x": {"y": "a"}, "z": "a"}), trees.root({"x": {"y": "a"}, "z": "b"})
    same = trees.entry("x", {"y": "a"}).hash
    trees.asked.clear()
    assert [one.path for one in differences(trees, before, after)] == ["z"]
    assert same not in trees.asked


@pytest.mark.parametrize("facts", [{"mode": 0o644}, {"uid": 5}, {"xattrs": (("user.a", b"b"),)}, {"hard_link": "x"}])
def test_metadata_is_a_difference(facts: dict[str, Any]) -> None:
    """Of a file, and of a directory (which is not listed again for it)."""
    trees = Trees()
    for content in ("a", {"x": "a"}):
        root = trees.root(content)
        if isinstance(content, dict) and "hard_link" in facts:
            continue
        other = replace(trees.held[root][0], **facts)
        tree = hash_tree([other])
        trees.held[tree] = (other,)
        assert [one.path for one in differences(trees, root, tree)] == [""]


def test_nothing_and_the_empty_tree_are_the_same() -> None:
    """An item that is absent, and one that was never good."""
    trees = Trees()
    root = trees.root("a")
    assert not differ(trees, None, EMPTY_TREE)
    assert differ(trees, None, root)
    assert [(one.before, one.path) for one in differences(trees, None, root)] == [(None, "")]
