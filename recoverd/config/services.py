"""One service: from the section of a file to the model, with every problem reported on the way."""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from recoverd.config.addresses import why_no_address, why_no_url
from recoverd.config.dumps import as_users_of, check_dumps
from recoverd.config.hooks import build_hooks
from recoverd.config.in_flight import build_in_flight
from recoverd.config.items import Claim, Own, build_item, why_no_name
from recoverd.config.keeping import Limits, Watch
from recoverd.config.model import (
    DEFAULT_RETENTION,
    Autosave,
    CheckThresholds,
    Consistency,
    Drill,
    Health,
    OnChange,
    Probe,
    ProbeKind,
    Restore,
    Retention,
    Run,
    RunKind,
    Secret,
    Service,
    StateItem,
)
from recoverd.config.origins import check_rebuild
from recoverd.config.processes import build_instances, build_processes
from recoverd.config.sections import Section
from recoverd.config.wording import suggest

_OF_COMMANDS = ("cwd", "env", "user", "group", "log", "stop_signal", "stop_timeout")
_UNIT_KINDS = frozenset(
    ["service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"]
)
_FEWEST_BYTES = 1 << 20  # of memory
_RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_WITHIN = ("within", "within_hourly", "within_daily", "within_weekly", "within_monthly", "within_yearly")


def build_service(name: str, section: Section, own: Sequence[Own]) -> tuple[Service, list[Claim]]:
    """The service and the paths it claims. It is only to be used when no problem was reported for it."""
    if reason := why_no_name(name):
        section.problem(None, reason)
    root = section.file_path("root")
    state: dict[str, StateItem] = {}
    claims: list[Claim] = []
    for item in section.sections("state"):
        item_name = str(item.path[-1])
        if built := build_item(item, item_name, root, own):
            state[item_name] = built[0]
            if built[0].path:  # a dump lies nowhere
                claims.append(Claim(name, item_name, built[0].kind, built[0].path, built[1], built[2]))
    for item in section.sections("state"):
        rebuilt = state.get(str(item.path[-1]))
        if rebuilt is not None and rebuilt.rebuild is not None:
            check_rebuild(item, rebuilt.rebuild, rebuilt.name, {name: one.kind for name, one in state.items()})
    if not (section.section("state").node.content or section.has("run") or section.context.is_touched(section.path)):
        section.problem(None, "has neither state nor run: there is nothing to recover")
    run = _run(section.section("run"))
    service = Service(
        name=name,
        place=section.node.place,
        enabled=section.flag("enabled", default=True),
        run=run,
        after=tuple(dict.fromkeys(section.texts("after"))),
        state=as_users_of(run, state),
        limits=_limits(section.section("limits")),
        consistency=_consistency(section.section("consistency")),
        autosave=_autosave(section.section("autosave")),
        retention=_retention(section.section("retention")),
        restore=_restore(section.section("restore")),
        health=_health(section.section("health")),
        watch=_watch(section.section("watch")),
        drill=_drill(section.section("drill")),
        check=_check(section.section("check")),
        processes=build_processes(section.section("processes"), state),
        instances=build_instances(section.section("instances"), state),
        in_flight=build_in_flight(section, state),
        hooks=build_hooks(section),
    )
    check_dumps(section, service)
    return service, claims


def _run(run: Section) -> Run | None:
    kind = next((kind for kind in RunKind if run.has(kind)), None)
    if kind is None:
        return None
    if kind is not RunKind.COMMAND:
        for key in _OF_COMMANDS:
            if run.has(key):
                run.problem(key, f"goes with `command` only: what `{kind}` runs has its own")
    if kind is RunKind.SYSTEMD:
        return Run(kind, unit=_unit(run))
    if kind is RunKind.CONTROL:
        control = run.section("control")
        return Run(
            kind, start=_program(control, "start"), stop=_program(control, "stop"), status=_program(control, "status")
        )
    number = run.text("stop_signal", "TERM")
    return Run(
        kind=RunKind.COMMAND,
        command=_program(run, "command"),
        cwd=run.file_path("cwd"),
        env=_environment(run),
        user=_account(run, "user"),
        group=_account(run, "group"),
        log=run.file_path("log"),
        stop_signal=_signal(run, str(number)),
        stop_timeout_s=run.duration("stop_timeout", Run(RunKind.COMMAND).stop_timeout_s),
    )


