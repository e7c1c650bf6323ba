"""Records and logs of processes that a document listed once and never will again are not kept for ever.

What is over keeps its record and its log for a month, and the hundred newest of each service are kept at most: who asks
what a session said last week finds it. Lock files stay, as all of them do.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress

from recoverd.config.model import Service
from recoverd.errors import RecoverdError
from recoverd.operations import instances
from recoverd.operations.context import Context
from recoverd.repository.records import ServiceRecord
from recoverd.repository.store import Repository
from recoverd.services import process_tree
from recoverd.services.exclusion import exclusively
from recoverd.services.logs import KEPT
from recoverd.services.process_record import ProcessRecord
from recoverd.system.clock import now_ns
from recoverd.system.processes import is_alive

KEEP_NS = 30 * 86400 * 10**9
MOST = 100  # of one service
_LOG = logging.getLogger("recoverd.operations")


def doomed(over: Mapping[str, int], now_ns: int) -> tuple[str, ...]:
    """Which of those that are `over`, by name with the time of their last sign of life, are forgotten. Pure.

    A time in the future tells that the clock was wrong: such a one counts as the newest, and does not grow old.
    """
    newest = sorted(over, key=lambda name: (-over[name], name))
    return tuple(name for place, name in enumerate(newest) if place >= MOST or now_ns - over[name] > KEEP_NS)


def tidy(context: Context) -> tuple[str, ...]:
    """Forget what is over for good, of all services; the names. What can't be told, or is at work, stays.

    A service whose document can't be believed now keeps everything; so does one that is not declared any more, for a
    month. Raises RepositoryError, OSError.
    """
    repository = context.repository_if_any()
    if repository is None:
        return ()
    forgotten: list[str] = []
    for base, names in _known(context.state_dir).items():
        times = {name: _last_sign_ns(context.state_dir, name) for name in names}
        if not doomed(times, now_ns()):  # most of the time: no document is read
            continue
        service = context.config.services.get(base)
        if service is not None and service.instances is not None:
            found = instances.listing(context, service)
            if found.error is not None:
                continue
            for name in (*(one.name for one in found.services), *(one.name for one in found.refused)):
                times.pop(name, None)
        over = {name: time_ns for name, time_ns in times.items() if not _is_at_work(repository.record(name))}
        for name in doomed(over, now_ns()):
            try:
                if _forget(context, repository, service, name):
                    forgotten.append(name)
            except (RecoverdError, OSError) as error:
                _LOG.debug("%s is not tidied away now: %s", name, error)
    return tuple(forgotten)


def tidy_if_any(context: Context) -> None:
    """`tidy`; what goes wrong is told and fails nothing else."""
    try:
        tidy(context)
    except (RecoverdError, OSError) as error:
        _LOG.warning("what is over of the processes that documents listed can't be tidied away: %s", error)


def _known(state_dir: str) -> dict[str, set[str]]:
    """By service, the processes that there is a record or a log of."""
    found: dict[str, set[str]] = {}
    for directory, endings in (("services", (".json",)), ("logs", _LOG_ENDINGS)):
        with suppress(FileNotFoundError):
            for file in os.listdir(os.path.join(state_dir, directory)):
                name = next((file.removesuffix(one) for one in endings if file.endswith(one)), "")
                if "@" in name:
                    found.setdefault(name.partition("@")[0], set()).add(name)
    return found


_LOG_ENDINGS = (".log", *(f".log.{number}" for number in range(1, KEPT + 1)))


def _files(state_dir: str, name: str) -> list[str]:
    logs = [os.path.join(state_dir, "logs", f"{name}{ending}") for ending in _LOG_ENDINGS]
    return [*logs, os.path.join(state_dir, "services", f"{name}.json")]


def _last_sign_ns(state_dir: str, name: str) -> int:
    """When the process was started, stopped or given up last, or said something."""
    times = [0]
    for path in _files(state_dir, name):
        with suppress(OSError):
            times.append(os.lstat(path).st_mtime_ns)
    return max(times)


def _is_at_work(record: ServiceRecord) -> bool:
    process = ProcessRecord.from_json(record.process)
    return process.identity is not None and is_alive(process.identity)


def _forget(context: Context, repository: Repository, service: Service | None, name: str) -> bool:
    """Remove the record, then the logs; not while somebody starts or stops it, nor while anything that it has started
    still lives, which nobody would find again. Raises LockHeld, ServiceError, RepositoryError, OSError."""
    logs = os.path.join(context.state_dir, "logs")
    with (
        repository.service_lock(name, wait_s=0.0, what=f"service {name}"),
        exclusively(name, logs, wait_s=0.0),
    ):
        if service is not None and service.instances is not None:
            listing = instances.listing(context, service)
            if listing.error is not None or name in {one.name for one in listing.services}:
                return False
        process = ProcessRecord.from_json(repository.record(name).process)
        if process.identity is not None and process_tree.members(process.identity, process.token):
            return False
        repository.service_records.remove(name)
        for path in _files(context.state_dir, name):
            with suppress(FileNotFoundError):
                os.unlink(path)
    _LOG.info("%s is over: its record and its log are not kept any longer", name)
    return True
