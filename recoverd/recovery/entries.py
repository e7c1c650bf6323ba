"""Tree entries made from what lies on disk."""

from __future__ import annotations

import os
import stat

from blake3 import blake3

from recoverd.repository.trees import Entry
from recoverd.system.reading import attributes_of
from recoverd.system.walk import owner_names
from recoverd.values import replace

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


def identity(*found: os.stat_result) -> str:
    """What tells things that have no content which could be captured from others in their place: whether they are
    the very same, and as they were."""
    said = [(stat.S_IFMT(one.st_mode), one.st_ino, one.st_rdev, one.st_size, one.st_mtime_ns) for one in found]
    return blake3(repr(said).encode()).hexdigest()


def xattrs_of(fd: int) -> Xattrs:
    """Extended attributes of an open directory."""
    return attributes_of(f"/proc/self/fd/{fd}/.")  # a descriptor that may only enter (O_PATH) does for this


def may_be_sparse(status: os.stat_result) -> bool:
    """Whether a file takes less of the disk than it is long; its bytes tell whether that is for its holes."""
    return status.st_blocks * 512 < status.st_size


def file_entry(
    name: str,
    status: os.stat_result,
    content: str,
    size: int,
    xattrs: Xattrs = (),
    link: str | None = None,
    *,
    sparse: bool = False,
) -> Entry:
    """A file whose bytes are one object."""
    uid, gid = status.st_uid, status.st_gid
    user, group = owner_names(uid, gid)
    mode, mtime_ns = status.st_mode & 0o7777, status.st_mtime_ns
    plain = Entry(name, "file", mode, uid, gid, user, group, size, mtime_ns, content)
    if xattrs or link or sparse:
        return replace(plain, xattrs=xattrs, hard_link=link, sparse=sparse)
    return plain


def large_file_entry(
    name: str,
    status: os.stat_result,
    blocks: str,
    size: int,
    block_size: int,
    xattrs: Xattrs,
    link: str | None,
    *,
    sparse: bool,
) -> Entry:
    """A file whose bytes are a list of blocks."""
    return replace(
        _entry(name, "file", status),
        size=size,
        blocks=blocks,
        block_size=block_size,
        xattrs=xattrs,
        hard_link=link,
        sparse=sparse,
    )


def link_entry(name: str, status: os.stat_result, target: str, xattrs: Xattrs, link: str | None) -> Entry:
    return replace(_entry(name, "symlink", status), target=target, xattrs=xattrs, hard_link=link)


def directory_entry(name: str, status: os.stat_result, tree: str, xattrs: Xattrs) -> Entry:
    return replace(_entry(name, "dir", status), hash=tree, xattrs=xattrs)


def _entry(name: str, kind: str, status: os.stat_result) -> Entry:
    user, group = owner_names(status.st_uid, status.st_gid)
    return Entry(
        name, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, user, group, 0, status.st_mtime_ns
    )
