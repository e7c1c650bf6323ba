"""A small world for transactions: live state, a repository, a process that dies where it is told to."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from recoverd.recovery.replacement import Replacement
from recoverd.recovery.staging import Staging, stage
from recoverd.repository.records import ItemRecord, SnapshotDraft, SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.repository.trees import Entry
from recoverd.repository.writer import Writer
from recoverd.system import swap
from recoverd.system.clock import boot_id

_NAMES = "rename mkdir rmdir unlink link symlink"
MUTATING = tuple(f"{_NAMES} fsync write open ftruncate fchmod fchown chown utime setxattr".split(" "))
MTIME = 1_700_000_000_123_456_789


class Store:
    """A real repository with one snapshot that holds every entry the restores need."""

    def __init__(self, place: Path) -> None:
        self.path, self.catalog = str(place / "repository"), str(place / "catalog")
        os.mkdir(self.catalog)
        Repository.create(self.path)
        self.entries: dict[str, Entry] = {}
        repository = self.open()
        with repository.writer(wait_s=0, what="test") as writer:
            for name, value, mode in (
                ("config.json", b'{"good": 1}', 0o640),
                ("a.json", b'{"a": 1}', 0o640),
                ("m.json", b'{"m": 1}', 0o640),
                ("n.json", b'{"n": 1}', 0o640),
                ("docs", {}, 0o750),
                ("sub", {}, 0o751),
                ("deep", {}, 0o700),
                ("data", {"x": b"x" * 1000, "y": {"z": b"z"}}, 0o750),
            ):
                self.entries[name] = self._put(writer, name, value, mode)
            root = writer.put_tree(sorted(self.entries.values(), key=lambda entry: entry.name))
            item = ItemRecord("directory", "/srv", root, root, 0, 0, "ok")
            writer.commit([SnapshotDraft("svc", MTIME, boot_id(), "host", SnapshotVerdict.OK, {"all": item})])
        repository.close()

    def open(self) -> Repository:
        return Repository.open(self.path, state_dir=self.catalog)

    def _put(self, writer: Writer, name: str, value: bytes | dict[str, Any], mode: int) -> Entry:
        uid, gid = os.geteuid(), os.getegid()
        if isinstance(value, bytes):
            return Entry(name, "file", mode, uid, gid, "", "", len(value), MTIME, hash=writer.put(value))
        children = [
            self._put(writer, child, below, 0o640 if isinstance(below, bytes) else 0o750)
            for child, below in value.items()
        ]
        return Entry(name, "dir", mode, uid, gid, "", "", 0, MTIME, hash=writer.put_tree(children))


def contents(path: Path) -> dict[str, bytes | None]:
    """Every name below a path with its bytes, None for a directory."""
    found: dict[str, bytes | None] = {}
    for root, directories, files in os.walk(path):
        for name in directories + files:
            one = Path(root) / name
            found[str(one.relative_to(path))] = one.read_bytes() if stat.S_ISREG(one.lstat().st_mode) else None
    return found


class World:
    """One service with a file item, two directory items, and what a restore of it changes."""

    old: ClassVar[dict[str, bytes | None]] = {
        "config.json": b"",
        "docs": None,
        "docs/a.json": b'{"damaged',
        "docs/extra.json": b"{}",
        "docs/kept.json": b'{"kept": 1}',
        "data": None,
        "data/old": None,
        "data/old/x": b"\0\0\0",
    }
    new: ClassVar[dict[str, bytes | None]] = {
        "config.json": b'{"good": 1}',
        "docs": None,
        "docs/a.json": b'{"a": 1}',
        "docs/kept.json": b'{"kept": 1}',
        "docs/sub": None,
        "docs/sub/deep": None,
        "docs/sub/deep/m.json": b'{"m": 1}',
        "docs/sub/n.json": b'{"n": 1}',
        "data": None,
        "data/x": b"x" * 1000,
        "data/y": None,
        "data/y/z": b"z",
    }

    def __init__(self, place: Path, state_dir: Path, store: Store) -> None:
        self.live = place / "live"
        self.state_dir = str(state_dir)
        self.store = store
        for name, data in self.old.items():
            path = self.live / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if data is None:
                path.mkdir()
            else:
                path.write_bytes(data)

    def replacements(self, *, whole: bool = True) -> list[Replacement]:
        entries, docs = self.store.entries, str(self.live / "docs")
        parents = (entries["docs"], entries["sub"], entries["deep"])
        return [
            Replacement("config", str(self.live / "config.json"), "", entries["config.json"]),
            Replacement("docs", docs, "a.json", entries["a.json"]),
            Replacement("docs", docs, "sub/deep/m.json", entries["m.json"], parents=parents),
            Replacement("docs", docs, "sub/n.json", entries["n.json"], parents=parents[:2]),
            Replacement("docs", docs, "extra.json", None),
            Replacement("data", str(self.live / "data"), "", entries["data"], whole=whole),
        ]

    def stage(self, *, whole: bool = True) -> Staging:
        repository = self.store.open()
        with repository.reader() as reader:
            staging = stage(reader, "svc", self.replacements(whole=whole), state_dir=self.state_dir)
        repository.close()
        return staging

    def state(self) -> dict[str, bytes | None]:
        return contents(self.live)

    def leftovers(self) -> list[str]:
        """Anything of a transaction's making that is neither live nor in quarantine."""
        found = [f"staging/{name}" for name in contents(Path(self.state_dir) / "staging")]
        found += [f"intents/{name}" for name in contents(Path(self.state_dir) / "intents")]
        everywhere = [*contents(Path(self.state_dir)), *contents(self.live.parent)]
        return found + [name for name in everywhere if ".tmp-" in name or "evidence-" in name]


