"""A file system that loses as much in a power cut as POSIX allows, kept in memory.

What is promised is little, and nothing else is:

- `fsync` of a file makes its bytes and its size durable, not its name.
- `fsync` of a directory makes the names in it durable, not what the files under them hold, nor its own name.
- A name that is replaced leads to the old or to the new file, never to none. A file renamed to a free name may be found
  under both names, under one of them, or, when the directories are two, or the system is unkind, under none.
- The renames of directories, and exchanges, happen as a whole; they are durable when both directories were synced.

All else that was not synced may be lost: bytes wholly or by sector, sizes, truncations; names that were made, changed
or removed, each on its own and in any order. An `Image` is one of the disks that a cut leaves; a `Choice` says which.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Write:
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    size: int


@dataclass(eq=False)
class File:
    """`data` as running programs see it; `durable` and then `pending`, in this order, is how it came to be."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[Write | Truncate] = field(default_factory=list)
    number: int = 0  # of the inode, when it was recorded
    mode: int = 0o600
    mtime_ns: int = 0
    frozen: bytes | None = None  # `data`, while it stays as it is

    def change(self, step: Write | Truncate) -> None:
        self.pending.append(step)
        apply(self.data, step)
        self.frozen = None

    def all(self) -> bytes:
        if self.frozen is None:
            self.frozen = self.durable if self.durable == self.data else bytes(self.data)
        return self.frozen


@dataclass(eq=False)
class Symlink:
    target: str
    number: int = 0


@dataclass(eq=False)
class Change:
    """What one call made of one name, or of two as a whole (`atomic`). `waiting`: directories yet to be synced."""

    serial: int
    node: Node | None
    waiting: set[int]
    atomic: list[tuple[Name, Change]] = field(default_factory=list)


@dataclass(eq=False)
class Name:
    """A name in a directory: where it durably leads, and what became of it since."""

    durable: Node | None = None
    pending: list[Change] = field(default_factory=list)

    @property
    def node(self) -> Node | None:
        return self.pending[-1].node if self.pending else self.durable

    def settle(self) -> None:
        """Forget what came before the last change that is durable."""
        for at in range(len(self.pending) - 1, -1, -1):
            if not self.pending[at].waiting:
                passed, self.pending = self.pending[: at + 1], self.pending[at + 1 :]
                self.durable = passed[-1].node
                for change in passed:
                    for name, other in change.atomic:  # it has happened, so it has happened there too
                        if other.waiting or other in name.pending:
                            other.waiting.clear()
                            name.settle()
                return


@dataclass(eq=False)
class Directory:
    names: dict[str, Name] = field(default_factory=dict)
    number: int = 0
    mode: int = 0o700


Node = File | Symlink | Directory
Image = dict[str, tuple[Node, bytes]]  # path -> what it leads to, and the bytes of a file


@dataclass(frozen=True)
class Choice:
    """Which of the disks that a cut may leave. `names`: how many of the pending changes of a name survive; `data`: what
    a file holds. `title` says it in words."""

    title: str
    names: Callable[[Name], int]
    data: Callable[[File], bytes]


@dataclass(frozen=True)
class Sync:
    """A sync that has begun: what was there then will be durable when it has ended."""

    files: tuple[tuple[File, int], ...]
    changes: tuple[tuple[Name, Change, int], ...]  # and the directory


