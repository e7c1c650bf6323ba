"""Services, a repository and real `recoverd` commands, recorded; and what must hold on any disk that a cut leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blake3 import blake3

import recoverd
from recoverd.operations.context import Context
from recoverd.operations.opening import open_context
from recoverd.operations.prune import PruneRequest, prune
from recoverd.operations.snapshot import SnapshotRequest, snapshot
from recoverd.repository.objects import Reader
from recoverd.repository.records import Snapshot
from recoverd.repository.store import Repository
from tests.crash.lost_writes.choices import EVERYTHING
from tests.crash.lost_writes.disk import Choice, Directory, Disk, File, Image, Node, Symlink, load
from tests.crash.lost_writes.recording import Recorder, record

RECOVERD = [sys.executable, "-m", "recoverd"]
PACKAGE = str(Path(recoverd.__file__).parents[1])  # the one under test also where another one is installed
_RECORD = re.compile(r"repository/snapshots/([^/]+)/([0-9]{12})\.json")
_CONFIG = """\
services:
  notes:
    root: {app}
    state:
      main: {{file: state.json, format: json}}
      tasks: {{directory: tasks, include: ["*.json"], format: json, optional: true}}
      big: {{file: big.bin, optional: true}}
    retention: {{last: 3, keep_invalid: 1}}
  other:
    root: {app}
    state: {{page: {{file: page.txt}}}}
    retention: {{last: 2}}
