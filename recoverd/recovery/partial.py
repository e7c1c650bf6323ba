"""Walking only what changed: the directories that hints name, with all else as the newest snapshot has it.

Hints come from somebody who watched the item (`recoverd run`) ever since a capture that the newest snapshot still
stands for. What they name is looked at exactly as in a whole walk; a directory that they don't name costs nothing,
and one that only lies above a named one costs its two trees. So a change among a hundred thousand files costs the
directory in which it happened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from recoverd.recovery.documents import Known, Place, Tree
from recoverd.recovery.entries import directory_entry, xattrs_of
from recoverd.recovery.stat_rows import Row, pack_stat, same_inode
from recoverd.recovery.stores import Trees
from recoverd.recovery.walk import Walk
from recoverd.repository.records import ItemRecord
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.system.walk import lstat_at, open_directory_at
from recoverd.values import dataclass, replace

MOST_HINTS = 4096
"""So many directories of one service are named at most; with more of them a whole walk is no dearer."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What of one directory item may have changed, as paths below it ("" is the item itself)."""

    directories: frozenset[str] = frozenset()  # to be looked at, without those below them
    subtrees: frozenset[str] = frozenset()  # to be looked at with all below them: new, moved here, or mounted


@dataclass(frozen=True, slots=True)
class ServiceHints:
    """What of a service may have changed since its snapshot `since`; a directory item without hints did not.

    They hold for any newer snapshot as well: it was captured while the hints were gathered.
    """

    since: int  # sequence
    items: Mapping[str, Hints]


class NotEnough(Exception):
    """What is named can't be looked at by itself: the whole item must be walked."""


def named_places(hints: Hints, before: ItemRecord, judge: str) -> Hints:
    """The hints, and all directories that hold damaged documents: what is not ok is judged anew each time.

    Raises NotEnough where the item as a whole was not ok, where it was judged by other rules, and where so much is
    named that a whole walk is no dearer.
    """
    directories = hints.directories | {document.rpartition("/")[0] for document in before.damaged}
    whole = "" in before.damaged or "" in hints.subtrees
    if whole or before.judge != judge or len(directories) + len(hints.subtrees) > MOST_HINTS:
        raise NotEnough
    return Hints(directories, hints.subtrees)


def rows_needed(hints: Hints) -> frozenset[str]:
    """The directories whose stat-cache rows a partial walk can use: named ones, and those above them."""
    needed = {"", *hints.directories}
    for path in hints.directories | hints.subtrees:
        needed.update(_above(path))
    return frozenset(needed)


def _above(path: str) -> Iterator[str]:
    """The directories above a path, from the nearest to the item itself."""
    while path:
        path = path.rpartition("/")[0]
        yield path


