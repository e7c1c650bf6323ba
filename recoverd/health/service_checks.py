"""The checks of one service: pure functions from its facts to results."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.events.text import duration, plural, size
from recoverd.health.disk import disk_space
from recoverd.health.drills import drill_age
from recoverd.health.dumps import dumps
from recoverd.health.facts import LiveFacts, PathFacts, ProblemFacts, ServiceFacts, SnapshotFacts
from recoverd.health.instances import instances
from recoverd.health.limits import Ages, age_s, ages
from recoverd.health.processes import ITS_LOG, process
from recoverd.health.results import Figure, Result, Status

CLOCK_SLACK_S = 5.0  # how far ahead of now a snapshot may be before the clock is said to be wrong
FAILURE_RATE = 0.25  # of the runs in the history
FEWEST_RUNS = 8  # a rate of fewer runs says nothing
_SHOWN = 3  # problems named in one sentence; all of them are in `assess` and `show`


def evaluate(service: ServiceFacts, now_ns: int) -> list[Result]:
    """Every check of one service that its facts allow."""
    results = [
        *intervention(service),
        *(process(service.name, service.process) if service.process is not None else ()),
        *([instances(service.name, service.instances)] if service.instances is not None else []),
        *(live(service.name, service.live) if service.live is not None else ()),
        snapshot_age(service, now_ns),
        known_good_age(service, now_ns),
        *snapshot_verdict(service),
        *kept(service),
        *watching(service),
        captures(service),
        *save_duration(service),
        *load_duration(service),
        *resumed(service),
        *([drill_age(service.name, service.drill, now_ns)] if service.drill is not None else []),
    ]
    results += dumps(service, now_ns)
    for path in service.paths:
        results += state_path(service.name, path)
    return results


def intervention(service: ServiceFacts) -> list[Result]:
    """What waits for somebody: an interrupted restore, a blocked service, damage, a pause. Only told when it is so."""
    results = []
    again = f"`recoverd restore {service.name}`"
    if service.open_intent is not None:
        results.append(
            Result(
                "intent",
                service.name,
                Status.CRITICAL,
                f"a restore was interrupted: {service.open_intent}",
                hint=f"{again} finishes it or takes it back",
            )
        )
    if service.blocked is not None:
        results.append(
            Result(
                "blocked",
                service.name,
                Status.CRITICAL,
                f"not brought up: {service.blocked}",
                hint=f"solve that, then {again}; `recoverd assess {service.name}` shows the state as it is",
            )
        )
    if service.unproven is not None and service.blocked is None:
        results.append(
            Result(
                "unproven",
                service.name,
                Status.WARNING,
                f"restored from {service.unproven}, and not proven to be healthy on it yet",
                hint=f"`recoverd confirm {service.name}` proves it, or takes it back",
            )
        )
    if service.pending:
        results.append(
            Result(
                "migration",
                service.name,
                Status.WARNING,
                f"waits for a migration: {'; '.join(service.pending)}",
                hint=f"`recoverd migrate {service.name}` does it now, and shows with --dry-run what it changes; "
                "a restore does it before the service starts",
            )
        )
    if service.unreadable_records:
        results.append(
            Result(
                "records",
                service.name,
                Status.WARNING if service.newest is not None else Status.CRITICAL,
                f"{plural(service.unreadable_records, 'snapshot record')} can't be read",
                hint=f"`recoverd list {service.name}` shows those that can; prune deletes no data meanwhile",
                figures={"unreadable": Figure(service.unreadable_records)},
            )
        )
    if service.paused:
        results.append(
            Result(
                "paused", service.name, Status.WARNING, "autosave is paused", hint=f"`recoverd resume {service.name}`"
            )
        )
    return results


_LIVE = {
    "ok": Status.OK,
    "new": Status.OK,
    "reset": Status.WARNING,
    "newer": Status.WARNING,
    "missing": Status.CRITICAL,
    "corrupt": Status.CRITICAL,
    "unreadable": Status.CRITICAL,
}


def live(name: str, facts: LiveFacts) -> list[Result]:
    """Live state and probes, looked at just now."""
    status = _LIVE.get(facts.verdict, Status.UNKNOWN)
    hint = None
    if facts.verdict in {"missing", "corrupt"}:
        hint = f"`recoverd restore {name}` brings back the last known-good state"
    elif facts.verdict == "reset":
        hint = f"if that was not on purpose, `recoverd restore {name} --snapshot {name}/good` brings it back"
    elif status is not Status.OK:
        hint = f"`recoverd assess {name}`"
    results = [
        Result("state", name, status, f"live state is {facts.verdict}{_problems(facts.problems)}", hint=hint),
    ]
    if facts.probes:
        failed = [probe for probe in facts.probes if not probe.healthy]
        figures = {"probes": Figure(len(facts.probes)), "failed": Figure(len(failed))}
        if failed:
            why = "; ".join(f"{probe.probe}: {probe.message}" for probe in failed[:_SHOWN])
            results.append(Result("probes", name, Status.CRITICAL, why, hint=ITS_LOG, figures=figures))
        else:
            results.append(
                Result("probes", name, Status.OK, f"{plural(len(facts.probes), 'probe')} passed", figures=figures)
            )
    return results


def snapshot_age(service: ServiceFacts, now_ns: int) -> Result:
    """Age of the newest snapshot; live state that was seen unchanged since is as good as captured then."""
    if service.newest is None:
        hint = f"`recoverd snapshot {service.name}` takes the first one"
        return Result("snapshot-age", service.name, Status.WARNING, "no snapshot yet", hint=hint)
    return _age("snapshot-age", service, service.newest, service.confirmed_ns, now_ns)


def known_good_age(service: ServiceFacts, now_ns: int) -> Result:
    """Age of what a restore would bring back."""
    if service.known_good is not None:
        confirmed_ns = service.confirmed_ns if service.known_good == service.newest else None
        return _age("known-good-age", service, service.known_good, confirmed_ns, now_ns)
    if service.newest is None:  # then the check above says so already
        return Result("known-good-age", service.name, Status.OK, "nothing to fall back to yet")
    return Result(
        "known-good-age",
        service.name,
        Status.CRITICAL,
        "no snapshot is known-good: there is nothing to fall back to",
        hint=f"`recoverd assess {service.name}` shows what is wrong with the state",
    )


def _age(name: str, service: ServiceFacts, snapshot: SnapshotFacts, confirmed_ns: int | None, now_ns: int) -> Result:
    limits = Ages(None, None) if service.paused else ages(service)  # the pause has a result of its own
    seconds = age_s(snapshot.time_ns, confirmed_ns, now_ns)
    figures = {"age_seconds": Figure(round(seconds, 3), "s", warn=limits.warn_s, crit=limits.crit_s)}
    if seconds < -CLOCK_SLACK_S:
        return Result(
            name,
            service.name,
            Status.WARNING,
            f"{snapshot.id} lies {duration(-seconds)} in the future",
            hint="the clock of this machine was wrong when it was taken, or is now",
            figures=figures,
        )
    seen = confirmed_ns is not None and confirmed_ns > snapshot.time_ns
    message = f"{snapshot.id}, {'unchanged' if seen else 'captured'} {duration(max(seconds, 0.0))} ago"
    status, hint = Status.OK, None
    if limits.warn_s is not None and limits.crit_s is not None and seconds > limits.warn_s:
        status = Status.CRITICAL if seconds > limits.crit_s else Status.WARNING
        message += f"; at most {duration(limits.warn_s)} is expected"
        hint = f"is `recoverd run` running? `recoverd snapshot {service.name}` says what hinders a capture"
    return Result(name, service.name, status, message, hint=hint, figures=figures)


def snapshot_verdict(service: ServiceFacts) -> list[Result]:
    """Whether what was captured last was good."""
    newest = service.newest
    if newest is None:
        return []
    figures = {"problems": Figure(len(newest.problems))}
    statuses = {"ok": Status.OK, "partial": Status.WARNING, "invalid": Status.CRITICAL}
    status = statuses.get(newest.verdict, Status.UNKNOWN)
    message = f"{newest.id} is {newest.verdict}{_problems(newest.problems)}"
    hint = None
    if status is not Status.OK:
        hint = f"`recoverd assess {service.name}`, then `recoverd restore {service.name}` brings back what was good"
        if newest.left_alone:
            good = f"`recoverd restore --snapshot {service.name}/good`"
            hint = f"if that was meant, `recoverd accept {service.name}`; else {good} brings back what was good"
    return [Result("snapshot-verdict", service.name, status, message, hint=hint, figures=figures)]


def _problems(problems: Iterable[ProblemFacts]) -> str:
    everything = list(problems)
    said = "; ".join(
        ": ".join(dict.fromkeys(part for part in (problem.item, problem.place, problem.problem) if part))
        for problem in everything[:_SHOWN]
    )
    more = f"; and {len(everything) - _SHOWN} more" if len(everything) > _SHOWN else ""
    return f": {said}{more}" if said else ""


def kept(service: ServiceFacts) -> list[Result]:
    """How many snapshots there are, what they take, and what the newest one holds."""
    if service.newest is None:
        return []
    figures = {
        "snapshots": Figure(service.snapshots),
        "known_good": Figure(service.known_good_snapshots),
        "new_bytes": Figure(service.new_bytes, "B"),
        "files": Figure(service.newest.files),
        "bytes": Figure(service.newest.size_bytes, "B"),
    }
    message = f"{plural(service.snapshots, 'snapshot')}, {service.known_good_snapshots} known-good"
    return [Result("snapshots", service.name, Status.OK, f"{message}, {size(service.new_bytes)}", figures=figures)]


def watching(service: ServiceFacts) -> list[Result]:
    """Whether changes are seen when they happen."""
    if not service.on_change or service.watch is None:
        return []
    facts = service.watch
    figures = {"directories": Figure(facts.directories)}
    if facts.why is None:
        message = f"watched: {facts.directories} {'directory' if facts.directories == 1 else 'directories'}"
        return [Result("on-change", service.name, Status.OK, message, figures=figures)]
    every = f"every {duration(facts.look_s)}" if facts.look_s is not None else "now and then"
    message = f"not watched but looked at {every}: {facts.why}"
    return [Result("on-change", service.name, Status.WARNING, message, hint=facts.hint, figures=figures)]


def resumed(service: ServiceFacts) -> list[Result]:
    """How often it came back, and whether the runs before had ended in order."""
    facts = service.resumed
    if facts is None:
        return []
    figures = {
        "restart_count": Figure(facts.restart_count),
        "unclean_shutdowns": Figure(facts.unclean),
        "reports": Figure(facts.kept),
    }
    after = {True: " after a clean shutdown", False: " after an unclean shutdown", None: ""}[facts.clean]
    message = f"resumed at {facts.time}{after}, #{facts.restart_count}: {facts.outcome}"
    return [Result("resume", service.name, Status.OK, message, figures=figures)]


def captures(service: ServiceFacts) -> Result:
    """Failures in a row, and the share of captures that failed lately."""
    failed = sum(run.failed for run in service.runs)
    rate = failed / len(service.runs) if service.runs else 0.0
    figures = {
        "failures": Figure(service.failures, warn=1, crit=service.max_failures),
        "failure_rate": Figure(round(rate, 4), warn=FAILURE_RATE),
        "runs": Figure(len(service.runs)),
    }
    if service.failures:
        why = f": {service.last_error}" if service.last_error else ""
        return Result(
            "captures",
            service.name,
            Status.CRITICAL if service.failures >= service.max_failures else Status.WARNING,
            f"{plural(service.failures, 'capture')} failed in a row{why}",
            hint=f"`recoverd snapshot {service.name}` tries again and says why it fails",
            figures=figures,
        )
    if len(service.runs) >= FEWEST_RUNS and rate >= FAILURE_RATE:
        return Result(
            "captures",
            service.name,
            Status.WARNING,
            f"{failed} of the last {len(service.runs)} captures failed",
            hint="the log of `recoverd run` says why",
            figures=figures,
        )
    message = f"{failed} of the last {plural(len(service.runs), 'capture')} failed" if failed else "no failures"
    return Result("captures", service.name, Status.OK, message, figures=figures)


def save_duration(service: ServiceFacts) -> list[Result]:
    """How long captures take, against the interval in which they should be done."""
    times = [run.seconds for run in service.runs if not run.failed]
    if not times:
        return []
    usual, longest = sorted(times)[len(times) // 2], max(times)
    figures = {
        "last_seconds": Figure(round(times[-1], 6), "s"),
        "median_seconds": Figure(round(usual, 6), "s", warn=service.every_s),
        "longest_seconds": Figure(round(longest, 6), "s"),
    }
    message = f"usually {duration(usual)}, at most {duration(longest)}"
    status, hint = Status.OK, None
    if service.every_s is not None and usual > service.every_s:
        status = Status.WARNING
        message += f", but one is due every {duration(service.every_s)}"
        hint = "save less often (`autosave.every`), or leave out what need not be saved (`exclude`)"
    return [Result("save-duration", service.name, status, message, hint=hint, figures=figures)]


def load_duration(service: ServiceFacts) -> list[Result]:
    """How long restores take until state is known to be good, and what became of them."""
    if not service.restores:
        return []
    last = service.restores[-1]
    failed = [one for one in service.restores if one.outcome in {"failed", "blocked"}]
    times = [one.seconds for one in service.restores if one not in failed]
    figures = {
        "failure_rate": Figure(round(len(failed) / len(service.restores), 4)),
        "runs": Figure(len(service.restores)),
    }
    message = f"{len(failed)} of the last {plural(len(service.restores), 'restore')} failed" if failed else ""
    if times:
        usual, longest = sorted(times)[len(times) // 2], max(times)
        figures |= {
            "last_seconds": Figure(round(times[-1], 6), "s"),
            "median_seconds": Figure(round(usual, 6), "s"),
            "longest_seconds": Figure(round(longest, 6), "s"),
        }
        message = f"usually {duration(usual)}, at most {duration(longest)}" + (f"; {message}" if message else "")
    if last in failed:
        message = f"the last restore {'failed' if last.outcome == 'failed' else 'was blocked'}; {message}"
        hint = f"`recoverd restore {service.name} --dry-run` says what it would do, and why"
        return [Result("load-duration", service.name, Status.WARNING, message, hint=hint, figures=figures)]
    return [Result("load-duration", service.name, Status.OK, message, figures=figures)]


def state_path(service: str, path: PathFacts) -> list[Result]:
    """Whether a declared path can be saved and restored, and the room around it."""
    figures: dict[str, Figure] = {}
    if path.files is not None:
        figures["files"] = Figure(path.files)
    if path.size_bytes is not None:
        figures["bytes"] = Figure(path.size_bytes, "B")
    status, message, hint = Status.OK, path.path, None
    if path.error is not None:
        status, message = Status.CRITICAL, f"{path.path} can't be looked at: {path.error}"
        hint = f"`recoverd assess {service}`"
    elif not path.exists and path.optional:
        message = f"{path.path} is absent, which is allowed"
    elif not path.exists and not path.known_good:
        status, message = Status.WARNING, f"{path.path} does not exist yet, and was never saved"
        hint = f"a fresh service writes it when it starts: `recoverd restore {service}` starts it"
    elif path.emptied:
        status, message = Status.CRITICAL, f"{path.path} is empty (0 bytes), and its known-good version is not"
        hint = f"`recoverd restore {service}` brings it back"
    elif not path.exists:
        status, message = Status.CRITICAL, f"{path.path} does not exist"
        hint = f"`recoverd restore {service}` brings it back; declare it `optional` if it may be absent"
    elif not path.readable:
        status, message = Status.CRITICAL, f"{path.path} can't be read"
        hint = "recoverd must run as root or as a user who may read it"
    elif not path.writable:
        status, message = Status.WARNING, f"{path.path} can't be written: a restore would fail"
        hint = "look at its owner and mode, and whether its file system is mounted read-only"
    elif path.unchecked:
        message = f"{path.path}: unchecked but for its format"
    results = [Result(f"state-path/{path.item}", service, status, message, hint=hint, figures=figures)]
    if path.space is not None:
        results.append(disk_space(f"state-space/{path.item}", service, path.path, path.space))
    return results
