"""Walking one state item: what is there, what changed, what is good.

The walk builds two trees at once: `root`, the item as it is, and `good`, in which every damaged document is
the newest ok version of it. Where nothing is damaged the two are the same objects.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from recoverd.config.model import StateItem
from recoverd.config.selection import Selection
from recoverd.recovery.comparing import NOTHING_ACCEPTED, Accepted
from recoverd.recovery.documents import Documents, Known, Looked, Place, Tree
from recoverd.recovery.entries import directory_entry, xattrs_of
from recoverd.recovery.places import PLACE_PREFIX
from recoverd.recovery.stat_rows import Row, join_names, pack_stat, place_findings
from recoverd.recovery.stores import Memo, Store
from recoverd.repository.trees import Entry
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Verdict
from recoverd.system.mounts import is_memory_file_system
from recoverd.system.walk import open_directory_at
from recoverd.values import replace

MAX_DEPTH = 200  # of directories: one descriptor and two stack frames are held for each


class Walk:
    """One pass over one state item."""

    def __init__(
        self,
        item: StateItem,
        judge: Judge,
        store: Store,
        *,
        memo: Memo | None,
        rows: Mapping[str, Row],
        now_ns: int,
        accepted: Accepted = NOTHING_ACCEPTED,
    ) -> None:
        self._judge = judge
        self._store = store
        self._rows = rows
        self._now_ns = now_ns
        self._selection = Selection(item.include, item.exclude)
        self._documents = Documents(item, judge, store, memo, accepted)
        self._in_memory: dict[int, bool] = {}  # by device: whether it is a memory file system
        self.new_rows: dict[str, Row] = {}
        self.listed = 0  # directories, which is what a walk costs
        self.as_known: set[str] = set()  # directories whose trees are those of the newest snapshot

    @property
    def let_pass(self) -> Mapping[str, str]:
        """Document -> content of what was emptied and was accepted, among what was read."""
        return self._documents.let_pass

    def item(self, fd: int, known: Known, *, only: str | None = None) -> Tree:
        """Walk the item from the directory open at `fd`: all of it, or with `only` one name of it.

        Raises OSError when the directory can't be listed.
        """
        tree = self._directory(fd, "", known, only=only)
        self._documents.remember()
        return tree

    def _directory(self, fd: int, below: str, known: Known, *, only: str | None = None) -> Tree:
        """One directory, which lies at `below`, with all below it. Raises OSError when it can't be listed."""
        device = os.fstat(fd).st_dev
        place = Place(fd, below, only, known, self._row(fd, device, below, known))
        names, subdirectories = self._list(place)
        joined = join_names([one.name for one in names], [one.name for one in subdirectories])
        stats = b"".join([one.packed for one in names] + [one.packed for one in subdirectories])
        children = self._subdirectories(place, [one.name for one in subdirectories])
        row = place.row
        unchanged = row is not None and row.trusted_whole and row.names == joined and row.stats == stats
        if row is not None and unchanged and row.children == _hashes(children):
            self.new_rows[below] = row
            self.as_known.add(below)
            tree = Tree(
                row.root, row.good, list(row.findings), list(row.notes), row.files, row.size_bytes, row.unchecked
            )
        else:
            before = {e.name: e for e in self._store.tree(known.root)} if known.root is not None else {}
            if row is not None and unchanged and _are_entries(row, before):
                self._from_before(place, row, before)
            else:
                self._documents.look(place, names, before)
            tree = place.own
            tree.root = self._store.put_tree(place.root)
            tree.good = tree.root if place.good == place.root else self._store.put_tree(place.good)
            if self._may_remember(place, device, names):
                newest = max((one.status.st_ctime_ns for one in (*names, *subdirectories)), default=0)
                self._remember(place, children, joined, stats, newest)
        for child in children.values():
            tree.add(child)
        return tree

    def _list(self, place: Place) -> tuple[list[Looked], list[Looked]]:
        """What the item covers here, and the directories to descend into."""
        self.listed += 1
        covered: list[Looked] = []
        subdirectories: list[Looked] = []
        only, fd = place.only, place.fd
        prefix = f"{place.below}/" if place.below else ""
        everything = self._selection.everything or only is not None
        look = os.stat
        for name in (only,) if only is not None else sorted(os.listdir(fd)):
            try:
                status = look(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue  # a name that vanished is a document that was deleted
            if everything and status.st_mode & 0o170000 == 0o100000:  # most: spared what the others are asked
                covered.append(Looked(name, status, pack_stat(status)))
            elif only is None and stat.S_ISDIR(status.st_mode):
                if name.startswith(PLACE_PREFIX) and not place.below and status.st_uid == os.geteuid():
                    continue  # what a restore keeps beside the target: no state of the service
                if everything or self._selection.may_descend(prefix + name):
                    subdirectories.append(Looked(name, status, pack_stat(status)))
            elif everything or self._selection.covers(prefix + name):
                covered.append(Looked(name, status, pack_stat(status)))
        return covered, subdirectories

    # -- the stat cache -----------------------------------------------------------------------------------

    def _row(self, fd: int, device: int, below: str, known: Known) -> Row | None:
        """The row of this directory, if it leads to the very trees of the newest snapshot.

        Memory file systems, which may be mounted anywhere below an item, are never believed.
        """
        row = self._rows.get(below)
        if row is None or row.judge != self._judge.id or row.root != known.root or row.good != known.good:
            return None
        if device not in self._in_memory:
            self._in_memory[device] = is_memory_file_system(fd)
        return None if self._in_memory[device] else row

    def _from_before(self, place: Place, row: Row, before: Mapping[str, Entry]) -> None:
        """No file changed here: all of them are as the newest snapshot has them."""
        damaged = place_findings(row)
        for entry in before.values():
            if entry.type != "dir":
                self._documents.keep(place, entry, damaged)
        place.own.notes = list(row.notes)

    def _may_remember(self, place: Place, device: int, names: Sequence[Looked]) -> bool:
        """What could not be read is tried again next time, and what waits for a migration is looked at each time;
        hard-link groups span directories, so their members are too; and what is mounted on a single name need not keep
        its times."""
        unread = any(finding.verdict is Verdict.UNREADABLE for finding in place.own.findings)
        return not (unread or place.own.older) and all(
            one.status.st_nlink < 2 and one.status.st_dev == device for one in names
        )

    def _remember(
        self, place: Place, children: Mapping[str, Tree], joined: bytes, stats: bytes, newest_ctime_ns: int
    ) -> None:
        tree = place.own
        if (tree.root, tree.good) == (place.known.root, place.known.good):
            self.as_known.add(place.below)
        self.new_rows[place.below] = Row(
            captured_ns=self._now_ns,
            newest_ctime_ns=newest_ctime_ns,
            judge=self._judge.id,
            root=tree.root,
            good=tree.good,
            names=joined,
            stats=stats,
            findings=tuple(tree.findings),
            children=_hashes(children),
            files=tree.files,
            size_bytes=tree.size_bytes,
            unchecked=tree.unchecked,
            notes=tuple(tree.notes),
        )

    # -- directories --------------------------------------------------------------------------------------

    def _subdirectories(self, place: Place, names: Sequence[str]) -> dict[str, Tree]:
        children: dict[str, Tree] = {}
        trees = _directory_trees(self._store, place.known.root) if names else {}
        good = _directory_trees(self._store, place.known.good) if names else {}
        for name in names:
            if self._replaces_document(place, name):
                self._documents.replaced(place, name)
                continue
            if place.below.count("/") + 2 > MAX_DEPTH:
                sentence = f"lies deeper than {MAX_DEPTH} directories"
                self._documents.carry(place, name, Verdict.UNREADABLE, sentence)
                continue
            try:
                child_fd = open_directory_at(place.fd, name)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it vanished, or something was planted: the next look sees it
            except OSError as error:
                sentence = f"can't be opened: {error.strerror or error}"
                self._documents.carry(place, name, Verdict.UNREADABLE, sentence)
                continue
            try:
                child = self._directory(child_fd, place.path(name), Known(trees.get(name), good.get(name)))
                entry = directory_entry(name, os.fstat(child_fd), child.root, xattrs_of(child_fd))
            except OSError as error:
                sentence = f"can't be read: {error.strerror or error}"
                self._documents.carry(place, name, Verdict.UNREADABLE, sentence)
                continue
            finally:
                os.close(child_fd)
            children[name] = child
            place.root.append(entry)
            place.good.append(entry if child.good == child.root else replace(entry, hash=child.good))
        return children

    def _replaces_document(self, place: Place, name: str) -> bool:
        if place.row is not None and name in place.row.children:
            return False  # it was a directory before
        good = self._documents.good_before(place, name)
        return good is not None and good.type == "file"


def _are_entries(row: Row, before: Mapping[str, Entry]) -> bool:
    """Whether all that is damaged was captured: what could not be is in no tree, and must be looked at again."""
    return all(finding.document.rpartition("/")[2] in before for finding in row.findings)


def _hashes(children: Mapping[str, Tree]) -> dict[str, tuple[str, str]]:
    return {name: (child.root, child.good) for name, child in children.items()}


def _directory_trees(store: Store, tree: str | None) -> dict[str, str | None]:
    """The trees of the directories in one directory."""
    return {e.name: e.hash for e in store.tree(tree) if e.type == "dir"} if tree is not None else {}
