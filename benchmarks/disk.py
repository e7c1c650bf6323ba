"""A file system of its own for the benchmark, and what is to be said of the machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INODES = 1_200_000


class NoDisk(Exception):
    """There can't be such a file system here; the message says why."""


@contextmanager
def own_file_system(size_bytes: int) -> Iterator[Path]:
    """A fresh ext4 in a sparse file on a loop device, gone afterwards. Raises NoDisk."""
    if os.geteuid() != 0:
        raise NoDisk("only root can mount a file system of its own; `--on DIRECTORY` measures in a directory instead")
    if shutil.which("mkfs.ext4") is None:
        raise NoDisk("mkfs.ext4 is not installed: apt-get install e2fsprogs")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the disk is taken away then, too
    with tempfile.TemporaryDirectory(prefix="recoverd-bench-") as scratch:
        image, disk = Path(scratch, "image"), Path(scratch, "disk")
        disk.mkdir()
        with open(image, "wb") as file:
            file.truncate(size_bytes)
        # Tables that the kernel would write in the background would count as written by whoever runs then.
        options = f"lazy_itable_init=0,lazy_journal_init=0 -N {INODES * size_bytes // (4 << 30)}".split()
        _must(["mkfs.ext4", "-q", "-F", "-E", *options, str(image)])
        _must(["mount", "-o", "loop", str(image), str(disk)])
        try:
            yield disk
        finally:
            if subprocess.run(["umount", str(disk)], capture_output=True, check=False).returncode:
                subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _must(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoDisk(f"{' '.join(command)}: {done.stderr.strip()}")


def machine(place: Path) -> dict[str, str]:
    """What the figures depend on."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gib:.0f} GiB",
        "kernel": platform.release().split("-")[0],
        "file system": _file_system(place),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _file_system(place: Path) -> str:
    """The type of the file system that `place` lies on, and whether a loop device is between."""
    best = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, mount, kind, *_ = line.split(" ")
        if place.is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, f"{kind} on a loop device" if device.startswith("/dev/loop") else kind)
    return best[1]
