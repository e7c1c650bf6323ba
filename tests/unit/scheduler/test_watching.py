"""Watching real directories: what is told, what is due, and what it costs."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.config.model import Autosave, ItemKind, OnChange, Place, Service, StateItem
from recoverd.operations.snapshot import ServiceSnapshot
from recoverd.recovery.partial import Hints
from recoverd.scheduler import watches
from recoverd.scheduler.signals import Changed
from recoverd.scheduler.watching import Rhythm, Watcher
from recoverd.values import replace

PATIENCE_S = 30.0
RULE = OnChange(quiet_s=0.05, at_most_s=0.5)
RHYTHM = Rhythm(pause_s=0.005, anchors_s=0.1, retry_first_s=0.01)


class World:
    """A service with a directory item and a file item, and somebody who captures it when he is told to."""

    def __init__(self, root: Path) -> None:
        self.root = root / "item"
        self.file = root / "file.json"
        self.root.mkdir()
        self.service = Service(
            "s",
            Place("f", 1, 1),
            state={
                "m": StateItem("m", ItemKind.DIRECTORY, str(self.root), exclude=("*.log", "cache/")),
                "f": StateItem("f", ItemKind.FILE, str(self.file)),
            },
            autosave=Autosave(on_change=RULE),
        )
        self.marks: queue.SimpleQueue[Changed] = queue.SimpleQueue()
        self.watcher: Watcher | None = None
        self.rhythm = RHYTHM
        self.sequence = 0

    def start(self) -> None:
        """Watched, and captured once: from here on nothing is known to have changed."""
        self.watcher = Watcher([self.service], self.marks.put, self.rhythm)
        self.watcher.start()
        assert self.marked() == "what changed before the start is not known"
        assert self.capture() is None

    def marked(self) -> str:
        return self.marks.get(timeout=PATIENCE_S).why

    def capture(self, outcome: str = "saved", **more: object) -> dict[str, Hints] | None:
        """What a capture is told to look at: None for everything."""
        assert self.watcher is not None
        taken = self.watcher.take(["s"])
        self.sequence += outcome == "saved"
        result = ServiceSnapshot("s", outcome, sequence=self.sequence, **more)  # type: ignore[arg-type]
        self.watcher.done(["s"], [result])
        return dict(taken["s"].items) if taken else None

    def told(self) -> Hints:
        """What captures are told of the directory item, up to a change of the file item: events keep their order."""
        write(self.file)
        directories: set[str] = set()
        subtrees: set[str] = set()
        taken: dict[str, Hints] = {}
        while "f" not in taken:
            self.marked()
            taken = self.capture() or {}
            directories |= taken.get("m", Hints()).directories
            subtrees |= taken.get("m", Hints()).subtrees
        return Hints(frozenset(directories), frozenset(subtrees))

    def told_all(self) -> None:
        """The next captures, one of which looks at the whole directory item."""
        while True:
            self.marked()
            taken = self.capture()
            if taken is None or "" in taken.get("m", Hints()).subtrees:
                return


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    if made.watcher is not None:
        made.watcher.stop()


def write(path: Path) -> None:
    """As a careful service does."""
    temporary = path.with_name("x.log")
    temporary.write_text("{}")
    temporary.replace(path)


def test_what_changed_is_named(world: World) -> None:
    """Only the directory in which something happened; a rename counts where it ends, an append where it is."""
    for name in ("a", "b/c"):
        (world.root / name).mkdir(parents=True)
    (world.root / "b" / "c" / "open.txt").write_text("1")
    world.start()
    write(world.root / "a" / "x.json")
    assert world.told() == Hints(frozenset({"a"}))
    with (world.root / "b" / "c" / "open.txt").open("a") as file:
        file.write("2")
        file.flush()
        assert world.told() == Hints(frozenset({"b/c"}))


def test_a_file_item_that_is_replaced_or_appears(world: World) -> None:
    """Its directory is watched: the file itself is another one after each careful write."""
    world.start()
    for _ in range(3):
        write(world.file)
        world.marked()
        assert world.capture() == {"f": Hints(frozenset({""}))}
    (world.file.parent / "neighbour").write_text("of no interest")
    write(world.root / "x.json")
    assert world.told() == Hints(frozenset({""}))


def test_new_directories_are_watched_with_all_in_them(world: World) -> None:
    """Made in one go: each level is either found by the list or told by an event; then it is watched."""
    world.start()
    deep = world.root / "1" / "2" / "3" / "4"
    deep.mkdir(parents=True)
    write(deep / "x.json")
    hints = world.told()
    assert any("1/2/3/4/".startswith(f"{one}/") for one in hints.subtrees)
    write(deep / "y.json")
    assert world.told() == Hints(frozenset({"1/2/3/4"}))


def test_a_directory_that_moves_is_followed(world: World) -> None:
    """It is told under its new name, and nothing is told under the old one any more."""
    for name in ("a/in", "b"):
        (world.root / name).mkdir(parents=True)
    world.start()
    (world.root / "a").rename(world.root / "b" / "a")
    assert world.told() == Hints(frozenset({"", "b"}), frozenset({"b/a"}))
    write(world.root / "b" / "a" / "in" / "x.json")
    assert world.told() == Hints(frozenset({"b/a/in"}))
    (world.root / "b" / "a").rename(world.root.parent / "elsewhere")
    assert world.told() == Hints(frozenset({"b"}))
    write(world.root.parent / "elsewhere" / "x.json")
    write(world.root / "last.json")
    assert world.told() == Hints(frozenset({""}))


def test_what_is_excluded_triggers_nothing(world: World) -> None:
    """A log that grows all day costs no capture; that a name came or went is noted for the directory's own times."""
    (world.root / "cache").mkdir()
    (world.root / "a").mkdir()
    (world.root / "a" / "old.log").write_text("")
    world.start()
    for _ in range(5):
        with (world.root / "a" / "old.log").open("a") as file:
            file.write("line\n")
        (world.root / "cache" / "x.json").write_text("{}")
    write(world.root / "last.json")
    assert world.told() == Hints(frozenset({""}))
    (world.root / "a" / "new.log").write_text("")
    write(world.root / "last.json")
    assert world.told() == Hints(frozenset({"", "a"}))


