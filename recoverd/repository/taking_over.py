"""Taking over: what the spare holds goes to the first place, as soon as that can be written again.

A snapshot is durable in the first place before it goes from the spare. Killed between the two it is in both, is seen
once, and the next one only deletes it from the spare: nothing is lost and nothing doubled.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial

from recoverd.errors import DamagedObject, RepositoryError, os_hint
from recoverd.repository import layout, pruning
from recoverd.repository.both import BothWriter
from recoverd.repository.records import Marks, Snapshot, SnapshotDraft
from recoverd.repository.snapshots import is_service_name
from recoverd.repository.store import Repository
from recoverd.repository.two_places import TwoPlaces, same_capture
from recoverd.values import dataclass

_log = logging.getLogger("recoverd.repository")


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What is in the first place now, by its id there, and why others stay in the spare."""

    taken: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def take_over(places: TwoPlaces, *, wait_s: float) -> TakenOver:
    """Bring all snapshots of the spare to the first place with time, reason, verdict and marks, and empty the spare.

    A sequence that the first has given to another snapshot meanwhile becomes the next one, and that snapshot older
    than what the sequence says (`imported`): the first went on without knowing of it.
    What is damaged stays in the spare. Raises LockHeld, RepositoryError when the first can't take it.
    """
    first, spare = places.first, places.spare
    if first is None or spare is None or places.in_spare:
        return TakenOver()
    taken: list[str] = []
    left: list[str] = []
    settled: dict[str, list[int]] = {}
    with spare.writer(wait_s=wait_s, what="the spare repository") as spare_writer:
        with places.writer(wait_s=wait_s, what="the repository") as writer:
            for service in spare.services():
                if not isinstance(writer, BothWriter):
                    raise RepositoryError(f"the spare at {spare.path} can't be read")
                names: dict[int, int] = {}  # sequences: in the spare, and in the first
                for snapshot in spare.snapshots(service):
                    try:
                        names[snapshot.sequence] = _take(places, first, spare, writer, snapshot, names)
                    except DamagedObject as error:
                        left.append(f"{snapshot.id}: {error.message}")
                taken += [f"{service}/{sequence}" for sequence in names.values()]
                settled[service] = list(names)
                left += spare.unreadable_records(service).values()
        _take_marks(first, spare)
        kept = pruning.prune(spare, spare_writer, settled).kept_data  # nobody of this process reads there any more
    if kept is not None:
        _log.debug("packs stay in %s: %s", spare.path, kept)
    return TakenOver(tuple(taken), tuple(left))


def _take(
    places: TwoPlaces,
    first: Repository,
    spare: Repository,
    writer: BothWriter,
    snapshot: Snapshot,
    names: Mapping[int, int],
) -> int:
    """Make one snapshot of the spare durable in the first place, with its marks; its sequence there."""
    service = snapshot.service
    sequence = _twin(first.snapshots(service), snapshot)
    if sequence is None:
        sequence = snapshot.sequence
        renamed = sequence in first.sequences(service)
        if renamed:
            sequence = places.next_sequence(service)
            _log.warning("%s of the spare becomes %s/%d: its number was given twice", snapshot.id, service, sequence)
        parent = names.get(snapshot.parent, snapshot.parent) if snapshot.parent is not None else None
        with writer.numbered(sequence):
            writer.commit([_draft(snapshot, renamed=renamed, parent=parent)])
    marks = spare.all_marks(service).get(snapshot.sequence)
    if marks is not None:
        first.set_marks(service, sequence, lambda _: marks)
    return sequence


def _twin(known: Sequence[Snapshot], snapshot: Snapshot) -> int | None:
    """The sequence under which the first place has this very capture already."""
    alike = (one for one in reversed(known) if one.time_ns == snapshot.time_ns and same_capture(snapshot, one))
    return next((one.sequence for one in alike), None)


def _draft(snapshot: Snapshot, *, renamed: bool, parent: int | None) -> SnapshotDraft:
    return SnapshotDraft(
        service=snapshot.service,
        time_ns=snapshot.time_ns,
        boot_id=snapshot.boot_id,
        host=snapshot.host,
        verdict=snapshot.verdict,
        items=snapshot.items,
        reason=snapshot.reason,
        label=snapshot.label,
        tags=snapshot.tags,
        parent=parent,
        files=snapshot.files,
        size_bytes=snapshot.size_bytes,
        imported=snapshot.imported or renamed,
    )


def _take_marks(first: Repository, spare: Repository) -> None:
    """What was noted of snapshots of the first place while it could not be written. Raises RepositoryError."""
    try:
        services = [name for name in os.listdir(f"{spare.path}/{layout.MARKS}") if is_service_name(name)]
        for service in services:
            mine = set(spare.sequences(service))
            known = set(first.sequences(service))
            noted = {sequence: marks for sequence, marks in spare.all_marks(service).items() if sequence not in mine}
            for sequence, marks in noted.items():
                if sequence in known:
                    first.set_marks(service, sequence, partial(_instead, marks))
            spare.marks_of(service).forget(list(noted))
    except OSError as error:
        raise RepositoryError(
            f"the marks in {spare.path} can't be taken over: {error.strerror or error}", hint=os_hint(error)
        ) from None


def _instead(marks: Marks, _: Marks) -> Marks:
    return marks
