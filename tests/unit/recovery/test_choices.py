"""Choices: what a candidate would replace, made concrete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from recoverd.config.model import ItemKind, Place, Service, StateItem
from recoverd.errors import DamagedObject
from recoverd.recovery.choices import Choice, damaged_targets, item_choice, service_choices, snapshot_choice
from recoverd.recovery.item_survey import ItemSurvey, ServiceSurvey
from recoverd.recovery.plan import Action, Plan, Step, Version
from recoverd.repository.records import ItemRecord, Marks, Snapshot, SnapshotVerdict
from recoverd.repository.trees import EMPTY_TREE, Entry, hash_tree
from recoverd.state.verdicts import Verdict

MAIN = StateItem("main", ItemKind.FILE, "/state/main.json")
TASKS = StateItem("tasks", ItemKind.DIRECTORY, "/state/tasks")
SERVICE = Service("app", Place("f", 1, 1), state={"main": MAIN, "tasks": TASKS})


@dataclass
class Trees:
    held: dict[str, tuple[Entry, ...]] = field(default_factory=lambda: {EMPTY_TREE: ()})
    damaged: set[str] = field(default_factory=set)

    def put(self, *entries: Entry) -> str:
        tree = hash_tree(entries)
        self.held[tree] = entries
        return tree

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        if tree_hash in self.damaged:
            raise DamagedObject(tree_hash, "gone")
        return self.held[tree_hash]

    def file_chunks(self, entry: Entry) -> Iterator[bytes | int]:
        if entry.hash in self.damaged:
            raise DamagedObject(entry.hash or "", "gone")
        yield b""

    def root(self, content: str | dict[str, Any]) -> str:
        return self.put(self.entry("item", content))

    def entry(self, name: str, content: str | dict[str, Any]) -> Entry:
        plain = Entry(name, "file", 0o600, 0, 0, "", "", 1, 0)
        if isinstance(content, str):
            return replace(plain, hash=content * 64)
        below = self.put(*(self.entry(key, value) for key, value in content.items()))
        return replace(plain, type="dir", size=0, hash=below)


def record(item: StateItem, good: str | None) -> ItemRecord:
    return ItemRecord(item.kind.value, item.path, good or EMPTY_TREE, good, 1, 1, "ok")


def snapshot(sequence: int, *, verdict: SnapshotVerdict = SnapshotVerdict.OK, **items: ItemRecord) -> Snapshot:
    return Snapshot("app", sequence, sequence * 10**9, "boot", "host", verdict, items)


def survey(main: str, tasks: str) -> ServiceSurvey:
    def item(one: StateItem, root: str) -> ItemSurvey:
        return ItemSurvey(one.name, one.kind, one.path, Verdict.OK, (), (), root, root, 1, 1, "")

    return ServiceSurvey("app", {"main": item(MAIN, main), "tasks": item(TASKS, tasks)})


def replaced(choice: Choice) -> dict[str, str | None]:
    """What is to lie at each path."""
    return {one.path: one.entry.hash and one.entry.hash[0] if one.entry else None for one in choice.replacements}


def test_a_whole_snapshot_replaces_what_differs_and_nothing_else() -> None:
    """Changed, gone and added documents; an added directory goes file by file, for it may hold uncovered names."""
    trees = Trees()
    live = survey(trees.root("a"), trees.root({"same": "a", "new": "b", "changed": "c", "more": {"x": "d"}}))
    then = snapshot(
        1,
        main=record(MAIN, trees.root("a")),
        tasks=record(TASKS, trees.root({"same": "a", "changed": "e", "lost": "f"})),
    )
    choice = snapshot_choice(SERVICE, live, trees, then, "asked")
    assert replaced(choice) == {
        "/state/tasks/new": None,
        "/state/tasks/changed": "e",
        "/state/tasks/lost": "f",
        "/state/tasks/more/x": None,
    }
    assert [(part.item, part.document) for part in choice.parts] == [("main", ""), ("tasks", "")]
    assert choice.candidate == "app/1"


def test_items_that_a_snapshot_lacks_are_left_alone() -> None:
    """Or never had a good version of, or has as another kind."""
    trees = Trees()
    live = survey(trees.root("a"), trees.root({"x": "a"}))
    good = trees.root("b")
    for tasks in ({}, {"tasks": record(TASKS, None)}, {"tasks": record(replace(TASKS, kind=ItemKind.FILE), good)}):
        then = replace(snapshot(1), items={"main": record(MAIN, good), **tasks})
        choice = snapshot_choice(SERVICE, live, trees, then, "")
        assert replaced(choice) == {"/state/main.json": "b"}


def test_whole_services_come_from_whole_good_snapshots() -> None:
    """Not from partial, rejected or damaged ones, nor from those that lack an item or hold another path's."""
    trees = Trees()
    live = survey(trees.root("a"), trees.root({}))
    main, tasks = record(MAIN, trees.root("b")), record(TASKS, trees.root({"x": "b"}))
    damaged = record(TASKS, trees.root({"x": "c"}))
    trees.damaged.add(damaged.good or "")
    history = [
        snapshot(7, main=main, tasks=damaged),
        snapshot(6, main=main, tasks=tasks, verdict=SnapshotVerdict.PARTIAL),
        snapshot(5, main=main),
        snapshot(4, main=main, tasks=tasks),
        snapshot(3, main=replace(main, path="/elsewhere"), tasks=tasks),
        snapshot(2, main=main, tasks=tasks),
    ]
    marks = {4: Marks(rejected={"tasks": "ill"})}
    found = list(service_choices(SERVICE, live, trees, history, marks))
    assert [one.candidate for one in found] == ["app/2"]


def test_the_smallest_broken_thing() -> None:
    """One document, with the directories above it; one whole directory where that is gone."""
    trees = Trees()
    top = trees.entry("tasks", {"x": "a"})
    one = Step("tasks", "x", Version(3, 3, trees.entry("x", "a"), parents=(top,)), Verdict.CORRUPT, "why")
    whole = Step("tasks", "", Version(2, 2, top), Verdict.MISSING, "why")
    choice = item_choice(SERVICE, Plan("app", Action.RESTORE, (one,)))
    assert (choice.replacements[0].path, choice.replacements[0].whole) == ("/state/tasks/x", False)
    assert choice.replacements[0].parents == (top,)
    assert choice.candidate == "app/3"
    assert item_choice(SERVICE, Plan("app", Action.RESTORE, (whole,))).replacements[0].whole
    assert choice.key == {("tasks", "x", "a" * 64)}


def test_damaged_objects_are_found_by_part() -> None:
    """Of a directory, those anywhere below it."""
    trees = Trees()
    live = survey(trees.root("a"), trees.root({}))
    then = snapshot(1, main=record(MAIN, trees.root("b")), tasks=record(TASKS, trees.root({"d": {"x": "c"}, "y": "e"})))
    choice = snapshot_choice(SERVICE, live, trees, then, "")
    assert damaged_targets(trees, choice) == []  # type: ignore[arg-type]
    trees.damaged.add("c" * 64)
    assert damaged_targets(trees, choice) == [("tasks", "")]  # type: ignore[arg-type]
    trees.damaged.add("b" * 64)
    assert damaged_targets(trees, choice) == [("main", ""), ("tasks", "")]  # type: ignore[arg-type]
