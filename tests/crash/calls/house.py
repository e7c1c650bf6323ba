"""Houses to be attacked: three services, a history, and a model of it all that recoverd has no part in."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recoverd.operations.opening import open_context
from recoverd.repository.objects import Reader
from recoverd.repository.store import Repository
from recoverd.repository.trees import Entry

CONFIG = """\
version: 1
state_dir: {made}/state
{repository}
services:
  app:
    root: {live}/app
    state:
      main: {{file: state.json, format: json, schema: {{type: object, required: [counter]}}}}
      tasks: {{directory: tasks, include: ["*.json"], format: json}}
    autosave: {{on_shutdown: true}}
    retention: {{last: {last}}}
  large:
    state:
      data: {{file: {live}/large.bin, format: opaque}}
    retention: {{last: {last}}}
  notes:
    state:
      all: {{directory: {live}/notes, format: opaque}}
    autosave: {{every: 1h}}
    retention: {{last: {last}}}
"""
MANY, FEW, BOUND, SPARE = "many", "few", "bound", "spare"  # ways to keep snapshots: a configuration each
TICKS = 4  # snapshots of each service in the history
SERVICES = ("app", "large", "notes")
Tree = Mapping[str, tuple[str, int, int, bytes]]  # path -> (type, mode, mtime_ns, content)


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one command: as `warm.py` tells it."""

    status: int  # negative: the signal that ended it
    out: str
    err: str
    calls: list[str]
    hit: str  # the call at which the fault came; empty: none did
    pid: int
    refused: str  # why the kernel could not stop it: then only calls of Python are counted

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def fine(self) -> Told:
        assert self.status == 0, self
        assert "Traceback" not in self.err, self.err
        return self


class Warm:
    """The process that forks a recoverd for each command, under a supervisor."""

    def __init__(self) -> None:
        # Coverage would slow down what is killed anyway.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, "-m", "tests.crash.calls.warm"]
        self.refused = ""
        self._process = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[3], **pipes)

    def ask(self, request: Mapping[str, Any]) -> Told:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the warm process is gone"
        told = Told(**json.loads(answer))
        self.refused = told.refused
        return told

    def close(self) -> None:
        self._process.communicate(timeout=60)


def tree_on_disk(path: Path) -> Tree:
    """Everything at and below a path, read without recoverd."""
    found: dict[str, tuple[str, int, int, bytes]] = {}
    for one in [path, *sorted(path.rglob("*"))]:
        status = one.lstat()
        kind = "dir" if one.is_dir() else "file"
        content = b"" if one.is_dir() else one.read_bytes()
        found[str(one.relative_to(path.parent))] = kind, status.st_mode & 0o7777, status.st_mtime_ns, content
    return found


def tree_stored(reader: Reader, entry: Entry | None, above: str = "") -> Tree:
    """The same of what a snapshot holds; every byte goes through the reader's checks."""
    if entry is None:
        return {}
    path = above + entry.name
    chunks = reader.file_chunks(entry) if entry.type == "file" else ()
    content = b"".join(x if isinstance(x, bytes) else bytes(x) for x in chunks)
    found: dict[str, tuple[str, int, int, bytes]] = {path: (entry.type, entry.mode, entry.mtime_ns, content)}
    if entry.type == "dir":
        for child in reader.tree(entry.hash or ""):
            found |= tree_stored(reader, child, path + "/")
    return found


