"""The disk as a transaction sees it: the three names of each step, and the renames that move a step on or back.

Every function here can be interrupted between any two system calls: what it does next is decided by looking.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from recoverd.errors import StateError
from recoverd.recovery.places import Place
from recoverd.recovery.read_only import exchange, move
from recoverd.recovery.steps import ASIDE, ELSEWHERE, Condition, Seen, Step, condition
from recoverd.system.swap import ExchangeRefused
from recoverd.system.walk import lstat_at, open_declared_directory, open_directory_at, open_parent

_MAX_OPEN = 256
_UNSWAPPABLE = frozenset({errno.EXDEV, errno.EBUSY, errno.EACCES, errno.EPERM})


class WholeRefused(Exception):
    """A directory can't be swapped as a whole here (a mount root, a lower directory of an overlay); nothing changed."""

    def __init__(self, step: Step, cause: OSError) -> None:
        super().__init__(step.path)
        self.step = step
        self.cause = cause


class Board:
    """Held descriptors of all directories that a transaction works in.

    A directory is entered once and held; one that had to be closed (many are open) must be the same when it is
    entered again. A service user who swaps directories under us gets an error, never a write elsewhere.
    """

    def __init__(self, places: Sequence[Place | None]) -> None:
        self.places = places
        self._open: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._known: dict[tuple[str, str], tuple[int, int]] = {}
        self._changed: set[tuple[str, str]] = set()

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    # -- directories --------------------------------------------------------------------------------------

    def target_directory(self, target: str, relative: str) -> int:
        """The live directory `relative` below a declared one ("" for that itself). Raises OSError, StateError."""
        return self._directory((target, relative))

    def slot_directory(self, place: int, relative: str) -> int:
        """A directory inside a place ("" for the place itself). Raises FileNotFoundError when it is gone."""
        held = self.places[place]
        if held is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._directory((f"{place}", relative)) if relative else held.fd

    def device(self, place: int) -> int:
        held = self.places[place]
        return -1 if held is None else held.device

    def _of_target(self, step: Step) -> tuple[int, str]:
        if not step.relative:
            return self._directory((step.target, "..")), os.path.basename(step.target)
        directory, _, name = step.relative.rpartition("/")
        return self._directory((step.target, directory)), name

    def _of_slot(self, step: Step) -> tuple[int, str]:
        directory, _, name = step.slot.rpartition("/")
        return self.slot_directory(step.place, directory), name

    def _directory(self, key: tuple[str, str]) -> int:
        fd = self._open.get(key)
        if fd is not None:
            self._open.move_to_end(key)
            return fd
        fd = self._enter(key)
        status = os.fstat(fd)
        if self._known.setdefault(key, (status.st_dev, status.st_ino)) != (status.st_dev, status.st_ino):
            os.close(fd)
            raise StateError(f"{'/'.join(key)}: another directory took its place meanwhile")
        self._open[key] = fd
        if len(self._open) > _MAX_OPEN:
            oldest, old = self._open.popitem(last=False)
            if oldest in self._changed:
                os.fsync(old)
                self._changed.discard(oldest)
            os.close(old)
        return fd

    def _enter(self, key: tuple[str, str]) -> int:
        base, relative = key
        if relative == "..":  # the directory that holds the target; no path below a target has this name
            return open_parent(base)[0]
        here = open_declared_directory(base) if base.startswith("/") else os.dup(self.slot_directory(int(base), ""))
        for part in relative.split("/") if relative else ():
            try:
                below = open_directory_at(here, part)
            finally:
                os.close(here)
            here = below
        return here

    def sync(self) -> None:
        """Make every rename so far durable. Raises OSError."""
        for key in sorted(self._changed):
            os.fsync(self._directory(key))
        self._changed.clear()
        for place in self.places:
            if place is not None:
                os.fsync(place.fd)

    def _touch(self, step: Step) -> None:
        self._changed.add((step.target, step.relative.rpartition("/")[0] if step.relative else ".."))
        directory = step.slot.rpartition("/")[0]
        if directory:
            self._changed.add((f"{step.place}", directory))

    # -- steps --------------------------------------------------------------------------------------------

    def look(self, step: Step) -> Seen:
        """What is under the three names of a step now. Raises OSError, StateError."""
        node = step.new or step.old
        # of a place that is gone, what was recorded is all there is to compare with
        device = self.device(step.place) if self.places[step.place] is not None or node is None else node.device
        slot = aside = None
        try:
            slots, slot_name = self._of_slot(step)
            slot = _inode(slots, slot_name, device)
            aside = _inode(slots, slot_name + ASIDE, device)
        except FileNotFoundError:
            pass
        try:
            parent, name = self._of_target(step)
        except (FileNotFoundError, NotADirectoryError):
            return Seen(None, slot, aside, reachable=False)
        return Seen(_inode(parent, name, device), slot, aside)

    def forward(self, step: Step) -> None:
        """Do a step, or what is left of it.

        Raises StateError (the target is not what it was), WholeRefused (nothing changed), OSError.
        """
        seen = self.look(step)
        how = condition(step, seen)
        if how in {Condition.FOREIGN, Condition.LOST}:
            raise StateError(f"{step.path}: {_WHY[how]}")
        if not seen.reachable or (how is Condition.DONE and self.places[step.place] is None):
            return  # a removal whose directory is gone with it; a finished step whose place somebody deleted
        parent, name = self._of_target(step)
        slots, slot = self._of_slot(step)
        self._touch(step)
        try:
            if step.new is None:
                if seen.target is not None:
                    _shift(parent, name, slots, slot)
                return
            if how is Condition.TODO:
                self._bring(parent, name, slots, slot, seen)
            elif seen.slot == step.new.inode:
                os.unlink(slot, dir_fd=slots)  # moved by link, and killed before the unlink
            if _inode(slots, slot + ASIDE, self.device(step.place)) is not None:
                _shift(slots, slot + ASIDE, slots, slot)
        except OSError as error:
            if error.errno in _UNSWAPPABLE and self.look(step) == seen and _are_directories(parent, name, slots, slot):
                raise WholeRefused(step, error) from error
            raise
        if self.look(step).target != step.new.inode:
            raise StateError(f"{step.path}: {_WHY[Condition.FOREIGN]}")

    def _bring(self, parent: int, name: str, slots: int, slot: str, seen: Seen) -> None:
        if seen.target is not None:
            try:
                exchange(slots, slot, parent, name)
                return
            except ExchangeRefused:
                _shift(parent, name, slots, slot + ASIDE)
        move(slots, slot, parent, name)

    def take_back(self, step: Step) -> None:
        """Undo a step, or what was done of it. Raises StateError (somebody else wrote there since), OSError."""
        seen = self.look(step)
        if step.new is None:
            if seen.slot is not None:
                self._put_back(step, slot_suffix="", seen_target=seen.target, waiting=seen.slot)
            return
        if seen.target == step.new.inode:
            parent, name = self._of_target(step)
            slots, slot = self._of_slot(step)
            self._touch(step)
            if seen.slot is None or seen.slot == step.new.inode:
                _shift(parent, name, slots, slot)
            else:
                try:
                    exchange(slots, slot, parent, name)
                except ExchangeRefused:
                    _shift(slots, slot, slots, slot + ASIDE)
                    move(parent, name, slots, slot)
            seen = self.look(step)
        if seen.aside is not None:
            self._put_back(step, slot_suffix=ASIDE, seen_target=seen.target, waiting=seen.aside)

    def _put_back(self, step: Step, *, slot_suffix: str, seen_target: int | None, waiting: int) -> None:
        parent, name = self._of_target(step)
        slots, slot = self._of_slot(step)
        self._touch(step)
        if seen_target is None:
            move(slots, slot + slot_suffix, parent, name)
        elif seen_target == waiting:
            os.unlink(slot + slot_suffix, dir_fd=slots)
        else:
            raise StateError(f"{step.path}: {_WHY[Condition.FOREIGN]}")

    def verify(self, steps: Iterable[Step]) -> None:
        """Enter every target anew, by its path: it must be the staged object there too. Raises StateError, OSError."""
        fresh = Board(self.places)
        try:
            for step in steps:
                if condition(step, fresh.look(step)) is not Condition.DONE:
                    raise StateError(f"{step.path}: a directory on the way was replaced during the restore")
        finally:
            fresh.close()


_WHY = {
    Condition.FOREIGN: "something else was written there meanwhile",
    Condition.LOST: "what was staged for it, or the directory that holds it, is gone",
}


def _inode(dir_fd: int, name: str, device: int) -> int | None:
    try:
        status = lstat_at(dir_fd, name)
    except FileNotFoundError:
        return None
    return status.st_ino if status.st_dev == device else ELSEWHERE


def _shift(src_dir: int, src: str, dst_dir: int, dst: str) -> None:
    """Move, or finish a move by link and unlink that was killed in between: then both names are one object."""
    try:
        move(src_dir, src, dst_dir, dst)
    except FileExistsError:
        if not os.path.samestat(lstat_at(src_dir, src), lstat_at(dst_dir, dst)):
            raise
        os.unlink(src, dir_fd=src_dir)


def _are_directories(parent: int, name: str, slots: int, slot: str) -> bool:
    try:
        return all(stat.S_ISDIR(lstat_at(fd, one).st_mode) for fd, one in ((parent, name), (slots, slot)))
    except FileNotFoundError:
        return False
