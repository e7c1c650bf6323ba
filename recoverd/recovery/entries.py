"""Tree entries made from what lies on disk."""

from __future__ import annotations

import os
import stat
from dataclasses import replace

from recoverd.repository.trees import Entry
from recoverd.system.walk import owner_names

Xattrs = tuple[tuple[str, bytes], ...]

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


def describe_type(mode: int) -> str:
    """What a mode says, in words: "a symbolic link"."""
    return next((words for test, words in _KINDS if test(mode)), "a regular file")


def xattrs_at(dir_fd: int, name: str) -> Xattrs:
    """Extended attributes (ACLs and capabilities are among them) of one name, never through a link.

    The path goes through the held descriptor and has one component below it, so nothing can be planted in it.
    """
    return _xattrs(f"/proc/self/fd/{dir_fd}/{name}")


def xattrs_of(fd: int) -> Xattrs:
    """Extended attributes of an open directory."""
    return _xattrs(f"/proc/self/fd/{fd}/.")


def _xattrs(path: str) -> Xattrs:
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))
    except OSError:
        return ()  # the file system has none, or the file vanished


def _entry(name: str, kind: str, status: os.stat_result) -> Entry:
    user, group = owner_names(status.st_uid, status.st_gid)
    return Entry(
        name=name,
        type=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        user=user,
        group=group,
        size=status.st_size if kind == "file" else 0,
        mtime_ns=status.st_mtime_ns,
        hash=None,
        blocks=None,
        target=None,
    )


def file_entry(name: str, status: os.stat_result, content: str, size: int, xattrs: Xattrs, link: str | None) -> Entry:
    """A file whose bytes are one object."""
    return replace(_entry(name, "file", status), hash=content, size=size, xattrs=xattrs, hard_link=link)


def large_file_entry(
    name: str,
    status: os.stat_result,
    blocks: str,
    size: int,
    block_size: int,
    xattrs: Xattrs,
    link: str | None,
) -> Entry:
    """A file whose bytes are a list of blocks."""
    sparse = status.st_blocks * 512 < size
    return replace(
        _entry(name, "file", status),
        blocks=blocks,
        size=size,
        block_size=block_size,
        xattrs=xattrs,
        hard_link=link,
        sparse=sparse,
    )


def link_entry(name: str, status: os.stat_result, target: str) -> Entry:
    return replace(_entry(name, "symlink", status), target=target)


def directory_entry(name: str, status: os.stat_result, tree: str, xattrs: Xattrs) -> Entry:
    return replace(_entry(name, "dir", status), hash=tree, xattrs=xattrs)
