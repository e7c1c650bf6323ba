"""Confirmations: "live state is still what snapshot N holds", kept where they cost no disk.

A snapshot every 30 s of a service that changes nothing would wear flash memory for nothing. So a confirmation
lives in the runtime directory, and reaches the service record on disk at most hourly.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial

from recoverd.repository.records import ServiceRecord
from recoverd.repository.store import Repository
from recoverd.system import durable
from recoverd.values import dataclass, replace

HOURLY_NS = 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Confirmation:
    time_ns: int
    sequence: int


def _path(runtime_dir: str, repository_id: str) -> str:
    return os.path.join(runtime_dir, f"confirmed-{repository_id}.json")


def load(runtime_dir: str, repository: Repository) -> dict[str, Confirmation]:
    """The confirmations of this boot, by service. What can't be read counts as none."""
    try:
        with durable.open_own(_path(runtime_dir, repository.id)) as file:
            data = json.loads(file.read())
        return {service: Confirmation(int(one["time_ns"]), int(one["sequence"])) for service, one in dict(data).items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def confirmed(runtime_dir: str, repository: Repository) -> dict[str, Confirmation]:
    """The newest confirmation of each service: of this boot, else what reached the disk."""
    result = {}
    for service in repository.services():
        record = repository.record(service)
        if record.confirmed_ns is not None and record.confirmed_sequence is not None:
            result[service] = Confirmation(record.confirmed_ns, record.confirmed_sequence)
    return result | load(runtime_dir, repository)


def _confirm(one: Confirmation, record: ServiceRecord) -> ServiceRecord:
    return replace(record, confirmed_ns=one.time_ns, confirmed_sequence=one.sequence)


def save(runtime_dir: str, repository: Repository, fresh: Mapping[str, Confirmation]) -> list[str]:
    """Note confirmations; those whose record on disk is over an hour old reach it: their services are returned.

    Best effort but for the record. Raises RepositoryError when that can't be written.
    """
    if not fresh:
        return []
    noted = load(runtime_dir, repository)
    for service, one in fresh.items():
        if service not in noted or noted[service].sequence != one.sequence:
            repository.settle_records(service)  # from now on that snapshot stands for live state
    everything = noted | dict(fresh)
    document = {service: {"time_ns": str(one.time_ns), "sequence": one.sequence} for service, one in everything.items()}
    try:
        os.makedirs(runtime_dir, mode=0o700, exist_ok=True)
        temporary = os.path.join(runtime_dir, durable.temporary_name())
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(document, file, separators=(",", ":"))
        os.replace(temporary, _path(runtime_dir, repository.id))  # no fsync: a reboot may forget it
    except OSError:
        pass  # without a runtime directory the hourly record has to do
    reached = []
    for service, one in fresh.items():
        record = repository.record(service)
        # a record from the future is of a clock that was wrong
        if not 0 <= one.time_ns - (record.confirmed_ns or 0) < HOURLY_NS:
            repository.update_record(service, partial(_confirm, one))
            reached.append(service)
    return reached
