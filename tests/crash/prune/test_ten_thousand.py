"""Ten thousand snapshots, one every 30 s of simulated time, with 1 % of a thousand documents changed in each.

Under the default retention everything stays flat: files, bytes beside those that are needed, the catalog, and the
times of the next snapshot and of prune.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from recoverd.config.model import Retention
from recoverd.repository import retention
from recoverd.repository.pruning import AUTOMATIC, prune
from recoverd.repository.reachability import needed_by_all
from recoverd.repository.repack_plan import FAN
from recoverd.repository.trees import Entry
from recoverd.values import dataclass, replace

EVERY_NS = 30 * 1_000_000_000
DEFAULT = Retention(last=10, hourly=24, daily=14)
START_NS = 1_700_000_000 * 1_000_000_000
TIERS = 8  # of packs below `small_bytes`, from some hundred bytes on
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """One moment of the simulation; times are of the snapshots since the figures before, and the processor's: what else
    the machine does is not measured."""

    packs: int
    files: int
    bytes_per_needed: float
    catalog_bytes_per_object: float
    snapshot_s: float
    prune_s: float


class Service:
    """A thousand documents, and a repository that keeps them."""

    def __init__(self, bench: Any, chance: random.Random, documents: int) -> None:
        self.bench = bench
        self.chance = chance
        self.entries: dict[int, Entry] = {}
        self.contents: dict[int, bytes] = {}
        self.documents = documents
        self.time_ns = START_NS
        self.captured_bytes = self.rewritten_bytes = 0
        self.snapshot_s: list[float] = []
        self.prune_s: list[float] = []

    def live(self) -> None:
        """Change one document in a hundred, take a snapshot, prune."""
        self.time_ns += EVERY_NS
        every = range(self.documents)
        changed = self.chance.sample(every, max(1, self.documents // 100)) if self.entries else every
        for number in changed:
            self.contents[number] = self._document(number)
        started = time.process_time()
        with self.bench.repository.writer(wait_s=0, what="a snapshot") as writer:
            for number in changed:
                data = self.contents[number]
                entry = self.bench.file(f"task-{number:05}.json", writer.put(data), len(data))
                self.entries[number] = replace(entry, mtime_ns=self.time_ns)
            below = self.bench.directory("state", writer.put_tree(list(self.entries.values())))
            made = self.bench.commit(writer, writer.put_tree([below]), time_ns=self.time_ns)
        self.captured_bytes += made.new_bytes
        captured = time.process_time()
        self.snapshot_s.append(captured - started)
        self._prune()
        self.prune_s.append(time.process_time() - captured)

    def _prune(self) -> None:
        repository = self.bench.repository
        with repository.writer(wait_s=0, what="a prune") as writer:
            decided = retention.decide(
                DEFAULT,
                [retention.Candidate(one.sequence, one.time_ns) for one in repository.snapshots("svc")],
                now_ns=self.time_ns,
                protected={},
            )
            doomed = [one.sequence for one in decided if not one.keep]
            if doomed:
                done = prune(repository, writer, {"svc": doomed}, automatic=True)
                assert (done.kept_data, done.notes) == (None, ())
                self.rewritten_bytes += done.packs.written_bytes

    def _document(self, number: int) -> bytes:
        chance = self.chance
        words = " ".join(chance.choices(("check", "repair", "send", "the", "second", "pump", "again"), k=12))
        return json.dumps(
            {
                "id": number,
                "status": chance.choice(["pending", "running", "completed"]),
                "title": words,
                "token": f"{chance.getrandbits(128):032x}",
                "samples": [chance.randrange(1000) for _ in range(12)],
            }
        ).encode()

    def figures(self) -> Figures:
        repository = self.bench.repository
        with repository.writer(wait_s=0, what="a test") as writer:
            packs = repository.catalog.reach.figures(needed_by_all(repository, writer, {}))
        needed = sum(pack.live_bytes for pack in packs)
        statistics = repository.statistics()
        found = Figures(
            statistics.packs,
            statistics.files,
            sum(pack.size_bytes for pack in packs) / needed,
            catalog_bytes(self.bench.state_dir) / len(self.bench.objects()),
            median(self.snapshot_s),
            sum(self.prune_s) / len(self.prune_s),
        )
        self.snapshot_s.clear()
        self.prune_s.clear()
        return found


def catalog_bytes(state_dir: Path) -> int:
    return sum(path.stat().st_size for path in state_dir.glob("catalog.sqlite*"))


def test_everything_stays_flat(make: Callable[[], Any], torture: Any) -> None:
    """Promise 11: a snapshot every 30 s for days leaves few files, little waste and a small catalog, and costs what it
    did on the first day. Flash memory: what is rewritten stays a fraction of what is captured."""
    snapshots, documents, every = (10_000, 1_000, 100) if torture.full else (300, 200, 10)
    service = Service(make(), torture.random, documents)
    moments: list[Figures] = []
    longest_s = 0.0
    for number in range(1, snapshots + 1):
        service.live()
        longest_s = max(longest_s, service.prune_s[-1])
        if number % every == 0:
            moments.append(service.figures())
    tenth = len(moments) // 10
    before, after = moments[tenth : 2 * tenth], moments[-tenth:]

    assert max(one.packs for one in moments) <= AUTOMATIC.young + TIERS * (FAN - 1)
    assert max(one.files - one.packs for one in moments) <= 10 + 24 + 14
    assert max(one.bytes_per_needed for one in moments) <= 2 + 2 * AUTOMATIC.waste_share
    assert _grown("packs", before, after) <= 1.5
    assert _grown("bytes_per_needed", before, after) <= 1.5  # at first nearly nothing has died
    if torture.full:  # below, the journal outweighs what the catalog holds, and times are noise
        assert _grown("catalog_bytes_per_object", before, after) <= 1.25
        assert _grown("snapshot_s", before, after) <= 3
        assert _grown("prune_s", before, after) <= 4
    assert service.rewritten_bytes <= 0.5 * service.captured_bytes

    newest = service.bench.repository.newest("svc")
    held = service.bench.files(newest.items["main"].root)
    assert held == {f"state/task-{number:05}.json": data for number, data in service.contents.items()}
    assert service.bench.reachable() <= service.bench.objects().keys()

    first, last = ({name: median(getattr(x, name) for x in group) for name in _NAMES} for group in (before, after))
    shown = ", ".join(f"{name} {first[name]:.4g} -> {last[name]:.4g}" for name in _NAMES)
    written = service.rewritten_bytes / service.captured_bytes
    torture.tell(
        snapshots,
        "snapshots of simulated time",
        f"{shown}; longest prune {longest_s:.2f} s; {service.captured_bytes / MIB:.1f} MiB captured,"
        f" {written:.2f} times that rewritten",
    )


_NAMES = ("packs", "files", "bytes_per_needed", "catalog_bytes_per_object", "snapshot_s", "prune_s")


def _grown(name: str, before: list[Figures], after: list[Figures]) -> float:
    values = [median(getattr(one, name) for one in group) for group in (before, after)]
    return float(values[1] / values[0])
