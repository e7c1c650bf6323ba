"""How files become the model: defaults, relative paths, expansion, and no side effects."""

from __future__ import annotations

import os
import subprocess
import sys
import zoneinfo
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from recoverd.config.loading import Loaded, load
from recoverd.config.model import DEFAULT_RETENTION, Retention, Secret

Load = Callable[..., Loaded]
STATE = "state: {m: {file: /srv/x}}"


def test_a_services_own_keys_win_mapping_by_mapping(load_text: Load) -> None:
    """`defaults`: what a service says wins, key by key, in every depth; lists are replaced."""
    config = load_text(
        "defaults:\n  autosave: {every: 30s, jitter: 3s}\n  retention: {last: 10, daily: 14}\n"
        "  health: {within: 1m, probes: [{tcp: 'a:1'}]}\n  restore: {verdicts: {reset: block, missing: alert}}\n"
        f"services:\n  a: {{{STATE}}}\n"
        "  b:\n    state: {m: {file: /srv/y}}\n    autosave: {every: 10s}\n    retention: {daily: 0}\n"
        "    health: {probes: []}\n    restore: {verdicts: {reset: alert}}\n"
    ).config
    a, b = config.services["a"], config.services["b"]
    assert (a.autosave.every_s, a.autosave.jitter_s, a.retention) == (30, 3, Retention(last=10, daily=14))
    assert (b.autosave.every_s, b.autosave.jitter_s, b.retention) == (10, 3, Retention(last=10))
    assert (len(a.health.probes), len(b.health.probes), b.health.within_s) == (1, 0, 60)
    assert b.restore.verdicts == {"reset": "alert", "missing": "alert"}


def test_retention_without_any_word(load_text: Load) -> None:
    """repository.md: the default is {last: 10, hourly: 24, daily: 14}, only where nobody says anything."""
    config = load_text(
        f"services: {{a: {{{STATE}}}, b: {{state: {{m: {{file: /b}}}}, retention: {{last: 3}}}}}}"
    ).config
    assert config.services["a"].retention == DEFAULT_RETENTION == Retention(last=10, hourly=24, daily=14)
    assert config.services["b"].retention == Retention(last=3)


def test_an_empty_policy_over_defaults_is_the_defaults(load_text: Load) -> None:
    config = load_text(f"defaults: {{retention: {{last: 5}}}}\nservices: {{a: {{{STATE}, retention: {{}}}}}}").config
    assert config.services["a"].retention == Retention(last=5)


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/srv/web", "state.json", "/srv/web/state.json"),
        ("/srv/web", "a//./b", "/srv/web/a/b"),
        ("/srv/web", "/elsewhere/x", "/elsewhere/x"),
        ("~/web", "x", "/home/me/web/x"),
        ("~", "x/y", "/home/me/x/y"),
        ("${STATE_PATH}", "x", "/data/x"),
        ("${NONE:-./coding-agent-state}", "x", "{here}/coding-agent-state/x"),
        ("${EMPTY:-/a}", "${STATE_PATH}/b", "/data/b"),
        ("${NONE:-~/b}", "x", "/home/me/b/x"),
        ("rel", "x", "{here}/rel/x"),
        ("/srv/$NOT_EXPANDED", "~x", None),
        ("//srv", "x", "/srv/x"),
        ("/srv", "/dev/shm/x", "/dev/shm/x"),
    ],
)
def test_paths(
    root: str, path: str, expected: str | None, load_text: Load, tmp_path: Path, problems: Callable[..., list[str]]
) -> None:
    """State paths start from `root`, `root` from the file that holds it; ~ and ${NAME} are filled in."""
    environ = {"STATE_PATH": "/data", "EMPTY": "", "STATE_DIRECTORY": "/var/lib/recoverd"}
    text = f'services: {{a: {{root: "{root}", state: {{m: {{file: "{path}"}}}}}}}}\n'
    if expected is None:
        assert "only ~ and ~/ are expanded" in problems(text, environ=environ)[0]
        return
    item = load_text(text, environ=environ).config.services["a"].state["m"]
    assert item.path == expected.format(here=tmp_path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("${X}", "the environment variable X is not set; ${X:-default} gives a default"),
        ("${EMPTY}/x", "the environment variable EMPTY is empty; ${EMPTY:-default} gives a default"),
        ("${1}", "${1} is no reference to a variable: write ${NAME} or ${NAME:-default}"),
        ("${X", "${X is no reference to a variable: write ${NAME} or ${NAME:-default}"),
        ("${X-y}", "${X-y} is no reference to a variable: write ${NAME} or ${NAME:-default}"),
        ("${X:-${Y}}", "the default of ${X} can't refer to another variable"),
        ("~other/x", "only ~ and ~/ are expanded, for the user that recoverd runs as"),
        ("${NUL}", "a path can't hold a NUL byte"),
        ("${EMPTY:-}", "must not be empty"),
    ],
)
def test_what_is_not_expanded(path: str, why: str, problems: Callable[..., list[str]]) -> None:
    """An unset or empty variable is an error: `${DIR}/state` must not become /state."""
    (line,) = problems(f"services: {{a: {{state: {{m: {{file: '{path}'}}}}}}}}", environ={"EMPTY": "", "NUL": "a\0b"})
    assert line == f"1:34: services.a.state.m.file: {why}"