class Disk:
    """Paths are relative to its root, which is "" and always there. Every method raises KeyError for an absent name."""

    def __init__(self) -> None:
        self.root = Directory()
        self.serial = 0

    # --- what programs do

    def find(self, path: str) -> Node:
        node: Node = self.root
        for part in filter(None, path.split("/")):
            if not isinstance(node, Directory) or part not in node.names:
                raise KeyError(path)
            below = node.names[part].node
            if below is None:
                raise KeyError(path)
            node = below
        return node

    def exists(self, path: str) -> bool:
        try:
            self.find(path)
        except KeyError:
            return False
        return True

    def size(self, path: str) -> int:
        return len(self._file(path).data)

    def create(self, path: str, mode: int = 0o600) -> File:
        made = File(mode=mode)
        self._change(path, made)
        return made

    def make_directory(self, path: str, mode: int = 0o700) -> Directory:
        made = Directory(mode=mode)
        self._change(path, made)
        return made

    def symlink(self, target: str, path: str) -> None:
        self._change(path, Symlink(target))

    def link(self, old: str, new: str) -> None:
        self._change(new, self.find(old))

    def remove(self, path: str) -> None:
        """unlink and rmdir."""
        self.find(path)
        self._change(path, None)

    def rename(self, old: str, new: str) -> None:
        node = self.find(old)
        if isinstance(node, Directory):
            self._change_both(old, None, new, node)
        else:
            self._change(new, node)
            self._change(old, None, serial=self.serial)

    def exchange(self, one: str, other: str) -> None:
        self._change_both(one, self.find(other), other, self.find(one))

    def write(self, path: str, offset: int, data: bytes) -> None:
        self._file(path).change(Write(offset, bytes(data)))
        self.serial += 1

    def truncate(self, path: str, size: int) -> None:
        self._file(path).change(Truncate(size))
        self.serial += 1

    def sync(self, path: str | None = None) -> None:
        """fsync of a file or a directory; None: of everything."""
        self.end_sync(self.begin_sync(path))

    def begin_sync(self, path: str | None = None) -> Sync:
        nodes = [node for _, node in self.walk()] if path is None else [self.find(path)]
        files, changes = [], []
        for node in nodes:
            if isinstance(node, File):
                files.append((node, len(node.pending)))
            elif isinstance(node, Directory):
                changes += [(name, change, id(node)) for name in node.names.values() for change in name.pending]
        return Sync(tuple(files), tuple(changes))

    def end_sync(self, sync: Sync) -> None:
        for file, count in sync.files:
            content = bytearray(file.durable)
            for step in file.pending[:count]:
                apply(content, step)
            file.pending = file.pending[count:]
            file.durable = bytes(content) if file.pending else file.all()
        for _, change, directory in sync.changes:
            change.waiting.discard(directory)
        for name, _, _ in sync.changes:
            name.settle()

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Everything that programs see, parents first."""
        waiting: list[tuple[str, Node]] = [("", self.root)]
        while waiting:
            path, node = waiting.pop()
            yield path, node
            if isinstance(node, Directory):
                for part, name in sorted(node.names.items(), reverse=True):
                    if name.node is not None:
                        waiting.append((f"{path}/{part}" if path else part, name.node))

    def _file(self, path: str) -> File:
        node = self.find(path)
        if not isinstance(node, File):
            raise KeyError(path)
        return node

    def _name(self, path: str) -> tuple[Directory, Name]:
        above, _, last = path.rpartition("/")
        directory = self.find(above)
        if not isinstance(directory, Directory):
            raise KeyError(path)
        return directory, directory.names.setdefault(last, Name())

    def _change(self, path: str, node: Node | None, *, serial: int = 0) -> tuple[Name, Change]:
        directory, name = self._name(path)
        self.serial = serial or self.serial + 1
        change = Change(self.serial, node, {id(directory)})
        name.pending.append(change)
        return name, change

    def _change_both(self, one: str, at_one: Node | None, other: str, at_other: Node | None) -> None:
        first = self._change(one, at_one)
        second = self._change(other, at_other, serial=self.serial)
        waiting = first[1].waiting | second[1].waiting
        for _, change in (first, second):
            change.waiting, change.atomic = waiting, [first, second]

    # --- what a cut leaves

    def image(self, choice: Choice) -> Image:
        """One of the disks that a power cut now may leave."""
        kept = {id(name): choice.names(name) for name in self._all_names()}
        self._keep_whole(kept)
        found: Image = {}
        waiting: list[tuple[str, Directory]] = [("", self.root)]
        while waiting:
            path, directory = waiting.pop()
            for part, name in directory.names.items():
                count = kept[id(name)]
                node = name.pending[count - 1].node if count else name.durable
                below = f"{path}/{part}" if path else part
                if node is not None:
                    found[below] = node, choice.data(node) if isinstance(node, File) else b""
                if isinstance(node, Directory):
                    waiting.append((below, node))
        return found

    def _all_names(self) -> Iterator[Name]:
        """Every name of every directory that any name may lead to."""
        seen: set[int] = set()
        waiting = [self.root]
        while waiting:
            directory = waiting.pop()
            if id(directory) not in seen:
                seen.add(id(directory))
                for name in directory.names.values():
                    yield name
                    nodes = [name.durable, *(change.node for change in name.pending)]
                    waiting += [node for node in nodes if isinstance(node, Directory)]

    def _keep_whole(self, kept: dict[int, int]) -> None:
        """What happens as a whole has happened at both names or at none: what happened at one only is lost."""
        again = True
        while again:
            again = False
            for name in self._all_names():
                for at, change in enumerate(name.pending[: kept[id(name)]]):
                    if any(other in one.pending[kept.get(id(one), 0) :] for one, other in change.atomic):
                        kept[id(name)], again = at, True
                        break


def apply(content: bytearray, step: Write | Truncate) -> None:
    end = step.size if isinstance(step, Truncate) else step.offset + len(step.data)
    if isinstance(step, Truncate):
        del content[end:]
    content.extend(bytes(max(0, end - len(content))))
    if isinstance(step, Write):
        content[step.offset : end] = step.data


def load(path: str, skip: Callable[[str], bool] = lambda path: False) -> Disk:
    """A disk with what lies below a real directory, all of it durable. Names that `skip` knows are left out."""
    disk = Disk()
    disk.root.number = os.stat(path).st_ino
    waiting = [("", disk.root)]
    numbered: dict[int, File] = {}
    while waiting:
        above, directory = waiting.pop()
        with os.scandir(f"{path}/{above}") as entries:
            for entry in entries:
                below = f"{above}/{entry.name}" if above else entry.name
                if skip(below):
                    continue
                status = entry.stat(follow_symlinks=False)
                node: Node
                if entry.is_symlink():
                    node = Symlink(os.readlink(entry.path), status.st_ino)
                elif entry.is_dir():
                    node = Directory(number=status.st_ino, mode=status.st_mode & 0o7777)
                    waiting.append((below, node))
                else:
                    with open(entry.path, "rb") as file:
                        data = file.read()
                    mode = status.st_mode & 0o7777
                    node = File(bytearray(data), data, [], status.st_ino, mode, status.st_mtime_ns)
                    node = numbered.setdefault(status.st_ino, node)
                directory.names[entry.name] = Name(node)
    return disk
