"""What is measured: each plan is rounds of phases, and in each phase all tools come one after the other.

The first round of a plan warms up: its times are thrown away, and its calls that wait for the disk are counted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import ours, peers
from benchmarks.databases import MOST_NEW_BYTES, Database, bytes_below
from benchmarks.databases import fingerprint as fingerprint_of_rows
from benchmarks.documents import Documents, fingerprint
from benchmarks.measure import Failed, Meter, Work
from benchmarks.results import Row, Sample
from benchmarks.tools import SAVES, Phase, Tool

SETTLE_S = 62.0  # recoverd believes a stat only of a file that was left alone for a minute before a capture saw it
WRITTEN_S = 0.1  # what was written within 20 ms is still being written, for recoverd
LEFT_ALONE_S = 1.5  # a database of 200 MB is read in its place after 1 s without a write, else it is copied


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    documents: int = 10_000
    directories: int = 100
    few: int = 100  # documents of a small service
    many: int = 100_000
    many_directories: int = 1_000
    services: int = 100
    pages: int = 51_200  # of the database: 200 MB
    rounds: int = 5
    settle_s: float = SETTLE_S
    beside: bool = True  # the other tools are measured in all plans, else in the first only
    many_rounds: int = 1  # each takes minutes


UNTRACED = {"many"}  # what waits for the disk is the same as with fewer documents, and some tools crawl under strace
QUICK = Size(200, 4, 20, 300, 10, 5, 2_000, 1, 0.0, beside=False)


@dataclass(slots=True)
class Run:
    """One run of the benchmark on one file system."""

    place: Path
    size: Size
    traced: bool  # syncs can be counted
    alone: bool = False  # without the other tools
    tell: Callable[[str], None] = lambda _: None
    _samples: dict[tuple[str, str, str], list[Sample]] = field(default_factory=dict)
    _syncs: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def rows(self) -> tuple[Row, ...]:
        return tuple(Row(*key, tuple(samples), self._syncs.get(key)) for key, samples in self._samples.items())

    def rounds(self, most: int | None = None) -> Iterator[int]:
        """Round 0 warms up."""
        for number in range((most or self.size.rounds) + 1):
            self.tell(f"round {number} of {most or self.size.rounds}" if number else "warming up")
            yield number

    def do(self, plan: str, phase: str, tool: str, work: Work, number: int) -> None:
        """The work of one tool in one round. Raises Failed."""
        key = (plan, phase, tool)
        if number:
            self._samples.setdefault(key, []).append(Meter(self.place).measure(work))
        elif self.traced and plan not in UNTRACED:
            self._syncs[key] = work.syncs()
        else:
            work.measured()

    def do_phase(self, plan: str, phase: Phase, tools: Sequence[Tool], number: int, source: Path) -> None:
        """All tools, each round another one first; what they save lies at `source`. Raises Failed."""
        first = number % len(tools)
        for tool in (*tools[first:], *tools[:first]):
            work = tool.work(phase)
            if work is not None:
                if phase in SAVES:
                    read_all(source)
                self.do(plan, phase, tool.name, work, number)

    def settle(self) -> None:
        if self.size.settle_s:
            self.tell(f"waiting {self.size.settle_s:.0f} s, so that files count as quiet")
            Meter(self.place).sync()
            time.sleep(self.size.settle_s)

    def tools(self, plan: str, place: Path, source: Path, inside: ours.Inside | None = None) -> list[Tool]:
        """All that are there, each in a directory of its own."""
        made: list[Tool] = [ours.Recoverd(place / f"recoverd-{flag}", source, schema=flag) for flag in (False, True)]
        if inside is not None:
            made += [
                ours.Recoverd(place / f"inside-{flag}", source, schema=flag, inside=inside) for flag in (False, True)
            ]
            made.append(ours.CopyInside(place / "copytree", source, inside))
        if self.alone or not (self.size.beside or plan == "documents"):
            return made
        missing = peers.missing()
        for name, peer in (("restic", peers.Restic), ("borg", peers.Borg), ("rsync", peers.Rsync)):
            if name not in missing:
                made.append(peer(place / name, source))
        copies = [peers.Copy(place / f"copy-{flag}", source, synced=flag) for flag in (False, True)]
        return [*made, *copies, peers.Find(place / "find", source)]


def titles(size: Size) -> dict[str, str]:
    return {
        "documents": f"{size.documents:,} documents in {size.directories:,} directories",
        "few": f"{size.few:,} documents in one directory",
        "sqlite": f"one SQLite database of {size.pages:,} pages",
        "starting": f"commands that only answer, with {size.services:,} services",
        "boot": f"before {size.services:,} services start, each with 10 documents",
        "many": f"{size.many:,} documents in {size.many_directories:,} directories, measured once",
    }


def documents(run: Run) -> None:
    size = run.size
    _rounds(run, "documents", size.documents, size.directories, Phase.CHANGED, size.documents // 100, None)


def few(run: Run) -> None:
    """What a small service costs: by the command line, and inside a long-lived process."""
    inside = ours.Inside(run.place / "inside")
    try:
        _rounds(run, "few", run.size.few, 1, Phase.ONE, 1, inside)
    finally:
        inside.close()


def _rounds(
    run: Run, plan: str, count: int, directories: int, change: Phase, changed: int, inside: ours.Inside | None
) -> None:
    """Each round has a copy of the documents and new repositories; all copies are made first, and settle at once."""
    copies = []
    for number in range(run.size.rounds + 1):
        copies.append(Documents(run.place / f"{plan}-source-{number}", count, directories))
        copies[-1].write()
    run.settle()
    for number, copy in zip(run.rounds(), copies, strict=True):
        with _scratch(run.place / f"{plan}-{number}", copy.root) as place:
            tools = run.tools(plan, place, copy.root, inside)
            run.do_phase(plan, Phase.FIRST, tools, number, copy.root)
            run.do_phase(plan, Phase.UNCHANGED, tools, number, copy.root)
            copy.change(changed)
            time.sleep(WRITTEN_S)
            run.do_phase(plan, change, tools, number, copy.root)
            expected = fingerprint(copy.root)
            run.do_phase(plan, Phase.RESTORE, tools, number, copy.root)
            for tool in tools:
                if tool.restored is not None and fingerprint(tool.restored) != expected:
                    raise Failed(f"{tool.name} brought something else back")


def many(run: Run) -> None:
    """What it costs that there are many: the same documents and repositories in each round, other ones changed."""
    copy = Documents(run.place / "many-source", run.size.many, run.size.many_directories)
    copy.write()
    with _scratch(run.place / "many", copy.root) as place:
        tools = [tool for tool in run.tools("many", place, copy.root) if not isinstance(tool, peers.Copy)]
        _untimed(tools, Phase.FIRST)
        for number in run.rounds(run.size.many_rounds):
            run.settle()
            # What had changed in the last minute before a capture is looked at once more by the next.
            _untimed([tool for tool in tools if isinstance(tool, ours.Recoverd)], Phase.UNCHANGED)
            run.do_phase("many", Phase.UNCHANGED, tools, number, copy.root)
            for phase, count in ((Phase.ONE, 1), (Phase.CHANGED, run.size.many // 100)):
                copy.change(count)
                time.sleep(WRITTEN_S)
                run.do_phase("many", phase, tools, number, copy.root)


def _untimed(tools: Sequence[Tool], phase: Phase) -> None:
    for tool in tools:
        work = tool.work(phase)
        if work is not None:
            work.measured()


def sqlite(run: Run) -> None:
    """One large database, of which some pages change at random: what is stored is bounded besides."""
    sources = []
    for number in range(run.size.rounds + 1):
        sources.append(Database(run.place / f"sqlite-source-{number}", run.size.pages))
        sources[-1].write()
    run.settle()
    for number, source in zip(run.rounds(), sources, strict=True):
        with _scratch(run.place / f"sqlite-{number}", source.root) as place:
            own = ours.RecoverdDatabase(place / "recoverd", source.root, source.path)
            tools: list[Tool] = [own]
            missing = peers.missing()
            beside = () if run.alone or not run.size.beside else (("restic", peers.Restic), ("borg", peers.Borg))
            tools += [peer(place / name, source.root) for name, peer in beside if name not in missing]
            run.do_phase("sqlite", Phase.FIRST, tools, number, source.root)
            run.do_phase("sqlite", Phase.UNCHANGED, tools, number, source.root)
            source.change(run.size.pages // 100)
            with source.in_use():
                run.do_phase("sqlite", Phase.IN_USE, tools, number, source.root)
            source.change(run.size.pages // 100)
            time.sleep(LEFT_ALONE_S)
            before = bytes_below(own.packs)
            run.do_phase("sqlite", Phase.CHANGED, tools, number, source.root)
            added = bytes_below(own.packs) - before
            if added > MOST_NEW_BYTES:
                raise Failed(f"recoverd has stored {added} bytes where 1 % of the pages changed")
            run.tell(f"recoverd has stored {added} bytes for {run.size.pages // 100} changed pages")
            expected = fingerprint_of_rows(source.root)
            run.do_phase("sqlite", Phase.RESTORE, tools, number, source.root)
            for tool in tools:
                if tool.restored is not None and fingerprint_of_rows(tool.restored) != expected:
                    raise Failed(f"{tool.name} brought something else back")


def starting(run: Run) -> None:
    missing = peers.missing()
    with _scratch(run.place / "starting") as place:
        commands = ours.host_of_services(place, run.size.services)
        here = [one for one in commands if one.name.split()[0] not in missing]
        if run.alone:
            here = [one for one in here if one.name.split()[0] in {"recoverd", "python"}]
        for number in run.rounds():
            for one in here:
                run.do("starting", one.phase, one.name, one.work(), number)


def boot(run: Run) -> None:
    """How long services wait for recoverd when a machine starts."""
    with _scratch(run.place / "boot") as place:
        host = ours.Boot(place, run.size.services)
        run.settle()
        host.save()
        for number in run.rounds():
            run.do("boot", "good state", host.name, host.work(damaged=False), number)
            work = host.work(damaged=True)
            time.sleep(WRITTEN_S)
            run.do("boot", "damaged state", host.name, work, number)
            host.save()  # or the files just written count as not seen yet


def read_all(place: Path) -> None:
    """Have the kernel hold all files there: it may have taken back what nobody had read for a minute."""
    for path in place.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 20):
                    pass


@contextmanager
def _scratch(*places: Path) -> Iterator[Path]:
    """A directory that is gone afterwards, and others with it."""
    places[0].mkdir()
    yield places[0]
    for place in places:
        shutil.rmtree(place)


PLANS: Mapping[str, Callable[[Run], None]] = {
    "documents": documents,
    "few": few,
    "sqlite": sqlite,
    "starting": starting,
    "boot": boot,
    "many": many,
}
