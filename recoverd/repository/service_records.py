"""What recoverd remembers of a service between runs: one small file, replaced atomically under a short lock.

A damaged one is moved aside and the service starts with defaults: nothing in it can lose a snapshot, because
sequences are also read off the records that exist.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from recoverd.repository.fields import Fields, Malformed, as_text, canonical, check_version, parse
from recoverd.repository.layout import remove_leftovers
from recoverd.repository.records import ServiceRecord
from recoverd.system import clock, durable, locks

SERVICE_RECORD_VERSION = 1
_log = logging.getLogger("recoverd.repository")


def encode_service_record(service: str, record: ServiceRecord) -> bytes:
    document: dict[str, Any] = {
        "service_record": SERVICE_RECORD_VERSION,
        "service": service,
        "next_sequence": record.next_sequence,
        "paused": record.paused,
        "confirmed_ns": None if record.confirmed_ns is None else str(record.confirmed_ns),
        "confirmed_sequence": record.confirmed_sequence,
        "accepted": {item: dict(documents) for item, documents in record.accepted.items()},
        "rejected": {item: dict(contents) for item, contents in record.rejected.items()},
        "process": dict(record.process),
        "blocked": record.blocked,
        "last_restore": dict(record.last_restore),
        "failures": record.failures,
        "last_error": record.last_error,
        **({"given_up": dict(record.given_up)} if record.given_up else {}),
        **({"loads": {item: dict(load) for item, load in record.loads.items()}} if record.loads else {}),
        **({"children": [dict(child) for child in record.children]} if record.children else {}),
        **({"pending": dict(record.pending)} if record.pending else {}),
        **({"undone": dict(record.undone)} if record.undone else {}),
        **({"revision": record.revision} if record.revision else {}),
    }
    return canonical(document).encode("ascii") + b"\n"


def decode_service_record(data: bytes, service: str) -> ServiceRecord:
    """Raises ValueError when the bytes are no record of this service, RepositoryError for a newer version.

    Fields that are not known are left out: they are memory, not data.
    """
    fields = parse(data)
    check_version(fields, "service_record", SERVICE_RECORD_VERSION, f"the record of service {service}")
    if fields.text("service") != service:
        raise Malformed("it is the record of another service")
    return ServiceRecord(
        next_sequence=max(1, fields.whole("next_sequence")),
        paused=fields.flag("paused"),
        confirmed_ns=fields.long_or_none("confirmed_ns"),
        confirmed_sequence=fields.whole_or_none("confirmed_sequence"),
        accepted=fields.objects("accepted", _all_texts),
        rejected={item: _all_texts(Fields(known)) for item, known in fields.any_object("rejected", {}).items()},
        process=fields.any_object("process"),
        blocked=fields.text_or_none("blocked"),
        last_restore=fields.any_object("last_restore"),
        failures=fields.whole("failures"),
        last_error=fields.text_or_none("last_error"),
        given_up=fields.any_object("given_up", {}),
        loads=fields.any_object("loads", {}),
        revision=fields.whole("revision", 0),
        pending=_all_texts(Fields(fields.any_object("pending", {}))),
        undone=_all_texts(Fields(fields.any_object("undone", {}))),
        children=_children(fields.rest().get("children")),
    )


def _children(known: object) -> tuple[dict[str, Any], ...]:
    return tuple(dict(one) for one in known if isinstance(one, dict)) if isinstance(known, list) else ()


def _all_texts(fields: Fields) -> dict[str, str]:
    return {key: as_text(value) for key, value in fields.rest().items()}


class ServiceRecords:
    """The records in STATE_DIR/services."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._one_at_a_time = threading.Lock()  # threads queue up here rather than ask again and again for the file's

    def get(self, service: str) -> ServiceRecord:
        """The record; defaults when there is none or it is damaged. Raises RepositoryError for a newer version."""
        path = self._path(service)
        try:
            with durable.open_own(path) as file:
                return decode_service_record(file.read(), service)
        except FileNotFoundError:
            return ServiceRecord()
        except (OSError, ValueError) as error:
            _log.warning("the record of service %s can't be read, so defaults are used: %s: %s", service, path, error)
            return ServiceRecord()

    def update(self, service: str, change: Callable[[ServiceRecord], ServiceRecord]) -> ServiceRecord:
        """Replace the record durably; concurrent updates wait for each other. A damaged one is moved aside first.

        Raises RepositoryError for a newer version, and OSError.
        """
        durable.make_directories(self._directory)
        lock = f"{self._directory}/.lock"
        with self._one_at_a_time, locks.acquire(lock, wait_s=30.0, what="the record of a service"):
            remove_leftovers(self._directory)
            self._move_damaged_aside(service)
            before = self.get(service)
            after = change(before)
            if after != before:
                durable.replace_path(self._path(service), encode_service_record(service, after))
        # without the locks: nobody need wait for the disk twice because of others
        if after != before:
            durable.sync_directory(self._directory)
        else:
            durable.settle_directory(self._directory)
        return after

    def remove(self, service: str) -> None:
        """Forget a service for good: durably, and harmless where there is no record. Raises LockHeld, OSError."""
        if not os.path.isdir(self._directory):
            return
        lock = f"{self._directory}/.lock"
        with self._one_at_a_time, locks.acquire(lock, wait_s=30.0, what="the record of a service"):
            try:
                os.unlink(self._path(service))
            except FileNotFoundError:
                return
            durable.settle_directory(self._directory)

    def _move_damaged_aside(self, service: str) -> None:
        path = self._path(service)
        try:
            with durable.open_own(path) as file:
                decode_service_record(file.read(), service)
        except FileNotFoundError:
            pass
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in {errno.EISDIR, errno.EINVAL, errno.ELOOP}:
                raise  # else no file lies there
            moment = clock.rfc3339(clock.now_ns()).replace(":", "")
            os.rename(path, f"{path}.damaged-{moment}")
            _log.warning("the damaged record of service %s was moved to %s.damaged-%s", service, path, moment)

    def _path(self, service: str) -> str:
        return f"{self._directory}/{service}.json"
