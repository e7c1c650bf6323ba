"""The repository by itself, cut after each call and after each thing that it reports: fast, and without the catalog.

What the cuts of real commands find by chance is tried here in full: each sync that is left out is missed (see also
tests/crash/mutation, which takes them out).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recoverd.repository.pruning import prune
from recoverd.repository.records import ItemRecord, SnapshotDraft, SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.repository.trees import Entry
from recoverd.repository.writer import Writer
from recoverd.values import replace
from tests.crash.lost_writes import choices as left
from tests.crash.lost_writes.disk import Choice, Directory, File, Image
from tests.crash.lost_writes.house import contents
from tests.crash.lost_writes.recording import Recorder
from tests.crash.lost_writes.watching import watch


class Killed(BaseException):
    """The process is dead: none of its calls reaches the disk any more."""


@dataclass
class Bench:
    """A repository whose every step is followed. `must`: what was reported, and is not being deleted."""

    base: Path
    patch: pytest.MonkeyPatch
    repository: Repository = field(init=False)
    must: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    known: dict[str, Mapping[str, bytes]] = field(default_factory=dict)  # all that was ever begun
    pinned: dict[str, bool] = field(default_factory=dict)
    failures: int | None = None  # in the service record
    highest: int = 0
    tried: int = 0
    calls: int = 0
    kill_after: int = -1  # so many calls: then this process does nothing any more
    only_reported: bool = False  # cut only then
    seen: set[tuple[tuple[str, bytes], ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.state = self.base / "state"
        self.state.mkdir()
        self.scratch = self.base / "cut"
        self.recorder: Recorder = watch(self.state, self.patch, self._seen, self._before)

    def create(self) -> None:
        Repository.create(str(self.state / "repository"))
        self.repository = self.open(self.state)

    def open(self, state: Path) -> Repository:
        return Repository.open(str(state / "repository"), state_dir=str(state))

    # --- what is done and reported

    def capture(self, *numbers: int) -> None:
        """One snapshot of each service, in one commit."""
        services = {f"s{at}": number for at, number in enumerate(numbers)}
        with self.repository.writer(wait_s=0, what="a test") as writer:
            drafts = [_draft(writer, service, number) for service, number in services.items()]
            begun = {
                f"{one.service}/{self.repository.next_sequence(one.service)}": services[one.service] for one in drafts
            }
            self.known |= {name: _files(number) for name, number in begun.items()}
            made = writer.commit(drafts)
            assert {one.id for one in made} == begun.keys()
            self.must |= {one.id: self.known[one.id] for one in made}
            self.highest = max(self.highest, *(one.sequence for one in made))
        self.reported()

    def prune(self, *doomed: str) -> None:
        for name in doomed:
            del self.must[name]
        by_service: dict[str, list[int]] = {}
        for name in doomed:
            by_service.setdefault(name.partition("/")[0], []).append(int(name.partition("/")[2]))
        with self.repository.writer(wait_s=0, what="a test") as writer:
            prune(self.repository, writer, by_service)
        self.reported()
        for name in doomed:  # deleted for good
            del self.known[name]
        self.reported()

    def pin(self, name: str, pinned: bool) -> None:
        self.pinned.pop(name, None)
        service, _, sequence = name.partition("/")
        self.repository.set_marks(service, int(sequence), lambda marks: replace(marks, pinned=pinned))
        self.pinned[name] = pinned
        self.reported()

    def fail(self, times: int) -> None:
        self.failures = None
        self.repository.update_record("s0", lambda record: replace(record, failures=times))
        self.failures = times
        self.reported()

    # --- cutting

    def reported(self) -> None:
        self.recorder.compare()
        self._seen("reported", "")

    def _before(self) -> None:
        if self.calls == self.kill_after:
            raise Killed

    def killed(self, after: int, work: Callable[[], object]) -> bool:
        """Do `work`, and die after so many calls; whether it came to that. What was about to be reported was not."""
        must, self.calls, self.kill_after = dict(self.must), 0, after
        self.only_reported = True
        try:
            work()
        except Killed:
            self.must = {name: must[name] for name in must.keys() & self.must.keys()}
            self.kill_after = -1
            _release_locks(self.state)
            return True
        self.kill_after = -1
        return False

    def _seen(self, call: str, path: str) -> None:
        self.calls += call != "reported"
        if self.only_reported and call != "reported":
            return
        serial = self.recorder.disk.serial
        kinds = [left.NOTHING, left.NAMES, left.ZEROS, left.REMOVALS, left.CREATIONS]
        for choice in [*kinds, *(left.late(serial - back) for back in range(4))]:
            self._try(choice, call, path)

    def _try(self, choice: Choice, call: str, path: str) -> None:
        image = self.recorder.disk.image(choice)
        facts = repr((sorted(self.must), sorted(self.known), self.pinned, self.failures)).encode()
        key = (("", facts), *sorted((name, data) for name, (_, data) in image.items()))
        if key in self.seen:
            return
        self.seen.add(key)
        self.tried += 1
        with self.patch.context() as quiet:
            quiet.setattr(self.recorder, "seen", lambda call, path: None)
            try:
                self._examine(image)
            except Exception as error:
                raise AssertionError(f"cut after {call} {path}, left: {choice.title}: {error}") from error

    def _examine(self, image: Image) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        for name, (node, data) in sorted(image.items()):
            place = self.scratch / name
            if isinstance(node, Directory):
                place.mkdir()
            elif isinstance(node, File):
                place.write_bytes(data)
        if not (self.scratch / "repository" / "format.json").exists():
            assert not self.must, "the repository is lost"
            return
        with self.open(self.scratch) as repository:
            found = {name: one[1]["main root"] for name, one in contents(repository).items()}
            assert self.must.keys() <= found.keys(), f"lost: {sorted(self.must.keys() - found.keys())}"
            assert all(self.known.get(name) == files for name, files in found.items()), "another content"
            for service in ("s0", "s1"):
                assert not found or repository.next_sequence(service) >= 1
            assert repository.next_sequence("s0") > self.highest
            for name, pinned in self.pinned.items():
                service, _, sequence = name.partition("/")
                assert name not in self.must or repository.marks(service, int(sequence)).pinned is pinned, name
            if self.failures is not None:
                assert repository.record("s0").failures == self.failures


def _release_locks(state: Path) -> None:
    """What the kernel does for a process that is gone."""
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{fd}")
            if path.startswith(str(state)) and path.endswith("lock"):
                os.close(int(fd))


def _files(number: int) -> dict[str, bytes]:
    return {"same": b"s" * 2000, "own": b"%d" % number * 2000, "large": b"%d" % (number // 2) * 150_000}


def _draft(writer: Writer, service: str, number: int) -> SnapshotDraft:
    entries = [
        Entry(name, "file", 0o600, 0, 0, "", "", len(data), 0, writer.put(data))
        for name, data in _files(number).items()
    ]
    tree = writer.put_tree(entries)
    item = ItemRecord("directory", "/srv/x", tree, tree, len(entries), 1, "ok")
    return SnapshotDraft(service, number, "boot", "host", SnapshotVerdict.OK, {"main": item})


@contextmanager
def new_bench(*, create: bool = True) -> Iterator[Bench]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    base = Path(tempfile.mkdtemp(prefix="recoverd-", dir=memory))
    try:
        with pytest.MonkeyPatch.context() as patch:
            made = Bench(base, patch)
            if create:
                made.create()
            yield made
            made.repository.close()
    finally:
        shutil.rmtree(base)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with new_bench() as made:
        yield made


def test_a_snapshot_is_durable_before_it_is_reported(bench: Bench) -> None:
    """Promise 6: pack, its directory and the directory above, record and its directories."""
    bench.capture(0)
    bench.capture(1)
    bench.capture(1, 2)
    assert bench.tried > 60


def test_a_deleted_snapshot_never_comes_back_without_its_data(bench: Bench) -> None:
    """Promise 3: records are gone for good before packs go, and their sequences are not used again."""
    for number in range(4):
        bench.capture(number, number)
    bench.prune("s0/1", "s1/1", "s0/2")
    bench.prune("s0/4")  # the newest
    bench.capture(9)
    bench.prune("s0/3", "s1/2", "s1/3", "s1/4")
    assert bench.tried > 150


def test_marks_and_service_records_are_durable_before_they_are_reported(bench: Bench) -> None:
    bench.capture(0, 1)
    bench.pin("s0/1", True)
    bench.fail(1)
    bench.fail(2)
    bench.pin("s0/1", False)
    bench.pin("s1/1", True)
    assert bench.tried > 60


# What is killed; what then finds things as they were left and reports success. The service s0 has three snapshots.
BUILDING_ON: dict[str, tuple[Callable[[Bench], object], Callable[[Bench], object]]] = {
    "a snapshot, then another": (lambda bench: bench.capture(9, 9), lambda bench: bench.capture(8, 8)),
    "a snapshot, then the same": (lambda bench: bench.capture(9, 9), lambda bench: bench.capture(9, 9)),
    "a snapshot, then its pin": (lambda bench: bench.capture(9), lambda bench: bench.pin("s0/4", True)),
    "a pin, then the same": (lambda bench: bench.pin("s0/1", True), lambda bench: bench.pin("s0/1", True)),
    "a service record, then the same": (lambda bench: bench.fail(5), lambda bench: bench.fail(5)),
    "a prune, then another": (lambda bench: bench.prune("s0/1", "s0/2"), lambda bench: bench.prune()),
}


@pytest.mark.parametrize("title", BUILDING_ON)
def test_what_a_killed_process_did_is_durable_before_others_build_on_it(title: str, torture: Any) -> None:
    """Promises 3 and 6: a kill, a command that finds what it left and reports success, then the power fails. What was
    seen after the kill was not durable yet."""
    killed, then = BUILDING_ON[title]
    count = 0
    for at in torture.sample(range(_calls_of(killed)), 5):
        with new_bench() as bench:
            _begin(bench)
            assert bench.killed(at, lambda bench=bench: killed(bench))  # type: ignore[misc]
            bench.repository = bench.open(bench.state)
            if "its pin" in title:
                if 4 not in bench.repository.sequences("s0"):
                    continue
                bench.must["s0/4"] = bench.known["s0/4"]
            bench.tried = 0
            then(bench)
            bench.reported()
            count += bench.tried
    torture.tell(count, "disks", f"left by a kill and a cut after {title}: nothing lost")
    assert count


def _begin(bench: Bench) -> None:
    bench.only_reported = True
    for number in range(3):
        bench.capture(number)


def _calls_of(work: Callable[[Bench], object]) -> int:
    """How many calls it makes."""
    with new_bench() as bench:
        _begin(bench)
        assert not bench.killed(10**9, lambda: work(bench))
        return bench.calls


def test_a_repository_whose_creation_was_killed_is_durable_with_its_first_snapshot() -> None:
    """Promise 6: a directory that was made and not synced is lost with all that was put there later."""
    count, died = 0, True
    while died:
        with new_bench(create=False) as bench:
            died = bench.killed(count, bench.create)
            if not (bench.state / "repository" / "format.json").exists():
                bench.create()
            bench.repository = bench.open(bench.state)
            bench.capture(0, 1)
            bench.pin("s0/1", True)
            bench.fail(1)
            count += 1
    assert count > 15