def run_and_die(work: Callable[[], object], before: int) -> tuple[bool, int]:
    """Do `work` in a child that is killed before its Nth mutating call; (whether it came to that, calls made)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.close(read)
            count = _arm(before)
            work()
            count.append(count[0])
            os.write(write, str(count[1]).encode())
            status = 0
        except BaseException as error:  # the parent must hear of it, pytest must not
            print(f"child failed: {error!r}", file=sys.__stderr__, flush=True)
        finally:
            os._exit(status)
    os.close(write)
    told = os.read(read, 100)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    assert status in {0, signal.SIGKILL}, f"the child failed: {status}"
    return status != 0, int(told or b"0")


def _arm(before: int) -> list[int]:
    """Make this process kill itself before its Nth call that changes a disk."""
    count = [0]

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if real is not real_open or len(args) < 2 or args[1] & os.O_CREAT:
                if count[0] == before:
                    os.kill(os.getpid(), signal.SIGKILL)
                count[0] += 1
            return real(*args, **kwargs)

        return call

    real_open = os.open
    for name in MUTATING:
        setattr(os, name, watched(getattr(os, name)))
    renameat2 = watched(swap._renameat2())
    setattr(swap, "_renameat2", lambda: renameat2)  # noqa: B010 - the type checker knows the real one's cache
    return count


def points(total: int, seed: int, at_most: int) -> list[int]:
    """Where to kill: everywhere when RECOVERD_TORTURE=1, else a seeded sample with both ends."""
    if os.environ.get("RECOVERD_TORTURE") == "1" or total <= at_most:
        return list(range(total))
    return sorted({0, total - 1, *random.Random(seed).sample(range(total), at_most - 2)})


def refuse(monkeypatch: pytest.MonkeyPatch, *flags: int) -> None:
    """A file system that knows none of these flags of renameat2."""
    real = swap._renameat2()

    def call(dir_a: int, name_a: bytes, dir_b: int, name_b: bytes, flag: int) -> int:
        return errno.EINVAL if flag in flags else real(dir_a, name_a, dir_b, name_b, flag)

    monkeypatch.setattr(swap, "_renameat2", lambda: call)


class Toolbox:
    World = World
    run_and_die = staticmethod(run_and_die)
    points = staticmethod(points)
    refuse = staticmethod(refuse)
    contents = staticmethod(contents)


@pytest.fixture
def tools() -> type[Toolbox]:
    return Toolbox


@pytest.fixture(params=["one file system", "another file system"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The state directory on the targets' file system, or on another one."""
    if request.param == "one file system":
        yield World(tmp_path, tmp_path / "recoverd", Store(tmp_path))
        return
    import shutil
    import tempfile

    memory = "/dev/shm"
    if not os.access(memory, os.W_OK) or os.stat(memory).st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system to write to")
    state_dir = Path(tempfile.mkdtemp(dir=memory))
    yield World(tmp_path, state_dir, Store(tmp_path))
    shutil.rmtree(state_dir)
