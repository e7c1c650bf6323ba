"""include and exclude: the patterns of a directory item mean what people know from .gitignore."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.selection import Selection
from recoverd.errors import StateError


def covered(paths: str, include: list[str] | None = None, exclude: list[str] | None = None) -> str:
    selection = Selection(include or [], exclude or [])
    return " ".join(path for path in paths.split() if selection.covers(path))


@pytest.mark.parametrize(
    ("include", "paths", "expected"),
    [
        ("*.json", "a.json sub/deep/b.json a.jsonx .hidden.json a.txt", "a.json sub/deep/b.json .hidden.json"),
        ("/*.json", "a.json sub/b.json", "a.json"),
        ("tasks/*.json", "tasks/a.json tasks/x/b.json other/tasks/c.json a.json", "tasks/a.json"),
        ("tasks/**/*.json", "tasks/a.json tasks/x/y/b.json tasks.json", "tasks/a.json tasks/x/y/b.json"),
        ("**/tasks/*.json", "tasks/a.json x/tasks/b.json tasks/x/c.json", "tasks/a.json x/tasks/b.json"),
        ("tasks/**", "tasks/a tasks/x/b tasks", "tasks/a tasks/x/b"),
        ("**", "a b/c", "a b/c"),
        ("cache/", "cache cache/a x/cache/b x/cache", "cache/a x/cache/b"),
        ("/cache/", "cache/a x/cache/b", "cache/a"),
        ("cache", "cache cache/a x/cache x/cache/b cached", "cache cache/a x/cache x/cache/b"),
        ("a?c", "abc ac a/c abbc", "abc"),
        ("[a-c]x", "ax bx dx", "ax bx"),
        ("[!a-c]x", "ax dx -x", "dx -x"),
        ("[]x]y", "]y xy zy", "]y xy"),
        ("[a^&|~-]z", "^z &z |z ~z -z bz", "^z &z |z ~z -z"),
        ("[z-a]q", "zq aq -q", ""),
        ("[!z-a]q", "zq q", "zq"),
        ("[ab", "[ab a", "[ab"),
        ("[b/c]x", "b/x", ""),
        (r"\*", "* a", "*"),
        (r"\!keep", "!keep keep", "!keep"),
        ("a.b+(c)$", "a.b+(c)$ axb+(c)$", "a.b+(c)$"),
    ],
)
def test_include(include: str, paths: str, expected: str) -> None:
    assert covered(paths, [include]) == expected


def test_exclude_wins_and_takes_what_is_below() -> None:
    paths = "a.json a.swp tmp/b.json x/tmp/c.json x/d.json"
    assert covered(paths, ["*.json"], ["tmp/"]) == "a.json x/d.json"
    assert covered(paths, [], ["*.swp", "/tmp"]) == "a.json x/tmp/c.json x/d.json"


def test_without_patterns_everything_is_covered() -> None:
    selection = Selection()
    assert selection.everything
    assert selection.covers("a/b")
    assert selection.may_descend("a")
    assert not Selection(exclude=["x"]).everything
    assert not Selection(include=["x"]).everything


@pytest.mark.parametrize(
    ("include", "exclude", "yes", "no"),
    [
        (["*.json"], [], "a a/b", ""),
        (["/*.json"], [], "", "a a/b"),
        (["tasks/*.json"], [], "tasks", "other tasks/x"),
        (["a/b/*.json"], [], "a a/b", "b a/c a/b/c"),
        (["a/**/x.json"], [], "a a/b a/b/c", "b"),
        (["cache/"], [], "cache x/cache cache/y z", ""),
        (["/cache/"], [], "cache cache/y", "z"),
        ([], ["cache/"], "a", "cache a/cache cache/b"),
        (["*.json"], ["/tmp"], "a a/tmp", "tmp tmp/a"),
        ([], ["tmp/**"], "tmp", "tmp/a"),
    ],
)
def test_may_descend(include: list[str], exclude: list[str], yes: str, no: str) -> None:
    selection = Selection(include, exclude)
    assert [path for path in (yes + " " + no).split() if selection.may_descend(path)] == yes.split()
    assert selection.may_descend("")


@pytest.mark.parametrize("pattern", ["", "/", "//", "a//b", "../x", "a/../b", "./a", "!a", "a/!b/.."])
def test_patterns_without_a_meaning_are_refused(pattern: str) -> None:
    with pytest.raises(StateError, match="the pattern"):
        Selection([pattern])


def test_names_with_newlines_and_odd_bytes() -> None:
    selection = Selection(["*.json"], ["bad*"])
    assert selection.covers("a\nb/c\udcff.json")
    assert not selection.covers("bad\n/x.json")


NAMES = st.text("ab.*", min_size=1, max_size=3).filter(lambda name: name.strip("."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PATTERNS = st.builds(
    lambda root, parts, end: root + "/".join(parts) + end,
    st.sampled_from(["", "", "/"]),
    st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "?", "*.a", "[ab]", "ab"]), min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
MANY = st.lists(PATTERNS, max_size=3)


@given(MANY, MANY, PATHS)
def test_what_is_covered_can_be_reached(include: list[str], exclude: list[str], path: str) -> None:
    """A walk that asks may_descend at each directory misses nothing that covers() wants."""
    selection = Selection(include, exclude)
    if selection.covers(path):
        parts = path.split("/")
        assert all(selection.may_descend("/".join(parts[:depth])) for depth in range(len(parts)))


@given(MANY, MANY, PATHS, PATTERNS)
def test_more_exclude_covers_less_and_more_include_covers_more(
    include: list[str], exclude: list[str], path: str, pattern: str
) -> None:
    before = Selection(include, exclude).covers(path)
    assert not Selection(include, [*exclude, pattern]).covers(path) or before
    if include:
        assert Selection([*include, pattern], exclude).covers(path) or not before


@given(PATTERNS, PATHS)
def test_excluding_is_the_opposite_of_including(pattern: str, path: str) -> None:
    assert Selection([pattern]).covers(path) != Selection([], [pattern]).covers(path)


@given(PATTERNS, PATHS, NAMES)
def test_what_lies_in_a_covered_directory_is_covered(pattern: str, directory: str, name: str) -> None:
    if Selection([pattern]).covers(directory):
        assert Selection([pattern]).covers(f"{directory}/{name}")