class PartialWalk(Walk):
    """One pass over what hints name of a directory item.

    Inside it, trees count files and bytes against what the newest snapshot has at the same place: what is not
    looked at counts nothing. A subtree that is new is read without the stat cache, as it has no rows.
    """

    def look_at(self, fd: int, known: Known, hints: Hints, before: ItemRecord) -> Tree:
        """The item as a whole walk would find it. `before`: its record in the newest snapshot, of which `known` are
        the trees. Raises NotEnough, and OSError when a directory can't be listed.
        """
        self._named = hints.directories
        self._whole = set(hints.subtrees)
        self._news: dict[str, set[str]] = {}  # directory -> the names in it at or below which something is named
        self._found: dict[str, frozenset[str]] = {}  # directory that was listed -> the directories in it
        for path in hints.directories | hints.subtrees:
            below = path
            for above in _above(path):
                self._news.setdefault(above, set()).add(below.rpartition("/")[2])
                below = above
        tree = self._directory(fd, "", known)
        self._documents.remember()
        tree.files += before.files
        tree.size_bytes += before.size_bytes
        return tree

    def _directory(self, fd: int, below: str, known: Known, *, only: str | None = None) -> Tree:
        tree = None
        if below not in self._named and not self._is_whole(below):
            tree = self._passed(fd, below, known)
        if tree is None:
            tree = super()._directory(fd, below, known, only=only)
            self._count(tree, below, known)
        return tree

    def _is_whole(self, below: str) -> bool:
        return below in self._whole or any(above in self._whole for above in _above(below))

    def _known_row(self, below: str, known: Known) -> Row | None:
        row = self._rows.get(below)
        return row if row is not None and (row.root, row.good) == (known.root, known.good) else None

    # -- directories that are not named -------------------------------------------------------------------

    def _passed(self, fd: int, below: str, known: Known) -> Tree | None:
        """A directory that is as it was, but for what is named below it. None when it is not: it must be looked at."""
        if known.root is None or known.good is None:
            return None
        row, news = self._known_row(below, known), self._news.get(below)
        if not news:
            self._renew(below, row, known)
            return Tree(known.root, known.good)
        root = {entry.name: entry for entry in self._store.tree(known.root)}
        good = root if known.good == known.root else {entry.name: entry for entry in self._store.tree(known.good)}
        good = dict(good)
        children: dict[str, Tree] = {}
        for name in sorted(news):
            before, healthy = root.get(name), good.get(name)
            if before is None or healthy is None or before.type != "dir" or healthy.type != "dir":
                return None
            path = f"{below}/{name}" if below else name
            try:
                child_fd = open_directory_at(fd, name)
            except OSError:
                return None
            try:
                child = self._directory(child_fd, path, Known(before.hash, healthy.hash))
                entry = directory_entry(name, os.fstat(child_fd), child.root, xattrs_of(child_fd))
            except OSError:
                return None
            finally:
                os.close(child_fd)
            children[name] = child
            root[name] = entry
            good[name] = entry if child.good == child.root else replace(entry, hash=child.good)
        tree = Tree(self._store.put_tree(list(root.values())), "")
        tree.good = tree.root if root == good else self._store.put_tree(list(good.values()))
        if row is not None:  # what it says of the documents here still holds
            trees = {name: (child.root, child.good) for name, child in children.items()}
            row = replace(row, root=tree.root, good=tree.good, children={**row.children, **trees})
        self._renew(below, row, known)
        for child in children.values():
            tree.add(child)
        return tree

    def _renew(self, below: str, row: Row | None, known: Known) -> None:
        if row is not None:
            self.new_rows[below] = row
            if (row.root, row.good) == (known.root, known.good):
                self.as_known.add(below)

    # -- directories that are looked at -------------------------------------------------------------------

    def _subdirectories(self, place: Place, names: Sequence[str]) -> dict[str, Tree]:
        if self._is_whole(place.below):
            children = super()._subdirectories(place, names)
        else:
            kept: dict[str, Tree] = {}
            news = self._news.get(place.below, set())
            before = _directories(self._store, place.known.root) if names else {}
            healthy = _directories(self._store, place.known.good) if names else {}
            row = self._known_row(place.below, place.known)
            seen = row.by_name() if row is not None else {}
            for name in names:
                old, good = before.get(name), healthy.get(name)
                if name in news:
                    continue
                if old is None or good is None or not self._keep(place, old, good, row, seen.get(f"{name}/")):
                    self._whole.add(place.path(name))  # nobody has named it, and yet it is another one
                else:
                    kept[name] = Tree(old.hash or EMPTY_TREE, good.hash or EMPTY_TREE)
            walked = super()._subdirectories(place, [name for name in names if name not in kept])
            found = kept | walked
            children = {name: found[name] for name in names if name in found}
        self._found[place.below] = frozenset(children)
        return children

    def _keep(self, place: Place, old: Entry, good: Entry, row: Row | None, seen: bytes | None) -> bool:
        """File a directory with the trees that it had, and its own attributes as they are now. False when it is none,
        or another one."""
        try:
            status = lstat_at(place.fd, old.name)
            if not stat.S_ISDIR(status.st_mode) or (seen is not None and not same_inode(seen, pack_stat(status))):
                return False
            entry = old
            if row is None or seen != pack_stat(status) or not row.trusts(status.st_ctime_ns):
                child_fd = open_directory_at(place.fd, old.name)
                try:
                    entry = directory_entry(old.name, os.fstat(child_fd), old.hash or EMPTY_TREE, xattrs_of(child_fd))
                finally:
                    os.close(child_fd)
        except OSError:
            return False
        place.root.append(entry)
        place.good.append(entry if good.hash == old.hash else replace(entry, hash=good.hash))
        return True

    def _count(self, tree: Tree, below: str, known: Known) -> None:
        """Take off what the newest snapshot has here."""
        if below not in self.new_rows and _has_hard_links(self._store, tree.root):
            raise NotEnough
        row = self._known_row(below, known)
        if row is not None:
            tree.files -= row.files
            tree.size_bytes -= row.size_bytes
            before = {name: trees[0] for name, trees in row.children.items()}
        elif known.root is not None:
            if _has_hard_links(self._store, known.root):
                raise NotEnough
            entries = self._store.tree(known.root)
            tree.files -= sum(entry.type == "file" for entry in entries)
            tree.size_bytes -= sum(entry.size for entry in entries if entry.type == "file")
            before = {entry.name: entry.hash or EMPTY_TREE for entry in entries if entry.type == "dir"}
        else:
            before = {}
        for name in before.keys() - self._found[below]:
            files, size_bytes = _totals(self._store, before[name])
            tree.files -= files
            tree.size_bytes -= size_bytes


