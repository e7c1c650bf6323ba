"""A walk of what hints name finds what a walk of everything would find, and costs what is named."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoverd.config.model import Format, ItemKind, Place, Service, StateItem
from recoverd.recovery import documents
from recoverd.recovery.item_survey import ItemSurvey
from recoverd.recovery.partial import MOST_HINTS, Hints, NotEnough, named_places, rows_needed, unlike
from recoverd.recovery.scratch import Scratch
from recoverd.recovery.stat_rows import encode
from recoverd.recovery.survey import survey_service
from recoverd.repository.records import ItemRecord
from recoverd.scheduler.news import News
from recoverd.scheduler.watches import Watches
from recoverd.state.judging import build_judge
from recoverd.system import reading
from recoverd.values import replace

LATER_NS = 600 * 1_000_000_000  # what was written just now counts as old


@pytest.fixture(scope="module", autouse=True)
def settled() -> Iterator[None]:
    """Nobody writes while these tests read: what is young needs no second look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_RECENT_NS", 0)
        yield


class Memory:
    """What a catalog remembers."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.asked: Collection[str] | None = None

    def memo(self, judge: str, hashes: Sequence[str]) -> dict[str, bytes]:
        return {}

    def remember(self, judge: str, verdicts: Mapping[str, bytes]) -> None:
        pass

    def stat_cache(self, item_key: str, directories: Collection[str] | None = None) -> dict[str, bytes]:
        self.asked = directories
        return {k: v for k, v in self.rows.items() if directories is None or k in directories}

    def save_stat_cache(self, item_key: str, rows: Mapping[str, bytes | None]) -> None:
        raise AssertionError("rows are saved by the test")


class World:
    """A directory item, somebody who changes it and notes what he did, and captures of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.item = StateItem("m", ItemKind.DIRECTORY, str(root), Format.JSON, exclude=("*.swp", "private/"))
        self.service = Service("s", Place("f", 1, 1), state={"m": self.item})
        self.store = Scratch(None)
        self.memory = Memory()
        self.before: ItemRecord | None = None
        self.directories: set[str] = set()
        self.subtrees: set[str] = set()
        self.count = 0

    def look(self, hints: Hints | None, *, full_read: bool = False) -> ItemSurvey:
        survey = survey_service(
            self.service,
            {"m": build_judge(self.item)},
            store=self.store,
            before={} if self.before is None else {"m": self.before},
            memo=self.memory,
            now_ns=time.time_ns() + LATER_NS,
            full_read=full_read,
            hints=None if hints is None else {"m": hints},
        )
        return survey.items["m"]

    def capture(self, hints: Hints | None) -> ItemSurvey:
        """One that makes a snapshot."""
        found = self.look(hints)
        for below, row in (found.rows or {}).items():
            if row is None:
                self.memory.rows.pop(below, None)
            else:
                self.memory.rows[below] = encode(row)
        self.before = found.record()
        self.directories.clear()
        self.subtrees.clear()
        return found

    def hints(self) -> Hints:
        return Hints(frozenset(self.directories), frozenset(self.subtrees))

    # -- what a service does, and what who watches it learns

    def tell(self, path: Path, *, whole: bool = False) -> None:
        below = str(path.relative_to(self.root))
        self.directories.add("" if "/" not in below else below.rpartition("/")[0])
        if whole:
            self.subtrees.add(below)

    def write(self, path: Path, *, good: bool = True) -> None:
        if path.is_dir() and not path.is_symlink():
            return
        self.count += 1  # no two documents are of the same length
        temporary = path.with_name("writing.swp")
        temporary.write_bytes(b"[" + b" " * self.count + (b"]" if good else b""))
        temporary.replace(path)
        self.tell(path)

    def directories_below(self) -> list[Path]:
        return [self.root, *sorted(path for path in self.root.rglob("*") if path.is_dir() and not path.is_symlink())]

    def files(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.is_symlink() or not path.is_dir())

    def do(self, action: str, number: int, name: str) -> None:
        directories, files = self.directories_below(), self.files()
        where = directories[number % len(directories)]
        file = files[number % len(files)] if files else None
        below = directories[1:][number % (len(directories) - 1)] if len(directories) > 1 else None
        if action == "write":
            self.write(where / name)
        elif action == "damage":
            self.write(where / name, good=False)
        elif action == "make" and not (where / name).exists() and not (where / name).is_symlink():
            (where / name).mkdir()
            self.tell(where / name, whole=True)
            self.write(where / name / "first.json")
        elif action == "delete" and file is not None:
            file.unlink()
            self.tell(file)
        elif action == "remove" and below is not None:
            shutil.rmtree(below)
            self.tell(below)
        elif action == "move" and below is not None and where != below and below not in where.parents:
            target = where / name
            if not target.exists() and not target.is_symlink():
                below.rename(target)
                self.tell(below)
                self.tell(target, whole=True)
        elif action == "rename" and file is not None and not (where / name).is_dir():
            file.rename(where / name)
            self.tell(file)
            self.tell(where / name)
        elif action == "mode":
            where.chmod(0o700 + number % 8)
            if where != self.root:
                self.tell(where)
            self.directories.add("" if where == self.root else str(where.relative_to(self.root)))
        elif action == "touch" and file is not None and not file.is_symlink():
            os.utime(file, ns=(number, number))
            self.tell(file)
        elif action == "link" and not os.path.lexists(where / name):
            (where / name).symlink_to("/etc/passwd")
            self.tell(where / name)
        elif action == "hard" and file is not None and not os.path.lexists(where / name):
            os.link(file, where / name, follow_symlinks=False)
            self.tell(where / name)
            self.tell(file)


