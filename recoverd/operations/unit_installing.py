"""`recoverd units --install` and `--remove`: what was rendered reaches the disk, and systemd hears of it.

Files carry a mark, so that installing again changes only what differs, and removing takes away exactly what was
written. A file without the mark is somebody else's and is never touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from recoverd.errors import RecoverdError
from recoverd.operations.units import DROP_IN, MARK, Directories
from recoverd.system import durable
from recoverd.values import dataclass

ENABLED = ("recoverd.service", "recoverd-restore.service", "recoverd-confirm.service", "recoverd-check.timer")
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one file: written, unchanged or removed."""

    path: str
    action: str


@dataclass(frozen=True, slots=True)
class UnitsResult:
    """`files` are the texts by path (of --install and of a mere look); `notes` what the operator should know."""

    action: str  # show | install | remove
    files: Mapping[str, str]
    changes: tuple[Change, ...] = ()
    enabled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ForeignFile(RecoverdError):
    """A file that recoverd did not write stands where one of its own belongs."""


def install(files: Mapping[str, str], directories: Directories, *, user: bool) -> UnitsResult:
    """Write what differs, remove what belongs to a former configuration, tell systemd, enable.

    Raises ForeignFile before anything is written; RecoverdError when systemd refuses; OSError.
    """
    foreign = [path for path in files if os.path.lexists(path) and not _is_ours(path)]
    if foreign:
        raise ForeignFile(
            f"{foreign[0]} is there and was not written by recoverd, so nothing was written",
            hint="move it away if it is a copy of recoverd's own, or keep your changes in a drop-in of another name",
        )
    changes: list[Change] = []
    for path, text in sorted(files.items()):
        if _is_ours(path) and _read(path) == text:
            changes.append(Change(path, "unchanged"))
            continue
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        durable.write_path(path, text.encode("utf-8", "surrogateescape"), mode=0o644)
        changes.append(Change(path, "written"))
    stale = sorted(set(_written(directories)) - set(files))
    changes += _delete(stale)
    notes: list[str] = []
    if directories.tmpfiles is not None and not user:
        _tell(["systemd-tmpfiles", "--create", os.path.join(directories.tmpfiles, "recoverd.conf")])
    _systemctl("enable", "--quiet", *ENABLED, user=user)
    notes += _reload(user)
    return UnitsResult("install", files, tuple(changes), ENABLED, tuple(notes))


def remove(directories: Directories, *, user: bool) -> UnitsResult:
    """Take away exactly what was written. Services start as if recoverd had never been there. Raises as `install`."""
    written = _written(directories)
    present = [name for name in ENABLED if os.path.join(directories.units, name) in written]
    if present:
        _systemctl("disable", "--quiet", *present, user=user)
    changes = _delete(written)
    return UnitsResult("remove", {}, tuple(changes), (), tuple(_reload(user)))


def _written(directories: Directories) -> list[str]:
    """Every file with our mark where we write."""
    candidates = [
        os.path.join(directories.units, name, *([DROP_IN] if name.endswith(".d") else []))
        for name in _names(directories.units)
        if name.endswith(".d") or name.startswith("recoverd")
    ]
    if directories.tmpfiles is not None:
        candidates.append(os.path.join(directories.tmpfiles, "recoverd.conf"))
    return sorted(path for path in candidates if _is_ours(path))


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_ours(path: str) -> bool:
    """A regular file with our mark in front; a link is somebody else's."""
    return not os.path.islink(path) and _read(path).startswith(MARK)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""


def _delete(paths: Iterable[str]) -> list[Change]:
    changes = []
    for path in paths:
        os.unlink(path)
        changes.append(Change(path, "removed"))
        directory = os.path.dirname(path)
        if directory.endswith(".d") and os.path.basename(path) == DROP_IN and not os.listdir(directory):
            os.rmdir(directory)
    return changes


def _reload(user: bool) -> list[str]:
    if not _manager_runs(user):
        return ["systemd does not run here: it reads the files when it starts"]
    _systemctl("daemon-reload", user=user)
    return []


def _manager_runs(user: bool) -> bool:
    runtime = _environment(user).get("XDG_RUNTIME_DIR", "") if user else "/run"
    return os.path.exists(os.path.join(runtime, "systemd", "private" if user else "system"))


def _environment(user: bool) -> dict[str, str]:
    """With the runtime directory of the user, which neither cron nor su sets."""
    runtime = f"/run/user/{os.geteuid()}"
    given = {"XDG_RUNTIME_DIR": runtime} if user and os.path.isdir(runtime) else {}
    return given | os.environ


def _systemctl(*arguments: str, user: bool) -> None:
    # a user's systemctl asks the manager to make its links, unless it is told that none runs
    offline = {} if _manager_runs(user) else {"SYSTEMD_OFFLINE": "1"}
    _tell(["systemctl", *(["--user"] if user else []), *arguments], _environment(user) | offline)


def _tell(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    import subprocess

    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RecoverdError(f"{command[0]} can't be run: {error}", hint="units need a machine with systemd") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RecoverdError(
            f"`{' '.join(command)}` failed: {lines[-1] if lines else f'exit status {done.returncode}'}",
            hint="the files are in place; correct the cause and install again",
        )


def mount_points() -> list[str]:
    """What is mounted, and what fstab(5) says should be: a disk that is missing now must be waited for too."""
    found = []
    for path in ("/proc/self/mounts", "/etc/fstab"):
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                for line in file:
                    words = line.split()
                    if len(words) > 1 and words[1].startswith("/") and not words[0].startswith("#"):
                        found.append(_unescaped(words[1]))
        except OSError:
            continue
    return list(dict.fromkeys(found))


def _unescaped(word: str) -> str:
    """Blanks in mount points are written as octal numbers (fstab(5))."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)
