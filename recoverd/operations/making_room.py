"""Room for captures: pruning before them, after them, and when the disk of the repository is full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recoverd.errors import LockHeld, RecoverdError
from recoverd.operations.context import Context
from recoverd.repository.reserve import is_full

if TYPE_CHECKING:
    from recoverd.operations.prune import PruneResult


def keep_free(context: Context, held: frozenset[str]) -> None:
    """Prune before a capture where less is free than `min_free` asks for. The capture then takes what room there is.

    `held`: the services whose lock the caller holds. A prune that could not help is repeated only after a snapshot.
    """
    config = context.config.repository
    if config.min_free_bytes is None and config.min_free_share is None:
        return
    from recoverd.operations.bounding import lacks_free  # late: most have no such bound
    from recoverd.repository.bounds import MIN_FREE

    if MIN_FREE not in context.told_low and lacks_free(context):
        _pruned(context, held=held)


def make_room(context: Context, error: Exception, held: frozenset[str]) -> bool:
    """Where a capture failed with `error` because the disk is full: prune. Whether that has freed anything."""
    if not is_full(error):
        return False
    path = context.config.repository.path
    context.events.emit("disk.low", message="no room for a snapshot: pruning first", level="error", path=path)
    result = _pruned(context, held=held)
    return result is not None and result.freed_bytes > 0


def prune_after(context: Context, services: Sequence[str]) -> int:
    """Apply retention to the services that got a snapshot, and the bounds to all. Returns how many snapshots went."""
    result = _pruned(context, services=tuple(services), if_due=True) if services else None
    return 0 if result is None else len(result.removed)


def _pruned(
    context: Context, *, services: tuple[str, ...] = (), if_due: bool = False, held: frozenset[str] = frozenset()
) -> PruneResult | None:
    """A prune whose failure fails no capture: it is told, and the next one does it."""
    from recoverd.operations.prune import PruneRequest, prune

    try:
        return prune(context, PruneRequest(services, if_due=if_due, held=held))
    except LockHeld:
        return None
    except (RecoverdError, OSError) as error:
        context.events.emit("prune.failed", message=str(error), path=context.config.repository.path)
        return None
