"""The repository's directory: creating it, recognising it, and refusing what this recoverd does not understand."""

from __future__ import annotations

import errno
import os
from datetime import datetime

from recoverd.errors import RepositoryError, os_hint
from recoverd.repository.fields import canonical, parse
from recoverd.repository.reserve import NAME as RESERVE
from recoverd.system import clock, durable
from recoverd.values import dataclass

FORMAT = 1
FORMAT_NAME = "format.json"
PACKS, SNAPSHOTS, MARKS, LOCKS = "packs", "snapshots", "marks", "services"
WRITER_LOCK, READERS_LOCK = "lock", "readers.lock"
_SHOULD_BE = 'it should be like {"format":1,"hash":"blake3","id":"<any UUID>"}: nothing else is lost with it'
_DIRECTORIES = (PACKS, SNAPSHOTS, MARKS, LOCKS)


@dataclass(frozen=True, slots=True)
class Format:
    """What format.json says."""

    format: int
    id: str
    hash: str
    machine_id: str
    created: str  # RFC 3339, UTC
    compression: int  # zstd level for new packs; any level can be read

    @property
    def created_ns(self) -> int:
        """`created` in nanoseconds since 1970; 0 where it is no time."""
        try:
            return int(datetime.fromisoformat(self.created).timestamp()) * 1_000_000_000
        except ValueError:
            return 0


def create_layout(path: str, *, compression: int) -> None:
    """Create an empty repository. format.json comes last: without it nothing is a repository.

    Raises RepositoryError when something is there already, or it can't be created.
    """
    import uuid

    try:
        durable.make_directories(path)
        remove_leftovers(path)  # of one that was killed at it
        present = set(os.listdir(path))
        if FORMAT_NAME in present:
            raise RepositoryError(f"there is a repository at {path} already")
        foreign = present - {*_DIRECTORIES, WRITER_LOCK, READERS_LOCK, RESERVE}
        foreign = {name for name in foreign if not name.startswith(durable.TEMPORARY_PREFIX)}
        if foreign or any(_has_content(os.path.join(path, name)) for name in _DIRECTORIES):
            raise RepositoryError(
                f"{path} is not empty, and not a repository", hint="name an empty or a new directory in repository.path"
            )
        os.chmod(path, 0o700)
        for name in _DIRECTORIES:
            durable.make_directories(os.path.join(path, name))
        for name in (WRITER_LOCK, READERS_LOCK):
            os.close(os.open(os.path.join(path, name), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        document = {
            "format": FORMAT,
            "id": str(uuid.uuid4()),
            "hash": "blake3",
            "machine_id": _machine_id(),
            "created": clock.rfc3339(clock.now_ns()),
            "compression": compression,
        }
        durable.write_path(os.path.join(path, FORMAT_NAME), canonical(document).encode("ascii") + b"\n")
    except OSError as error:
        raise RepositoryError(
            f"a repository can't be created at {path}: {error.strerror or error}",
            hint=os_hint(error) or "recoverd must be allowed to write there",
        ) from None


def is_there(path: str) -> bool:
    """Whether there is a repository. One that has lost its format.json still is one: it is not to be begun anew."""
    return os.path.lexists(os.path.join(path, FORMAT_NAME)) or _has_data(path)


def read_format(path: str) -> Format:
    """What kind of repository is at `path`. Raises RepositoryError for none, a damaged, or a newer one."""
    file_name = os.path.join(path, FORMAT_NAME)
    try:
        with durable.open_own(file_name) as file:
            data = file.read(65536)
    except (FileNotFoundError, NotADirectoryError):
        if _has_data(path):
            raise RepositoryError(
                f"the repository at {path} has lost its {FORMAT_NAME}",
                hint='write {"format":1,"hash":"blake3","id":"<any UUID>"} there: nothing else is lost with it',
            ) from None
        raise RepositoryError(f"there is no repository at {path}", hint="`recoverd snapshot` creates it") from None
    except OSError as error:
        other = error.errno in {errno.EINVAL, errno.ELOOP, errno.EISDIR}  # something else lies there
        raise RepositoryError(
            f"the repository at {path} can't be read: {FORMAT_NAME}: {error.strerror or error}",
            hint=_SHOULD_BE if other else "run recoverd as the user who owns the repository",
        ) from None
    try:
        fields = parse(data)
        number = fields.whole("format")
        if number == FORMAT:
            return Format(
                number,
                fields.text("id"),
                fields.text("hash"),
                fields.text("machine_id", ""),
                fields.text("created", ""),
                fields.whole("compression", 3),
            )
    except ValueError as error:
        raise RepositoryError(
            f"{file_name} is damaged: {error}",
            hint=_SHOULD_BE,
        ) from None
    age = "newer" if number > FORMAT else "older"
    raise RepositoryError(
        f"{path}: repository format {number} is {age} than this recoverd understands ({FORMAT})",
        hint="use the recoverd that wrote it, or a newer one",
    )


def remove_leftovers(path: str) -> None:
    """Delete the temporary files that processes which are gone have left in a directory. Raises OSError."""
    for name in os.listdir(path):
        if name.startswith(durable.TEMPORARY_PREFIX) and durable.is_leftover(name):
            os.unlink(os.path.join(path, name))


def _has_data(path: str) -> bool:
    return any(_has_content(os.path.join(path, name)) for name in (PACKS, SNAPSHOTS))


def _has_content(path: str) -> bool:
    try:
        return any(not name.startswith(".") for name in os.listdir(path))
    except OSError:
        return False


def _machine_id() -> str:
    try:
        with open("/etc/machine-id", encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""
