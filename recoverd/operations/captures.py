"""One service under capture, and the snapshot that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recoverd.config.model import EMPTY, Service
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.partial import Hints
from recoverd.repository.records import Snapshot, SnapshotDraft, SnapshotVerdict
from recoverd.system import clock
from recoverd.values import dataclass, field

if TYPE_CHECKING:
    from recoverd.operations.snapshot import SnapshotRequest


@dataclass(slots=True)
class Capture:
    """What was found of one service, to be compared with `parent`, its newest snapshot that can be read."""

    service: Service
    parent: Snapshot | None
    survey: ServiceSurvey
    verdict: SnapshotVerdict
    changed: bool
    seconds: float
    touched: Mapping[str, Hints] = field(default_factory=lambda: EMPTY)
    failed: tuple[str, ...] = ()  # dumps that could not be taken, a sentence each
    dumped_s: float | None = None  # for how long the service was asked for its dumps; None: it was not


def draft(capture: Capture, request: SnapshotRequest, now_ns: int) -> SnapshotDraft:
    """The snapshot to be made of it, of a look at `now_ns`."""
    items = {name: item.record() for name, item in capture.survey.items.items()}
    return SnapshotDraft(
        service=capture.service.name,
        time_ns=now_ns if request.time_ns is None else request.time_ns,
        boot_id=clock.boot_id(),
        host=clock.host_name(),
        verdict=capture.verdict,
        items=items,
        reason="change" if capture.service.name in request.hints else request.reason,
        label=request.label,
        tags=request.tags,
        parent=capture.parent.sequence if capture.parent is not None else None,
        files=sum(item.files for item in items.values()),
        size_bytes=sum(item.size_bytes for item in items.values()),
        imported=request.time_ns is not None,
    )