class House:
    """Live state, configuration, and `made`: all that recoverd makes, which is replaced for each point."""

    def __init__(self, base: Path, warm: Warm) -> None:
        self.base, self._warm = base, warm
        self.live, self.made, self.templates = base / "live", base / "made", base / "templates"
        self.templates.mkdir()
        for name, last, repository in (
            (MANY, 50, ""),
            (FEW, 2, ""),
            (BOUND, 50, "repository: {max_bytes: 500KiB}"),
            (SPARE, 50, f"repository: {{spare: {self.made}/spare}}"),
        ):
            text = CONFIG.format(made=self.made, live=self.live, last=last, repository=repository)
            (base / f"{name}.yaml").write_text(text)
        self.known: dict[str, dict[str, Tree]] = {}  # the model: the content of each snapshot that was seen, by item
        self._models: dict[str, dict[str, dict[str, Tree]]] = {"nothing": {}}  # of each template
        self.contents: dict[str, Tree] = {}  # of live state, by item
        self.templates.joinpath("nothing").mkdir()
        self.use("nothing")
        for number in range(TICKS):
            self.write(number)
            self.run("snapshot").fine()
            self.learn()
            if number == 1:
                shutil.copy(self.state / "catalog.sqlite", base / "old.sqlite")
        self.keep("history")

    @property
    def refused(self) -> str:
        """Why the kernel could not stop children at their calls; empty when it could."""
        return self._warm.refused

    @property
    def state(self) -> Path:
        return self.made / "state"

    @property
    def repository(self) -> Path:
        return self.state / "repository"

    def write(self, generation: int) -> None:
        """Live state of one generation: some files change with each, others do not; the large one by a block."""
        (self.live / "app" / "tasks").mkdir(parents=True, exist_ok=True)
        (self.live / "notes" / "sub").mkdir(parents=True, exist_ok=True)
        (self.live / "app" / "state.json").write_text(json.dumps({"counter": generation}))
        for number in range(6):
            since = generation - (generation + number) % 3
            (self.live / "app" / "tasks" / f"t{number}.json").write_text(json.dumps({"id": number, "since": since}))
        for number in range(3):
            since = generation - (generation + number) % 3
            name = "sub/deep" if number == 2 else f"note{number}"
            (self.live / "notes" / name).write_bytes(random.Random(f"{number} {since}").randbytes(30_000))
        blocks = [random.Random(f"{n} {generation * (n == generation % 4)}").randbytes(64 * 1024) for n in range(4)]
        (self.live / "large.bin").write_bytes(b"".join(blocks) + b"end")
        for number, path in enumerate(sorted(self.live.rglob("*"))):
            os.utime(path, ns=(0, 1_700_000_000_000_000_000 + number * 10**9 + generation * 1_000_003))
        self.contents = {
            "app/main": tree_on_disk(self.live / "app" / "state.json"),
            "app/tasks": tree_on_disk(self.live / "app" / "tasks"),
            "large/data": tree_on_disk(self.live / "large.bin"),
            "notes/all": tree_on_disk(self.live / "notes"),
        }

    def live_content(self, service: str) -> dict[str, Tree]:
        return {name.partition("/")[2]: tree for name, tree in self.contents.items() if name.startswith(service + "/")}

    def use(self, template: str) -> None:
        self.known = dict(self._models[template])
        shutil.rmtree(self.made, ignore_errors=True)
        shutil.copytree(self.templates / template, self.made, copy_function=_copy)

    def keep(self, template: str) -> None:
        self._models[template] = dict(self.known)
        shutil.copytree(self.made, self.templates / template)

    def environment(self) -> dict[str, str]:
        return dict(os.environ) | {"RUNTIME_DIRECTORY": str(self.made / "run")}

    def run(self, *words: str, keep: str = MANY, **fault: Any) -> Told:
        request = {
            "words": ["--config", str(self.base / f"{keep}.yaml"), "--wait", "0ms", "--json", *words],
            "environment": {"RUNTIME_DIRECTORY": str(self.made / "run")},
        }
        return self._warm.ask(request | fault)

    def open(self, keep: str = MANY) -> Repository:
        if keep == SPARE:
            environment = {"RUNTIME_DIRECTORY": str(self.made / "run")}
            return open_context([str(self.base / f"{SPARE}.yaml")], environ=environment).repository()
        return Repository.open(str(self.repository), state_dir=str(self.state))

    def records(self) -> dict[str, Any]:
        """The record of every snapshot that is there, by id; also of those in the spare. Its objects may move."""
        paths = [*(self.made / "spare").glob("snapshots/*/*.json"), *self.repository.glob("snapshots/*/*.json")]
        found = {f"{path.parent.name}/{int(path.stem)}": json.loads(path.read_bytes()) for path in paths}
        return {
            name: {key: value for key, value in record.items() if key not in {"new_bytes", "checksum"}}
            for name, record in found.items()
        }

    def learn(self) -> None:
        """Take what was just captured into the model: from the disk, not from the repository."""
        for name in self.records():
            self.known.setdefault(name, self.live_content(name.partition("/")[0]))

    def everything(self, keep: str = MANY) -> tuple[dict[str, dict[str, Tree]], set[str]]:
        """The content of every snapshot as the repository gives it back, and the packs that it needs."""
        found: dict[str, dict[str, Tree]] = {}
        if not (self.repository / "format.json").exists():
            return found, set()
        with self.open(keep) as repository, repository.reader() as reader:
            for service in repository.services():
                assert repository.unreadable_records(service) == {}
                for snapshot in repository.snapshots(service):
                    found[snapshot.id] = {
                        name: tree_stored(reader, reader.item_entry(item.root)) for name, item in snapshot.items.items()
                    }
            needed = {pack for service in repository.services() for pack in _packs(repository, reader, service)}
        return found, needed & self.packs()  # a catalog may know some that are gone

    def packs(self) -> set[str]:
        paths = [*(self.made / "spare").glob("packs/*/*.tar.zst"), *self.repository.glob("packs/*/*.tar.zst")]
        return {path.name.partition(".")[0] for path in paths}

    def temporaries(self) -> list[str]:
        return [str(path.relative_to(self.made)) for path in self.made.rglob(".tmp-*")]

    def held_locks(self) -> list[str]:
        """Locks that somebody holds now: nobody should."""
        return [str(path) for path in self.made.rglob("*lock") if path.is_file() and is_held(path)]


def _copy(source: str, target: str) -> None:
    """Packs and records are never written to in place: the model would tell."""
    if "/repository/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def is_held(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _packs(repository: Repository, reader: Reader, service: str) -> Iterator[str]:
    """The packs of every object of a service's snapshots."""
    seen: set[str] = set()
    waiting = [
        x for one in repository.snapshots(service) for item in one.items.values() for x in (item.root, item.good)
    ]
    while waiting:
        tree = waiting.pop()
        if tree is None or tree in seen:
            continue
        seen.add(tree)
        objects = [tree]
        for entry in reader.tree(tree):
            if entry.type == "dir":
                waiting.append(entry.hash)
                continue
            blocks = reader.block_list(entry.blocks).runs if entry.blocks else ()
            objects += [one for one in (entry.hash, entry.blocks, *blocks) if isinstance(one, str)]
        for one in objects:
            yield from (pack for pack, _ in repository.catalog.locations(one))