def test_paths_of_a_run_start_from_their_file(load_text: Load, tmp_path: Path) -> None:
    run = (
        load_text("services: {a: {run: {command: [~/x, '${Y}'], cwd: w, log: ~/l, env: {A: {file: s}, B: '${Y}'}}}}")
        .config.services["a"]
        .run
    )
    assert run is not None
    assert (run.cwd, run.log) == (f"{tmp_path}/w", "/home/me/l")
    assert run.env == {"A": Secret("file", f"{tmp_path}/s"), "B": "${Y}"}  # only paths are expanded
    assert run.command == ("~/x", "${Y}")


def test_schema_refers_to_its_directories(write: Callable[[Mapping[str, str]], Path], load_text: Load) -> None:
    root = write({"s/t.schema.json": '{"$ref": "other.json"}', "s/other.json": "{}"})
    schema = (
        load_text("services: {a: {state: {m: {file: /srv/x, schema: s/t.schema.json}}}}")
        .config.services["a"]
        .state["m"]
        .schema
    )
    assert schema is not None
    assert schema.path == f"{root}/s/t.schema.json"
    assert schema.directories[0] == f"{root}/s"


def test_names(load_text: Load) -> None:
    config = load_text("services: {0a.b_c-d: {state: {1: {file: /x}}}}".replace("1:", '"1":')).config
    assert list(config.services) == ["0a.b_c-d"]


@pytest.mark.skipif(not zoneinfo.available_timezones(), reason="this machine has no time zone data")
def test_time_zones(load_text: Load, problems: Callable[..., list[str]]) -> None:
    """A zone that the machine knows; a directory of zones is none."""
    assert load_text("timezone: Europe/Paris\n").config.timezone == "Europe/Paris"
    assert problems("timezone: Europe/Pariss\n") == [
        '1:11: timezone: there is no time zone "Europe/Pariss"; did you mean "Europe/Paris"?'
    ]
    assert problems("timezone: Europe\n")[0].startswith('1:11: timezone: there is no time zone "Europe"')


def test_signals_lose_their_prefix(load_text: Load) -> None:
    for spelling in ("TERM", "SIGTERM", "term"):
        run = load_text(f"services: {{a: {{run: {{command: [x], stop_signal: {spelling}}}}}}}").config.services["a"].run
        assert run is not None
        assert run.stop_signal == "TERM"


def test_numeric_users(load_text: Load) -> None:
    run = load_text("services: {a: {run: {command: [x], user: 12345, group: '54321'}}}").config.services["a"].run
    assert run is not None
    assert (run.user, run.group) == ("12345", "54321")


def test_after_is_a_set_in_order(load_text: Load) -> None:
    text = "services: {a: {run: {command: [x]}, after: [c, b, c]}, b: {run: {command: [x]}}, c: {run: {command: [x]}}}"
    assert load_text(text).config.services["a"].after == ("c", "b")


def test_what_is_disabled_claims_no_path(load_text: Load) -> None:
    """Two drop-ins for the same state are fine as long as one is switched off."""
    load_text(f"services: {{a: {{{STATE}}}, b: {{{STATE}, enabled: false}}}}")


def test_a_thousand_services_wait_in_a_row(load_text: Load) -> None:
    """Long chains are no cycle and no recursion."""
    text = "".join(
        f"  s{n}: {{run: {{command: [x]}}, after: [{f's{n + 1}' if n < 999 else ''}]}}\n" for n in range(1000)
    )
    assert len(load_text("services:\n" + text).config.services) == 1000


def test_loading_has_no_side_effects(write: Callable[[Mapping[str, str]], Path]) -> None:
    """No file is made, changed or touched, nothing is started, no state directory appears."""
    root = write(
        {
            "recoverd.yaml": "state_dir: s\n",
            "conf.d/a.yaml": "services: {a: {root: r, state: {m: {file: x}}, run: {command: [/bin/false]}}}",
        }
    )
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    load([str(root)], environ={}, euid=1000, home="/nonexistent")
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*")) == before


def test_only_what_is_needed_is_imported() -> None:
    """Importing the package's modules pulls in neither yaml nor jsonschema: they come with the first file."""
    code = (
        "import sys, recoverd.config.loading, recoverd.config.effective, recoverd.cli.config\n"
        "print([name for name in ('yaml', 'jsonschema', 'referencing', 'zoneinfo') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given", "max_bytes", "min_free_bytes", "min_free_share"),
    [
        ("", None, None, None),
        ("repository: {max_bytes: 20GiB, min_free: 5%}", 20 * 1024**3, None, 0.05),
        ("repository: {max_bytes: 500, min_free: 1.5GiB}", 500, 3 * 1024**3 // 2, None),
        ("repository: {min_free: 4096}", None, 4096, None),
        ("repository: {min_free: 0%}", None, None, 0.0),
    ],
)
def test_bounds_of_the_repository(
    given: str, max_bytes: int | None, min_free_bytes: int | None, min_free_share: float | None, load_text: Load
) -> None:
    """`min_free` is a size or a share; without a word there is no bound, so that nobody loses history unasked."""
    found = load_text(f"version: 1\n{given}").config.repository
    assert (found.max_bytes, found.min_free_bytes, found.min_free_share) == (max_bytes, min_free_bytes, min_free_share)


def test_prune_has_times_of_its_own(load_text: Load) -> None:
    assert load_text("version: 1").config.prune_cron is None
    assert load_text('prune: {cron: "17 * * * *"}').config.prune_cron == "17 * * * *"
