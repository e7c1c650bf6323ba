"""Where configuration files are found, and which of them count. Lists directories, reads no file.

Later places override earlier ones by file name: /usr/lib/recoverd/conf.d, /etc/recoverd/recoverd.yaml and
/etc/recoverd/conf.d; for a plain user only those in $XDG_CONFIG_HOME/recoverd (default: ~/.config/recoverd).
An empty file, or a link to /dev/null, masks those of the same name before it. NAME.yaml.d/*.yaml, in any of the
places, change single keys of NAME.yaml. `--config PATH` replaces the search: a file, or a directory whose *.yaml
and conf.d/*.yaml count.

Host-wide keys belong into recoverd.yaml, or into a file that --config names; all others hold services only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from enum import StrEnum

from recoverd.values import dataclass

SHIPPED = "/usr/lib/recoverd"
SYSTEM = "/etc/recoverd"


class Standing(StrEnum):
    """What became of a place or file."""

    USED = "used"
    MASK = "mask"  # an empty file or a link to /dev/null: takes others of its name away
    EMPTY = "empty"  # an empty file with nothing to mask
    MASKED = "masked"
    OVERRIDDEN = "overridden"
    ABSENT = "absent"
    ORPHAN = "orphan"  # changes a file that does not exist
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Found:
    """One place or file and what became of it; `by` names the file that masks or overrides it."""

    path: str
    standing: Standing
    by: str | None = None
    reason: str = ""  # of `unreadable`
    changes: str | None = None  # the file whose keys this one changes
    asked: bool = False  # named by --config
    host_wide: bool = False  # holds, or could hold, host-wide keys


@dataclass(frozen=True, slots=True)
class Unit:
    """One file that counts, with the files that change keys of it, in their order."""

    path: str
    changes: tuple[str, ...]
    host_wide: bool  # may hold host-wide keys


@dataclass(frozen=True, slots=True)
class Search:
    """The result. `listings` are the names found in each directory looked at; None: it is absent."""

    units: tuple[Unit, ...]
    found: tuple[Found, ...]
    listings: Mapping[str, tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    host_wide: bool
    mask: str  # "": no mask; "empty" or "link"


def system_directory(prefix: str = "") -> str:
    """/etc/recoverd; `prefix` stands before it when not the running system is meant."""
    return prefix + SYSTEM


def find(paths: Sequence[str] | None, *, environ: Mapping[str, str], euid: int, home: str, prefix: str = "") -> Search:
    """Look at the places. `paths` (absolute or relative to the working directory) replaces them.

    Never raises: what can't be looked at is `unreadable`, a path that was asked for and is not there `absent`.
    """
    looker = _Looker()
    if paths:
        for path in paths:
            looker.asked(os.path.abspath(path))
    elif euid == 0:
        looker.directory(f"{prefix}{SHIPPED}/conf.d")
        looker.main(f"{prefix}{SYSTEM}/recoverd.yaml")
        looker.directory(f"{prefix}{SYSTEM}/conf.d")
    else:
        base = environ.get("XDG_CONFIG_HOME", "")
        own = os.path.join(base if os.path.isabs(base) else os.path.join(home, ".config"), "recoverd")
        looker.main(os.path.join(own, "recoverd.yaml"))
        looker.directory(os.path.join(own, "conf.d"))
    return looker.result()


class _Looker:
    """Collects the files in their order, by kind (recoverd.yaml itself, or conf.d) and name."""

    def __init__(self) -> None:
        self._files: dict[tuple[bool, str], list[_File]] = {}
        self._changes: dict[tuple[bool, str], dict[str, list[_File]]] = {}
        self._places: list[Found] = []
        self._listings: dict[str, tuple[str, ...] | None] = {}

    def asked(self, path: str) -> None:
        if os.path.isdir(path):
            self.directory(path, main="recoverd.yaml")
            if "conf.d" in (self._listings[path] or ()):
                self.directory(os.path.join(path, "conf.d"))
        elif os.path.lexists(path):
            # two files of one name, asked for by their paths, both count: the path is the name
            self._add(path, path, host_wide=True)
            self._add_changes(os.path.dirname(path), path, os.path.basename(path) + ".d", host_wide=True)
        else:
            self._places.append(Found(path, Standing.ABSENT, asked=True, host_wide=True))

    def main(self, path: str) -> None:
        directory, name = os.path.split(path)
        names = self._list(directory, host_wide=True) or ()
        if name in names:
            self._add(path, name, host_wide=True)
        else:
            self._places.append(Found(path, Standing.ABSENT))
        if f"{name}.d" in names:
            self._add_changes(directory, name, f"{name}.d", host_wide=True)

    def directory(self, path: str, *, main: str = "") -> None:
        names = self._list(path, host_wide=bool(main))
        if names is None:
            self._places.append(Found(path, Standing.ABSENT))
            return
        for name in names:
            if _is_name(name):
                self._add(os.path.join(path, name), name, host_wide=name == main)
            elif name.endswith(".yaml.d"):
                changed = name.removesuffix(".d")
                self._add_changes(path, changed, name, host_wide=changed == main)

    def _add(self, path: str, name: str, *, host_wide: bool) -> None:
        self._files.setdefault((host_wide, name), []).append(_File(path, host_wide, _mask(path)))

    def _add_changes(self, directory: str, key: str, name: str, *, host_wide: bool) -> None:
        below = os.path.join(directory, name)
        for each in self._list(below, host_wide=host_wide) or ():
            if _is_name(each):
                path = os.path.join(below, each)
                files = self._changes.setdefault((host_wide, key), {}).setdefault(each, [])
                files.append(_File(path, host_wide, _mask(path)))

    def _list(self, path: str, *, host_wide: bool = False) -> tuple[str, ...] | None:
        try:
            names: tuple[str, ...] | None = tuple(sorted(os.listdir(path)))
        except (FileNotFoundError, NotADirectoryError):
            names = None
        except OSError as error:
            names = None
            reason = error.strerror or str(error)
            self._places.append(Found(path, Standing.UNREADABLE, reason=reason, host_wide=host_wide))
        self._listings[path] = names
        return names

    def result(self) -> Search:
        units: list[Unit] = []
        found = list(self._places)
        for key, files in self._files.items():
            used, standings = _choose(files)
            found += standings
            changes: list[str] = []
            for name in sorted(self._changes.get(key, {})):
                change, below = _choose(self._changes[key][name], changes=files[-1].path)
                found += below
                if change is not None:
                    changes.append(change.path)
            if used is not None:
                units.append(Unit(used.path, tuple(changes), used.host_wide))
        for key, orphans in self._changes.items():
            if key not in self._files:
                for files in orphans.values():
                    found += [_found(file, Standing.ORPHAN, changes=key[1]) for file in files]
        return Search(tuple(units), tuple(found), self._listings)


def _choose(files: Sequence[_File], *, changes: str | None = None) -> tuple[_File | None, list[Found]]:
    """The one of several files of the same name that counts (the last), and what became of each."""
    last, earlier = files[-1], files[:-1]
    if last.mask:
        masks = bool(earlier) or last.mask == "link"
        standings = [_found(file, Standing.MASKED, by=last.path, changes=changes) for file in earlier]
        return None, [*standings, _found(last, Standing.MASK if masks else Standing.EMPTY, changes=changes)]
    standings = [_found(file, Standing.OVERRIDDEN, by=last.path, changes=changes) for file in earlier]
    return last, [*standings, _found(last, Standing.USED, changes=changes)]


def _found(file: _File, standing: Standing, *, by: str | None = None, changes: str | None = None) -> Found:
    return Found(file.path, standing, by=by, changes=changes, host_wide=file.host_wide)


def _is_name(name: str) -> bool:
    return name.endswith(".yaml") and not name.startswith(".")


def _mask(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3):  # Linux: the null device
        return "link"
    return "empty" if stat.S_ISREG(status.st_mode) and status.st_size == 0 else ""
