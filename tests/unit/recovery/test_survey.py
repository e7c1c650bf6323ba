"""The survey of one service: verdicts of items, what they carry, and what it is compared with."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from recoverd.config.model import Format, ItemKind, Place, Service, StateItem
from recoverd.errors import StateError
from recoverd.recovery.item_survey import ItemSurvey, newest_records
from recoverd.recovery.scratch import Scratch
from recoverd.recovery.survey import survey_service
from recoverd.repository.records import ItemRecord, Snapshot, SnapshotVerdict
from recoverd.repository.trees import EMPTY_TREE, hash_tree
from recoverd.state.judging import build_judge
from recoverd.state.verdicts import Verdict


class Desk:
    """One item, looked at again and again with a store that remembers its trees."""

    def __init__(self, item: StateItem) -> None:
        self.item = item
        self.store = Scratch(None)
        self.before: ItemRecord | None = None

    def look(self) -> ItemSurvey:
        service = Service("app", Place("f", 1, 1), state={self.item.name: self.item})
        found = survey_service(
            service,
            {self.item.name: build_judge(self.item)},
            store=self.store,
            before={self.item.name: self.before} if self.before is not None else {},
            memo=None,
            now_ns=1,
        )
        return found.items[self.item.name]

    def capture(self) -> ItemSurvey:
        found = self.look()
        self.before = found.record()
        return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "main.json"


@pytest.fixture
def desk(path: Path) -> Desk:
    return Desk(StateItem("main", ItemKind.FILE, str(path), Format.JSON))


def test_new_then_ok_then_missing(desk: Desk, path: Path) -> None:
    """A fresh service has no state; one that had some misses it."""
    assert desk.capture().verdict is Verdict.NEW
    assert desk.look().good is None
    path.write_text("{}")
    assert desk.capture().verdict is Verdict.OK
    good = desk.look().good
    path.unlink()
    assert desk.capture().verdict is Verdict.MISSING
    assert desk.capture().good == good


def test_an_absent_parent_is_an_absent_item(desk: Desk, path: Path) -> None:
    """The same for a directory that is not there at all."""
    desk.item = replace(desk.item, path=str(path.parent / "none" / "main.json"))
    assert desk.capture().verdict is Verdict.NEW


def test_optional_and_absent_is_ok(desk: Desk, path: Path) -> None:
    """Also when it was there before: its service may delete it."""
    desk.item = replace(desk.item, optional=True)
    assert desk.capture().verdict is Verdict.OK
    path.write_text("{}")
    assert desk.capture().good != EMPTY_TREE
    path.unlink()
    found = desk.capture()
    assert (found.verdict, found.good, found.files) == (Verdict.OK, EMPTY_TREE, 0)


def test_a_file_that_was_never_good_has_no_good_version(desk: Desk, path: Path) -> None:
    """And is not missed when it goes."""
    path.write_text("{")
    found = desk.capture()
    assert (found.verdict, found.good, found.files) == (Verdict.CORRUPT, None, 1)
    path.unlink()
    assert desk.capture().verdict is Verdict.NEW


def test_damage_carries_the_newest_good_version(desk: Desk, path: Path) -> None:
    """Over any number of damaged captures."""
    path.write_text('{"n": 1}')
    good = desk.capture().good
    for damage in ("{", "", "[", "{"):
        path.write_text(damage)
        found = desk.capture()
        assert (found.verdict, found.good) == (Verdict.CORRUPT, good)
        assert found.root != good


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a link that belongs to somebody else")
def test_a_link_that_could_have_been_planted_is_not_followed(desk: Desk, tmp_path: Path) -> None:
    """State behind it is unreadable, not missing: nothing is restored over it."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    desk.item = replace(desk.item, path=str(link / "main.json"))
    found = desk.capture()
    assert found.verdict is Verdict.UNREADABLE
    assert "link" in found.problems[0].problem


def test_a_directory_item_that_is_not_one(tmp_path: Path) -> None:
    """In words, whatever it is."""
    desk = Desk(StateItem("tasks", ItemKind.DIRECTORY, str(tmp_path / "tasks"), Format.JSON))
    os.mkfifo(tmp_path / "tasks")
    found = desk.capture()
    assert (found.verdict, found.problems[0].problem) == (
        Verdict.CORRUPT,
        "is a FIFO where a directory is expected",
    )


def record(path: str) -> ItemRecord:
    return ItemRecord("file", path, EMPTY_TREE, None, 0, 0, "ok")


def test_the_newest_records_are_of_what_is_declared() -> None:
    """Each item's own: of the same path, from the newest snapshot that has it, and never from an import."""
    item = StateItem("main", ItemKind.FILE, "/a")
    service = Service("app", Place("f", 1, 1), state={"main": item, "other": replace(item, name="other", path="/b")})
    items = [
        {"main": record("/a"), "other": record("/b")},
        {"main": record("/a")},
        {"main": record("/elsewhere"), "other": record("/a")},
        {"main": record("/a")},
    ]
    history = [
        Snapshot("app", number, number, "boot", "host", SnapshotVerdict.OK, one, imported=number == 4)
        for number, one in enumerate(items, 1)
    ]
    found = newest_records(service, history)
    assert found["main"] is items[1]["main"]
    assert found["other"] is items[0]["other"]
    assert newest_records(service, []) == {}


def test_a_scratch_knows_only_what_it_was_given() -> None:
    """Without a repository below it there is nothing else to read."""
    scratch = Scratch(None)
    assert scratch.tree(EMPTY_TREE) == ()
    assert scratch.put_tree([]) == hash_tree([])
    with pytest.raises(StateError, match="no tree"):
        scratch.tree("0" * 64)
    with pytest.raises(StateError, match="no object"):
        scratch.read("0" * 64)
