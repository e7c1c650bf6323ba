"""Good versions as a property: newest first, never a rejected one, never one of another item."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Config, ItemKind, Place, RepositoryConfig, Retention, Service, StateItem
from recoverd.errors import DamagedObject
from recoverd.operations.prune import decisions
from recoverd.recovery.candidates import eligible, find, good_versions
from recoverd.recovery.plan import Version
from recoverd.repository.records import ItemRecord, Marks, ServiceRecord, Snapshot, SnapshotVerdict
from recoverd.repository.trees import EMPTY_TREE, Entry, hash_tree

ITEM = StateItem("main", ItemKind.FILE, "/state/main.json")
TARGET = ("main", "")


@dataclass
class Trees:
    """Trees in memory; some can't be read."""

    held: dict[str, tuple[Entry, ...]] = field(default_factory=lambda: {EMPTY_TREE: ()})
    damaged: set[str] = field(default_factory=set)

    def put(self, *entries: Entry) -> str:
        tree = hash_tree(entries)
        self.held[tree] = entries
        return tree

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        if tree_hash in self.damaged:
            raise DamagedObject(tree_hash, f"object {tree_hash} is gone")
        return self.held[tree_hash]


def entry(content: str, name: str = "main.json") -> Entry:
    return Entry(name, "file", 0o600, 0, 0, "", "", 1, 0, hash=content * 64)


def snapshot(trees: Trees, sequence: int, good: str | None, *, live: bool = True, path: str = ITEM.path) -> Snapshot:
    record = ItemRecord(
        kind="file",
        path=path,
        root=trees.put(entry(good)) if live and good else EMPTY_TREE,
        good=trees.put(entry(good)) if good else None,
        files=1,
        size_bytes=1,
        verdict="ok" if live else "corrupt",
        damaged={} if live else {"": "corrupt"},
    )
    verdict = SnapshotVerdict.OK if live else SnapshotVerdict.INVALID
    return Snapshot("app", sequence, sequence * 10**9, "boot", "host", verdict, {"main": record})


@st.composite
def histories(draw: st.DrawFn) -> tuple[Trees, list[Snapshot], dict[int, Marks]]:
    """What captures leave: each is live and ok, or damaged and carries the newest good version; some are pruned."""
    trees = Trees()
    snapshots, carried = [], None
    for sequence in range(1, draw(st.integers(1, 12)) + 1):
        content = draw(st.one_of(st.none(), st.sampled_from("abcd")))
        carried = content or carried
        snapshots.append(snapshot(trees, sequence, carried, live=content is not None))
    kept = [one for one in snapshots if draw(st.integers(0, 3))]
    marks = {one.sequence: Marks(rejected={"main": "ill"}) for one in kept if not draw(st.integers(0, 3))}
    return trees, kept, marks


def versions(
    trees: Trees, snapshots: list[Snapshot], marks: dict[int, Marks], most: int = 9
) -> tuple[list[Version], list[str]]:
    found, damage = good_versions(trees, eligible(snapshots), marks, [TARGET], items={"main": ITEM}, most=most)
    return found[TARGET], damage


@given(histories(), st.integers(1, 5))
def test_the_invariants_of_versions(history: tuple[Trees, list[Snapshot], dict[int, Marks]], most: int) -> None:
    """Newest first, each content once, none that was rejected since the service last wrote it itself."""
    trees, snapshots, marks = history
    found, damage = versions(trees, snapshots, marks, most)
    assert not damage
    assert len(found) <= most
    assert len({one.content for one in found}) == len(found)
    assert [one.sequence for one in found] == sorted((one.sequence for one in found), reverse=True)
    for one in found:
        newer_live = [
            x.sequence
            for x in snapshots
            if x.items["main"].verdict == "ok"
            and x.sequence not in marks
            and trees.tree(x.items["main"].good or "")[0].hash == one.content
        ]
        rejected = [
            x.sequence
            for x in snapshots
            if x.sequence in marks and x.items["main"].good and trees.tree(x.items["main"].good)[0].hash == one.content
        ]
        assert not rejected or (newer_live and max(newer_live) > max(rejected))
    usable = [x for x in sorted(snapshots, key=lambda x: -x.sequence) if x.items["main"].good and not marks]
    if usable:
        assert found[0].content == trees.tree(usable[0].items["main"].good or "")[0].hash
    assert versions(trees, snapshots, marks, most)[0] == found


