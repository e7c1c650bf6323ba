"""The inotify watches of one service: every directory that its state items cover, reached by descriptors only.

Watches are added through `/proc/self/fd/N` of directories that were opened component by component without following
links, so nothing that a service user plants makes us watch elsewhere (inotify(7) watches inodes, not names).
A new directory is watched first and listed then; a capture looks at all of it afterwards. So whatever happens in it is
seen by the list, by an event, or by the capture.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from recoverd.config.model import ItemKind, Service, StateItem
from recoverd.config.selection import Selection
from recoverd.errors import StateError
from recoverd.recovery.walk import MAX_DEPTH
from recoverd.scheduler.news import News
from recoverd.system.mounts import is_remote_file_system
from recoverd.system.walk import UntrustedLink, open_declared_directory, open_directory_at, open_parent
from recoverd.values import dataclass

if TYPE_CHECKING:
    from inotify_simple import INotify

MOST_WATCHES = 200_000  # of one service: a few hundred bytes each here, a kilobyte in the kernel
_READ_BYTES = 1 << 16  # of events at a time

# the numbers of inotify(7): the library is imported only where something is watched
_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x2, 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED = 0x2000, 0x4000, 0x8000
_ONLYDIR, _EXCL_UNLINK, _ISDIR = 0x01000000, 0x04000000, 0x40000000
_CONTENT = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_MASK = _CONTENT | _DELETE_SELF | _MOVE_SELF | _ONLYDIR | _EXCL_UNLINK
_NAMES = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO  # what changes a directory itself
_GONE = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED

_LIMITS = {
    errno.ENOSPC: ("the kernel allows no more watches", "fs.inotify.max_user_watches=524288"),
    errno.EMFILE: ("the kernel allows no more users of inotify", "fs.inotify.max_user_instances=512"),
}


class CannotWatch(Exception):
    """Why a service can't be watched, and what helps."""

    def __init__(self, why: str, hint: str | None = None) -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


class Overflow(Exception):
    """More happened than the kernel kept: what it was is not known, nor which directories there are now."""


@dataclass(frozen=True, slots=True)
class _Role:
    """What a watched directory is: one of a directory item, or the one that holds a file item."""

    item: str
    below: str
    only: str | None  # the one name that matters


