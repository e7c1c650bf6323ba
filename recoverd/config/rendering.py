"""A configuration in the words of its files: every key with its value, durations as people write them.

`as_plain` is what `config show` prints: loaded again, it gives the same configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recoverd.config.dumps import plain_dump
from recoverd.config.hook_model import Hook
from recoverd.config.in_flight_model import InFlight
from recoverd.config.migration_model import MigrationStep
from recoverd.config.model import (
    EMPTY,
    Computed,
    Config,
    ItemKind,
    Place,
    Probe,
    ProbeKind,
    Rebuild,
    RepositoryConfig,
    Retention,
    Run,
    RunKind,
    Secret,
    Service,
    StateItem,
)
from recoverd.config.process_model import Instances
from recoverd.config.units import format_duration, format_percentage, format_size, format_span

_PLAIN_TEXT = re.compile(r"[A-Za-z_./][A-Za-z0-9_./@%+-]*\Z")
_SHORT_TIME = re.compile(r"(?:[0-9]+[a-z]+)+\Z")
_RESERVED = frozenset({"null", "true", "false"})
_MASK = "***"
_TELLTALE = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_AFTER_HOST = re.compile(r"(://[^/?#]*)[/?#].+")
_OPEN_HEADERS = frozenset({"accept", "content-type", "priority", "tags", "title", "user-agent"})


def as_plain(config: Config, *, mask: bool) -> dict[str, Any]:
    """Dicts, lists and scalars. `mask` hides what could be a secret: passwords in URLs, telling variables."""
    plain: dict[str, Any] = {
        "version": 1,
        "state_dir": config.state_dir,
        "repository": _given(
            path=config.repository.path,
            spare=config.repository.spare,
            compression=config.repository.compression,
            max_bytes=None if config.repository.max_bytes is None else format_size(config.repository.max_bytes),
            min_free=_min_free(config.repository),
        ),
        **({} if config.prune_cron is None else {"prune": {"cron": config.prune_cron}}),
        "timezone": config.timezone,
        "boot_timeout": format_duration(config.boot_timeout_s),
        "boot_late": config.boot_late,
        "io_timeout": format_duration(config.io_timeout_s),
        "quarantine": _given(keep=format_duration(config.quarantine.keep_s), max_bytes=config.quarantine.max_bytes),
        "verify": {"every": format_duration(config.verify.every_s), "sample": format_percentage(config.verify.sample)},
        "log": {"format": config.log.format, "level": config.log.level, "debug": list(config.log.debug)},
        **({"hooks": [_hook(hook, mask=mask) for hook in config.hooks]} if config.hooks else {}),
        "services": {name: _service(service, mask=mask) for name, service in config.services.items()},
    }
    return plain


def _min_free(repository: RepositoryConfig) -> str | None:
    if repository.min_free_share is not None:
        return format_percentage(repository.min_free_share)
    return None if repository.min_free_bytes is None else format_size(repository.min_free_bytes)


def _service(service: Service, *, mask: bool) -> dict[str, Any]:
    autosave, health, check = service.autosave, service.health, service.check
    plain: dict[str, Any] = {"enabled": service.enabled}
    if service.run is not None:
        plain["run"] = _run(service.run, mask=mask)
    plain["after"] = list(service.after)
    plain["state"] = {name: _item(item) for name, item in service.state.items()}
    plain["consistency"] = {
        "before": [[_masked(word, mask=mask) for word in command] for command in service.consistency.before],
        "after": [[_masked(word, mask=mask) for word in command] for command in service.consistency.after],
        "timeout": format_duration(service.consistency.timeout_s),
    }
    plain["autosave"] = _given(
        every=None if autosave.every_s is None else format_duration(autosave.every_s),
        jitter=format_duration(autosave.jitter_s) if autosave.is_scheduled else None,
        cron=autosave.cron,
        on_change=None
        if autosave.on_change is None
        else {
            "quiet": format_duration(autosave.on_change.quiet_s),
            "at_most": format_duration(autosave.on_change.at_most_s),
        },
        on_shutdown=autosave.on_shutdown,
    )
    plain["retention"] = _retention(service.retention)
    plain["restore"] = {
        "fallback": list(service.restore.fallback),
        "scope": service.restore.scope,
        "exhausted": service.restore.exhausted,
        "attempts": service.restore.attempts,
        "salvage": service.restore.salvage,
        "unhealthy": service.restore.unhealthy,
        "verdicts": dict(service.restore.verdicts),
    }
    plain["health"] = {
        "within": format_duration(health.within_s),
        "stable_for": format_duration(health.stable_for_s),
        "probes": [_probe(probe, mask=mask) for probe in health.probes],
    }
    if service.limits.are_set:
        memory = service.limits.memory_bytes
        plain["limits"] = _given(memory=None if memory is None else format_size(memory), tasks=service.limits.tasks)
    if service.watch is not None:
        watch = service.watch
        pauses = {"first": format_duration(watch.backoff_first_s), "most": format_duration(watch.backoff_most_s)}
        plain["watch"] = {
            "every": format_duration(watch.every_s),
            "restart": watch.restart,
            "backoff": pauses,
            "give_up_after": watch.give_up_after,
        }
    if service.drill is not None:
        plain["drill"] = _given(
            cron=service.drill.cron,
            command=[_masked(word, mask=mask) for word in service.drill.command] or None,
            timeout=format_duration(service.drill.timeout_s),
        )
    plain["check"] = _given(
        max_drill_age=None if check.max_drill_age_s is None else format_duration(check.max_drill_age_s),
        max_age=None if check.max_age_s is None else format_duration(check.max_age_s),
        max_failures=check.max_failures,
    )
    if service.processes is not None:
        named = service.processes
        plain["processes"] = {"item": named.item, "select": named.select, "pid": named.pid}
    if service.instances is not None:
        plain["instances"] = _instances(service.instances, mask=mask)
    if service.in_flight:
        plain["in_flight"] = [_in_flight(query) for query in service.in_flight]
    if service.hooks:
        plain["hooks"] = [_hook(hook, mask=mask) for hook in service.hooks]
    return plain


def _hook(hook: Hook, *, mask: bool) -> dict[str, Any]:
    """What follows the host in the URL of a webhook is most often what entitles to call it."""
    url = hook.webhook
    if isinstance(url, str):
        url = _AFTER_HOST.sub(rf"\1/{_MASK}", _masked(url, mask=mask)) if mask else url
    return _given(
        when=list(hook.when),
        command=[_masked(word, mask=mask) for word in hook.command] or None,
        webhook=_reference(url) if isinstance(url, Secret) else url,
        headers={name: _header(name, value, mask=mask) for name, value in hook.headers.items()} or None,
        body=None if hook.body is None else _masked(hook.body, mask=mask),
        timeout=format_duration(hook.timeout_s),
    )


def _header(name: str, value: str | Secret, *, mask: bool) -> Any:
    """Most headers that anybody declares are there to be let in."""
    if isinstance(value, Secret):
        return _reference(value)
    return _MASK if mask and name.lower() not in _OPEN_HEADERS else value


def _reference(secret: Secret) -> dict[str, str]:
    return {secret.source: secret.name}  # where it is; nobody has read it


def _instances(rule: Instances, *, mask: bool) -> dict[str, Any]:
    return _given(
        item=rule.item,
        select=rule.select,
        where=dict(rule.where),
        name=rule.name,
        command=[_masked(word, mask=mask) for word in rule.command],
        cwd=rule.cwd,
        most=rule.most,
    )


def _in_flight(query: InFlight) -> dict[str, Any]:
    return _given(
        item=query.item,
        select=query.select,
        where=dict(query.where) or None,
        show=list(query.show) or None,
        exists=query.exists,
        **{"as": query.called},
        message=query.message,
        notify=query.notify,
    )


def _run(run: Run, *, mask: bool) -> dict[str, Any]:
    if run.kind is RunKind.SYSTEMD:
        return {"systemd": run.unit}
    if run.kind is RunKind.CONTROL:
        commands = {"start": run.start, "stop": run.stop, "status": run.status}
        return {"control": {key: [_masked(word, mask=mask) for word in words] for key, words in commands.items()}}
    return _given(
        command=[_masked(word, mask=mask) for word in run.command],
        cwd=run.cwd,
        env={name: _variable(name, value, mask=mask) for name, value in run.env.items()},
        user=run.user,
        group=run.group,
        log=run.log,
        stop_signal=run.stop_signal,
        stop_timeout=format_duration(run.stop_timeout_s),
    )


def _variable(name: str, value: str | Secret, *, mask: bool) -> Any:
    if isinstance(value, Secret):
        return _reference(value)
    return _MASK if mask and _TELLTALE.search(name) else _masked(value, mask=mask)


def _masked(text: str, *, mask: bool) -> str:
    return _USER_INFO.sub(f"{_MASK}@", text) if mask else text


def _item(item: StateItem) -> dict[str, Any]:
    if item.dump is not None:
        return plain_dump(item) | _signs(item)
    if item.database is not None:
        rules = item.database
        checks = {"check": rules.check, "require_tables": list(rules.require_tables), "assert": list(rules.assertions)}
        return {item.kind.value: item.path, **checks, "optional": item.optional} | _signs(item)
    plain: dict[str, Any] = {item.kind.value: item.path, "format": item.format.value}
    if item.schema is not None:
        plain["schema"] = item.schema.document if item.schema.path is None else item.schema.path
    if item.kind is ItemKind.DIRECTORY:
        plain["include"], plain["exclude"] = list(item.include), list(item.exclude)
    plain["optional"] = item.optional
    plain["allow"] = sorted(item.allow)
    return plain | _signs(item)


def _signs(item: StateItem) -> dict[str, Any]:
    guards, version, validate = item.guards, item.version, item.validate
    return _given(
        guards=None
        if guards is None
        else _given(
            min_bytes=guards.min_bytes,
            max_shrink=None if guards.max_shrink is None else format_percentage(guards.max_shrink),
            require=list(guards.require),
            min_items=dict(guards.min_items),
        ),
        version=None if version is None else {"field": version.field, "current": version.current},
        migrate=[_migration(step) for step in item.migrate] or None,
        name_field=item.name_field,
        magic=f"hex:{item.magic}" if item.magic else None,
        validate=None
        if validate is None
        else {"command": list(validate.command), "timeout": format_duration(validate.timeout_s)},
        siblings=None if item.siblings is None else list(item.siblings),
        rebuild=None if item.rebuild is None else _rebuild(item.rebuild),
        initial=None if item.initial is None else item.initial.path or item.initial.document,
    )


def _migration(step: MigrationStep) -> dict[str, Any]:
    plain: dict[str, Any] = {"from": step.source, "to": step.target}
    if step.command:
        return plain | {"command": list(step.command), "timeout": format_duration(step.timeout_s)}
    return plain | ({"rename": dict(step.rename)} if step.rename else {"patch": [dict(one) for one in step.patch]})


def _rebuild(rebuild: Rebuild) -> dict[str, Any]:
    if rebuild.command:
        return {"command": list(rebuild.command)}
    return {
        "collect": dict(rebuild.collect),
        "constants": dict(rebuild.constants),
        "compute": {pointer: _computed(rule) for pointer, rule in rebuild.compute.items()},
    }


def _computed(rule: Computed) -> Any:
    if rule.what == "now":
        return "now"
    times = {"seconds_from": rule.seconds_from, "to": rule.to} if rule.what == "mean" else {}
    return {rule.what: rule.item, **({"where": dict(rule.where)} if rule.where else {}), **times}


def _retention(policy: Retention) -> dict[str, Any]:
    spans = {
        name: getattr(policy, name)
        for name in ("within", "within_hourly", "within_daily", "within_weekly", "within_monthly", "within_yearly")
    }
    return {
        **{
            name: "forever" if getattr(policy, name) == -1 else getattr(policy, name)
            for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")
        },
        "tags": [list(tags) for tags in policy.tags],
        **{name: format_span(span) for name, span in spans.items() if span is not None},
        "keep_invalid": "forever" if policy.keep_invalid == -1 else policy.keep_invalid,
    }


def _probe(probe: Probe, *, mask: bool) -> dict[str, Any]:
    target: Any = _masked(probe.target, mask=mask)
    if probe.kind is ProbeKind.COMMAND:
        target = [_masked(word, mask=mask) for word in probe.command]
    elif probe.kind is ProbeKind.RUNNING:
        target = True
    return {probe.kind.value: target, "timeout": format_duration(probe.timeout_s)}


def _given(**keys: Any) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def yaml_lines(
    plain: Mapping[str, Any], provenance: Mapping[tuple[str, ...], Place], matches: Mapping[str, str] = EMPTY
) -> Iterator[str]:
    """The YAML of `as_plain`, each value with a comment that says where it comes from.

    `matches`: the path that each service was made for, of those that `for_each` stands for.
    """
    for line in _lines(plain, (), provenance, ""):
        name = line[2:-1].strip('"') if line[2:3].isalnum() or line[2:3] == '"' else ""
        yield f"{line}  # for_each: {_one_line(matches[name])}" if name in matches else line


def _lines(
    plain: Mapping[str, Any], path: tuple[str, ...], provenance: Mapping[tuple[str, ...], Place], indent: str
) -> Iterator[str]:
    for key, value in plain.items():
        here = (*path, key)
        if isinstance(value, dict) and value and not _is_one_value(here):
            yield f"{indent}{_scalar(key)}:"
            yield from _lines(value, here, provenance, indent + "  ")
        else:
            yield f"{indent}{_scalar(key)}: {flow(value)}  # {origin(here, provenance)}"


def _is_one_value(path: tuple[str, ...]) -> bool:
    """An inline schema and a reference to a secret are shown in one line, like a scalar."""
    return (path[2:3], path[4:]) == (("state",), ("schema",)) or (path[2:4] == ("run", "env") and len(path) == 5)


def origin(path: tuple[str, ...], provenance: Mapping[tuple[str, ...], Place]) -> str:
    """`from FILE:LINE` of a value, or `default`."""
    place = provenance.get(path)
    if place is None:  # a mapping shown as one value: where its first part stands
        place = next((each for known, each in provenance.items() if known[: len(path)] == path), None)
    return "default" if place is None else _one_line(f"from {place.file}:{place.line}")


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def flow(value: Any) -> str:
    """One value as YAML in one line, as `strict_yaml` reads it back."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(each) for each in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if (_PLAIN_TEXT.match(text) and text not in _RESERVED) or _SHORT_TIME.match(text):
        return text
    return '"' + "".join(_letter(letter) for letter in text) + '"'


def _letter(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    code = ord(letter)
    if letter.isprintable() and code != 0xFEFF:
        return letter
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