ACTIONS = ["write", "write", "write", "make", "make", "delete", "remove", "move", "move", "rename", "mode", "touch"]
NAMES = st.sampled_from(["a", "b", "c.json", "d.json", "e.swp", "private", "odd\udcff"])
COVERED = st.sampled_from(["a", "b", "c.json", "d.json"])  # of a name outside the item no hint can tell
STEP = st.tuples(st.sampled_from([*ACTIONS, "damage", "link"]), st.integers(0, 1000), NAMES)


def same(found: ItemSurvey, whole: ItemSurvey) -> None:
    one, other = found.record(), whole.record()
    assert replace(one, problems=()) == replace(other, problems=())
    assert sorted(one.problems) == sorted(other.problems)  # their order follows that of the reads
    assert {one.document for one in found.findings} == {one.document for one in whole.findings}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.lists(STEP, min_size=1, max_size=6), min_size=1, max_size=6))
def test_equal_to_a_whole_walk(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, int, str]]]
) -> None:
    """Whatever is created, changed, renamed, moved and removed: the hinted places and the newest snapshot together
    make the very snapshot that a look at everything makes, and lead to rows that do so again."""
    world = World(tmp_path_factory.mktemp("partial") / "item")
    for name in ("a", "a/deep", "b"):
        (world.root / name).mkdir()
        world.write(world.root / name / "one.json")
    world.capture(None)
    for steps in rounds:
        for step in steps:
            world.do(*step)
        whole = world.look(None, full_read=True)
        same(world.look(None), whole)
        same(world.capture(world.hints()), whole)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.lists(STEP, min_size=1, max_size=8), min_size=1, max_size=5))
def test_equal_with_what_the_kernel_tells(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, int, str]]]
) -> None:
    """The same, with hints from inotify: through every move the watches keep up with what is there."""
    world = World(tmp_path_factory.mktemp("watched") / "item")
    for name in ("a", "a/deep", "b"):
        (world.root / name).mkdir()
        world.write(world.root / name / "one.json")
    watches = Watches(world.service)
    try:
        watches.start()
        world.capture(None)
        for steps in rounds:
            for step in steps:
                world.do(*step)
            news = News()
            while watches.read(news):
                pass
            same(world.capture(news.hints().get("m", Hints())), world.look(None, full_read=True))
            parts = [one.relative_to(world.root).parts for one in world.directories_below()]
            assert len(watches) == len([one for one in parts if not {"private", "e.swp"} & {*one}])
    finally:
        watches.close()


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from([*ACTIONS, "hard", "hard"]), st.integers(0, 1000), COVERED), max_size=8)
)
def test_hard_links_span_directories(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str]]
) -> None:
    """Where files have several names everything is looked at: a group is named after its first name of all."""
    world = World(tmp_path_factory.mktemp("links") / "item")
    for name in ("a", "b"):
        (world.root / name).mkdir()
        world.write(world.root / name / "one.json")
    world.capture(None)
    for step in steps:
        world.do(*step)
        whole = world.look(None, full_read=True)
        same(world.capture(world.hints()), whole)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "item")
    for number in range(40):
        (made.root / f"{number:02}").mkdir()
        for name in ("x.json", "y.json"):
            made.write(made.root / f"{number:02}" / name)
    return made


def test_one_change_costs_one_directory(world: World) -> None:
    """Promise 11: of 41 directories one is listed, and only its row and those above it are loaded."""
    assert world.capture(None).listed == 41
    world.write(world.root / "07" / "x.json")
    found = world.capture(world.hints())
    assert found.listed == 1
    assert set(world.memory.asked or ()) == {"", "07"}
    assert found.files == 80
    again = world.look(None)
    assert (again.listed, again.rows) == (41, again.rows)
    same(found, again)


def test_nothing_named_costs_nothing(world: World) -> None:
    """An item that nothing happened to is as it was, and no directory of it is listed."""
    before = world.capture(None)
    found = world.capture(Hints())
    assert found.listed == 0
    same(found, before)