class Watches:
    """One inotify instance. Not safe in two threads at once."""

    def __init__(self, service: Service) -> None:
        """Nothing is watched before `start`. Raises CannotWatch."""
        watched = [item for item in service.state.values() if item.kind is not ItemKind.DUMP]
        self._items = {item.name: item for item in watched}
        self._selections = {item.name: Selection(item.include, item.exclude) for item in watched}
        self._anchors: dict[str, tuple[int, int] | None] = {}  # by item: device and inode of the directory it starts at
        self._roles: dict[int, set[_Role]] = {}  # by watch descriptor
        self._places: dict[tuple[str, str], int] = {}  # (item, directory below it) -> watch descriptor
        self._lost: set[str] = set()  # items whose anchor is gone
        self._inotify = _open()

    @property
    def fd(self) -> int:
        """Readable when there are events."""
        number: int = self._inotify.fileno()
        return number

    def __len__(self) -> int:
        """How many directories are watched."""
        return len(self._roles)

    def close(self) -> None:
        self._inotify.close()

    def start(self) -> None:
        """Watch all there is. Raises CannotWatch."""
        for item in self._items.values():
            self._anchor(item)

    def read(self, news: News) -> bool:
        """What happened, at most one batch of it; whether anything did. Raises Overflow, CannotWatch."""
        from inotify_simple import parse_events

        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return False
        told: set[tuple[int, str]] = set()  # documents: that they change again within a batch is nothing new
        for wd, mask, _, name in parse_events(data):
            if name and not mask & _ISDIR:
                if (wd, name) in told and not mask & _NAMES:
                    continue
                if mask & _CONTENT != _CLOSE_WRITE:
                    told.add((wd, name))
            if mask & _OVERFLOW:
                raise Overflow
            for role in tuple(self._roles.get(wd, ())):
                if role.only is not None:
                    self._around_file(role, mask, name, news)
                elif not name:
                    self._itself(role, mask, news)
                elif mask & _ISDIR:
                    self._directory(role, mask, name, news)
                else:
                    self._document(role, mask, name, news)
            if mask & _IGNORED:
                self._drop(wd)
        return True

    def look_for_anchors(self, news: News) -> None:
        """Whether each path still leads to the directory that is watched: it may have been replaced, made, or mounted
        over, of which no event tells. Raises CannotWatch."""
        for item in self._items.values():
            if item.name in self._lost or _identity(item) != self._anchors[item.name]:
                self._forget(item.name, "")
                self._lost.discard(item.name)
                self._anchor(item)
                news.appeared(item.name, "")

    # -- events -------------------------------------------------------------------------------------------

    def _around_file(self, role: _Role, mask: int, name: str, news: News) -> None:
        beside = self._items[role.item].companions
        if beside and name:
            # readers of a database close its -wal as writers do, and its -shm is written to by them: a capture too
            is_it = name in {f"{role.only}{ending}" for ending in ("", *beside) if ending != "-shm"}
            concerns = is_it and mask & _CONTENT != _CLOSE_WRITE
        else:
            concerns = name == role.only or bool(not name and mask & _ATTRIB)
        if concerns:
            news.changed(role.item, "")
        elif not name and mask & _GONE:
            self._lose(role, news)

    def _itself(self, role: _Role, mask: int, news: News) -> None:
        if mask & _GONE and not role.below:
            self._lose(role, news)
        elif mask & _UNMOUNT:
            self._add_below(self._items[role.item], role.below)
            news.appeared(role.item, role.below)
        elif mask & _ATTRIB:
            news.changed(role.item, role.below)

    def _lose(self, role: _Role, news: News) -> None:
        self._lost.add(role.item)
        news.appeared(role.item, "")

    def _directory(self, role: _Role, mask: int, name: str, news: News) -> None:
        item, path = self._items[role.item], _join(role.below, name)
        if not self._selections[item.name].may_descend(path):
            if mask & _NAMES:
                news.touched(item.name, role.below)
            return
        news.changed(item.name, role.below)
        if mask & _MOVED_FROM:
            self._forget(item.name, path)
        elif mask & _DELETE:
            self._forget_one(item.name, path)
        elif mask & (_CREATE | _MOVED_TO) or (item.name, path) not in self._places:  # it may be readable only now
            self._add_below(item, path)
            news.appeared(item.name, path)

    def _document(self, role: _Role, mask: int, name: str, news: News) -> None:
        if self._selections[role.item].covers(_join(role.below, name)):
            news.changed(role.item, role.below)
        elif mask & _NAMES:
            news.touched(role.item, role.below)

    # -- watches ------------------------------------------------------------------------------------------

    def _anchor(self, item: StateItem) -> None:
        """Watch an item from its start. Where it does not exist yet, `look_for_anchors` finds it later."""
        self._anchors[item.name] = None
        try:
            fd, only = _opened(item)
        except (OSError, UntrustedLink):
            return
        try:
            status = os.fstat(fd)
            if is_remote_file_system(fd):
                raise CannotWatch(f"{item.path} lies on a network file system, which tells nothing of other machines")
            if not self._add(fd, _Role(item.name, "", only)):
                raise CannotWatch(f"recoverd may not list the directory at {item.path}")
            self._anchors[item.name] = (status.st_dev, status.st_ino)
            if only is None:
                self._add_children(item, fd, "", 0)
        finally:
            os.close(fd)

    def _add_below(self, item: StateItem, path: str) -> None:
        """Watch a directory and all below it, as far as they are there. Raises CannotWatch."""
        try:
            fd, _ = _opened(item)
        except (OSError, UntrustedLink):
            return  # the anchor will be missed
        parts = path.split("/") if path else []
        try:
            for part in parts:
                below = open_directory_at(fd, part)
                os.close(fd)
                fd = below
            if self._add(fd, _Role(item.name, path, None)):
                self._add_children(item, fd, path, len(parts))
        except OSError:
            pass  # gone, or no directory any more: an event tells what came then
        finally:
            os.close(fd)

    def _add_children(self, item: StateItem, fd: int, below: str, depth: int) -> None:
        if depth >= MAX_DEPTH:
            return
        try:
            with os.scandir(fd) as found:
                names = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for name in names:
            path = _join(below, name)
            if not self._selections[item.name].may_descend(path):
                continue
            try:
                child = open_directory_at(fd, name)
            except OSError:
                continue
            try:
                if self._add(child, _Role(item.name, path, None)):
                    self._add_children(item, child, path, depth + 1)
            finally:
                os.close(child)

    def _add(self, fd: int, role: _Role) -> bool:
        """Watch one open directory; False where that is not permitted, or it is gone. Raises CannotWatch."""
        try:
            wd = self._inotify.add_watch(f"/proc/self/fd/{fd}", _MASK)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.ENOMEM}:
                raise _limit(error) from None
            return False
        if len(self._roles) >= MOST_WATCHES:
            raise CannotWatch(f"it has more than {MOST_WATCHES} directories", "declare less, or `exclude` some of it")
        self._forget_one(role.item, role.below, but=wd)
        self._roles.setdefault(wd, set()).add(role)
        self._places[role.item, role.below] = wd
        return True

    def _forget(self, item: str, path: str) -> None:
        """Watch a directory and all below it no longer."""
        inside = f"{path}/" if path else ""
        for below in [below for name, below in self._places if name == item]:
            if below == path or below.startswith(inside):
                self._forget_one(item, below)

    def _forget_one(self, item: str, below: str, *, but: int | None = None) -> None:
        wd = self._places.get((item, below))
        if wd is None or wd == but:
            return
        del self._places[item, below]
        left = {role for role in self._roles.get(wd, ()) if (role.item, role.below) != (item, below)}
        if left:
            self._roles[wd] = left
        elif self._roles.pop(wd, None) is not None:
            try:
                self._inotify.rm_watch(wd)
            except OSError:
                pass  # it went with its directory

    def _drop(self, wd: int) -> None:
        for role in self._roles.pop(wd, ()):
            if self._places.get((role.item, role.below)) == wd:
                del self._places[role.item, role.below]


def _join(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name


def _opened(item: StateItem) -> tuple[int, str | None]:
    if item.kind is not ItemKind.DIRECTORY:
        return open_parent(item.path)
    return open_declared_directory(item.path), None


def _identity(item: StateItem) -> tuple[int, int] | None:
    """Device and inode of the directory that the item starts at; None where there is none that may be entered."""
    try:
        fd, _ = _opened(item)
    except (OSError, StateError):
        return None
    try:
        status = os.fstat(fd)
        return status.st_dev, status.st_ino
    finally:
        os.close(fd)


def _open() -> INotify:
    from inotify_simple import INotify

    try:
        return INotify(nonblocking=True)
    except OSError as error:
        raise _limit(error) from None


def _limit(error: OSError) -> CannotWatch:
    why, setting = _LIMITS.get(error.errno or 0, (f"inotify can't be used: {error.strerror}", None))
    hint = None if setting is None else f"`sysctl -w {setting}`, and a file in /etc/sysctl.d to keep it"
    return CannotWatch(why, hint)