def _directories(trees: Trees, tree: str | None) -> dict[str, Entry]:
    return {entry.name: entry for entry in trees.tree(tree) if entry.type == "dir"} if tree is not None else {}


def _has_hard_links(trees: Trees, tree: str) -> bool:
    return any(entry.hard_link is not None for entry in trees.tree(tree))


def _totals(trees: Trees, tree: str) -> tuple[int, int]:
    """Files and bytes below a directory that is gone. Raises NotEnough where one of them was a hard link."""
    files = size_bytes = 0
    for entry in trees.tree(tree):
        if entry.hard_link is not None:
            raise NotEnough
        if entry.type == "file":
            files, size_bytes = files + 1, size_bytes + entry.size
        elif entry.type == "dir":
            more_files, more_bytes = _totals(trees, entry.hash or EMPTY_TREE)
            files, size_bytes = files + more_files, size_bytes + more_bytes
    return files, size_bytes


def unlike(trees: Trees, before: str, after: str) -> Hints:
    """What differs between two roots of a directory item that hold the same state: mere touches.

    No snapshot is made for them. Whoever goes on from `before` later has to look there, or would take the old times of
    these directories and files for those of now.
    """
    found: set[str] = set()
    subtrees: set[str] = set()

    def compare(path: str, a: Entry, b: Entry) -> None:
        if replace(a, hash=None) != replace(b, hash=None):
            found.add(path)
        if a.hash == b.hash:
            return
        left = {entry.name: entry for entry in trees.tree(a.hash or EMPTY_TREE)}
        right = {entry.name: entry for entry in trees.tree(b.hash or EMPTY_TREE)}
        for name in left.keys() | right.keys():
            one, other = left.get(name), right.get(name)
            below = f"{path}/{name}" if path else name
            if one is not None and other is not None and (one.type, other.type) == ("dir", "dir"):
                compare(below, one, other)
            elif one != other:
                found.add(path)
                if other is not None and other.type == "dir":
                    subtrees.add(below)

    tops = [next(iter(trees.tree(root)), None) for root in (before, after)]
    if tops[0] is None or tops[1] is None or {tops[0].type, tops[1].type} != {"dir"}:
        return Hints(subtrees=frozenset({""})) if before != after else Hints()
    compare("", tops[0], tops[1])
    return Hints(frozenset(found), frozenset(subtrees))