"""

Content = dict[str, dict[str, bytes]]  # state item and tree -> path -> bytes


@dataclass(frozen=True)
class Facts:
    """What commands have reported so far, and so must hold after any cut from now on."""

    saved: frozenset[str] = frozenset()  # snapshots that were reported and that nobody began to delete
    pinned: frozenset[str] = frozenset()
    unpinned: frozenset[str] = frozenset()
    highest: Mapping[str, int] = field(default_factory=dict)  # sequence that was ever reported, by service
    paused: bool | None = None  # notes; None: not known, or being changed


class Killed(Exception):
    """The replay has come to the call after which the process is dead."""


@dataclass(frozen=True)
class Stored:
    """A file of an image: its bytes are kept once, under their hash."""

    content: bytes
    node: File


@dataclass(frozen=True)
class Cut:
    """One disk that a cut may leave, with what must hold on it."""

    title: str
    nodes: Mapping[str, Stored | Node]
    facts: Facts


@dataclass
class House:
    """`root`/state is recorded; what the services themselves write beside it is not recoverd's to keep."""

    root: Path
    facts: Facts = field(default_factory=Facts)
    expected: dict[str, tuple[Snapshot, Content]] = field(default_factory=dict)
    contents: dict[bytes, bytes] = field(default_factory=dict)
    choices: Callable[[int], list[Choice]] = lambda at: []  # of the cut at each call
    cuts: dict[bytes, Cut] = field(default_factory=dict)  # by all that matters in them
    points: int = 0  # calls so far
    cut_points: int = 0  # after which the power was cut
    images: int = 0  # tried there, also equal ones
    told: bool = False  # the call that is replayed reports success
    _hashed: dict[int, bytes] = field(default_factory=dict)  # by the id of what `contents` keeps
    _told: Callable[[Facts], Facts] = lambda facts: facts
    _title: str = ""
    _kill_after: int = 0  # so many calls; 0: never

    def __post_init__(self) -> None:
        self.app, self.state, self.conf = self.root / "app", self.root / "state", self.root / "conf"
        for directory in (self.app / "tasks", self.state, self.conf / "conf.d"):
            directory.mkdir(parents=True, exist_ok=True)
        (self.conf / "recoverd.yaml").write_text(f"version: 1\nstate_dir: {self.state}\n")
        (self.conf / "conf.d" / "house.yaml").write_text(_CONFIG.format(app=self.app))
        (self.app / "page.txt").write_text("page 0")
        self.write(0)
        self.recorder = Recorder(self.state, lambda path: False, self._seen)
        self.recorder.adopt()

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {
            "RUNTIME_DIRECTORY": str(self.root / "run"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "HOME": str(self.root / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": PACKAGE,
        }

    # --- what happens

    def write(self, number: int, *, big: int = 0) -> None:
        """The services save their state."""
        (self.app / "state.json").write_text(json.dumps({"number": number}))
        for one in range(3):
            (self.app / "tasks" / f"t{one}.json").write_text(json.dumps({"id": one, "number": number if one else 0}))
        if big:
            (self.app / "big.bin").write_bytes(
                b"".join(blake3(b"%d %d" % (number, n)).digest(4096) for n in range(big))
            )

    def run(self, *words: str, status: int = 0) -> None:
        """A real command, and a cut after each of its calls."""
        self._begin(words)

        def ended(done: subprocess.CompletedProcess[bytes]) -> None:
            self._ended(words, done, status)

        self.recorder.run(self.command(words), self.env, ended)

    def attempts(self, choose: Callable[[Sequence[int]], Sequence[int]], *words: str) -> Iterator[None]:
        """A real command, killed after some of its calls, which `choose` picks of all: what it had done by then is
        there, and is not more durable than that. Each time begins anew."""
        with tempfile.TemporaryDirectory(dir=self.root) as before:
            shutil.copytree(self.state, before, dirs_exist_ok=True)
            facts, choices = self.facts, self.choices
            self._begin(words)
            done, calls = record(self.command(words), self.env)
            self._ended(words, done, 0)
            told, expected, self.choices = self._told, self.expected, lambda at: []
            self.recorder.disk, self.points = load(before), 0
            self.recorder.replay(calls)
            for at in choose(range(1, self.points + 1)):
                self.facts, self.expected, self.cuts = facts, expected, {}
                self._begin(words)
                self._told, self._kill_after, self.points = told, at, 0
                self.recorder.disk = load(before)
                with suppress(Killed):
                    self.recorder.replay(calls)
                self.lay(self._nodes(self.recorder.disk.image(EVERYTHING)))
                for confirmed in (self.root / "run").glob("confirmed-*"):
                    confirmed.unlink()  # of another attempt
                self.choices = choices
                yield
                self.choices = lambda at: []

    def command(self, words: tuple[str, ...]) -> list[str]:
        return [*RECOVERD, "--config", str(self.conf), "--json", *words]

    def _begin(self, words: tuple[str, ...]) -> None:
        """What the command is about to change is no fact any more."""
        self._title = " ".join(words)
        self._told = _telling(words)
        self._kill_after = 0
        if words[0] in {"pin", "unpin"}:
            pinned, unpinned = self.facts.pinned - {words[1]}, self.facts.unpinned - {words[1]}
            self.facts = replace(self.facts, pinned=pinned, unpinned=unpinned)
        if words[0] in {"pause", "resume"}:
            self.facts = replace(self.facts, paused=None)

    def _ended(self, words: tuple[str, ...], done: subprocess.CompletedProcess[bytes], status: int) -> None:
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        with tempfile.TemporaryDirectory(dir=self.root) as copy:  # whoever reads writes to the catalog
            shutil.copytree(self.state, copy, dirs_exist_ok=True)
            with Repository.open(f"{copy}/repository", state_dir=copy) as repository:
                found = contents(repository)
        self.expected = self.expected | found
        if words[0] == "snapshot":
            self._told = _saving(json.loads(done.stdout), found)

    def _seen(self, call: str, path: str) -> None:
        self.told = call == "told"
        if self.told:
            self.facts = self._told(self.facts)
        match = _RECORD.fullmatch(path)
        if match and call in {"unlink", "unlinkat"}:
            self.facts = replace(self.facts, saved=self.facts.saved - {f"{match[1]}/{int(match[2])}"})
        self.points += 1
        if self.points == self._kill_after:
            raise Killed
        choices = self.choices(self.points)
        self.cut_points += bool(choices)
        for choice in choices:
            self.images += 1
            title = f"{self._title}, cut {self.points} after {call} {path}, left: {choice.title}"
            self.keep(title, self.recorder.disk, choice)

    def keep(self, title: str, disk: Disk, choice: Choice) -> None:
        """Add one image to the cuts, unless an equal one with the same facts is there."""
        nodes = self._nodes(disk.image(choice))
        digest = blake3(repr(self.facts).encode())
        for path, node in sorted(nodes.items()):
            digest.update(path.encode())
            if isinstance(node, Stored):
                digest.update(self.hash_of(node.content))
            elif isinstance(node, Symlink):
                digest.update(node.target.encode())
        self.cuts.setdefault(digest.digest(), Cut(title, nodes, self.facts))

    def _nodes(self, image: Image) -> dict[str, Stored | Node]:
        return {
            path: Stored(self.contents[self.hash_of(data)], node) if isinstance(node, File) else node
            for path, (node, data) in image.items()
        }

    def hash_of(self, data: bytes) -> bytes:
        """The hash of some bytes; the same object is hashed once."""
        known = self._hashed.get(id(data))
        if known is None:
            known = blake3(data).digest()
            if self.contents.setdefault(known, data) is data:  # it is kept, so that nothing else gets its id
                self._hashed[id(data)] = known
        return known

    # --- what a cut leaves

    def lay(self, nodes: Mapping[str, Stored | Node]) -> None:
        """Make the state directory what a cut left."""
        shutil.rmtree(self.state)
        self.state.mkdir(0o700)
        made: dict[int, Path] = {}
        for name, node in sorted(nodes.items()):  # parents come first
            path = self.state / name
            if isinstance(node, Stored):
                if id(node.node) in made:
                    os.link(made[id(node.node)], path)
                    continue
                made[id(node.node)] = path
                path.write_bytes(node.content)
                os.chmod(path, node.node.mode)
                os.utime(path, ns=(node.node.mtime_ns, node.node.mtime_ns))
            elif isinstance(node, Symlink):
                path.symlink_to(node.target)
            elif isinstance(node, Directory):
                path.mkdir(node.mode)

    def context(self) -> Opened:
        return Opened(open_context([str(self.conf)], environ=self.env))

    def examine_all(self, cuts: Sequence[Cut]) -> None:
        """Everything that must hold on these disks. Raises AssertionError, which names the cut."""
        self.write(1_000_000)
        for cut in cuts:
            try:
                self.examine(cut)
            except Exception as error:
                raise AssertionError(f"{cut.title}: {error}") from error

    def examine(self, cut: Cut) -> None:
        """What must hold before and after the next snapshot and prune."""
        self.lay(cut.nodes)
        facts = cut.facts
        with self.context() as context:
            repository = context.repository_if_any()
            found = {} if repository is None else contents(repository)
            assert facts.saved <= found.keys(), f"lost: {sorted(facts.saved - found.keys())}"
            self._are_whole(found)
            if repository is not None:
                self._are_marked(repository, facts)
        with self.context() as context:
            result = snapshot(context, SnapshotRequest())
            made = {one.id for one in result.services if one.id is not None}
            assert result.services[0].outcome == "saved", result
            for one in result.services:
                assert one.outcome in {"saved", "unchanged"}, one
                assert one.id is None or (one.sequence or 0) > facts.highest.get(one.service, 0), (
                    f"used again: {one.id}"
                )
            prune(context, PruneRequest())
        with self.context() as context:
            repository = context.repository()
            after = contents(repository)
            assert made <= after.keys()
            self._are_whole({name: one for name, one in after.items() if name not in made})
            (new,) = [name for name in made if name.startswith("notes/")]
            assert after[new][1]["main root"] == {"state.json": b'{"number": 1000000}'}
            assert (facts.pinned & facts.saved) <= after.keys(), "a pinned snapshot was pruned"
            self._are_marked(repository, facts)
        left = [str(path) for path in self.state.rglob(".tmp-*")]
        assert left == [], f"left over: {left}"

    def _are_whole(self, found: Mapping[str, tuple[Snapshot, Content]]) -> None:
        """Bit for bit, also those that were never reported: what is shown is good."""
        for name, one in found.items():
            assert name in self.expected, f"nobody made {name}"
            assert one == self.expected[name], f"{name} is another one"

    def _are_marked(self, repository: Repository, facts: Facts) -> None:
        for name, wanted in [*((x, True) for x in facts.pinned), *((x, False) for x in facts.unpinned)]:
            service, _, sequence = name.partition("/")
            if name in facts.saved:
                assert repository.marks(service, int(sequence)).pinned is wanted, f"{name}: pinned is not {wanted}"
        if facts.paused is not None:
            assert repository.record("notes").paused is facts.paused


class Opened:
    """A context that closes its repository."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def __enter__(self) -> Context:
        return self.context

    def __exit__(self, *_: object) -> None:
        if self.context._repository is not None:
            self.context._repository.close()


def contents(repository: Repository) -> dict[str, tuple[Snapshot, Content]]:
    """Every snapshot with every byte, checked. Fails for a record that can't be read."""
    found: dict[str, tuple[Snapshot, Content]] = {}
    with repository.reader() as reader:
        for service in repository.services():
            assert repository.unreadable_records(service) == {}
            for one in repository.snapshots(service):
                trees = {f"{name} root": item.root for name, item in one.items.items()}
                trees |= {f"{name} good": item.good for name, item in one.items.items() if item.good is not None}
                found[one.id] = one, {name: _files(reader, root, "") for name, root in trees.items()}
    return found


def _files(reader: Reader, tree: str, above: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in reader.tree(tree):
        if entry.type == "dir":
            found |= _files(reader, entry.hash or "", f"{above}{entry.name}/")
        elif entry.type == "file":
            chunks = (bytes(part) for part in reader.file_chunks(entry))  # a number is so many zeros
            found[f"{above}{entry.name}"] = b"".join(chunks)
    return found


def _telling(words: tuple[str, ...]) -> Callable[[Facts], Facts]:
    """What is a fact once such a command has reported success."""
    match words:
        case ("pin", one):
            return lambda facts: replace(facts, pinned=facts.pinned | {one})
        case ("unpin", one):
            return lambda facts: replace(facts, unpinned=facts.unpinned | {one})
        case ("pause", *_):
            return lambda facts: replace(facts, paused=True)
        case ("resume", *_):
            return lambda facts: replace(facts, paused=False)
    return lambda facts: facts


def _saving(report: Any, found: Mapping[str, tuple[Snapshot, Content]]) -> Callable[[Facts], Facts]:
    """What a snapshot reports: also that state which did not change is in the newest one."""
    newest: dict[str, int] = {}
    for one, _ in found.values():
        newest[one.service] = max(newest.get(one.service, 0), one.sequence)
    told = {one["service"]: newest[one["service"]] for one in report["snapshots"] if one["service"] in newest}
    saved = {f"{service}/{sequence}" for service, sequence in told.items()}

    def telling(facts: Facts) -> Facts:
        return replace(facts, saved=facts.saved | saved, highest={**facts.highest, **told})

    return telling
