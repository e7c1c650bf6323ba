"""From what is staged to the steps that bring it in, by looking at what is live now.

Missing directories above a replacement are made in staging, with the replacement inside, so that they come
and go in one rename like everything else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection

from recoverd.errors import StateError
from recoverd.recovery.board import Board
from recoverd.recovery.dressing import Dresser
from recoverd.recovery.places import PLACE_PREFIX, create_at
from recoverd.recovery.replacement import Replacement
from recoverd.recovery.staging import Staged, Staging, is_mount_root
from recoverd.recovery.steps import Node, Step, StepKind
from recoverd.repository.trees import Entry
from recoverd.system.durable import syncfs
from recoverd.system.mounts import mounts_below
from recoverd.system.walk import lstat_at, open_directory_at, open_parent


def assemble(staging: Staging, board: Board, expand: Collection[str]) -> list[Step]:
    """The steps of a staged restore. `expand` names slots of directories that can't be swapped as a whole.

    Live state is only looked at; inside the staging, things are moved. Raises StateError, OSError.
    """
    work = _Assembly(staging, board, expand)
    for one in staging.staged:
        work.add(one)
    work.finish()
    return work.steps


class _Assembly:
    def __init__(self, staging: Staging, board: Board, expand: Collection[str]) -> None:
        self._staging = staging
        self._board = board
        self._expand = expand
        self._made: list[tuple[int, Entry | os.stat_result]] = []  # new directories, held open until they are dressed
        self._brought: set[str] = set()  # slots of made directories that have their step
        self.steps: list[Step] = []

    def add(self, one: Staged) -> None:
        replacement = one.replacement
        if replacement.entry is None:
            self._removal(one)
            return
        depth, like = self._first_missing(replacement)
        if depth is not None:
            self._into_new_directory(one, depth, like)
            return
        if one.assembled:
            raise StateError(f"{replacement.path}: directories appeared there during the restore")
        live = self._live(replacement.target, replacement.relative)
        both = replacement.entry.type == "dir" and live is not None and stat.S_ISDIR(live.st_mode)
        if both and (not replacement.whole or one.slot in self._expand or self._has_mounts(replacement)):
            self._by_file(one, one.slot, replacement.relative)
        else:
            self._step(one, one.slot, replacement.relative, live)

    def finish(self) -> None:
        """Dress the directories that were made, deepest first, and put them on the disk."""
        dresser = Dresser()
        for fd, like in reversed(self._made):
            if isinstance(like, Entry):
                dresser.dress(like, fd, like.name)
            else:
                if dresser.as_root:
                    os.fchown(fd, like.st_uid, like.st_gid)
                os.fchmod(fd, stat.S_IMODE(like.st_mode))
            os.close(fd)
        self._staging.notes += dresser.notes
        if self._made:
            for place in self._staging.places:
                syncfs(place.fd)
        self._made.clear()

    # -- single names -------------------------------------------------------------------------------------

    def _live(self, target: str, relative: str) -> os.stat_result | None:
        """What is at a path below a declared one now, None when nothing is."""
        try:
            if not relative:
                fd, name = open_parent(target)
                try:
                    return lstat_at(fd, name)
                finally:
                    os.close(fd)
            directory, _, name = relative.rpartition("/")
            return lstat_at(self._board.target_directory(target, directory), name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _has_mounts(self, replacement: Replacement) -> bool:
        """Whether it can't be renamed, or something is mounted below that would go with it."""
        if not replacement.relative and is_mount_root(replacement.target):
            return True
        return bool(self._mounts_below(replacement.target, replacement.relative))

    def _step(self, one: Staged, slot: str, relative: str, live: os.stat_result | None) -> None:
        directory, _, name = slot.rpartition("/")
        staged = lstat_at(self._board.slot_directory(one.place, directory), name)
        kind = StepKind.CREATE if live is None else StepKind.EXCHANGE
        self._append(one, kind, slot, relative, staged, live)

    def _removal(self, one: Staged) -> None:
        live = self._live(one.replacement.target, one.replacement.relative)
        if live is not None:
            self._append(one, StepKind.REMOVE, one.slot, one.replacement.relative, None, live)

    def _append(
        self,
        one: Staged,
        kind: StepKind,
        slot: str,
        relative: str,
        new: os.stat_result | None,
        old: os.stat_result | None,
    ) -> None:
        replacement = one.replacement
        if old is not None:
            self._refuse_mounts(replacement.target, relative, old, self._board.device(one.place))
        step = Step(
            kind,
            replacement.item,
            replacement.target,
            relative,
            one.place,
            slot,
            None if new is None else Node(new.st_dev, new.st_ino),
            None if old is None else Node(old.st_dev, old.st_ino),
            replacement.companions,
        )
        for ending in replacement.companions:  # first: beside another database they would do harm
            there = step.companion(ending, None)
            beside = self._live(there.target, there.relative)
            if beside is not None:
                self.steps.append(step.companion(ending, Node(beside.st_dev, beside.st_ino)))
        self.steps.append(step)

    def _refuse_mounts(self, target: str, relative: str, old: os.stat_result, device: int) -> None:
        """Raises StateError where a rename could not work, or would take along what is mounted below a directory."""
        where = "there" if old.st_dev != device else ""
        if not where and stat.S_ISDIR(old.st_mode) and self._mounts_below(target, relative):
            where = "below it"
        if where:
            path = f"{target}/{relative}" if relative else target
            raise StateError(
                f"{path}: another file system is mounted {where}, so it can't be swapped",
                hint="declare what lies on another file system as an item of its own",
            )

    def _mounts_below(self, target: str, relative: str) -> list[str]:
        return mounts_below(self._board.target_directory(target, relative))

    # -- directories --------------------------------------------------------------------------------------

    def _by_file(self, one: Staged, slot: str, relative: str) -> None:
        """Swap what two directories both have, bring what is new, and for a whole one take away what is extra."""
        staged_fd = self._board.slot_directory(one.place, slot)
        names = sorted(os.listdir(staged_fd))
        prefix = f"{relative}/" if relative else ""
        for name in names:
            staged = lstat_at(self._board.slot_directory(one.place, slot), name)
            live = self._live(one.replacement.target, prefix + name)
            both = live is not None and stat.S_ISDIR(live.st_mode) and stat.S_ISDIR(staged.st_mode)
            if both and live is not None and live.st_dev == self._board.device(one.place):
                self._by_file(one, f"{slot}/{name}", prefix + name)
            else:
                self._step(one, f"{slot}/{name}", prefix + name, live)
        if one.replacement.whole:
            live_fd = self._board.target_directory(one.replacement.target, relative)
            for name in sorted(set(os.listdir(live_fd)) - set(names)):
                if not name.startswith(PLACE_PREFIX + self._staging.id):
                    live = self._live(one.replacement.target, prefix + name)
                    self._append(one, StepKind.REMOVE, f"{slot}/{name}", prefix + name, None, live)

    def _first_missing(self, replacement: Replacement) -> tuple[int | None, os.stat_result | None]:
        """How many of the path's directories exist, None for all; and what the deepest existing one is like."""
        directories = replacement.relative.split("/")[:-1] if replacement.relative else []
        like: os.stat_result | None = None
        if replacement.relative:
            for depth in range(len(directories) + 1):
                try:
                    like = os.fstat(self._board.target_directory(replacement.target, "/".join(directories[:depth])))
                except (FileNotFoundError, NotADirectoryError):
                    return depth, like
        return None, like

    def _into_new_directory(self, one: Staged, depth: int, like: os.stat_result | None) -> None:
        replacement = one.replacement
        parts = replacement.relative.split("/")
        top = "/".join(parts[:depth])
        group = (replacement.target, top)
        place_fd = self._staging.places[one.place].fd
        slot = self._staging.groups.get(group)
        if like is None:
            fd, _ = open_parent(replacement.target)
            like = os.fstat(fd)
            os.close(fd)
        if slot is None:
            slot = self._staging.groups[group] = f"{one.slot}-new"
            self._hold(create_at(place_fd, slot), replacement, depth, like)
        if slot not in self._brought:
            self._brought.add(slot)
            placeholder = Staged(Replacement(replacement.item, replacement.target, top, None), one.place, slot)
            self._step(placeholder, slot, top, self._live(replacement.target, top))
        if one.assembled:
            return  # in an earlier attempt at this restore
        here = open_directory_at(place_fd, slot)
        for level, part in enumerate(parts[depth:-1], depth + 1):
            try:
                below = open_directory_at(here, part)
            except FileNotFoundError:
                below = create_at(here, part)
                self._hold(os.dup(below), replacement, level, like)
            os.close(here)
            here = below
        os.rename(one.slot, parts[-1], src_dir_fd=place_fd, dst_dir_fd=here)
        os.close(here)
        one.assembled = True

    def _hold(self, fd: int, replacement: Replacement, depth: int, like: os.stat_result) -> None:
        self._made.append((fd, replacement.parents[depth] if depth < len(replacement.parents) else like))
