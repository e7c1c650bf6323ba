"""From facts to results: which figure is fine and which is not. Pure; the effects are in `operations.check`."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.errors import NOTHING_DECLARED
from recoverd.events.text import plural, size
from recoverd.health import service_checks
from recoverd.health.disk import UNMET_HINT, quarantine, repository_space
from recoverd.health.facts import (
    FailedServiceFacts,
    HostFacts,
    RepositoryFacts,
    SchedulerFacts,
    ServiceFacts,
)
from recoverd.health.hooks_check import hooks
from recoverd.health.limits import age_s, ages
from recoverd.health.results import Figure, Result, Status
from recoverd.health.spare_check import spare
from recoverd.health.verify_check import verify


def evaluate(facts: HostFacts) -> tuple[Result, ...]:
    """Every check there is: those of the host first, then service by service, in the order of `facts`."""
    results = [
        scheduler_alive(facts.scheduler, facts.services, facts.now_ns),
        configuration_loaded(facts.scheduler) if facts.services or facts.failed else nothing_declared(),
        *(repository(facts.repository) if facts.services or facts.repository.exists else ()),
        *([verify(facts.verify, facts.now_ns)] if facts.verify is not None else []),
        *([quarantine(facts.quarantine)] if facts.quarantine is not None else []),
        *([spare(facts.spare)] if facts.spare is not None else []),
        *([hooks(facts.hooks, facts.untold, facts.now_ns)] if facts.hooks else []),
        *([lingering(facts.lingers)] if facts.lingers is not None else []),
    ]
    for service in facts.services:
        results += service_checks.evaluate(service, facts.now_ns)
    results += [broken_configuration(failed) for failed in facts.failed]
    return tuple(results)


def scheduler_alive(scheduler: SchedulerFacts, services: Iterable[ServiceFacts], now_ns: int) -> Result:
    """Someone has to save state: `recoverd run`, or a timer that calls `snapshot --due`."""
    name = "scheduler"
    scheduled = [service for service in services if service.is_scheduled and not service.paused]
    if scheduler.pid is not None:
        return Result(name, None, Status.OK, f"running as process {scheduler.pid}")
    if not scheduled:
        return Result(name, None, Status.OK, "not running, and nothing asks for autosave")
    if scheduler.started_before:
        return Result(
            name,
            None,
            Status.CRITICAL,
            f"`recoverd run` is not running: autosave of {plural(len(scheduled), 'service')} stands still",
            hint="start `recoverd run`, and look into its log for why it ended",
        )
    late = [service.name for service in scheduled if _is_late(service, now_ns)]
    if late:
        return Result(
            name,
            None,
            Status.WARNING,
            f"nothing runs autosave: {_listed(late)} not saved in time",
            hint="start `recoverd run`, or call `recoverd snapshot --due` from a timer",
        )
    return Result(name, None, Status.OK, "not running; snapshots are taken in time by something else")


def _is_late(service: ServiceFacts, now_ns: int) -> bool:
    limit_s = ages(service).warn_s
    if service.newest is None:
        return True
    return limit_s is not None and age_s(service.newest.time_ns, service.confirmed_ns, now_ns) > limit_s


def nothing_declared() -> Result:
    """Nothing is watched, so nothing is known to be fine."""
    return Result(
        "configuration",
        None,
        Status.WARNING,
        "no service is declared",
        hint=NOTHING_DECLARED,
    )


def configuration_loaded(scheduler: SchedulerFacts) -> Result:
    """A scheduler that runs on a configuration which is no longer what the files say."""
    name = "configuration"
    if scheduler.pid is None or not scheduler.changed_files:
        return Result(name, None, Status.OK, "what is loaded is what the files say")
    return Result(
        name,
        None,
        Status.WARNING,
        f"changed since the scheduler loaded it: {_listed(scheduler.changed_files)}",
        hint=f"`recoverd config validate`, then `kill -HUP {scheduler.pid}` loads it",
    )


def broken_configuration(failed: FailedServiceFacts) -> Result:
    """A service that is not watched because its drop-in can't be used."""
    first = failed.problems[0] if failed.problems else "its configuration can't be used"
    more = f" (and {len(failed.problems) - 1} more)" if len(failed.problems) > 1 else ""
    return Result(
        "service-configuration",
        failed.name,
        Status.CRITICAL,
        f"not watched: {first}{more}",
        hint="`recoverd config validate` lists every problem",
        figures={"problems": Figure(len(failed.problems))},
    )


def repository(facts: RepositoryFacts) -> tuple[Result, ...]:
    """Whether the repository can be used, and the room it has."""
    figures: dict[str, Figure] = {}
    if facts.size_bytes is not None:
        figures["bytes"] = Figure(facts.size_bytes, "B", warn=facts.max_bytes)
    if facts.files is not None:
        figures["files"] = Figure(facts.files)
    name = "repository"
    if not facts.exists:
        first = Result(
            name,
            None,
            Status.WARNING,
            f"there is none yet at {facts.path}: nothing was ever saved",
            hint="`recoverd run`, `recoverd restore` or `recoverd snapshot` creates it",
        )
    elif facts.error is not None:
        first = Result(
            name,
            None,
            Status.CRITICAL,
            f"{facts.path} can't be used: {facts.error}",
            hint="no snapshot can be taken or restored until this is solved"
            if not facts.has_spare
            else "captures go to the spare meanwhile, and restores take from it",
            figures=figures,
        )
    elif not facts.writable:
        first = Result(
            name,
            None,
            Status.CRITICAL,
            f"{facts.path} can't be written",
            hint="look at its owner and mode, and whether its file system is mounted read-only",
            figures=figures,
        )
    else:
        held = f": {size(facts.size_bytes)}" if facts.size_bytes is not None else ""
        held += f" in {plural(facts.files, 'file')}" if held and facts.files is not None else ""
        over = facts.max_bytes is not None and facts.size_bytes is not None and facts.size_bytes > facts.max_bytes
        allowed = f", and max_bytes allows {size(facts.max_bytes)}" if over and facts.max_bytes is not None else ""
        first = Result(
            name,
            None,
            Status.WARNING if over else Status.OK,
            f"{facts.path}{held}{allowed}",
            hint=UNMET_HINT if over else None,
            figures=figures,
        )
    if facts.space is None:
        return (first,)
    return (first, repository_space(facts, facts.space))


def lingering(lingers: bool) -> Result:
    """A plain user's units need a login, unless lingering is enabled."""
    if lingers:
        return Result("lingering", None, Status.OK, "services of this user start at boot")
    return Result(
        "lingering",
        None,
        Status.WARNING,
        "services of this user end with the last logout, and do not start at boot",
        hint="`loginctl enable-linger` allows it",
    )


def _listed(names: Iterable[str], most: int = 3) -> str:
    everything = list(names)
    shown = ", ".join(everything[:most])
    return shown if len(everything) <= most else f"{shown} and {len(everything) - most} more"
