"""The tools that recoverd is measured beside. All of them as they come: no option makes them faster or slower.

Two exceptions: borg does not encrypt (restic always does, recoverd never), and none of them shows progress.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import Command, Commands, Work
from benchmarks.tools import SAVES, Phase, empty

PACKAGES = {"restic": "restic", "borg": "borgbackup", "rsync": "rsync"}


class Restic:
    name = "restic"

    def __init__(self, place: Path, source: Path) -> None:
        self._place, self._source = empty(place), source
        self.restored: Path | None = place / "restored" / source.relative_to("/")
        password = place / "password"
        password.write_text("benchmark")
        self._environment: Mapping[str, str] = {
            "HOME": str(place),
            "RESTIC_REPOSITORY": str(place / "repository"),
            "RESTIC_PASSWORD_FILE": str(password),
            "RESTIC_CACHE_DIR": str(place / "cache"),
        }
        self._restic("init").run()

    def _restic(self, *arguments: str) -> Command:
        return Command(["restic", "--quiet", *arguments], self._environment)

    def work(self, phase: Phase) -> Work | None:
        if phase in SAVES:
            return Commands([self._restic("backup", str(self._source))])
        return Commands([self._restic("restore", "latest", "--target", str(self._place / "restored"))])


class Borg:
    name = "borg"

    def __init__(self, place: Path, source: Path) -> None:
        self._source, self._count = source, 0
        self._target = empty(place) / "restored"
        self._target.mkdir()
        self.restored: Path | None = self._target / source.relative_to("/")
        self._environment: Mapping[str, str] = {
            "HOME": str(place),
            "BORG_BASE_DIR": str(place),
            "BORG_REPO": str(place / "repository"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        Command(["borg", "init", "--encryption", "none"], self._environment).run()

    def work(self, phase: Phase) -> Work | None:
        if phase is Phase.IN_USE:
            return None  # it warns of a file that changes, and that counts as a failure
        if phase in SAVES:
            self._count += 1
            return Commands([Command(["borg", "create", f"::{self._count}", str(self._source)], self._environment)])
        return Commands([Command(["borg", "extract", f"::{self._count}"], self._environment, self._target)])


class Rsync:
    """A directory for each snapshot; what did not change is a hard link to the one before."""

    name = "rsync --link-dest"

    def __init__(self, place: Path, source: Path) -> None:
        self._place, self._source, self._count = empty(place), source, 0
        self.restored: Path | None = place / "restored"

    def work(self, phase: Phase) -> Work | None:
        newest = self._place / str(self._count)
        if phase is Phase.RESTORE:
            return Commands([Command(["rsync", "-a", f"{newest}/", str(self.restored)])])
        before = [f"--link-dest={newest}"] if self._count else []
        self._count += 1
        return Commands([Command(["rsync", "-a", *before, f"{self._source}/", str(self._place / str(self._count))])])


class Copy:
    """Everything, each time; with `synced` until the bytes are on the disk, as they are after a restore by recoverd."""

    def __init__(self, place: Path, source: Path, *, synced: bool) -> None:
        self.name = "cp -a, then sync" if synced else "cp -a"
        self._place, self._source, self._synced = empty(place), source, synced
        self._target = place / "restored"
        self.restored: Path | None = self._target

    def work(self, phase: Phase) -> Work | None:
        copy = self._place / "copy"
        if phase is Phase.RESTORE:
            return self._copy(copy, self._target)
        shutil.rmtree(copy, ignore_errors=True)
        return self._copy(self._source, copy)

    def _copy(self, source: Path, target: Path) -> Work:
        commands = [Command(["cp", "-a", str(source), str(target)])]
        if self._synced:
            commands.append(Command(["sync", "-f", str(self._place)]))
        return Commands(commands)


class Find:
    """A walk that asks for the stat of each file: what a look at all names costs at least."""

    name = "find -newer"

    def __init__(self, place: Path, source: Path) -> None:
        self._source, self._reference = source, empty(place) / "reference"
        self.restored: Path | None = None
        self._reference.touch()

    def work(self, phase: Phase) -> Work | None:
        if phase in {Phase.FIRST, Phase.RESTORE}:
            return None
        return Commands([Command(["find", str(self._source), "-newer", str(self._reference), "-printf", "%p\n"])])


def versions() -> dict[str, str]:
    """Of the peers that are there."""
    asked = {
        "restic": ["restic", "version"],
        "borg": ["borg", "--version"],
        "rsync": ["rsync", "--version"],
        "cp": ["cp", "--version"],
        "find": ["find", "--version"],
    }
    found = {}
    for tool, command in asked.items():
        if shutil.which(tool) is not None:
            told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            version = re.search(r"\d+(?:\.\d+)+", told)
            found[tool] = version[0] if version else "unknown"
    return found


def missing() -> dict[str, str]:
    """Peers that are not there, each with what installs it."""
    return {
        tool: f"not installed: apt-get install {package}"
        for tool, package in PACKAGES.items()
        if shutil.which(tool) is None
    }
