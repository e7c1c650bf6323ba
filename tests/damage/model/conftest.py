"""A house for sequences: one service, operations in this process, children that die or work at the same time."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from recoverd.config.model import Config, Format, ItemKind, Place, RepositoryConfig, Retention, SchemaSource, Service
from recoverd.config.model import StateItem as Item
from recoverd.events.stream import Events
from recoverd.operations.accept import AcceptRequest, accept
from recoverd.operations.context import Context
from recoverd.operations.extract import ExtractRequest, ExtractResult, extract
from recoverd.operations.listing import ListResult, list_snapshots
from recoverd.operations.pin import PinRequest, pin
from recoverd.operations.prune import PruneRequest, PruneResult, prune
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest, ServiceRestore
from recoverd.operations.snapshot import ServiceSnapshot, SnapshotRequest, snapshot
from recoverd.operations.undo import UndoRequest, UndoResult, undo
from recoverd.operations.verify import VerifyRequest, VerifyResult, verify
from recoverd.system import clock, swap

MAIN = ""
PLACE = Place("test.yaml", 1, 1)
SCHEMA = {"type": "object", "required": ["version"], "properties": {"version": {"const": "1"}}}
TASK = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
RETENTION = Retention(last=2, hourly=2, daily=1, keep_invalid=1)
DEADLINE_S = 60
_QUIET_S = 0.022  # after a change, until a read counts as one of a file that holds still
_MUTATING = "rename mkdir rmdir unlink link symlink fsync write open ftruncate fchmod fchown utime"


def _schema(document: Any) -> SchemaSource:
    return SchemaSource(document, None, (), PLACE)


def _oracle() -> ModuleType:
    """The second reader of the format, which the attack on single files uses as well."""
    name = "tests_damage_repository_oracle"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "repository" / "oracle.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


class House:
    """A service `app` with a file and a directory of documents. `late_ns`: how wrong the clock is."""

    def __init__(self) -> None:
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # nothing here is about the disk
        self._place = tempfile.TemporaryDirectory(prefix="recoverd-model-", dir=place)
        self.root = Path(self._place.name)
        self.tasks.mkdir(parents=True)
        items = {
            "main": Item(
                "main", ItemKind.FILE, str(self.path(MAIN)), Format.JSON, SchemaSource(SCHEMA, None, (), PLACE)
            ),
            "tasks": Item(
                "tasks",
                ItemKind.DIRECTORY,
                str(self.tasks),
                Format.JSON,
                SchemaSource(TASK, None, (), PLACE),
                include=("*.json",),
            ),
        }
        self._service = Service("app", PLACE, state=items, retention=RETENTION)
        self._touched_s = 0.0
        self.late_ns = 0
        self._context: Context | None = None
        self.oracle = _oracle().Repository(self.repository)

    @property
    def repository(self) -> Path:
        return self.root / "var" / "repository"

    @property
    def tasks(self) -> Path:
        return self.root / "state" / "tasks"

    def path(self, name: str) -> Path:
        return self.tasks / name if name else self.root / "state" / "state.json"

    @property
    def context(self) -> Context:
        if self._context is None:
            config = Config(
                state_dir=str(self.root / "var"),
                repository=RepositoryConfig(str(self.repository)),
                services={"app": self._service},
            )
            self._context = Context(config, Events([]), str(self.root / "run"), wait_s=20)
        return self._context

    def reopen(self) -> None:
        """Go on as a new process would."""
        if self._context is not None and self._context._repository is not None:
            self._context._repository.close()
        self._context = None

    def close(self) -> None:
        self.reopen()
        self._place.cleanup()

    # --- live state

    def write(self, name: str, data: bytes) -> None:
        self.path(name).write_bytes(data)
        self._touched_s = time.monotonic()

    def delete(self, name: str) -> None:
        self.path(name).unlink()

    def rename(self, old: str, new: str) -> None:
        self.path(old).rename(self.path(new))
        self._touched_s = time.monotonic()

    def touch(self, name: str) -> None:
        os.utime(self.path(name))
        self._touched_s = time.monotonic()

    def live(self) -> dict[str, tuple[bytes, int]]:
        """Every document: its bytes, and which file it is."""
        there = {MAIN: self.path(MAIN)} if self.path(MAIN).exists() else {}
        there |= {path.name: path for path in self.tasks.iterdir()}
        return {name: (path.read_bytes(), path.stat().st_ino) for name, path in there.items()}

    # --- operations

    def settle(self) -> None:
        time.sleep(max(0.0, self._touched_s + _QUIET_S - time.monotonic()))

    def snapshot(self, *, full_read: bool = False) -> ServiceSnapshot:
        self.settle()
        return snapshot(self.context, SnapshotRequest(full_read=full_read)).services[0]

    def restore(self, name: str | None = None) -> ServiceRestore:
        self.settle()
        return restore(self.context, RestoreRequest(snapshot=name)).services[0]

    def extract(self, name: str | None) -> tuple[ExtractResult, Path]:
        out = Path(tempfile.mkdtemp(dir=self.root))
        return extract(self.context, ExtractRequest(str(out), snapshot=name)), out

    def undo(self) -> UndoResult:
        self.settle()
        return undo(self.context, UndoRequest())

    def accept(self) -> None:
        self.settle()
        accept(self.context, AcceptRequest("app"))

    def prune(self) -> PruneResult:
        self.context.repository(create=True)
        return prune(self.context, PruneRequest())

    def verify(self, *, heal: bool = False) -> VerifyResult:
        return verify(self.context, VerifyRequest(heal=heal))

    def pin(self, name: str, pinned: bool) -> None:
        pin(self.context, PinRequest((name,), pinned))

    def listed(self) -> ListResult:
        return list_snapshots(self.context)

    def lose_the_catalog(self) -> None:
        self.reopen()
        for path in (self.root / "var").glob("catalog.sqlite*"):
            path.unlink()

    # --- what the second reader says

    def readable(self) -> set[int]:
        """The snapshots of which the record can be read."""
        return {record["sequence"] for record in self.oracle.look().records.values()}

    def learn(self) -> None:
        """Where objects lie, for when an index is lost: recoverd looks for them in the frames themselves."""
        packs = self.oracle.look().packs
        self.oracle.known |= {name: one.frames for name, one in packs.items() if one.frames is not None}

    def whole(self) -> set[int]:
        """Those of which all objects can be read, too."""
        oracle, found = self.oracle.look(), set()
        there = oracle.perhaps()
        for record in oracle.records.values():
            roots = {one for item in record["items"].values() for one in (item["root"], item["good"]) if one}
            with suppress(_oracle().Unreadable):
                if all(oracle.needs(root) <= there for root in roots):
                    found.add(record["sequence"])
        return found

    def contents(self, sequence: int, which: str) -> dict[str, bytes]:
        """Every document of a snapshot that is whole: as it was found (`root`), or known-good (`good`)."""
        found: dict[str, bytes] = {}
        for item in self.oracle.records[f"app/{sequence}"]["items"].values():
            for path, entry in self.oracle.files(item[which]) if item[which] else ():
                if entry["type"] == "file":
                    found[path.partition("/")[2]] = self.oracle.content(entry)
        return found

    # --- other processes

    def die(self, work: Callable[[], object], before: int) -> bool:
        """Do `work` in a child that is killed before its Nth call that changes a disk. Whether it came to that."""
        self.settle()
        return self._wait(self._fork(work, before)) == -signal.SIGKILL

    def at_once(self, work: Callable[[], object]) -> Callable[[], None]:
        """Do `work` in another process, while this one goes on; call what is returned to wait for it."""
        self.settle()
        pid = self._fork(work, None)

        def wait() -> None:
            assert self._wait(pid) == 0, "the other process failed"

        return wait

    def _fork(self, work: Callable[[], object], before: int | None) -> int:
        self.reopen()
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            signal.alarm(DEADLINE_S)
            if before is not None:
                _arm(before)
            work()
            status = 0
        except BaseException as error:  # the parent must hear of it, pytest must not
            print(f"child failed: {error!r}", file=sys.__stderr__, flush=True)
        finally:
            os._exit(status)

    @staticmethod
    def _wait(pid: int) -> int:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in {0, -signal.SIGKILL}, f"the child ended with {status}"
        return status

    @staticmethod
    def json(**keys: Any) -> bytes:
        return json.dumps(keys).encode()


def _arm(before: int) -> None:
    """Make this process kill itself before its Nth call that changes a disk."""
    count = 0

    def watched(real: Callable[..., Any], opens: bool = False) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal count
            if not opens or (len(args) > 1 and args[1] & os.O_CREAT):
                if count == before:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
            return real(*args, **options)

        return call

    for name in _MUTATING.split():
        setattr(os, name, watched(getattr(os, name), name == "open"))
    renameat2 = watched(swap._renameat2())
    setattr(swap, "_renameat2", lambda: renameat2)  # noqa: B010 - the type checker knows the real one's cache


@pytest.fixture
def houses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], House]]:
    """Builds houses; the clock is that of the newest one."""
    current: list[House] = []
    real = clock.now_ns
    monkeypatch.setattr(clock, "now_ns", lambda: real() + (current[-1].late_ns if current else 0))

    def build() -> House:
        current.append(House())
        return current[-1]

    yield build
