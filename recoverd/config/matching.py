"""Which paths a pattern of `for_each` fits, and how the service of each is called. Lists directories, reads no file.

In a pattern `*`, `?` and `[a-z]` stand for what they stand for in a shell: never for a slash, or the dot of a hidden
name. Directories below the first of them may belong to anybody, so no symlink there is followed, and none is a match.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Mapping

MOST_MATCHES = 500  # of one pattern
_MOST_NAMES = 50_000  # looked at for one pattern
_LONGEST = 120  # characters of a service's name
_WILD = re.compile(r"[*?[]")
_PLAIN = re.compile(r"[a-z0-9_-]+\Z")
_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def why_no_pattern(pattern: str) -> str | None:
    """Why this can't be a pattern; `~` and variables are filled in already."""
    parts = pattern.split("/")
    if not pattern.startswith("/"):
        return f'"{pattern}" must be the whole path: it starts with / or ~'
    if "**" in parts:
        return f'"{pattern}" has **: say how deep the matches lie, as in /home/*/src/*/.state'
    if "." in parts or ".." in parts:
        return f'"{pattern}" must not contain . or ..: say where the matches really are'
    return None if pattern.strip("/") else "matches everything there is"


def find(pattern: str, *, euid: int) -> tuple[str, ...]:
    """The directories and files that a pattern fits, sorted; where nothing is, or nobody may look, there is no match.

    Raises ValueError with a sentence when there are too many, or root would follow somebody else's symlink.
    """
    parts = [part for part in pattern.split("/") if part]
    fixed = next((number for number, part in enumerate(parts) if _WILD.search(part)), len(parts) - 1)
    try:
        start = _open_fixed(parts[:fixed], euid)
    except OSError:
        return ()
    finder = _Finder(pattern)
    try:
        finder.look(start, "/" + "/".join(parts[:fixed]) if fixed else "", parts[fixed:])
    finally:
        os.close(start)
    return tuple(sorted(finder.found))


def _open_fixed(parts: list[str], euid: int) -> int:
    """The directory above the first wildcard. Raises OSError; ValueError for a link that root must not follow."""
    here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for number, name in enumerate(parts):
        try:
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode) and euid == 0 and status.st_uid != 0:
                path = "/" + "/".join(parts[: number + 1])
                raise ValueError(f"leads through a symbolic link of another user ({path}), and recoverd runs as root")
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


class _Finder:
    """Gathers the matches of one pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._names = 0
        self.found: list[str] = []

    def look(self, here: int, path: str, parts: list[str]) -> None:
        """All that fits `parts` below an open directory."""
        part, rest = parts[0], parts[1:]
        for name in self._fitting(here, part) if _WILD.search(part) else [part]:
            try:
                status = os.stat(name, dir_fd=here, follow_symlinks=False)
                if not rest:
                    if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
                        self._add(f"{path}/{name}")
                    continue
                below = os.open(name, _ENTER, dir_fd=here)
            except OSError:
                continue  # it is not there, a link, or nobody may go there
            try:
                self.look(below, f"{path}/{name}", rest)
            finally:
                os.close(below)

    def _fitting(self, here: int, part: str) -> list[str]:
        fits = re.compile(fnmatch.translate(part))
        names = []
        try:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
        except OSError:
            return []
        with os.scandir(fd) as entries:
            os.close(fd)
            for entry in entries:
                self._names += 1
                if self._names > _MOST_NAMES:
                    raise ValueError(f"{self._pattern} makes more than {_MOST_NAMES} names to be looked at")
                if fits.match(entry.name) and (part.startswith(".") or not entry.name.startswith(".")):
                    names.append(entry.name)
        return names

    def _add(self, path: str) -> None:
        if len(self.found) == MOST_MATCHES:
            raise ValueError(f"{self._pattern} fits more than {MOST_MATCHES} paths: each would be a service")
        self.found.append(path)


def why_left_out(match: str) -> str | None:
    """Why no service can be made for a match: its name would mean something else where it is filled in."""
    if not match.isprintable():
        return "its name holds characters that can't be printed"
    if re.search(r"[${}]", match) or os.path.basename(match).startswith("~"):
        return "its name holds $ or braces, or starts with ~, which mean something in a configuration"
    return None


def name_of(template: str, pattern: str, match: str) -> str:
    """The name of the service for a match: that of the template with what stands for the wildcards.

    It depends on nothing but the match, so it stays the same whatever else is found, and no two matches share one:
    parts are joined by a dot, which no part contains that stands as it is; any other name ends in two dots and a hash.
    """
    pairs = list(zip([part for part in pattern.split("/") if part], match.split("/")[1:], strict=True))
    parts = [name for part, name in pairs if _WILD.search(part)] or [pairs[-1][1]]
    plain = f"{template}-{'.'.join(parts)}"
    if all(_PLAIN.match(part) for part in parts) and len(plain) <= _LONGEST:
        return plain
    import hashlib  # late: nearly every command comes by here

    digest = hashlib.blake2b(match.encode("utf-8", "surrogateescape"), digest_size=5).hexdigest()
    words = ".".join(re.sub(r"[^a-z0-9_-]+", "-", part.lower()).strip("-") or "x" for part in parts)
    return f"{f'{template}-{words}'[: _LONGEST - len(digest) - 2]}..{digest}"


def is_current(matches: Mapping[str, tuple[str, ...]], *, euid: int) -> bool:
    """Whether the patterns still fit what they fitted when the configuration was loaded."""
    try:
        return all(find(pattern, euid=euid) == tuple(known) for pattern, known in matches.items())
    except ValueError:
        return False