def test_a_path_that_does_not_exist_yet(world: World) -> None:
    """Neither it nor what it lies in has to be there: it is found when it comes, and watched from then on."""
    shutil.rmtree(world.root)
    above = world.root.parent / "later"
    item = StateItem("m", ItemKind.DIRECTORY, str(above / "still" / "item"))
    world.service = replace(world.service, state={**world.service.state, "m": item})
    world.start()
    (above / "still" / "item").mkdir(parents=True)
    world.told_all()
    write(above / "still" / "item" / "x.json")
    assert world.told() == Hints(frozenset({""}))


@pytest.mark.parametrize("how", ["replaced", "exchanged above", "removed"])
def test_another_directory_at_the_path(world: World, how: str) -> None:
    """What is watched is what the path leads to now."""
    (world.root / "sub").mkdir()
    world.start()
    if how == "exchanged above":
        above, other = world.root.parent, world.root.parent.with_name("other")
        shutil.copytree(above, other)
        above.rename(above.with_name("gone"))
        other.rename(above)
    else:
        world.root.rename(world.root.with_name("gone")) if how == "replaced" else shutil.rmtree(world.root)
        (world.root / "sub").mkdir(parents=True)
    world.told_all()
    found = Hints()
    while "sub" not in found.directories:  # it may have been seen as missing first
        write(world.root / "sub" / "x.json")
        found = world.told()


