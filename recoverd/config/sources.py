"""What a loaded configuration was made of, so that it is known when it must be loaded again."""

from __future__ import annotations

import os
from collections.abc import Mapping

from recoverd.config.places import Search
from recoverd.values import dataclass, field


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file; `digest` (BLAKE3, hex) is None for one that was looked for and was not there."""

    path: str
    digest: str | None = None
    size_bytes: int = 0
    mtime_ns: int = 0
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """All that the result depends on.

    `environment` are the variables that were asked for, None for an unset one; `search` is the digest of what
    the places held.
    """

    files: tuple[SourceFile, ...]
    environment: Mapping[str, str | None]
    search: str


@dataclass(slots=True)
class SourceLog:
    """Collects the sources of one load."""

    files: dict[str, SourceFile] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)

    def add(self, path: str, data: bytes) -> None:
        """A file was read. Stat figures are those of now: should it have changed since, the digest tells."""
        try:
            status = os.stat(path)
        except OSError:
            self.files[path] = SourceFile(path, digest(data))
            return
        self.files[path] = SourceFile(path, digest(data), status.st_size, status.st_mtime_ns, status.st_ino)

    def add_absent(self, path: str) -> None:
        self.files[path] = SourceFile(path)

    def ask(self, environ: Mapping[str, str], name: str) -> str | None:
        """A variable of the environment, remembered; None where it is unset or empty."""
        value = environ.get(name)
        self.environment[name] = value
        return value or None

    def finish(self, search: Search) -> Sources:
        files = tuple(self.files[path] for path in sorted(self.files))
        return Sources(files, dict(sorted(self.environment.items())), search_digest(search))


def digest(data: bytes) -> str:
    from blake3 import blake3

    return blake3(data).hexdigest()


def search_digest(search: Search) -> str:
    """Changes when a file appears in, vanishes from, or is masked in one of the places."""
    listings = sorted(search.listings.items())
    return digest(repr((search.units, search.found, listings)).encode("utf-8", "surrogateescape"))