def test_the_next_whole_walk_reads_no_more_than_it_would_have(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of directories above a change are renewed with it: they go on saving reads."""
    world.capture(None)
    world.write(world.root / "07" / "x.json")
    world.capture(world.hints())
    read: list[str] = []
    real = reading.read_stable

    def counted(dir_fd: int, name: str, **how: object) -> object:
        read.append(name)
        return real(dir_fd, name, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(documents, "read_stable", counted)
    world.look(None)
    assert read == []


def test_what_is_damaged_is_judged_anew_each_time(world: World) -> None:
    """A damaged document is told of by every capture, also when something else was named; and healed when it is."""
    world.write(world.root / "03" / "x.json")
    world.capture(None)
    world.write(world.root / "03" / "x.json", good=False)
    assert [one.document for one in world.capture(world.hints()).findings] == ["03/x.json"]
    world.write(world.root / "09" / "x.json")
    found = world.look(world.hints())
    assert [one.document for one in found.findings] == ["03/x.json"]
    assert found.listed == 2
    same(found, world.look(None, full_read=True))
    (world.root / "03" / "x.json").write_bytes(b"[]")
    assert world.look(world.hints()).findings == ()


@pytest.mark.parametrize("planted", ["link", "directory"])
def test_what_can_not_be_captured_stays_damaged(world: World, planted: str) -> None:
    """Promise 3: something else in the place of a document is told of each time, also when the stat cache says that
    nothing changed around it, and the known-good version goes on."""
    world.write(world.root / "top.json")
    good = world.capture(None).good
    (world.root / "top.json").unlink()
    if planted == "link":
        (world.root / "top.json").symlink_to("/etc/passwd")
    else:
        (world.root / "top.json").mkdir()
    world.capture(None)
    for length, hints in enumerate((None, Hints(frozenset({"03"})), None), 1000):
        (world.root / "03" / "x.json").write_bytes(b"[" + b" " * length + b"]")  # in place: names stay as they were
        found = world.capture(hints)
        assert [one.document for one in found.findings] == ["top.json"]
        same(found, world.look(None, full_read=True))
        (entry,) = world.store.tree(found.good or "")
        (before,) = world.store.tree(good or "")
        names = [{one.name: one for one in world.store.tree(top.hash or "")} for top in (entry, before)]
        assert names[0]["top.json"] == names[1]["top.json"]


def test_another_directory_in_the_place_of_one_is_walked_though_nobody_named_it(world: World) -> None:
    """A hint may be late: where the inode is another one, what lies below is not taken for what was there."""
    world.capture(None)
    other = world.root.with_name("other")
    other.mkdir()
    (other / "z.json").write_bytes(b"[5]")
    (world.root / "05").rename(world.root.with_name("gone"))
    other.rename(world.root / "05")
    same(world.look(Hints(frozenset({""}))), world.look(None, full_read=True))


@pytest.mark.parametrize("planted", ["link", "file"])
def test_a_named_directory_that_is_none_any_more(world: World, planted: str) -> None:
    """What a service puts in the place of a directory leads nowhere: it is captured as what it is (promise 12)."""
    world.capture(None)
    shutil.rmtree(world.root / "05")
    if planted == "link":
        (world.root / "05").symlink_to("/etc")
    else:
        (world.root / "05").write_bytes(b"[]")
    found = world.look(Hints(frozenset({"05", "05/below"}), frozenset({"05/deeper"})))
    same(found, world.look(None, full_read=True))


def test_mere_touches_are_remembered(world: World) -> None:
    """What was only touched makes no snapshot; where it was is said, so that the next capture gives its times."""
    before = world.capture(None)
    os.utime(world.root / "11" / "x.json", ns=(1, 1))
    os.utime(world.root / "12", ns=(1, 1))
    found = world.look(None)
    assert unlike(world.store, before.root, found.root) == Hints(frozenset({"11", "12"}))
    assert unlike(world.store, before.root, before.root) == Hints()
    world.write(world.root / "30" / "x.json")
    hints = Hints(frozenset({"30", "11", "12"}))
    same(world.look(hints), world.look(None, full_read=True))


def test_what_is_too_much_to_name() -> None:
    """Bounds: with thousands of directories named, or an item that was not ok as a whole, all is walked."""
    record = ItemRecord("directory", "/x", "0" * 64, None, 0, 0, "ok", (), {}, "j")
    many = Hints(frozenset(str(number) for number in range(MOST_HINTS + 1)))
    assert named_places(Hints(frozenset({"a"})), record, "j").directories == {"a"}
    whole = ItemRecord("directory", "/x", "0" * 64, None, 0, 0, "missing", (), {"": "missing"}, "j")
    for hints, before, judge in (
        (many, record, "j"),
        (Hints(subtrees=frozenset({""})), record, "j"),
        (Hints(), whole, "j"),
        (Hints(), record, "other"),
    ):
        with pytest.raises(NotEnough):
            named_places(hints, before, judge)
    assert rows_needed(Hints(frozenset({"a/b"}), frozenset({"c/d/e"}))) == {"", "a", "a/b", "c", "c/d"}
