"""Promise 11, without breaking 1 and 2: nothing is read that did not change, and nothing that changed is missed."""

from __future__ import annotations

import mmap
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Format, ItemKind, StateItem
from recoverd.recovery import documents
from recoverd.system import clock
from recoverd.system.mounts import is_memory_file_system
from recoverd.system.reading import read_stable

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

Wait = Callable[[float], None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wait:
    """Moves the clock that captures go by, so that what was written before is old enough to be believed."""
    fd = os.open(tmp_path, os.O_RDONLY)
    believed = not is_memory_file_system(fd)
    os.close(fd)
    if not believed:
        pytest.skip("temporary files lie in memory, where no stat is believed")
    real, shift = clock.now_ns, 0

    def wait(seconds: float) -> None:
        nonlocal shift
        shift += int(seconds * 1e9)

    monkeypatch.setattr(clock, "now_ns", lambda: real() + shift)
    return wait


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of documents that were read."""
    names: list[str] = []

    def counted(dir_fd: int, name: str, **how: object) -> object:
        names.append(name)
        return read_stable(dir_fd, name, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(documents, "read_stable", counted)
    return names


@pytest.fixture
def forest(house: House) -> House:
    """The house with one item: a directory of directories, all of it covered, opaque."""
    root = house.root / "forest"
    for place in ("", "a", "a/deep", "b"):
        (root / place).mkdir(exist_ok=True)
        for number in range(3):
            (root / place / f"{number}.txt").write_bytes(f"{place} {number}".encode())
    item = StateItem("forest", ItemKind.DIRECTORY, str(root), Format.OPAQUE)
    house.change(state={"forest": item})
    return house


def test_what_is_old_and_unchanged_is_not_read(house: House, later: Wait, read: list[str]) -> None:
    """The second look at old files opens none of them, and neither does an assessment."""
    later(120)
    house.snapshot()
    assert len(read) == 101
    read.clear()
    assert house.snapshot().outcome == "unchanged"
    assert house.verdict() == "ok"
    assert read == []


def test_what_is_young_is_read_again(house: House, read: list[str]) -> None:
    """Whatever the stat says: within a minute of a change, late times of memory-mapped writes may hide another."""
    house.snapshot()
    read.clear()
    assert house.snapshot().outcome == "unchanged"
    assert len(read) == 101


def test_a_full_read_believes_nothing_and_changes_nothing(house: House, later: Wait, read: list[str]) -> None:
    """As daily and at shutdown."""
    later(120)
    house.snapshot()
    read.clear()
    assert house.snapshot(full_read=True).outcome == "unchanged"
    assert len(read) == 101


def test_a_change_that_keeps_size_and_mtime_is_seen(house: House, later: Wait) -> None:
    """Its ctime can't be kept."""
    house.write(1)
    later(120)
    house.snapshot()
    before = house.state.stat()
    house.write(2)
    os.utime(house.state, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert house.state.stat().st_size == before.st_size
    assert house.snapshot().outcome == "saved"


def test_a_memory_mapped_change_is_seen(house: House) -> None:
    """The second store to a page that is dirty already moves no time stamp."""
    house.write(1)
    with open(house.state, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        at = mapped.find(b"1", mapped.find(b"counter"))
        mapped[at : at + 1] = b"2"
        assert house.snapshot().outcome == "saved"
        stamp = os.stat(house.state)
        mapped[at : at + 1] = b"3"
        quiet = os.stat(house.state).st_ctime_ns == stamp.st_ctime_ns
        assert house.snapshot().outcome == "saved", f"missed, times moved: {not quiet}"


def test_a_touch_makes_no_snapshot(house: House, later: Wait) -> None:
    """Nor does it change a verdict: of good files, and of damaged ones."""
    house.snapshot()
    house.state.write_bytes(b"{")
    later(120)
    assert house.snapshot().outcome == "invalid"
    for path in (house.state, *house.tasks.iterdir(), house.tasks):
        os.utime(path)
    assert house.snapshot().outcome == "unchanged"
    assert house.verdict() == "corrupt"
    assert len(house.list()) == 2


@pytest.mark.parametrize("what", ["chmod", "chown", "setxattr"])
def test_a_change_of_metadata_is_one(house: House, later: Wait, what: str) -> None:
    """Of a file, and of a directory."""
    later(120)
    house.snapshot()
    for path in (house.tasks / "task-001.json", house.tasks):
        try:
            if what == "chmod":
                path.chmod(0o700)
            elif what == "chown":
                os.chown(path, 12345, 12345)
            else:
                os.setxattr(path, "user.note", b"one")
        except OSError as error:
            pytest.skip(f"can't {what} here: {error}")
        assert house.snapshot().outcome == "saved"
        assert house.snapshot().outcome == "unchanged"


def test_equal_content_under_a_new_inode_makes_no_snapshot(house: House, later: Wait) -> None:
    """Many services write all they have, changed or not, and rename it into place."""
    later(120)
    house.snapshot()
    fresh = house.root / "fresh"
    shutil.copy(house.state, fresh)
    fresh.rename(house.state)
    assert house.snapshot().outcome == "unchanged"


def test_a_change_below_reads_nothing_beside_it(forest: House, later: Wait, read: list[str]) -> None:
    """Directories around it are reused whole, and what comes of that is what a full read finds."""
    later(120)
    forest.snapshot()
    read.clear()
    (forest.root / "forest" / "a" / "deep" / "1.txt").write_bytes(b"other")
    assert forest.snapshot().outcome == "saved"
    assert read == ["1.txt"]
    assert forest.snapshot(full_read=True).outcome == "unchanged"


def test_a_directory_that_comes_or_goes_is_seen(forest: House, later: Wait) -> None:
    """Also an empty one, and one whose parent is old."""
    root = forest.root / "forest"
    later(120)
    forest.snapshot()
    (root / "b" / "empty").mkdir()
    assert forest.snapshot().outcome == "saved"
    later(120)
    assert forest.snapshot().outcome == "unchanged"
    (root / "b" / "empty").rmdir()
    assert forest.snapshot().outcome == "saved"
    shutil.rmtree(root / "a")
    assert forest.snapshot().outcome == "saved"
    assert forest.snapshot(full_read=True).outcome == "unchanged"


def test_a_name_that_is_not_covered_does_not_keep_the_cache_from_growing_old(
    house: House, later: Wait, read: list[str]
) -> None:
    """A lock file that comes and goes moves the directory's mtime at every look, and is no reason to read."""
    house.snapshot()  # all files are young
    for _ in range(3):
        later(120)
        (house.tasks / "lock").write_bytes(b"")
        (house.tasks / "lock").unlink()
        read.clear()
        assert house.snapshot().outcome == "unchanged"
    assert read == []


def test_a_catalog_that_is_gone_costs_a_read_and_nothing_else(house: House, later: Wait, read: list[str]) -> None:
    """Verdicts, known-good versions and "unchanged" do not hang on it."""
    good = (house.tasks / "task-001.json").read_bytes()
    later(120)
    house.snapshot()
    (house.tasks / "task-001.json").write_bytes(b"{")
    house.snapshot()
    house.context.repository().close()
    house.reopen()
    for path in house.state_dir.glob("catalog.sqlite*"):
        path.unlink()
    read.clear()
    assert house.snapshot().outcome == "unchanged"
    assert len(read) == 101
    assert house.restore().outcome == "restored"
    assert (house.tasks / "task-001.json").read_bytes() == good


def test_rows_of_another_kind_are_dropped(house: House, later: Wait, read: list[str]) -> None:
    """Bytes in the stat cache that are no row cost a read."""
    later(120)
    house.snapshot()
    catalog = house.context.repository().catalog
    for key in ("app/main", "app/tasks"):
        rows = catalog.stat_cache(key)
        catalog.save_stat_cache(key, {below: data[:-1] for below, data in rows.items()})
    read.clear()
    assert house.snapshot().outcome == "unchanged"
    assert len(read) == 101


def test_a_new_schema_judges_everything_again(house: House, later: Wait) -> None:
    """Nothing changed on disk, and yet it is not ok any more: rows belong to what judged them."""
    later(120)
    house.snapshot()
    tasks = replace(house.service.state["tasks"], schema=house.schema({"required": ["id", "owner"]}))
    house.change(state={**house.service.state, "tasks": tasks})
    assert house.verdict() == "corrupt"


def test_state_in_memory_is_never_believed(house: House, later: Wait, read: list[str]) -> None:
    """Memory file systems do not move times for memory-mapped writes at all."""
    base = Path("/dev/shm")
    if not base.is_dir() or not os.access(base, os.W_OK):
        pytest.skip("there is no /dev/shm to write to")
    fd = os.open(base, os.O_RDONLY)
    memory = is_memory_file_system(fd)
    os.close(fd)
    if not memory:
        pytest.skip("/dev/shm is no memory file system here")
    place = base / f"recoverd-test-{os.getpid()}"
    place.mkdir()
    try:
        (place / "one.json").write_text("{}")
        house.change(state={"shm": StateItem("shm", ItemKind.DIRECTORY, str(place), Format.JSON)})
        later(120)
        house.snapshot()
        read.clear()
        assert house.snapshot().outcome == "unchanged"
        assert read == ["one.json"]
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_was_wrong_hides_nothing(house: House, later: Wait, hours: int) -> None:
    """Captured under a wrong clock, changed under the right one: seen."""
    later(hours * 3600)
    house.write(1)
    house.snapshot()
    later(-hours * 3600)
    house.write(2)
    assert house.snapshot().outcome == "saved"
    house.state.write_bytes(b"{")
    assert house.verdict() == "corrupt"


def test_notes_stay_when_a_file_is_read_again(house: House) -> None:
    """A duplicate key is told in every assessment, from the cache or not."""
    house.state.write_bytes(b'{"version": "1", "counter": 1, "counter": 2}')
    told = []
    for _ in range(3):
        told.append([str(note) for note in house.assess().services[0].items["main"].notes])
        house.snapshot()
    assert len(told[0]) == 1
    assert told[1:] == told[:1] * 2


def test_hard_links_within_and_across_directories(forest: House, later: Wait) -> None:
    """They are one file when they come back, old or not; a change through one name is a change of both."""
    root = forest.root / "forest"
    os.link(root / "a" / "0.txt", root / "a" / "same.txt")
    os.link(root / "a" / "0.txt", root / "b" / "same.txt")
    later(120)
    forest.snapshot()
    assert forest.snapshot().outcome == "unchanged"
    (root / "b" / "same.txt").write_bytes(b"changed")
    assert forest.snapshot().outcome == "saved"
    shutil.rmtree(root)
    assert forest.restore().outcome == "restored"
    names = [root / "a" / "0.txt", root / "a" / "same.txt", root / "b" / "same.txt"]
    assert {name.read_bytes() for name in names} == {b"changed"}
    assert len({name.stat().st_ino for name in names}) == 1
    os.unlink(root / "b" / "same.txt")
    (root / "b" / "same.txt").write_bytes(b"changed")  # the same bytes, another file
    assert forest.snapshot().outcome == "saved"


def test_an_idle_service_writes_nothing(house: House, later: Wait) -> None:
    """Confirmations live in the runtime directory and reach the disk hourly: flash memory is spared."""

    def traces() -> dict[str, tuple[int, int, int]]:
        found = {}
        for path in sorted(house.state_dir.rglob("*")):
            status = path.stat()
            if not path.name.endswith("-shm"):  # shared memory of SQLite, never synced
                found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return found

    later(120)
    house.snapshot()
    later(61)
    house.snapshot()  # reaches the disk: the first confirmation
    before = traces()
    confirmed = []
    for _ in range(5):
        later(60)
        assert house.snapshot().outcome == "unchanged"
        confirmed.append(house.list()[0].confirmed_ns or 0)
    assert traces() == before
    assert confirmed == sorted(set(confirmed))
    later(3600)
    house.snapshot()
    assert traces() != before


def test_a_confirmation_from_the_future_does_not_stand_for_ever(house: House, later: Wait) -> None:
    """The clock was a year ahead for a moment: the record on disk is put right at once, not in a year."""
    house.snapshot()
    later(365 * 86400)
    house.snapshot()
    later(-365 * 86400)
    house.snapshot()
    record = house.context.repository().record("app")
    assert record.confirmed_ns is not None
    assert abs(record.confirmed_ns - time.time_ns()) < 600e9


def test_everything_is_read_once_a_day(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that no stat shows is found by the daily full read at the latest."""
    from recoverd.operations import full_read
    from recoverd.operations import snapshot as capturing
    from recoverd.recovery.survey import survey_service as real

    house.snapshot()
    read: list[bool] = []

    def survey(*words: object, full_read: bool, **more: object) -> object:
        read.append(full_read)
        return real(*words, full_read=full_read, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(capturing, "survey_service", survey)
    house.snapshot()
    now = clock.now_ns()
    monkeypatch.setattr(clock, "now_ns", lambda: now + full_read.FULL_READ_EVERY_NS + 1)
    house.snapshot()
    house.snapshot()
    monkeypatch.setattr(clock, "now_ns", lambda: now - 3600 * 10**9)  # the clock was set back: better once too often
    house.snapshot()
    assert read == [False, True, False, True]
