"""Which scheduled drills are due: cheap, for those who ask often."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from recoverd.config.model import Service
from recoverd.errors import LockHeld, RecoverdError
from recoverd.operations.context import Context
from recoverd.operations.drilled import DRILL, missed_s
from recoverd.repository.store import Repository
from recoverd.system import clock

if TYPE_CHECKING:
    from recoverd.operations.drill import DrillResult


def due_drills(context: Context) -> tuple[str, ...]:
    """The services whose drill is due, the one that waits for longest first. Raises RepositoryError, OSError.

    However many times were missed, one drill makes up for all.
    """
    scheduled = [one for one in context.config.services.values() if one.enabled and _cron(one) is not None]
    repository = context.repository_if_any() if scheduled else None
    if repository is None:
        return ()
    now_ns, zone = clock.now_ns(), context.config.timezone
    waiting: list[tuple[float, str]] = []
    for service in scheduled:
        before_s = missed_s(_cron(service), zone, 1)
        since_ns = _since_ns(repository, service.name, now_ns)
        if before_s is not None and since_ns is not None and is_due(now_ns - since_ns, before_s):
            waiting.append((-before_s, service.name))
    return tuple(name for _, name in sorted(waiting))


def is_due(since_ns: int, before_s: float) -> bool:
    """Whether a scheduled time, `before_s` seconds ago, came after what was done `since_ns` nanoseconds ago. Pure."""
    return since_ns > before_s * 1e9


def _cron(service: Service) -> str | None:
    return service.drill.cron if service.drill is not None else None


def _since_ns(repository: Repository, name: str, now_ns: int) -> int | None:
    """When the last drill was held, else since when there is something to rehearse with; None: there is nothing.

    Times in the future are of a clock that was wrong.
    """
    runs = [run.time_ns for run in repository.catalog.runs(name, DRILL, 10)]
    marks = [one.drilled_ns for one in repository.all_marks(name).values() if one.drilled_ns is not None]
    held = _newest((*runs, *marks), now_ns)
    if held is not None:
        return held
    good = [one.time_ns for one in repository.snapshots(name) if one.verdict.counts and not one.imported]
    return min((time_ns for time_ns in good if time_ns <= now_ns), default=None)


def _newest(times: Iterable[int], now_ns: int) -> int | None:
    return max((time_ns for time_ns in times if time_ns <= now_ns), default=None)


def drill_if_due(context: Context) -> DrillResult | None:
    """All drills that are due, for those who call from cron. None when there are none, or they can't be held now."""
    try:
        names = due_drills(context)
        if not names:
            return None
        from recoverd.operations.drill import DrillRequest, drill

        return drill(context, DrillRequest(names, background=True))
    except LockHeld:
        return None  # next time
    except (RecoverdError, OSError) as error:
        context.events.emit("drill.failed", message=f"no drill can be held: {error}")
        return None
