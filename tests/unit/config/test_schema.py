"""The JSON Schema: complete, described, the same everywhere, and in step with the parsers and the model."""

# ruff: noqa: E501 (whole configurations, one key per line)

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recoverd.config import units, unsupported
from recoverd.config.dump_model import Dump
from recoverd.config.loading import Loaded
from recoverd.config.migration_model import VersionRule
from recoverd.config.model import (
    DEFAULT_RETENTION,
    Autosave,
    CheckThresholds,
    Guards,
    Health,
    LogConfig,
    Place,
    Probe,
    ProbeKind,
    RepositoryConfig,
    Restore,
    Retention,
    Run,
    RunKind,
    Service,
    Validation,
)
from recoverd.config.rendering import as_plain
from recoverd.config.wording import objections, schema_text

SCHEMA: dict[str, Any] = json.loads(schema_text())
REPOSITORY = Path(__file__).parents[3]


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """With what it refers to below its own keys."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    return {**SCHEMA["$defs"][reference.removeprefix("#/$defs/")], **schema}


def keys(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every key that a file can have, with its schema; `*` stands for a name that users choose, and for a list."""
    schema = resolve(schema)
    for name, below in schema.get("properties", {}).items():
        yield (*path, name), resolve(below)
        yield from keys(below, (*path, name))
    if isinstance(below := schema.get("additionalProperties"), dict):
        yield from keys(below, (*path, "*"))
    if isinstance(below := schema.get("items"), dict):
        yield from keys(below, (*path, "*"))


KEYS = dict(keys(SCHEMA))


def test_copies_are_identical() -> None:
    """config.md: also at config/recoverd.schema.json, so that editors complete the samples."""
    assert (REPOSITORY / "config" / "recoverd.schema.json").read_text() == schema_text()


def test_every_key_has_description_and_default() -> None:
    """config.md: "Every key has a description and a default there"."""
    assert len(KEYS) > 250
    for path, schema in KEYS.items():
        assert schema.get("description", "").endswith("."), path
        assert "default" in schema, path


def test_every_mapping_is_closed() -> None:
    """An unknown key is an error everywhere, except where names or documents are the user's own."""
    free = {"schema", "where", "initial", "constants", "patch", "rename"}
    for path, schema in KEYS.items():
        if schema.get("type") == "object" and path[-1] not in free:
            assert "additionalProperties" in schema, path


def test_patterns_are_of_durations_and_sizes_only() -> None:
    """Only what is typed by its text has a pattern: times, sizes, shares, `forever` and `now`."""
    names = {name for name, schema in SCHEMA["$defs"].items() if "pattern" in schema}
    assert names == {"duration", "span", "size", "percentage", "size_or_percentage", "count"}
    inline = {path for path, schema in KEYS.items() if "pattern" in schema and "title" not in schema}
    assert inline == set()


def test_defaults_fit_their_own_schema() -> None:
    """A default that the schema would refuse is a lie; null says that there is none."""
    from jsonschema import Draft202012Validator

    for path, schema in KEYS.items():
        if schema["default"] is not None:
            validator = Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]})
            assert validator.is_valid(schema["default"]), path


TEXTS = st.one_of(
    st.from_regex(r"([0-9]{1,3}(y|mo|w|d|h|ms|m|s)){0,4}", fullmatch=True),
    st.from_regex(r"[0-9]{0,4}(\.[0-9]{0,3})? ?(B|kB|KB|KiB|MB|GiB|TiB|%)?", fullmatch=True),
    st.text(max_size=8),
)


@given(TEXTS)
@example("1h30m")
@example("1y")
@example("100%")
@example("0644")
def test_patterns_and_parsers_agree(text: str) -> None:
    """What the schema lets through, the parsers read, and nothing else (a newline at the end is for the parsers)."""
    for name, parse in (
        ("duration", units.parse_duration),
        ("span", units.parse_span),
        ("size", units.parse_size),
        ("percentage", units.parse_percentage),
    ):
        pattern = SCHEMA["$defs"][name]["pattern"]
        try:
            parse(text)
        except ValueError:
            assert not re.search(pattern, text) or text.endswith("\n"), name
        else:
            assert re.search(pattern, text), name


