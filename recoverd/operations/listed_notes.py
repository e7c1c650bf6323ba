"""What was last found listed in a service's document: noted in the runtime directory by whoever compares it with the
real processes, read by `recoverd check`, which judges no document."""

from __future__ import annotations

import json
import os

from recoverd.config.model import Service
from recoverd.operations.context import Context
from recoverd.operations.instances import Listing, compare, listing
from recoverd.repository.store import Repository
from recoverd.system import clock, durable
from recoverd.system.answering import silent
from recoverd.system.walk import UntrustedLink, open_parent
from recoverd.values import dataclass, replace

_QUIET_NS = 60 * 10**9  # a document that changed later than so long ago may change again without another time


@dataclass(frozen=True, slots=True)
class Noted:
    """Names of processes (SERVICE@NAME). `unlisted` run without being listed; `mark` is that of the document then."""

    listed: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()  # name, why
    error: str | None = None  # why nobody knows what is listed
    mark: str = ""

    @staticmethod
    def of(found: Listing, unlisted: tuple[str, ...], mark: str) -> Noted:
        return Noted(
            tuple(one.name for one in found.services),
            unlisted,
            tuple((one.name, one.why) for one in found.refused),
            found.error,
            mark,
        )


def document_mark(service: Service, *, io_timeout_s: float | None = None) -> tuple[str, bool]:
    """What changes when the document or its owner does, told without reading it; and whether it has been quiet for so
    long that an equal mark means an equal document. `io_timeout_s`: its file system may not answer; None: it does."""
    assert service.instances is not None
    path = service.state[service.instances.item].path
    if io_timeout_s is not None and silent([path], within_s=io_timeout_s):
        return "silent", False
    try:
        directory, name = open_parent(path)
        try:
            owner = os.fstat(directory).st_uid
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(directory)
    except (OSError, UntrustedLink) as error:
        return type(error).__name__, False
    words = (owner, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return " ".join(map(str, words)), clock.now_ns() - found.st_ctime_ns >= _QUIET_NS


def note(context: Context, service: Service) -> None:
    """Compare the document with the real processes, and note what is found. While it can't be believed, that stands
    which was noted before. Raises RecoverdError, OSError."""
    mark, _ = document_mark(service, io_timeout_s=context.config.io_timeout_s)
    found = listing(context, service)
    if found.error is not None:
        before = load(context, service.name) or Noted()
        save(context, service.name, replace(before, refused=(), error=found.error, mark=mark))
        return
    unlisted = tuple(one.service.name for one in compare(context, service, found).instances if not one.listed)
    save(context, service.name, Noted.of(found, unlisted, mark))


def save(context: Context, service: str, noted: Noted) -> None:
    """Best effort: a reboot may forget it, and so may a full disk."""
    repository = context.repository_if_any()
    if repository is None:
        return
    document = {
        "listed": noted.listed,
        "unlisted": noted.unlisted,
        "refused": noted.refused,
        "error": noted.error,
        "mark": noted.mark,
    }
    temporary = os.path.join(context.runtime_dir, durable.temporary_name())
    try:
        os.makedirs(context.runtime_dir, mode=0o700, exist_ok=True)
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(document, file, separators=(",", ":"))
        os.replace(temporary, _path(context.runtime_dir, repository, service))
    except OSError:
        pass


def load(context: Context, service: str) -> Noted | None:
    """What was noted last; None where nothing was, or it can't be read."""
    repository = context.repository_if_any()
    if repository is None:
        return None
    try:
        with durable.open_own(_path(context.runtime_dir, repository, service)) as file:
            found = dict(json.loads(file.read()))
        return Noted(
            tuple(map(str, found["listed"])),
            tuple(map(str, found["unlisted"])),
            tuple((str(name), str(why)) for name, why in found["refused"]),
            None if found["error"] is None else str(found["error"]),
            str(found["mark"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(runtime_dir: str, repository: Repository, service: str) -> str:
    return os.path.join(runtime_dir, f"listed-{repository.id}-{service}.json")
