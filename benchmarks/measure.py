"""How a piece of work is measured: seconds, peak memory, bytes written to the device, calls that wait for the disk."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from benchmarks.results import Sample
from recoverd.system.durable import syncfs

SYNCS = "fsync,fdatasync,syncfs,sync,sync_file_range,msync"
_LAUNCH = Path(__file__).with_name("launch.py")
_SECTOR_BYTES = 512  # of /sys/dev/block/*/stat, whatever the device's own are


class Failed(Exception):
    """A command of the benchmark did not do what it was to do, so there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command as a user would type it."""

    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None

    def run(self) -> None:
        """Untimed. Raises Failed."""
        with tempfile.TemporaryFile() as output:
            self.must(_run(self.words, self, output), output)

    def all_environment(self) -> dict[str, str]:
        """Nothing of the caller's that could change what is measured."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **self.environment}

    def must(self, status: int, output: IO[bytes]) -> None:
        """Raises Failed unless the exit status is 0."""
        if status:
            output.seek(0)
            told = output.read().decode(errors="replace").strip()
            raise Failed(f"{' '.join(self.words)}: exit status {status}\n{told}".strip())


class Work(Protocol):
    """What is measured: it may be done once with `measured`, or once with `syncs`."""

    def measured(self) -> tuple[float, int]:
        """Do it; seconds of wall clock, and peak memory in bytes. Raises Failed."""

    def syncs(self) -> int:
        """Do it under strace; how often it waited for the disk. Raises Failed."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands, one after the other, each from its start to its exit status."""

    commands: Sequence[Command]

    def measured(self) -> tuple[float, int]:
        done = [_launched(command) for command in self.commands]
        return sum(seconds for seconds, _ in done), max(peak for _, peak in done)

    def syncs(self) -> int:
        return sum(_traced(command) for command in self.commands)


def _run(words: Sequence[str], command: Command, output: IO[bytes], *descriptors: int) -> int:
    """The exit status. Whoever interrupts us ends it too, with all that it has started."""
    process = subprocess.Popen(
        words,
        env=command.all_environment(),
        cwd=command.directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=descriptors,
        process_group=0,
    )
    try:
        return process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _launched(command: Command) -> tuple[float, int]:
    readable, writable = os.pipe()
    with tempfile.TemporaryFile() as output, open(readable, "rb") as report:
        try:
            words = [sys.executable, "-I", "-S", str(_LAUNCH), str(writable), *command.words]
            command.must(_run(words, command, output, writable), output)
        finally:
            os.close(writable)
        status, seconds, kib = report.read().split()
        command.must(int(status), output)
    return float(seconds), int(kib) * 1024


def _traced(command: Command) -> int:
    with tempfile.NamedTemporaryFile("r") as table:
        traced = ["strace", "-f", "--seccomp-bpf", "-c", "-e", f"trace={SYNCS}", "-o", table.name, *command.words]
        Command(traced, command.environment, command.directory).run()
        return count_calls(table.read())


def count_calls(table: str) -> int:
    """The sum of the column `calls` of a table of strace -c: its last row names it `total`."""
    found = re.search(r"^\s*100\.00\s+[\d.]+\s+(?:\d+\s+)?(\d+)\s+(?:\d+\s+)?total$", table, re.MULTILINE)
    return int(found[1]) if found else 0


class Traced:
    """`strace` attached to a process that runs on: counts from `with` to its end."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.calls = 0

    def __enter__(self) -> Traced:
        self._table = tempfile.NamedTemporaryFile("r")
        command = ["strace", "-f", "-c", "-e", f"trace={SYNCS}", "-o", self._table.name, "-p", str(self._pid)]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        told = self._strace.stderr.readline()
        if "attached" not in told:
            self._strace.wait()
            raise Failed(f"strace can't be attached: {told.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._strace.terminate()
        self._strace.communicate()
        with self._table as table:
            self.calls = count_calls(table.read())


def can_trace() -> str | None:
    """Why syncs can't be counted, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed: apt-get install strace"
    done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()}"


class Meter:
    """Measures work on one file system."""

    def __init__(self, place: Path) -> None:
        self._place = place
        device = os.stat(place).st_dev
        self._stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")

    def measure(self, work: Work) -> Sample:
        """Do it, with nothing of what was before still on its way to the disk. Raises Failed."""
        self.sync()
        before = self._written()
        seconds, peak = work.measured()
        self.sync()
        after = self._written()
        return Sample(seconds, peak, None if before is None or after is None else after - before)

    def sync(self) -> None:
        """Wait for the disk, for this file system alone: what others write elsewhere is none of ours."""
        fd = os.open(self._place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            syncfs(fd)
        finally:
            os.close(fd)

    def _written(self) -> int | None:
        """Bytes that the device has been told to write since it exists."""
        with suppress(OSError):
            return int(self._stat.read_text().split()[6]) * _SECTOR_BYTES
        return None


def floor_bytes() -> int:
    """Peak memory of a command that does nothing."""
    return _launched(Command(["true"]))[1]