# Every key that this version builds, each with a value that is not its default.
FULL = """
version: 1
state_dir: /srv/recoverd
repository: {path: /srv/snapshots, spare: /srv/spare, compression: 9, max_bytes: 20GiB, min_free: 5%}
prune: {cron: "17 * * * *"}
quarantine: {keep: 20d, max_bytes: 1GiB}
timezone: UTC
log: {format: json, level: debug, debug: [state]}
hooks: &hooks
  - {when: [snapshot.failed, "*"], command: [tell, "{event}"], timeout: 3s}
  - {when: ["*"], webhook: {credential: url}, headers: {A: b, B: {credential: b}, C: {file: /run/c}, D: {env: D}}, body: "{message}"}
  - {when: ["*"], webhook: {file: /run/url}}
  - {when: ["*"], webhook: {env: URL}}
services:
  other: {run: {command: [other]}}
  unit: {run: {systemd: unit.service}}
  pod:
    run: {control: {start: [pod, up], stop: [pod, down], status: [pod, ask]}}
    state: {backup: {dump: {save: [s, a], load: [l], timeout: 1h, user: root}, max_bytes: 10GiB}}
  web:
    enabled: false
    root: /srv/web
    run:
      command: [/usr/bin/web, --port, "3000"]
      cwd: /srv
      env: {A: b, C: {credential: c}, D: {file: /run/d}, E: {env: E2}}
      user: root
      group: root
      log: /srv/web.log
      stop_signal: SIGINT
      stop_timeout: 1m
    after: [other]
    state:
      main:
        {file: state.json, format: json, schema: {type: object}, optional: true, allow: [nan],
         siblings: ["{name}.old"], initial: {tasks: []},
         rebuild: {collect: {/tasks: tasks}, constants: {/sessions: [1]}, compute: {/n: {count: tasks, where: {a: [1, 2]}},
           /mean: {mean: tasks, where: {t: {within: 1h}}, seconds_from: a, to: b}, /saved: now}},
         guards: {min_bytes: 1kB, max_shrink: 90%, require: [/tasks], min_items: {/tasks: 1}}, version: {field: v, current: 3},
         migrate: [{from: 0, to: 1, patch: [{op: add, path: /a, value: 1}, {op: move, path: /b, from: /a}]},
                   {from: 1, to: 2, rename: {a: b}}, {from: 2, to: 3, command: [x], timeout: 3s}]}
      tasks: {directory: tasks, include: ["*.json"], exclude: ["x*"], name_field: id}
      other: {file: other.json, rebuild: {command: [make, it]}, initial: {a: {b: 1}}}
      dump: {file: dump.rdb, format: opaque, magic: REDIS, validate: {command: [check, "{path}"], timeout: 3s}}
      store: {sqlite: store.db, check: full, require_tables: [users], assert: [SELECT 1]}
    autosave: {every: 1m, cron: "*/15 * * * *", jitter: 1s, on_shutdown: true, on_change: {quiet: 2s, at_most: 1m}}
    retention:
      {last: 1, hourly: 2, daily: 3, weekly: 4, monthly: 5, yearly: forever, tags: [a, [b, c]], within: 1h, within_hourly: 2h,
       within_daily: 3d, within_weekly: 4w, within_monthly: 5mo, within_yearly: 6y, keep_invalid: 7}
    restore:
      fallback: [snapshots, siblings, rebuild, initial]
      scope: service
      exhausted: leave
      attempts: 5
      salvage: tail
      unhealthy: fall-back
      verdicts: {new: block, missing: alert, corrupt: alert, reset: restore, newer: block, unreadable: alert}
    health:
      within: 1m
      stable_for: 1s
      probes: [{http: "http://a/"}, {tcp: "a:1"}, {command: [x]}, {running: true, timeout: 1s}]
    limits: {memory: 512MB, tasks: 64}
    watch: {every: 1m, restart: always, backoff: {first: 2s, most: 1h}, give_up_after: 9}
    drill: {cron: "0 4 * * 0", command: [selftest, "{directory}"], timeout: 2m}
    check: {max_age: 1m, max_drill_age: 9d, max_failures: 9}
    processes: {item: main, select: /tasks, pid: process/id}
    instances: {item: main, select: /sessions, where: {a: [b]}, name: "{n}", command: [x, "{n}"], cwd: "{d}", most: 3}
    in_flight:
      - {item: main, select: /t, where: {a: {within: 1h}}, show: [a], exists: b, as: "t:{a}", message: m, notify: "{a}"}
    hooks: *hooks
"""
# Given once and then fixed in every version so far, or looked up when loading: not in the model.
NOT_SHOWN = {
    "services.*.root",
    "services.*.for_each",  # what it stands for is shown
    "services.*.for_each.glob",
}


