"""A small world for transactions: live state, a repository in memory, a process that dies where it is told to."""

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
from blake3 import blake3

from recoverd.recovery.staging import Replacement
from recoverd.repository.trees import Entry
from recoverd.system import swap

_NAMES = "rename mkdir rmdir unlink link symlink"
MUTATING = tuple(f"{_NAMES} fsync write open ftruncate fchmod fchown chown utime setxattr".split(" "))
MTIME = 1_700_000_000_123_456_789


class MemoryRepository:
    """What a restore reads from: trees and contents by hash."""

    def __init__(self) -> None:
        self.trees: dict[str, tuple[Entry, ...]] = {}
        self.contents: dict[str, bytes] = {}

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        return self.trees[tree_hash]

    def file_chunks(self, entry: Entry) -> Iterator[bytes | int]:
        data = self.contents[entry.hash or ""]
        half = len(data) // 2
        yield data[:half]
        yield data[half:]

    def entry(self, name: str, value: bytes | dict[str, Any], mode: int | None = None) -> Entry:
        """A file of these bytes, or a directory of these entries."""
        uid, gid = os.geteuid(), os.getegid()
        if isinstance(value, bytes):
            content = blake3(value).hexdigest()
            self.contents[content] = value
            return Entry(name, "file", mode or 0o640, uid, gid, "", "", len(value), MTIME, hash=content)
        children = tuple(self.entry(child, below) for child, below in sorted(value.items()))
        tree = blake3(repr(children).encode()).hexdigest()
        self.trees[tree] = children
        return Entry(name, "dir", mode or 0o750, uid, gid, "", "", 0, MTIME, hash=tree)


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

    def __init__(self, place: Path, state_dir: Path) -> None:
        self.live = place / "live"
        self.state_dir = str(state_dir)
        self.repository = MemoryRepository()
        for name, data in self.old.items():
            path = self.live / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if data is None:
                path.mkdir()
            else:
                path.write_bytes(data)

    def replacements(self, *, whole: bool = True) -> list[Replacement]:
        entry, docs = self.repository.entry, str(self.live / "docs")
        parents = (entry("docs", {}), entry("sub", {}, 0o751), entry("deep", {}, 0o700))
        data = entry("data", {"x": b"x" * 1000, "y": {"z": b"z"}})
        return [
            Replacement("config", str(self.live / "config.json"), "", entry("config.json", b'{"good": 1}')),
            Replacement("docs", docs, "a.json", entry("a.json", b'{"a": 1}')),
            Replacement("docs", docs, "sub/deep/m.json", entry("m.json", b'{"m": 1}'), parents=parents),
            Replacement("docs", docs, "sub/n.json", entry("n.json", b'{"n": 1}'), parents=parents[:2]),
            Replacement("docs", docs, "extra.json", None),
            Replacement("data", str(self.live / "data"), "", data, whole=whole),
        ]

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
        yield World(tmp_path, tmp_path / "recoverd")
        return
    import shutil
    import tempfile

    memory = "/dev/shm"
    if not os.access(memory, os.W_OK) or os.stat(memory).st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system to write to")
    state_dir = Path(tempfile.mkdtemp(dir=memory))
    yield World(tmp_path, state_dir)
    shutil.rmtree(state_dir)
