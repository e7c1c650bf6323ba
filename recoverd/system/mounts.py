"""What an open descriptor is mounted from, and how much room there is."""

from __future__ import annotations

import os

_MEMORY_TYPES = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
_REMOTE_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "fuse.ceph", "fuse.sshfs", "fuse.glusterfs", "fuse.rclone",
     "lustre", "gfs2", "ocfs2", "virtiofs", "vboxsf", "prl_fs"}
)  # fmt: skip


def mount_id(fd: int) -> int:
    """The id of the mount that `fd` was opened through (`mnt_id` of proc_pid_fdinfo(5)). Raises OSError."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return int(line.split(":", 1)[1])
    raise OSError(f"the kernel does not tell the mount of descriptor {fd}")


def same_mount(fd_a: int, fd_b: int) -> bool:
    """Whether a rename from one to the other can work. Equal devices are not enough: bind mounts refuse (EXDEV)."""
    return mount_id(fd_a) == mount_id(fd_b)


def file_system_type(fd: int) -> str:
    """The type of the file system under `fd`, such as `ext4`; "" when its mount is not to be seen from here."""
    wanted = str(mount_id(fd))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            if fields[0] == wanted:
                return fields[fields.index("-", 6) + 1]  # proc_pid_mountinfo(5): the type follows the separator
    return ""


def mount_points() -> list[str]:
    """Where something is mounted, as this process sees it. Raises OSError."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [_unescaped(line.split()[4]) for line in file]


def mounts_below(fd: int) -> list[str]:
    """What is mounted below an open directory, as paths relative to it. Raises OSError."""
    base = os.path.join(os.readlink(f"/proc/self/fd/{fd}"), "")
    return [point.removeprefix(base) for point in mount_points() if point.startswith(base) and point != base]


def mount_point_of(fd: int) -> str | None:
    """Where the file system under `fd` is mounted; None for the root file system, or when it is not to be seen."""
    if os.fstat(fd).st_dev == os.stat("/").st_dev:
        return None
    wanted = str(mount_id(fd))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            if fields[0] == wanted:
                return _unescaped(fields[4])
    return None


def _unescaped(field: str) -> str:
    """A field of mountinfo, where white space and backslashes stand as octal numbers."""
    first, *rest = field.split("\\")
    return first + "".join(os.fsdecode(bytes([int(part[:3], 8)])) + part[3:] for part in rest)


def is_memory_file_system(fd: int) -> bool:
    """Whether what is written there is gone after a reboot."""
    return file_system_type(fd) in _MEMORY_TYPES


def is_remote_file_system(fd: int) -> bool:
    """Whether other machines may change what is there, of which this kernel learns nothing."""
    return file_system_type(fd) in _REMOTE_TYPES


def free_bytes(fd: int) -> tuple[int, int]:
    """(free for the calling user, total) bytes of the file system. Raises OSError."""
    room = os.fstatvfs(fd)
    free_blocks = room.f_bfree if os.geteuid() == 0 else room.f_bavail
    return free_blocks * room.f_frsize, room.f_blocks * room.f_frsize


def writable_bytes(path: str) -> int:
    """How many bytes the calling user may still write at `path`, at least.

    ext4 counts as free what no file gets, 2 % of its blocks and at most 4096 (`reserved_clusters`, Linux,
    Documentation/ABI/testing/sysfs-fs-ext4). What is free for everybody is without them, what is free for root is not;
    and of what it tells as all of its blocks, without its own overhead, they are a little more.
    A file system that does not tell its size is taken to have room. Raises OSError.
    """
    room = os.statvfs(path)
    if room.f_blocks == 0:
        return 1 << 62
    blocks = room.f_bavail
    if os.geteuid() == 0:
        blocks = max(blocks, room.f_bfree - min(room.f_blocks // 32, 4096))
    return blocks * room.f_frsize
