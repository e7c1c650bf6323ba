"""Reading files of the configuration: bounded, regular files only, and when recoverd is root only root's own."""

from __future__ import annotations

import os
import stat

_MOST_LINKS = 40  # as the kernel: path_resolution(7)


class Unusable(Exception):
    """The file can't be used; the message is a sentence without its path."""


def read(path: str, *, most_bytes: int, euid: int) -> bytes:
    """The content of `path`, at most one byte more than `most_bytes`. Raises Unusable."""
    if reason := distrust(path, euid=euid):
        raise Unusable(reason)
    try:
        # never blocks on a FIFO that someone put there
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise Unusable(f"can't be read: {_why(error)}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise Unusable("is no regular file")
    with open(fd, "rb") as file:
        # what was opened is what is judged, also when the name was given to another file meanwhile
        if euid == 0 and (reason := _others_can_write(status)):
            raise Unusable(f"{reason}, and recoverd runs as root")
        try:
            return file.read(most_bytes + 1)
        except OSError as error:
            raise Unusable(f"can't be read: {_why(error)}") from None


def distrust(path: str, *, euid: int) -> str | None:
    """Why root must not follow what `path` says: someone else can change it or put another in its place.

    Looks at the file, at every directory above it and at those of every symlink on the way. A directory that
    others can write is fine when it is sticky, as /tmp is: there they can't replace what root owns. None when
    all is well, when recoverd is not root, or where the path does not exist (reading it will tell).
    """
    if euid != 0:
        return None
    current, pending, links = "/", [part for part in path.split("/") if part], 0
    while pending:
        name = pending.pop(0)
        if name == ".":
            continue
        if name == "..":
            current = os.path.dirname(current)
            continue
        current = os.path.join(current, name)
        try:
            status = os.lstat(current)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    return "leads through too many symbolic links"
                if status.st_uid != 0:
                    return f"leads through a symbolic link of another user ({current}), and recoverd runs as root"
                target = os.readlink(current)
                current = "/" if target.startswith("/") else os.path.dirname(current)
                pending = [part for part in target.split("/") if part] + pending
                continue
        except OSError:
            return None
        if stat.S_ISDIR(status.st_mode) and pending and status.st_mode & stat.S_ISVTX and status.st_uid == 0:
            continue
        if stat.S_ISCHR(status.st_mode):  # /dev/null: a mask
            continue
        if reason := _others_can_write(status):
            where = "" if not pending else f"lies in {current}, which "
            return f"{where}{reason}, and recoverd runs as root"
    return None


def _others_can_write(status: os.stat_result) -> str | None:
    if status.st_uid != 0:
        return f"belongs to another user (uid {status.st_uid})"
    if status.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return f"can be written by group {status.st_gid}"
    return None


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
