"""What is known of dump items, for `check`: from records and the run history, without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recoverd.config.model import Service
from recoverd.health.facts import DumpFacts
from recoverd.operations import pending_loads
from recoverd.operations.capture_notes import DUMP
from recoverd.repository.catalog import Run
from recoverd.repository.records import ItemRecord, Snapshot
from recoverd.repository.store import Repository

_RUNS = 50


def dump_facts(
    service: Service, repository: Repository | None, snapshots: Sequence[Snapshot] | None = None
) -> tuple[DumpFacts, ...]:
    """One for each dump item. `snapshots`: the service's own, oldest first, where they are at hand."""
    if not service.dumps:
        return ()
    from recoverd.recovery.item_survey import newest_records  # late: few services have one

    if snapshots is None:
        snapshots = [one for one in repository.snapshots(service.name) if not one.imported] if repository else []
    waiting = pending_loads.load(repository, service.name) if repository is not None else {}
    records = newest_records(service, snapshots)
    found = []
    for name in service.dumps:
        runs = repository.catalog.runs(service.name, f"{DUMP}/{name}", _RUNS) if repository is not None else []
        found.append(_facts(service, name, runs, records, snapshots, waiting.get(name)))
    return tuple(found)


def _facts(
    service: Service,
    name: str,
    runs: Sequence[Run],
    records: Mapping[str, ItemRecord],
    snapshots: Sequence[Snapshot],
    pending: pending_loads.PendingLoad | None,
) -> DumpFacts:
    good = next((run for run in runs if run.outcome == "ok"), None)
    failures = next((at for at, run in enumerate(runs) if run.outcome == "ok"), len(runs))
    record = records.get(name)
    source = None
    if pending is not None:
        source = f"{service.name}/{pending.sequence}" if pending.sequence else "what was there before"
    begun = pending is not None and pending.has_begun
    return DumpFacts(
        item=name,
        size_bytes=record.size_bytes if record is not None and record.root == record.good else None,
        good_ns=good.time_ns if good is not None else _at_least(service, name, snapshots),
        seconds=good.seconds if good is not None else None,
        failures=failures,
        last_error=runs[0].detail or None if failures else None,
        waits=None if begun else source,
        begun=source if begun else None,
    )


def _at_least(service: Service, name: str, snapshots: Sequence[Snapshot]) -> int | None:
    """Where the history is lost: since when the newest good dump is there; younger ones carry it along."""
    from recoverd.recovery.item_survey import same_item

    found: Snapshot | None = None
    for one in reversed(snapshots):
        record = one.items.get(name)
        if record is None or record.good is None or not same_item(service.state[name], record):
            break
        if found is not None and record.good != found.items[name].good:
            break
        found = one
    return found.time_ns if found is not None else None
