"""What `check` says of drills, from records alone."""

from __future__ import annotations

from recoverd.config.model import Service
from recoverd.health.facts import DrillFacts
from recoverd.repository.store import Repository
from recoverd.system import clock

DRILL = "drill"  # in the run history
PASSED, FAILED = "passed", "failed"
_MISSED = 2  # so many scheduled drills may be missing
_RUNS = 200


def facts(service: Service, repository: Repository | None, zone: str) -> DrillFacts | None:
    """None where no drill is declared, and none was held. What the history has lost, the marks of snapshots know."""
    runs = repository.catalog.runs(service.name, DRILL, _RUNS) if repository is not None else []
    limit_s = service.check.max_drill_age_s
    if limit_s is None and service.drill is not None:
        limit_s = missed_s(service.drill.cron, zone, _MISSED)
    if not runs and limit_s is None and service.drill is None:
        return None
    times = [run.time_ns for run in runs if run.outcome == PASSED]
    if not times and repository is not None:
        times = [one.drilled_ns for one in repository.all_marks(service.name).values() if one.drilled_ns is not None]
    last = runs[0] if runs else None
    good = next((run for run in runs if run.outcome == PASSED), None)
    return DrillFacts(
        limit_s,
        max(times, default=None),
        last.seconds if last is not None else None,
        float(good.detail) if good is not None else None,
        last.detail if last is not None and last.outcome == FAILED else None,
    )


def missed_s(cron: str | None, zone: str, count: int) -> float | None:
    """How long ago the last but `count` - 1 of the times of a crontab was, in seconds; None without one."""
    if cron is None:
        return None
    from datetime import UTC, datetime, timedelta

    from recoverd.config.crontab import parse, zone_named

    now = time = datetime.fromtimestamp(clock.now_ns() // 1_000_000_000, UTC)
    crontab, where = parse(cron), zone_named(zone)
    for missed in range(count):
        time = crontab.at_or_before(time - timedelta(seconds=1) if missed else time, where)
    return (now - time).total_seconds()
