"""Services, a repository and real `recoverd` commands, recorded; and what must hold on any disk that a cut may leave."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from tests.crash.lost_writes.disk import Choice, Directory, Disk, File, Node, Symlink
from tests.crash.lost_writes.recording import Recorder

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
    points: int = 0  # calls after which the power was cut
    images: int = 0  # tried there, also equal ones
    _hashed: dict[int, bytes] = field(default_factory=dict)  # by the id of what `contents` keeps
    _told: Callable[[Facts], Facts] = lambda facts: facts
    _title: str = ""

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
            (self.app / "big.bin").write_bytes(b"".join(blake3(b"%d %d" % (number, n)).digest(4096) for n in range(big)))

    def run(self, *words: str, status: int = 0) -> None:
        """A real command, and a cut after each of its calls."""
        command = [*RECOVERD, "--config", str(self.conf), "--json", *words]
        self._title = " ".join(words)
        self._told = _telling(words)
        if words[0] in {"pin", "unpin"}:
            self.facts = replace(self.facts, pinned=self.facts.pinned - {words[1]}, unpinned=self.facts.unpinned - {words[1]})
        if words[0] in {"pause", "resume"}:
            self.facts = replace(self.facts, paused=None)

        def ended(done: subprocess.CompletedProcess[bytes]) -> None:
            assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
            if words[0] == "snapshot":
                self._told = _saving(json.loads(done.stdout))
            with tempfile.TemporaryDirectory(dir=self.root) as copy:  # whoever reads writes to the catalog
                shutil.copytree(self.state, copy, dirs_exist_ok=True)
                with Repository.open(f"{copy}/repository", state_dir=copy) as repository:
                    self.expected |= contents(repository)

        self.recorder.run(command, self.env, ended)

    def _seen(self, call: str, path: str) -> None:
        if call == "told":
            self.facts = self._told(self.facts)
        match = _RECORD.fullmatch(path)
        if match and call in {"unlink", "unlinkat"}:
            self.facts = replace(self.facts, saved=self.facts.saved - {f"{match[1]}/{int(match[2])}"})
        self.points += 1
        for choice in self.choices(self.points):
            self.images += 1
            title = f"{self._title}, cut {self.points} after {call} {path}, left: {choice.title}"
            self.keep(title, self.recorder.disk, choice)

    def keep(self, title: str, disk: Disk, choice: Choice) -> None:
        """Add one image to the cuts, unless an equal one with the same facts is there."""
        nodes: dict[str, Stored | Node] = {}
        digest = blake3(repr(self.facts).encode())
        for path, (node, data) in sorted(disk.image(choice).items()):
            if isinstance(node, File):
                key = self._key(data)
                nodes[path] = Stored(self.contents[key], node)
                digest.update(path.encode() + key)
            else:
                nodes[path] = node
                digest.update(f"{path} {node.target if isinstance(node, Symlink) else ''}".encode())
        self.cuts.setdefault(digest.digest(), Cut(title, nodes, self.facts))

    def _key(self, data: bytes) -> bytes:
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
            assert [one.outcome for one in result.services][0] == "saved", result
            for one in result.services:
                assert one.outcome in {"saved", "unchanged"}, one
                assert one.id is None or (one.sequence or 0) > facts.highest.get(one.service, 0), f"used again: {one.id}"
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


def _saving(report: Any) -> Callable[[Facts], Facts]:
    """What a snapshot reports: also that an unchanged state is in the newest one."""
    made = {one["id"]: one["id"].partition("/") for one in report["snapshots"] if one["id"] is not None}

    def told(facts: Facts) -> Facts:
        highest = {service: int(sequence) for service, _, sequence in made.values()}
        return replace(facts, saved=facts.saved | made.keys(), highest={**facts.highest, **highest})

    return told