def supported() -> set[str]:
    """The keys of the schema that this version builds; those of `defaults` are the services' own."""
    found = {".".join(path) for path in KEYS if path[0] != "defaults"}
    for line in unsupported.HOST:
        found -= {path for path in found if not line.values and f"{path}.".startswith(f"{line.pattern}.")}
    for line in unsupported.SERVICE:
        found -= {path for path in found if not line.values and f"{path}.".startswith(f"services.*.{line.pattern}.")}
    return found


def generic(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The paths of a rendered configuration in the words of `supported`."""
    if isinstance(value, dict):
        for name, below in value.items():
            chosen = path in {("services",), ("services", "*", "state"), ("services", "*", "run", "env")}
            chosen = chosen or path[-3:] == ("hooks", "*", "headers")
            chosen = chosen or path[-2:] in {
                ("guards", "min_items"),
                *(("rebuild", key) for key in ("collect", "compute")),
            }
            here = (*path, "*" if chosen else name)
            if not chosen:
                yield ".".join(here)
            if name not in {"schema", "initial", "constants", "where", "value", "rename"}:
                yield from generic(below, here)
    elif isinstance(value, list):
        for below in value:
            yield from generic(below, (*path, "*"))


def test_schema_and_model_agree(load_text: Callable[..., Loaded]) -> None:
    """Every key that is built reaches the model, and the model has nothing that no key can say."""
    config = load_text(FULL).config
    shown = set(generic(as_plain(config, mask=False)))
    assert shown - supported() == set()
    assert supported() - shown == NOT_SHOWN


def test_nothing_of_the_full_example_is_lost(load_text: Callable[..., Loaded]) -> None:
    """Each value arrives as it was meant."""
    web = load_text(FULL).config.services["web"]
    assert (web.enabled, web.after, web.run and web.run.stop_signal, web.run and web.run.cwd) == (
        False,
        ("other",),
        "INT",
        "/srv",
    )
    assert web.state["main"].path == "/srv/web/state.json"
    assert web.state["main"].guards == Guards(1000, 0.9, ("/tasks",), {"/tasks": 1})
    assert web.state["main"].version == VersionRule("v", "3")
    assert (web.state["tasks"].include, web.state["tasks"].name_field) == (("*.json",), "id")
    assert web.state["dump"].magic == b"REDIS".hex()
    assert web.state["dump"].validate == Validation(("check", "{path}"), 3.0)
    backup = load_text(FULL).config.services["pod"].state["backup"]
    assert backup.dump == Dump(("s", "a"), ("l",), 3600.0, "root", 10 << 30)
    assert web.retention.yearly == -1
    assert web.retention.tags == (("a",), ("b", "c"))
    assert web.restore.verdicts["missing"] == "alert"
    assert [probe.timeout_s for probe in web.health.probes] == [5, 5, 5, 1]
    assert (web.autosave.every_s, web.autosave.cron) == (60, "*/15 * * * *")
    assert (web.check.max_age_s, web.check.max_failures) == (60, 9)


def test_defaults_of_schema_and_model_are_the_same() -> None:
    """The default that the manual tells is the one that is used."""
    service = Service("x", Place("f", 1, 1))
    policy = {name: getattr(DEFAULT_RETENTION, name) for name in ("last", "hourly", "daily")}
    expected: dict[str, Any] = {
        "repository.compression": RepositoryConfig("").compression,
        "log.format": LogConfig().format,
        "log.level": LogConfig().level,
        "log.debug": list(LogConfig().debug),
        "services.*.enabled": service.enabled,
        "services.*.run.stop_signal": Run(RunKind.COMMAND).stop_signal,
        "services.*.run.stop_timeout": units.format_duration(Run(RunKind.COMMAND).stop_timeout_s),
        "services.*.autosave.jitter": units.format_duration(Autosave().jitter_s),
        "services.*.autosave.on_shutdown": Autosave().on_shutdown,
        "services.*.retention": policy,
        "services.*.retention.last": Retention().last,
        "services.*.retention.keep_invalid": Retention().keep_invalid,
        "services.*.restore.fallback": list(Restore().fallback),
        "services.*.restore.scope": Restore().scope,
        "services.*.restore.attempts": Restore().attempts,
        "services.*.restore.unhealthy": Restore().unhealthy,
        "services.*.health.within": units.format_duration(Health().within_s),
        "services.*.health.stable_for": units.format_duration(Health().stable_for_s),
        "services.*.health.probes.*.timeout": units.format_duration(Probe(ProbeKind.TCP).timeout_s),
        "services.*.check.max_failures": CheckThresholds().max_failures,
    }
    for path, value in expected.items():
        assert KEYS[tuple(path.split("."))]["default"] == value, path


@pytest.mark.parametrize(
    "line", [*unsupported.HOST, *unsupported.SERVICE], ids=lambda line: f"{line.pattern} {line.values}"
)
def test_what_is_not_built_yet_exists_in_the_schema(line: unsupported.Unsupported) -> None:
    """A line of the table that no key matches would refuse nothing."""
    path = tuple(line.pattern.split("."))
    full = path if line in unsupported.HOST else ("services", "*", *path)
    schema = KEYS[full] if full in KEYS else KEYS[full[:-1]]["items"]
    assert set(line.values) <= set(schema.get("enum", ()))


def test_the_schema_accepts_all_of_the_contract() -> None:
    """The whole contract validates, built or not: config.md's own examples, in the schema's eyes."""
    contract = {
        "version": 1,
        "repository": {"path": "/a", "spare": "/b", "compression": 3, "min_free": "5%", "max_bytes": "20GiB"},
        "prune": {"cron": "17 * * * *"},
        "verify": {"every": "1d", "sample": "5%"},
        "quarantine": {"keep": "30d", "max_bytes": "2GiB"},
        "boot_timeout": "90s",
        "boot_late": "start",
        "replicas": {
            "offsite": {
                "url": "s3://b/f",
                "options": {"endpoint": "https://x", "region": "eu-1", "access_key_id": {"credential": "i"}},
                "encrypt_to": ["age1x"],
                "identity": {"credential": "age-key"},
                "every": "5m",
                "bandwidth": "10MB",
                "retention": {"daily": 30, "monthly": 12},
            }
        },
        "hooks": [
            {"when": ["state.corrupt"], "command": ["/x", "{event}"]},
            {"when": ["*"], "webhook": {"env": "URL"}, "headers": {}, "body": "x", "timeout": "5s"},
        ],
        "heartbeat": {"url": "https://x"},
        "metrics": {"textfile": "/x.prom"},
        "io_timeout": "30s",
        "services": {
            "a": {
                "run": {"systemd": "a.service"},
                "state": {
                    "main": {
                        "file": "state.json",
                        "version": {"field": "version", "current": "2"},
                        "migrate": [{"from": "1", "to": "2", "patch": [{"op": "add", "path": "/s", "value": []}]}],
                        "guards": {"min_bytes": 2, "max_shrink": "90%", "require": ["/tasks"], "min_items": {"/tasks": 1}},
                        "siblings": ["{name}.tmp"],
                        "rebuild": {
                            "collect": {"/tasks": "tasks"},
                            "constants": {"/sessions": []},
                            "compute": {
                                "/n": {"count": "tasks", "where": {"status": "completed"}},
                                "/m": {"mean": "tasks", "seconds_from": "started_at", "to": "completed_at"},
                                "/last_saved": "now",
                            },
                        },
                        "initial": {"tasks": []},
                    },
                    "tasks": {"directory": "tasks", "name_field": "id"},
                    "store": {"sqlite": "s.db", "check": "quick", "require_tables": ["u"], "assert": ["SELECT 1"]},
                    "index": {"file": "d", "magic": "REDIS", "validate": {"command": ["c", "{path}"], "timeout": "20s"}},
                    "backup": {"dump": {"save": ["s"], "load": ["l"]}, "max_bytes": "10GiB"},
                },
                "limits": {"memory": "512MB", "tasks": 64},
                "processes": {"item": "main", "select": "/services", "pid": "pid"},
                "instances": {"item": "s", "select": "/s", "where": {"status": "A"}, "command": ["c"], "cwd": "{path}", "most": 20},
                "for_each": {"glob": "/home/*/x"},
                "consistency": {"before": [["a"]], "after": [], "timeout": "5s"},
                "autosave": {"every": "30s", "cron": "*/15 * * * *", "on_change": {"quiet": "500ms", "at_most": "5s"}},
                "restore": {"fallback": ["siblings", "snapshots", "replicas", "rebuild", "initial"], "salvage": "tail"},
                "watch": {"every": "10s", "restart": "on-failure", "backoff": {"first": "1s", "most": "5m"}, "give_up_after": 5},
                "drill": {"cron": "0 4 * * 0", "command": ["a", "{directory}"], "timeout": "1m"},
                "in_flight": [{"item": "m", "select": "/t", "where": {"at": {"within": "1h"}}, "show": ["id"], "exists": "c", "as": "t:{id}"}],
                "check": {"max_age": "2m", "max_drill_age": "14d", "max_failures": 3},
                "hooks": [],
            },
            "b": {"run": {"control": {"start": ["a"], "stop": ["b"], "status": ["c"]}}},
        },
    }  # fmt: skip
    assert objections(contract) == []