def test_links_lead_nowhere(world: World, tmp_path: Path) -> None:
    """Promise 12: a symlink planted below the declared path, or in its place, makes nobody watch elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "in").mkdir(parents=True)
    world.start()
    (world.root / "planted").symlink_to(elsewhere)
    assert world.told() == Hints(frozenset({""}))
    assert world.watcher is not None
    before = world.watcher.state()["s"].directories
    world.root.parent.chmod(0o777)  # somebody else may plant a link here: it is not to be followed
    shutil.rmtree(world.root)
    world.root.symlink_to(elsewhere)
    world.told_all()
    assert world.watcher.state()["s"].directories < before
    (elsewhere / "in" / "x.json").write_text("{}")
    (elsewhere / "x.json").write_text("{}")
    assert world.told() == Hints()


def test_more_than_the_kernel_keeps(world: World) -> None:
    """IN_Q_OVERFLOW: what changed is not known, so everything is looked at, and then watched as before."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 100_000:
        pytest.skip("it would take too long to overflow this queue")
    (world.root / "a").mkdir()
    world.start()
    assert world.watcher is not None
    with world.watcher._lock:  # the reader waits: it can't keep up
        for number in range(most // 2 + 100):  # events of two names are not merged
            os.mkfifo(world.root / "a" / f"{number % 2}")
            os.unlink(world.root / "a" / f"{number % 2}")
        (world.root / "made" / "meanwhile").mkdir(parents=True)
    assert world.marked() == "more changed than could be counted"
    assert world.capture() is None
    write(world.root / "made" / "meanwhile" / "x.json")
    assert "made/meanwhile" in world.told().directories


def test_a_storm_keeps_nobody_busy(world: World) -> None:
    """Promise 11: a service that writes without end costs a bounded part of one processor, and `at_most` holds."""
    world.start()
    end = threading.Event()
    begun = time.monotonic()

    def storm() -> None:
        number = 0
        while not end.is_set():
            number += 1
            (world.root / f"{number % 50}").write_text(str(number))

    writer = threading.Thread(target=storm)
    writer.start()
    try:
        (thread,) = [one for one in threading.enumerate() if one.name == "watching"]
        before = _cpu_s(thread)
        marks = 0
        while time.monotonic() - begun < 3.0:
            world.marked()
            world.capture()
            marks += 1
        share = (_cpu_s(thread) - before) / (time.monotonic() - begun)
    finally:
        end.set()
        writer.join()
    assert marks <= 3.0 / RULE.at_most_s + 1, "captured more often than `at_most` asks for"
    assert share < 0.35, f"{share:.0%} of a processor"


def _cpu_s(thread: threading.Thread) -> float:
    fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_failed_capture_is_made_up_for(world: World) -> None:
    """What was named stays named until a capture succeeds; where another recoverd was at it, all is looked at."""
    (world.root / "a").mkdir()
    world.start()
    write(world.root / "a" / "x.json")
    world.marked()
    assert world.capture("failed") == {"m": Hints(frozenset({"a"}))}
    world.marked()
    assert world.capture("failed") == {"m": Hints(frozenset({"a"}))}
    world.marked()
    assert world.capture("failed", busy=True) == {"m": Hints(frozenset({"a"}))}
    assert world.marked() == "its last capture could not be made"
    assert world.capture() is None


def test_what_was_only_touched_is_looked_at_next_time(world: World) -> None:
    """It makes no capture by itself, and is part of the next one."""
    (world.root / "a").mkdir()
    world.start()
    write(world.root / "x.json")
    world.marked()
    world.capture("unchanged", touched={"m": Hints(frozenset({"b"}))})
    assert world.watcher is not None
    write(world.root / "a" / "x.json")
    assert world.told().directories >= {"a", "b"}


def test_everything_is_looked_at_now_and_then(world: World) -> None:
    """Events can miss something: a memory-mapped writer, a mount over a directory."""
    world.rhythm = replace(RHYTHM, full_look_s=0.1)
    world.start()
    for _ in range(2):
        assert world.marked() == "everything is looked at now and then"
        assert world.capture() is None


@pytest.mark.parametrize("every_s", [None, 3600.0])
def test_what_can_not_be_watched_is_looked_at(
    world: World, every_s: float | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Limits: said once with what helps, and polled, by `every` where there is one; watched when that is possible."""
    for number in range(5):
        (world.root / str(number)).mkdir()
    monkeypatch.setattr(watches, "MOST_WATCHES", 4)
    world.rhythm = replace(RHYTHM, look_s=0.05, full_look_s=0.3)
    world.service = replace(world.service, autosave=Autosave(every_s=every_s, on_change=RULE))
    world.watcher = Watcher([world.service], world.marks.put, world.rhythm)
    world.watcher.start()
    assert world.marked() == "it can't be watched: it has more than 4 directories"
    assert world.capture() is None
    (state,) = world.watcher.state().values()
    assert (state.why, state.look_s) == ("it has more than 4 directories", every_s or 0.05)
    assert world.watcher.unchanged_since() == {}
    if every_s is None:
        for _ in range(3):
            assert world.marked() == "it can't be watched"
            assert world.capture() is None
    monkeypatch.setattr(watches, "MOST_WATCHES", 400)
    while world.watcher.state()["s"].why is not None:
        world.marked()
        assert world.capture() is None
    assert [one.message for one in caplog.records if "can't be watched" in one.message] == [
        f"s can't be watched and is looked at every {'1 h' if every_s else '50 ms'}: it has more than 4 directories"
    ]


def test_unchanged_is_what_is_known_to_be_so(world: World) -> None:
    """A watched service is confirmed only from a snapshot on, and no longer when anything was seen."""
    world.start()
    assert world.watcher is not None
    assert world.watcher.unchanged_since() == {"s": 1}
    write(world.root / "x.json")
    world.marked()
    assert world.watcher.unchanged_since() == {}
    world.watcher.take(["s"])
    assert world.watcher.unchanged_since() == {}
    world.watcher.done(["s"], [ServiceSnapshot("s", "saved", sequence=2)])
    assert world.watcher.unchanged_since() == {"s": 2}


def test_a_stop_tells_what_is_left(world: World) -> None:
    """What happened just before the end is read, and told, though it was not due yet."""
    world.service = replace(world.service, autosave=Autosave(on_change=OnChange(600, 600)))
    world.start()
    write(world.root / "x.json")
    assert world.watcher is not None
    assert world.watcher.stop() == {"s"}
    assert world.watcher.stop() == frozenset()


def test_what_is_unmounted_is_looked_at(tmp_path: Path) -> None:
    """IN_UNMOUNT: what lies in the place of a file system that is gone is looked at and watched."""
    script = tmp_path / "inside.py"
    script.write_text(_UNMOUNTING)
    inside = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, str(script), str(tmp_path / "item")]
    (tmp_path / "item" / "sub" / "below").mkdir(parents=True)
    done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip("nothing can be mounted here")
    assert (done.returncode, done.stdout.split()) == (0, ["sub", "sub/below"]), done.stderr


_UNMOUNTING = """
import subprocess, sys
from recoverd.config.model import ItemKind, Place, Service, StateItem
from recoverd.scheduler.news import News
from recoverd.scheduler.watches import Watches

root = sys.argv[1]
if subprocess.run(["mount", "-t", "tmpfs", "none", f"{root}/sub"], capture_output=True).returncode:
    sys.exit(77)
service = Service("s", Place("f", 1, 1), state={"m": StateItem("m", ItemKind.DIRECTORY, root)})
watches = Watches(service)
watches.start()
assert len(watches) == 2
subprocess.run(["umount", f"{root}/sub"], check=True)
news = News()
while watches.read(news):
    pass
print(*news.hints()["m"].subtrees)
assert len(watches) == 3
news = News()
open(f"{root}/sub/below/x", "w").close()
while watches.read(news):
    pass
print(*news.hints()["m"].directories)
"""
