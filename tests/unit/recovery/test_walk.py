"""The walk of one item: everything that is covered, nothing else, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Format, ItemKind, StateItem
from recoverd.recovery import documents, walk
from recoverd.recovery.documents import Known, Tree
from recoverd.recovery.scratch import Scratch
from recoverd.recovery.stat_rows import Row
from recoverd.recovery.walk import Walk
from recoverd.repository.trees import Entry
from recoverd.state.judging import build_judge
from recoverd.state.verdicts import Verdict
from recoverd.system import reading
from recoverd.system.reading import FileRead, NotRegular
from recoverd.system.walk import open_directory_at

FAR = 4_000_000_000_000_000_000  # ns: a capture so late that everything is old


class Forest:
    """A directory that is walked, each time against what the walk before found."""

    def __init__(self, root: Path, format: Format = Format.JSON, **item: Any) -> None:
        self.root = root
        self.item = StateItem("forest", ItemKind.DIRECTORY, str(root), format, **item)
        self.store = Scratch(None)
        self.known = Known(None, None)
        self.rows: dict[str, Row] = {}
        self.last: Walk | None = None

    def walk(self) -> Tree:
        self.last = Walk(self.item, build_judge(self.item), self.store, memo=None, rows=self.rows, now_ns=FAR)
        fd = os.open(self.root, os.O_RDONLY)
        try:
            tree = self.last.item(fd, self.known)
        finally:
            os.close(fd)
        self.known = Known(tree.root, tree.good)
        self.rows = self.last.new_rows
        return tree

    def files(self, tree: str, below: str = "") -> Iterator[tuple[str, Entry]]:
        for entry in self.store.tree(tree):
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.type == "dir":
                yield from self.files(entry.hash or "", path)
            else:
                yield path, entry

    def names(self, tree: str) -> set[str]:
        return {path for path, _ in self.files(tree)}


@pytest.fixture
def forest(tmp_path: Path) -> Forest:
    root = tmp_path / "forest"
    for place in ("", "a", "a/deep", "b"):
        (root / place).mkdir(exist_ok=True)
        for name in ("one.json", "two.json"):
            (root / place / name).write_text("{}")
    return Forest(root)


def test_all_is_found_once(forest: Forest) -> None:
    """And found again, from rows and without."""
    tree = forest.walk()
    names = {f"{place}{name}" for place in ("", "a/", "a/deep/", "b/") for name in ("one.json", "two.json")}
    assert forest.names(tree.root) == forest.names(tree.good) == names
    assert (tree.files, tree.size_bytes, tree.root) == (8, 16, tree.good)
    rows = dict(forest.rows)
    again = forest.walk()
    assert again == tree
    assert all(forest.rows[below] is row for below, row in rows.items())
    forest.rows = {}
    assert forest.walk() == tree


def test_only_what_is_covered(tmp_path: Path) -> None:
    """By name and by place; directories in which nothing can be covered are not entered."""
    root = tmp_path / "forest"
    for name in ("a/one.json", "a/one.txt", "cache/one.json", "b/deep/one.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    forest = Forest(root, include=("*.json",), exclude=("cache/",))
    assert forest.names(forest.walk().root) == {"a/one.json", "b/deep/one.json"}


def test_damage_stays_damage_whatever_is_reused(forest: Forest) -> None:
    """In a directory that is reused whole, in one whose child changed, and beside another change."""
    good = forest.walk().good
    (forest.root / "a" / "one.json").write_text("{")
    assert [one.document for one in forest.walk().findings] == ["a/one.json"]
    for change in ("b/one.json", "a/deep/one.json", "a/two.json"):
        (forest.root / change).write_text('{"n": 1}')
        tree = forest.walk()
        assert [(one.document, one.verdict) for one in tree.findings] == [("a/one.json", Verdict.CORRUPT)]
        assert dict(forest.files(tree.good))["a/one.json"] == dict(forest.files(good))["a/one.json"]
        assert tree.files == 8


def test_a_directory_planted_over_a_document_stays_damage(forest: Forest) -> None:
    """Found from rows too."""
    forest.walk()
    (forest.root / "a" / "one.json").unlink()
    (forest.root / "a" / "one.json").mkdir()
    for _ in range(3):
        tree = forest.walk()
        assert [one.document for one in tree.findings] == ["a/one.json"]
        assert "a/one.json" in forest.names(tree.good)
        assert "a/one.json" not in forest.names(tree.root)


def test_links_are_kept_and_never_followed(forest: Forest) -> None:
    """Also those to directories."""
    (forest.root / "a" / "up").symlink_to("..")
    (forest.root / "a" / "out").symlink_to("/etc/passwd")
    tree = forest.walk()
    links = {path: entry.target for path, entry in forest.files(tree.root) if entry.type == "symlink"}
    assert links == {"a/up": "..", "a/out": "/etc/passwd"}
    assert tree.files == 8


def test_what_is_no_file_is_noted(forest: Forest) -> None:
    """A FIFO where nothing was is no damage."""
    os.mkfifo(forest.root / "fifo")
    for _ in range(2):
        tree = forest.walk()
        assert not tree.findings
        assert [str(note) for note in tree.notes] == ["fifo: is a FIFO: not captured"]


def failing(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, *, then: Any = None) -> None:
    """Let the read of one document fail after it was listed; `then` happens first."""
    real = reading.read_stable

    def read(dir_fd: int, wanted: str, **how: Any) -> FileRead:
        if wanted == name:
            if then is not None:
                then()
            raise error
        return real(dir_fd, wanted, **how)

    monkeypatch.setattr(documents, "read_stable", read)


def test_a_document_that_vanishes_is_deleted(forest: Forest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its listing and its read."""
    (forest.root / "gone.json").write_text("{}")
    failing(monkeypatch, "gone.json", FileNotFoundError())
    tree = forest.walk()
    assert not tree.findings
    assert "gone.json" not in forest.names(tree.root)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_document_that_can_t_be_read_is_carried(forest: Forest, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Its known-good version stays, and it is tried again at the next look."""
    good = dict(forest.files(forest.walk().good))
    (forest.root / "b" / "one.json").write_text('{"n": 1}')
    (forest.root / "b" / "three.json").write_text("{}")
    with monkeypatch.context() as patch:
        failing(patch, "one.json", OSError(code, os.strerror(code)))
        tree = forest.walk()
    assert [(one.document, one.verdict) for one in tree.findings] == [("b/one.json", Verdict.UNREADABLE)]
    assert dict(forest.files(tree.good))["b/one.json"] == good["b/one.json"]
    assert "b/three.json" in forest.names(tree.good)
    tree = forest.walk()
    assert not tree.findings
    assert dict(forest.files(tree.good))["b/one.json"] != good["b/one.json"]


@pytest.mark.parametrize("gone", [False, True])
def test_a_document_replaced_under_the_reader(forest: Forest, monkeypatch: pytest.MonkeyPatch, gone: bool) -> None:
    """By a FIFO: damage where a document was known; by nothing: deleted."""
    forest.walk()
    path = forest.root / "b" / "new.json"
    path.write_text("{}")
    forest.walk()
    path.write_text('{"n": 1}')

    def replace() -> None:
        path.unlink()
        if not gone:
            os.mkfifo(path)

    failing(monkeypatch, "new.json", NotRegular(errno.EINVAL, "not a regular file"), then=replace)
    tree = forest.walk()
    assert [one.document for one in tree.findings] == ([] if gone else ["b/new.json"])
    assert ("b/new.json" in forest.names(tree.good)) is not gone


@pytest.mark.parametrize(
    ("error", "verdicts"),
    [
        (FileNotFoundError(), []),
        (NotADirectoryError(), []),
        (PermissionError(errno.EACCES, "no"), [Verdict.UNREADABLE]),
        (OSError(errno.EMFILE, "too many"), [Verdict.UNREADABLE]),
    ],
)
def test_a_directory_that_can_t_be_opened(
    forest: Forest, monkeypatch: pytest.MonkeyPatch, error: OSError, verdicts: list[Verdict]
) -> None:
    """One that vanished is gone; one that is out of reach is carried with all that is known of it."""
    forest.walk()
    real = open_directory_at

    def open_directory(dir_fd: int, name: str) -> int:
        if name == "deep":
            raise error
        return real(dir_fd, name)

    with monkeypatch.context() as patch:
        patch.setattr(walk, "open_directory_at", open_directory)
        tree = forest.walk()
    assert [one.verdict for one in tree.findings] == verdicts
    assert ("a/deep/one.json" in forest.names(tree.good)) is bool(verdicts)
    if not verdicts:
        assert "a/deep/one.json" in forest.names(forest.walk().good)


def test_a_large_file_that_fails_on_the_way(forest: Forest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a small one: gone is deleted, an error is carried, something else is damage where a document was."""
    path = forest.root / "large.json"
    path.write_text('{"text": "' + "x" * 2_000_000 + '"}')
    forest.walk()
    path.write_text('{"text": "' + "y" * 2_000_000 + '"}')
    for error, verdicts in (
        (OSError(errno.EIO, "Input/output error"), [Verdict.UNREADABLE]),
        (FileNotFoundError(), []),
    ):
        known, rows = forest.known, forest.rows
        with monkeypatch.context() as patch:

            def fail(*_: Any, error: OSError = error, **__: Any) -> Any:
                raise error

            patch.setattr(documents, "stream_stable", fail)
            tree = forest.walk()
        assert [one.verdict for one in tree.findings] == verdicts
        assert ("large.json" in forest.names(tree.good)) is bool(verdicts)
        forest.known, forest.rows = known, rows
    assert not forest.walk().findings


def test_a_large_file_that_never_holds_still_is_torn(forest: Forest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its known-good version stays; what was read of it is in the tree as found."""
    path = forest.root / "large.json"
    path.write_text('{"text": "' + "x" * 2_000_000 + '"}')
    good = dict(forest.files(forest.walk().good))["large.json"]
    monkeypatch.setattr(documents, "_PAUSES_S", (0.0, 0.0))
    real = reading.stream_stable

    def touched(*where: Any, **how: Any) -> Any:
        os.utime(path)
        return real(*where, **how)

    path.write_text('{"text": "' + "y" * 2_000_000 + '"}')
    with monkeypatch.context() as patch:
        patch.setattr(documents, "stream_stable", touched)
        patch.setattr("recoverd.system.reading._RECENT_NS", 10**12)
        patch.setattr("recoverd.system.reading.time.sleep", lambda _: None)
        tree = forest.walk()
    assert [one.verdict for one in tree.findings] == [Verdict.UNREADABLE]
    assert dict(forest.files(tree.good))["large.json"] == good
    assert dict(forest.files(tree.root))["large.json"] != good