def test_a_rejection_reaches_the_snapshots_that_carry_the_version_forward() -> None:
    """Marks are set where the version was live; newer captures of the damage hold the very same."""
    trees = Trees()
    history = [snapshot(trees, 1, "a"), snapshot(trees, 2, "b"), *(snapshot(trees, n, "b", live=False) for n in (3, 4))]
    assert [(one.sequence, one.content[0]) for one in versions(trees, history, {})[0]] == [(2, "b"), (1, "a")]
    found, _ = versions(trees, history, {2: Marks(rejected={"main": "ill"})})
    assert [one.content[0] for one in found] == ["a"]
    history.append(snapshot(trees, 5, "b"))  # the service itself came back to it
    found, _ = versions(trees, history, {2: Marks(rejected={"main": "ill"})})
    assert [(one.sequence, one.content[0]) for one in found] == [(5, "b"), (1, "a")]


def test_the_age_is_that_of_the_newest_live_version() -> None:
    """Not that of the capture which only carries it: what is lost is counted from there."""
    trees = Trees()
    history = [snapshot(trees, 1, "a"), snapshot(trees, 2, "a"), snapshot(trees, 3, "a", live=False)]
    assert [one.sequence for one in versions(trees, history, {})[0]] == [2]


def test_what_lay_at_another_path_is_no_candidate() -> None:
    """Nor what was of another kind."""
    trees = Trees()
    history = [snapshot(trees, 1, "a"), snapshot(trees, 2, "b", path="/elsewhere")]
    record = replace(history[0].items["main"], kind="directory")
    history.append(replace(history[0], sequence=3, items={"main": record}))
    assert [one.sequence for one in versions(trees, history, {})[0]] == [1]


def test_trees_that_can_t_be_read_are_passed_over_and_told() -> None:
    """The next older version is taken."""
    trees = Trees()
    history = [snapshot(trees, 1, "a"), snapshot(trees, 2, "b")]
    trees.damaged.add(history[1].items["main"].good or "")
    found, damage = versions(trees, history, {})
    assert [one.content[0] for one in found] == ["a"]
    assert len(damage) == 1
    assert "app/2" in damage[0]


def test_a_document_below_directories_comes_with_them() -> None:
    """They are made again like that where they are gone."""
    trees = Trees()
    inner = Entry("in", "dir", 0o700, 0, 0, "", "", 0, 0, hash=trees.put(entry("a", "one.json")))
    top = Entry("item", "dir", 0o750, 0, 0, "", "", 0, 0, hash=trees.put(inner))
    root = trees.put(top)
    found, parents = find(trees, root, "in/one.json")
    assert found == entry("a", "one.json")
    assert parents == (top, inner)
    assert find(trees, root, "in/one.json/deeper") == (None, ())
    assert find(trees, root, "in/none.json")[0] is None
    assert find(trees, root, "")[0] == top


@given(histories())
def test_retention_never_takes_the_last_version(history: tuple[Trees, list[Snapshot], dict[int, Marks]]) -> None:
    """Whatever it may delete, the newest version that is not rejected is still there afterwards (promise 3)."""
    trees, snapshots, marks = history
    service = Service("app", Place("f", 1, 1), state={"main": ITEM}, retention=Retention(last=1, keep_invalid=0))
    config = Config("/nowhere", RepositoryConfig("/nowhere"), {"app": service})
    repository: Any = SimpleNamespace(
        all_marks=lambda _: marks, snapshots=lambda _: snapshots, record=lambda _: ServiceRecord()
    )
    context: Any = SimpleNamespace(config=config, state_dir=config.state_dir)
    kept = {one.sequence for one in decisions(context, repository, service) if one.keep}
    before, _ = versions(trees, snapshots, marks)
    after, _ = versions(trees, [one for one in snapshots if one.sequence in kept], marks)
    if before and not marks:
        assert after
        assert after[0].content == before[0].content
    newest_carrier = [x.sequence for x in snapshots if x.items["main"].good and x.sequence not in marks]
    if newest_carrier:
        assert max(newest_carrier) in kept
