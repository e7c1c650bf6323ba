"""Entering paths that may belong to somebody else: component by component, by descriptor, never through a link
that a service user could have planted.

Above a declared path, a symlink is followed only if it belongs to root (or, for a plain user, to root or to
that user) and lies in a directory that nobody else can write; systemd's DynamicUser= makes such links.
"""

from __future__ import annotations

import errno
import functools
import os
import stat

from recoverd.errors import StateError
from recoverd.system.durable import fsync_directory

_MAX_LINKS = 40  # as the kernel, path_resolution(7)
_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UntrustedLink(StateError):
    """A symlink on the way to a declared path that somebody else could have planted."""


def open_parent(path: str, *, create: bool = False) -> tuple[int, str]:
    """The directory that holds an absolute path, opened, and the path's last name.

    With `create`, missing directories are made (0755, durable). The caller closes the descriptor. It can be
    used to reach names even where the directory's listing is not allowed. Raises FileNotFoundError when the
    parent is absent, NotADirectoryError, UntrustedLink, ValueError for a path that names no file, OSError.
    """
    components = _components(path)
    if not components:
        raise ValueError(f"{path!r} names no file")
    return _walk(path, components[:-1], create=create), components[-1]


def open_declared_directory(path: str) -> int:
    """A declared directory, opened; a link at its last component is followed under the same rule.

    The caller closes the descriptor. Raises as `open_parent`.
    """
    return _walk(path, _components(path), create=False)


def behind_links(path: str) -> str:
    """Where a declared directory lies, also while it is missing: links at its last component are followed under the
    same rule, and one that could have been planted is what lies there itself. Raises as `open_parent`."""
    for _ in range(_MAX_LINKS):
        parent, name = open_parent(path)
        try:
            if not stat.S_ISLNK(lstat_at(parent, name).st_mode):
                return path
            target = _trusted_target(parent, name, path)
            above = os.readlink(f"/proc/self/fd/{parent}")  # with no link in it
        except (FileNotFoundError, UntrustedLink):
            return path
        finally:
            os.close(parent)
        try:
            found = open_declared_directory(path)
        except FileNotFoundError:
            path = os.path.normpath(os.path.join(above, target))  # on to where it is missing
            continue
        try:
            return os.readlink(f"/proc/self/fd/{found}")
        finally:
            os.close(found)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def open_directory_at(dir_fd: int, name: str) -> int:
    """Open a directory inside an open one; never through a link (NotADirectoryError then). Raises OSError."""
    return os.open(name, _READ, dir_fd=dir_fd)


def lstat_at(dir_fd: int, name: str) -> os.stat_result:
    """The stat of a name itself. Raises OSError."""
    return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)


@functools.lru_cache(maxsize=4096)
def owner_names(uid: int, gid: int) -> tuple[str, str]:
    """The names of a user and of a group, "" where the number has none; asked once per pair."""
    import grp
    import pwd

    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = ""
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = ""
    return user, group


def _components(path: str) -> list[str]:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    components = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in components or "\0" in path:
        raise ValueError(f"{path!r} is not a plain path")
    return components


def _walk(path: str, components: list[str], *, create: bool) -> int:
    """A readable descriptor of the directory at `components`."""
    todo = components[::-1]
    links = 0
    here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while todo:
            name = todo.pop()
            below = _enter(here, name, create=create)
            if below is None:
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = _trusted_target(here, name, path)
                todo.extend(part for part in reversed(target.split("/")) if part not in {"", "."})
                if not target.startswith("/"):
                    continue
                below = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            os.close(here)
            here = below
        return _readable(here)
    except OSError as error:
        if error.filename is not None and error.filename != path:
            error.filename = path
        raise
    finally:
        os.close(here)


def _enter(here: int, name: str, *, create: bool) -> int | None:
    """The directory `name`, or None when it is a symlink."""
    try:
        return os.open(name, _ENTER, dir_fd=here)
    except FileNotFoundError:
        if not create:
            raise
        try:
            os.mkdir(name, 0o755, dir_fd=here)
        except FileExistsError:
            pass  # made meanwhile, by whomever: what it is, is looked at below
        _fsync_entered(here)
        return os.open(name, _ENTER, dir_fd=here)
    except NotADirectoryError:
        if stat.S_ISLNK(lstat_at(here, name).st_mode):
            return None
        raise


def _trusted_target(here: int, name: str, path: str) -> str:
    link = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    try:
        # stat and target are those of one and the same inode, whatever happens to the name meanwhile
        found = os.fstat(link)
        if not stat.S_ISLNK(found.st_mode):
            raise OSError(errno.EAGAIN, "changed while it was looked at", name)
        trusted = {0, os.geteuid()}
        directory = os.fstat(here)
        if found.st_uid not in trusted or directory.st_uid not in trusted or directory.st_mode & 0o022:
            raise UntrustedLink(
                f"{path}: the symlink {name!r} on the way could have been planted by somebody else",
                hint="declare the path without the link, or let the link and its directory belong to root alone",
            )
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)


def _fsync_entered(here: int) -> None:
    fd = os.open(".", _READ, dir_fd=here)
    try:
        fsync_directory(fd)
    finally:
        os.close(fd)


def _readable(here: int) -> int:
    try:
        return os.open(".", _READ, dir_fd=here)
    except PermissionError:
        return os.dup(here)  # names in it can still be reached by those who may enter it
