"""What a real process does to a directory, call by call, recorded with strace and replayed on a `Disk`.

A call that is not understood is an error: what is not replayed would not be attacked. After each command the replayed
disk is compared with the real one.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.lost_writes.disk import Directory, Disk, File, Symlink, Sync, load

_CALLS = (
    "open,openat,creat,lseek,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,copy_file_range,"
    "sendfile,splice,mmap,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    "mknod,mknodat,fsync,fdatasync,sync,syncfs,dup,dup2,dup3,fcntl,chdir,fchdir"
)
_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(.*)")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|0x[0-9a-f]+|\?)(.*)")
_FD = re.compile(r"(AT_FDCWD|\d+)<(.*?)>(\(deleted\))?")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
SYNCS = ("fsync", "fdatasync", "sync", "syncfs")


@dataclass(frozen=True)
class Call:
    """One system call that worked. `began` is true for a sync that only begins here, and ends in another call."""

    name: str
    arguments: tuple[str, ...]
    result: int
    rest: str
    process: str
    began: bool = False


@dataclass
class Recorder:
    """Runs commands and replays what they do below `root` on `disk`; `skip` names paths that are not of interest.

    `seen` is called after each replayed call with its name and path: the power may fail there. What a command writes to
    its stdout is the call "told".
    """

    root: Path
    skip: Callable[[str], bool]
    seen: Callable[[str, str], None]
    disk: Disk = field(default_factory=Disk)
    _places: dict[tuple[str, int], int] = field(default_factory=dict)  # (descriptor, inode of the model) -> offset
    _syncs: dict[str, Sync] = field(default_factory=dict)  # under way, by process
    _working: dict[str, str] = field(default_factory=dict)  # directory, by process, where it changed

    def adopt(self) -> None:
        """What lies there now is durable, and where the replay begins."""
        self.disk = load(str(self.root), self.skip)

    def run(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        ended: Callable[[subprocess.CompletedProcess[bytes]], None] = lambda done: None,
    ) -> None:
        """Run a command, tell `ended`, and replay it. Raises AssertionError when the replay differs from the disk."""
        done, calls = record(command, env)
        ended(done)
        self.replay(calls)
        self.compare()

    def replay(self, calls: Sequence[Call]) -> None:
        """Do on the disk what one process, and its children, did."""
        self._places.clear()
        self._working.clear()
        for call in calls:
            self._replay(call)

    def compare(self) -> None:
        """The replayed disk is the real one, and gets its numbers and times. Raises AssertionError."""
        mine, real = dict(self.disk.walk()), dict(load(str(self.root), self.skip).walk())
        assert mine.keys() == real.keys(), sorted(mine.keys() ^ real.keys())
        for path, node in mine.items():
            other = real[path]
            assert type(node) is type(other), path
            node.number = other.number
            if isinstance(node, File) and isinstance(other, File):
                assert node.data == other.data or path.endswith("-shm"), path
                node.mode, node.mtime_ns = other.mode, other.mtime_ns
            elif isinstance(node, Directory) and isinstance(other, Directory):
                node.mode = other.mode
            elif isinstance(node, Symlink) and isinstance(other, Symlink):
                assert node.target == other.target

    # --- replaying

    def _replay(self, call: Call) -> None:
        name, words = call.name, call.arguments
        if call.result < 0:
            self._syncs.pop(call.process, None)
            return
        if name in SYNCS:
            self._sync(call)
        elif name == "chdir":
            self._working[call.process] = os.fsdecode(_text(words[0]))
        elif name == "fchdir":
            match = _FD.match(words[0])
            self._working[call.process] = _unescape(match[2]) if match else ""
        elif name in {"open", "openat", "creat"}:
            self._open(call)
        elif name in {"mkdir", "mkdirat"}:
            self._at(call, self.disk.make_directory)
        elif name in {"unlink", "unlinkat", "rmdir"}:
            self._at(call, self.disk.remove)
        elif name in {"rename", "renameat", "renameat2", "link", "linkat"}:
            self._two(call)
        elif name in {"symlink", "symlinkat"}:
            path = self._path(call, words[-1], words[1] if name == "symlinkat" else "")
            if path is not None:
                self.disk.symlink(os.fsdecode(_text(words[0])), path)
                self.seen(name, path)
        elif name == "truncate":
            self._at(call, lambda path: self.disk.truncate(path, int(words[1])))
        else:
            self._by_descriptor(call)

    def _by_descriptor(self, call: Call) -> None:
        """Calls whose first argument is a descriptor, or which name one that they write to."""
        name, words = call.name, call.arguments
        if name == "mmap":
            shared = "MAP_SHARED" in words[3] and "PROT_WRITE" in words[2]
            path = self._of(words[4]) if shared else None
            assert path is None or path.endswith("-shm"), f"{path} is written through memory"  # SQLite makes it anew
            return
        match = _FD.match(words[0])
        if name in {"write", "writev"} and match and match[1] == "1" and _unescape(match[2]).startswith("pipe:"):
            self.seen("told", "")
            return
        target = {"copy_file_range": 2, "sendfile": 0, "splice": 2}.get(name, 0)
        path = self._of(words[target])
        if path is None:
            return
        key = words[target].partition("<")[0], id(self.disk.find(path))
        if name == "lseek":
            self._places[key] = call.result
        elif name == "ftruncate":
            self.disk.truncate(path, int(words[1]))
            self.seen(name, path)
        elif name == "fallocate":
            assert words[1] == "0", f"fallocate with {words[1]} is not understood"
            self.disk.truncate(path, max(int(words[2]) + int(words[3]), self.disk.size(path)))
            self.seen(name, path)
        elif name in {"pwrite64", "write", "writev"}:
            data = b"".join(_texts(words[1]))[: call.result]
            at = int(words[3]) if name == "pwrite64" else self._places[key]
            if name != "pwrite64":
                at = self.disk.size(path) if at < 0 else at
                self._places[key] = at + len(data) if self._places[key] >= 0 else -1
            self.disk.write(path, at, data)
            self.seen(name, path)
        elif name in {"dup", "dup2", "dup3"} or (name == "fcntl" and "F_DUPFD" in words[1]):
            self._places[str(call.result), key[1]] = self._places.get(key, 0)  # nobody writes through both
        else:
            assert name == "fcntl", f"{name}({', '.join(words)}) is not understood"

    def _open(self, call: Call) -> None:
        above, last, flags = ("", *call.arguments[:2]) if call.name == "open" else call.arguments[:3]
        path = self._path(call, last, above)
        if path is None or call.name == "creat" or ("O_WRONLY" not in flags and "O_RDWR" not in flags):
            assert path is None or call.name != "creat"
            if path is None or "O_CREAT" not in flags:
                return
        assert "O_TMPFILE" not in flags
        if not self.disk.exists(path):
            self.disk.create(path, int(call.arguments[-1], 8))
            self.seen("create", path)
        elif "O_TRUNC" in flags:
            self.disk.truncate(path, 0)
            self.seen("truncate", path)
        self._places[str(call.result), id(self.disk.find(path))] = -1 if "O_APPEND" in flags else 0

    def _sync(self, call: Call) -> None:
        if call.name in {"sync", "syncfs"}:
            path: str | None = None
        else:
            path = self._of(call.arguments[0])
            if path is None:
                return
        if call.began:
            self._syncs[call.process] = self.disk.begin_sync(path)
            return
        begun = self._syncs.pop(call.process) if call.process in self._syncs else self.disk.begin_sync(path)
        self.disk.end_sync(begun)
        self.seen(call.name, path or "")

    def _two(self, call: Call) -> None:
        words = call.arguments
        at = call.name in {"renameat", "renameat2", "linkat"}
        old = self._path(call, words[1], words[0]) if at else self._path(call, words[0])
        new = self._path(call, words[3], words[2]) if at else self._path(call, words[1])
        assert (old is None) == (new is None), f"{old} is moved to {new}, which is not recorded"
        if old is None or new is None:
            return
        if call.name in {"link", "linkat"}:
            self.disk.link(old, new)
        elif "RENAME_EXCHANGE" in words[-1]:
            self.disk.exchange(old, new)
        else:
            self.disk.rename(old, new)
        self.seen(call.name, new)

    def _at(self, call: Call, act: Callable[[str], object]) -> None:
        words = call.arguments
        path = self._path(call, words[1], words[0]) if _FD.match(words[0]) else self._path(call, words[0])
        if path is not None:
            act(path)
            self.seen(call.name, path)

    def _path(self, call: Call, last: str, above: str = "") -> str | None:
        """A path below the root, None for any other."""
        match, name = _FD.match(above), os.fsdecode(_text(last))
        start = _unescape(match[2]) if match else self._working.get(call.process, "")
        assert start or name.startswith("/"), f"{call.name} of {name}: nobody knows where"
        return self.below(os.path.join(start, name))

    def _of(self, descriptor: str) -> str | None:
        """What a descriptor leads to: a path below the root, None for anything else, and for what was unlinked."""
        match = _FD.match(descriptor)
        return None if match is None or match[3] else self.below(_unescape(match[2]))

    def below(self, path: str) -> str | None:
        root = str(self.root)
        path = os.path.normpath(path)
        if path == root:
            return ""
        below = path[len(root) + 1 :] if path.startswith(f"{root}/") else None
        return None if below is None or self.skip(below) else below


@functools.cache
def available() -> bool:
    """Whether strace is there, and may trace."""
    found = shutil.which("strace")
    return found is not None and not subprocess.run([found, "-qq", "-o", os.devnull, "true"], check=False).returncode


def record(command: Sequence[str], env: Mapping[str, str]) -> tuple[subprocess.CompletedProcess[bytes], list[Call]]:
    """Run a command under strace: what became of it, and the calls that it and its children made."""
    tracer = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-e", f"trace={_CALLS}"]
    with tempfile.NamedTemporaryFile("r", prefix="recoverd-trace-") as trace:
        done = subprocess.run(
            [*tracer, "-o", trace.name, *command], capture_output=True, env=env, check=False, timeout=120
        )
        return done, list(parse(iter(trace)))


def parse(lines: Iterator[str]) -> Iterator[Call]:
    """The calls in the output of strace, each where it ended; syncs also where they began: others go on meanwhile."""
    begun: dict[str, str] = {}
    for line in lines:
        if match := _BEGUN.match(line):
            begun[match[1]] = match[3]
            if match[2] in SYNCS:
                yield Call(match[2], _split(match[3]), 0, "", match[1], began=True)
            continue
        if match := _ENDED.match(line):
            words = begun.pop(match[1], "") + match[3]
        elif match := _WHOLE.match(line):
            words = match[3]
        else:
            continue  # signals, ends of processes
        result = -1 if match[4] == "?" else int(match[4], 0)
        yield Call(match[2], _split(words), result, match[5], match[1])


def _split(words: str) -> tuple[str, ...]:
    """Arguments; strings and paths hold no commas, because they are spelled in hexadecimal."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"[\[\]{}]|, ", words):
        if match[0] == ", ":
            if not depth:
                parts.append(words[start : match.start()])
                start = match.end()
        else:
            depth += 1 if match[0] in "[{" else -1
    return (*parts, words[start:])


def _text(word: str) -> bytes:
    (found,) = _texts(word)
    return found


def _texts(word: str) -> list[bytes]:
    matches = list(_TEXT.finditer(word))
    assert not any(match[2] for match in matches), "strace cut a string off"
    return [bytes.fromhex(match[1].replace("\\x", "")) for match in matches]


def _unescape(path: str) -> str:
    parts = re.split(r"((?:\\x[0-9a-f]{2})+)", path)
    whole = b"".join(
        bytes.fromhex(part.replace("\\x", "")) if at % 2 else part.encode() for at, part in enumerate(parts)
    )
    return os.fsdecode(whole)
