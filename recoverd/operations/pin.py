"""`recoverd pin` and `recoverd unpin`: snapshots that retention may never delete."""

from __future__ import annotations

from typing import Any

from recoverd.operations.context import Context
from recoverd.operations.naming import find_snapshot
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class PinRequest:
    snapshots: tuple[str, ...]  # as people name them
    pinned: bool = True


@dataclass(frozen=True, slots=True)
class Pinned:
    """One snapshot, and whether it is pinned now."""

    id: str
    pinned: bool
    changed: bool
    label: str | None = None


@dataclass(frozen=True, slots=True)
class PinResult:
    snapshots: tuple[Pinned, ...]

    exit_status: int = 0

    def to_json(self) -> dict[str, Any]:
        """`{"snapshots": [{"id", "pinned", "changed", "label"}]}`; `changed` is false where it was so before."""
        return {
            "snapshots": [
                {"id": one.id, "pinned": one.pinned, "changed": one.changed, "label": one.label}
                for one in self.snapshots
            ]
        }


def pin(context: Context, request: PinRequest) -> PinResult:
    """Pin snapshots, or unpin them. Raises UsageError before anything is changed, RepositoryError."""
    found = {snapshot.id: snapshot for snapshot in (find_snapshot(context, name) for name in request.snapshots)}
    repository = context.repository()
    results = []
    for snapshot in found.values():
        before = repository.marks(snapshot.service, snapshot.sequence)
        after = repository.set_marks(
            snapshot.service, snapshot.sequence, lambda marks: replace(marks, pinned=request.pinned, migrated=())
        )
        results.append(Pinned(snapshot.id, request.pinned, before != after, snapshot.label))
    return PinResult(tuple(results))