def _program(section: Section, key: str) -> tuple[str, ...]:
    command = section.texts(key)
    if not command or not command[0]:
        section.problem(key, "the program must not be empty")
    return command


def _unit(run: Section) -> str:
    """The unit's whole name."""
    name = str(run.text("systemd"))
    unit = name if os.path.splitext(name)[1][1:] in _UNIT_KINDS else f"{name}.service"
    if reason := why_no_unit(unit):
        run.problem("systemd", reason)
    return unit


def why_no_unit(unit: str) -> str | None:
    """Why this can't be the unit of a service; names are those of systemd.unit(5)."""
    stem, _, kind = unit.rpartition(".")
    if kind != "service":
        return f'"{unit}" is a {kind}: give the service that it starts or holds'
    if not re.fullmatch(r"[A-Za-z0-9:_.\\@-]+", stem, re.ASCII) or len(unit) > 255:
        return f'"{unit}" is no name of a unit: letters, digits and : - _ . \\ @ make one, 255 at most'
    if stem.endswith("@") or stem.startswith("@"):
        return f'"{unit}" is a template: name one instance, such as {stem.strip("@")}@main.service'
    return None


def _environment(run: Section) -> Mapping[str, str | Secret]:
    below = run.section("env")
    environment: dict[str, str | Secret] = {}
    for name in below.node.content:
        if not name or "=" in name:
            below.problem(name, "a name in the environment is not empty and holds no =")
        value = below.text_or_secret(name)
        if value is not None:
            environment[name] = value
    return environment


def _account(run: Section, key: str) -> str | None:
    name = run.text(key)
    if name is None or name.isdecimal():
        return name
    try:
        if key == "user":
            pwd.getpwnam(name)
        else:
            grp.getgrnam(name)
    except KeyError:
        known = (
            [each.pw_name for each in pwd.getpwall()] if key == "user" else [each.gr_name for each in grp.getgrall()]
        )
        run.problem(key, f'there is no {key} "{name}" on this machine{suggest(name, known)}')
    return name


def _signal(run: Section, name: str) -> str:
    short = name.upper().removeprefix("SIG")
    names = [each.name.removeprefix("SIG") for each in signal.Signals]
    if short not in names:
        run.problem("stop_signal", f'there is no signal "{name}"{suggest(short, names)}')
    return short


def _autosave(autosave: Section) -> Autosave:
    every = autosave.duration_or_none("every")
    jitter = autosave.duration("jitter", Autosave().jitter_s)
    if every is not None and jitter >= every:
        autosave.problem("jitter", "must be shorter than `every`")
    cron = autosave.crontab_or_none("cron")
    on_shutdown = autosave.flag("on_shutdown", default=Autosave().on_shutdown)
    return Autosave(every, jitter, on_shutdown, cron, _on_change(autosave))


def _on_change(autosave: Section) -> OnChange | None:
    if not autosave.has("on_change"):
        return None
    below, usual = autosave.section("on_change"), OnChange()
    quiet = below.duration("quiet", usual.quiet_s)
    at_most = below.duration("at_most", max(usual.at_most_s, quiet), positive=True)
    if at_most < quiet:
        below.problem("at_most", "must not be shorter than `quiet`")
    return OnChange(quiet, at_most)


def _retention(retention: Section) -> Retention:
    if not retention.present:
        return DEFAULT_RETENTION
    counts = {key: retention.count(key, 0) for key in _RULES}
    within = {key: retention.span(key) for key in _WITHIN}
    tags = retention.node.get("tags")
    rules: list[tuple[str, ...]] = []
    for node in tags.content if tags is not None else ():
        inner = node.content if isinstance(node.content, tuple) else (node,)
        rules.append(tuple(str(each.content) for each in inner))
    given: dict[str, Any] = {**counts, **within, "tags": tuple(rules)}
    policy = Retention(**given, keep_invalid=retention.count("keep_invalid", Retention().keep_invalid))
    keeps = any(counts.values()) or rules or any(span is not None and span != type(span)() for span in within.values())
    if not keeps and not retention.context.is_touched(retention.path):
        retention.problem(
            None, f"would keep no snapshot: give at least one of {', '.join((*_RULES, 'tags', 'within'))}"
        )
    return policy


def _consistency(consistency: Section) -> Consistency:
    usual = Consistency()
    timeout_s = consistency.duration("timeout", usual.timeout_s, positive=True)
    return Consistency(_programs(consistency, "before"), _programs(consistency, "after"), timeout_s)


def _programs(section: Section, key: str) -> tuple[tuple[str, ...], ...]:
    below = section.node.get(key)
    nodes = below.content if below is not None and isinstance(below.content, tuple) else ()
    lists = [node.content for node in nodes if isinstance(node.content, tuple)]
    commands = tuple(tuple(str(word.content) for word in words) for words in lists)
    if any(not command or not command[0] for command in commands):
        section.problem(key, "the program must not be empty")
    return commands


def _restore(restore: Section) -> Restore:
    usual = Restore()
    verdicts = restore.section("verdicts")
    return Restore(
        fallback=tuple(dict.fromkeys(restore.texts("fallback"))) or usual.fallback,
        scope=str(restore.text("scope", usual.scope)),
        attempts=restore.integer("attempts", usual.attempts),
        exhausted=str(restore.text("exhausted", usual.exhausted)),
        salvage=str(restore.text("salvage", usual.salvage)),
        unhealthy=str(restore.text("unhealthy", usual.unhealthy)),
        verdicts={name: str(node.content) for name, node in verdicts.node.content.items()},
    )


def _health(health: Section) -> Health:
    usual = Health()
    probes = [_probe(probe) for probe in health.sections("probes")]
    return Health(
        within_s=health.duration("within", usual.within_s, positive=True),
        stable_for_s=health.duration("stable_for", usual.stable_for_s),
        probes=tuple(probe for probe in probes if probe is not None),
    )


def _probe(probe: Section) -> Probe | None:
    kind = next((kind for kind in ProbeKind if probe.has(kind)), None)
    if kind is None:
        return None
    usual = Probe(kind)
    target = str(probe.text(kind, "")) if kind in {ProbeKind.HTTP, ProbeKind.TCP} else ""
    reason = why_no_url(target) if kind is ProbeKind.HTTP else why_no_address(target) if kind is ProbeKind.TCP else None
    if reason:
        probe.problem(kind, reason)
    command = probe.texts("command")
    if kind is ProbeKind.COMMAND and (not command or not command[0]):
        probe.problem("command", "the program must not be empty")
    return Probe(kind, target, command, probe.duration("timeout", usual.timeout_s, positive=True))


def _limits(limits: Section) -> Limits:
    memory = limits.size_or_none("memory")
    if memory is not None and memory < _FEWEST_BYTES:
        limits.problem("memory", "is too little for any process: give 1MiB or more")
    return Limits(memory, limits.integer("tasks", 0) or None)


def _watch(watch: Section) -> Watch | None:
    if not watch.present:
        return None
    usual, pauses = Watch(), watch.section("backoff")
    first = pauses.duration("first", usual.backoff_first_s, positive=True)
    most = pauses.duration("most", max(usual.backoff_most_s, first), positive=True)
    if most < first:
        pauses.problem("most", "must not be shorter than `first`")
    return Watch(
        every_s=watch.duration("every", usual.every_s, positive=True),
        restart=str(watch.text("restart", usual.restart)),
        backoff_first_s=first,
        backoff_most_s=most,
        give_up_after=watch.integer("give_up_after", usual.give_up_after),
    )


def _drill(drill: Section) -> Drill | None:
    if not drill.present:
        return None
    command = drill.texts("command")
    if drill.has("command") and (not command or not command[0]):
        drill.problem("command", "the program must not be empty")
    return Drill(drill.crontab_or_none("cron"), command, drill.duration("timeout", Drill().timeout_s, positive=True))


def _check(check: Section) -> CheckThresholds:
    return CheckThresholds(
        max_age_s=check.duration_or_none("max_age"),
        max_drill_age_s=check.duration_or_none("max_drill_age"),
        max_failures=check.integer("max_failures", CheckThresholds().max_failures),
    )
