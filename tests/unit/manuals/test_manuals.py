"""The manuals say what the program does: no command, option, key or event is missing there, and none is invented."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from recoverd.cli import arguments
from recoverd.cli.main import main
from recoverd.config.wording import schema_text
from recoverd.events.logs import AREAS
from recoverd.events.names import EventName

MAN = Path(__file__).resolve().parents[3] / "man"
PAGES = ("recoverd.8", "recoverd.yaml.5")
MANUAL = (MAN / "recoverd.8").read_text()
GLOBAL = {"--config", "--json", "-q", "--quiet", "-v", "--verbose", "--debug", "--no-color", "--wait", "-h", "--help"}


def section(name: str) -> str:
    found = re.search(rf"^\.Sh {name}\n(.*?)(?=^\.Sh )", MANUAL, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


def told() -> dict[str, tuple[str, str]]:
    """Command -> what its line in the manual names, and what is said below it."""
    found = re.findall(r"^\.It Ic (\S+) ?(.*)\n((?:(?!\.It Ic |\.El).*\n)*)", section("COMMANDS"), re.MULTILINE)
    return {name: (line, body) for name, line, body in found}


def flags(text: str) -> set[str]:
    """`Fl \\-live | f` as `--live` and `-f`."""
    found = re.findall(r"\bFl (\S+(?: \| [\w\\-]+)*)", text)
    return {"-" + flag.replace("\\", "") for flags in found for flag in flags.split(" | ")}


def options(command: str) -> Iterator[argparse.Action]:
    """What a command takes besides the global options, and tells of."""
    for action in arguments.command_parser(command)._actions:
        if action.help != argparse.SUPPRESS and not GLOBAL & set(action.option_strings):
            yield action


@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_nothing_to_say(page: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(["mandoc", "-T", "lint", str(MAN / page)], capture_output=True, text=True, check=False)
    # It looks for other manuals on this machine, where these two need not be installed.
    said = [line for line in (done.stdout + done.stderr).splitlines() if "not found: Xr recoverd" not in line]
    assert said == []


def test_the_configuration_manual_is_what_the_schema_says() -> None:
    done = subprocess.run(
        [sys.executable, str(MAN / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_configuration_manual_has_every_key() -> None:
    """Counted apart from the generator: a key that it loses would be lost without a word."""

    def keys(schema: Any) -> Iterator[str]:
        if isinstance(schema, dict):
            properties = schema.get("properties")
            yield from properties if isinstance(properties, dict) else ()
            for value in schema.values():
                yield from keys(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from keys(value)

    expected = set(keys(json.loads(schema_text()))) - {"credential", "file", "env"}  # values: told in VALUES
    there = set(re.findall(r"^\.It Ic (\S+) :", (MAN / "recoverd.yaml.5").read_text(), re.MULTILINE))
    assert expected <= there


def test_the_manual_has_every_command_and_no_other() -> None:
    assert set(told()) == set(arguments.COMMANDS)


@pytest.mark.parametrize("command", arguments.COMMANDS)
def test_each_command_has_its_options_and_no_other(command: str) -> None:
    line, body = told()[command]
    taken = {action.option_strings[-1]: action for action in options(command) if action.option_strings}
    assert flags(line) - {flag for action in taken.values() for flag in action.option_strings} == set(), "only there"
    assert set(taken) - flags(line) == set(), "not in the line of the command"
    assert set(taken) - flags(body) == set(), "not explained"
    for action in options(command):
        value = action.metavar or action.dest.upper()
        if action.nargs != 0:
            assert re.search(rf"\bAr {re.escape(str(value))}\b", line), f"{command} takes {value}"


def test_global_options_are_those_of_the_parser() -> None:
    assert flags(section("GLOBAL OPTIONS")) == GLOBAL | {"--version"}
    front = argparse.ArgumentParser(add_help=False)
    arguments._globals(front, first=True)
    assert {flag for action in front._actions for flag in action.option_strings} == GLOBAL


def test_the_manual_has_every_event_and_no_other() -> None:
    named = re.findall(r"[a-z]+\.[a-z-]+", "\n".join(re.findall(r"^\.It Sy (.*)", section("EVENTS"), re.MULTILINE)))
    assert sorted(named) == sorted(EventName)


def test_the_manual_has_every_debug_area() -> None:
    words = " ".join(section("GLOBAL OPTIONS").split())
    assert f"{', '.join(AREAS[:-1])} or {AREAS[-1]}." in words


# -- the shapes of JSON ------------------------------------------------------------------------------------


def shapes() -> dict[str, set[str]]:
    """Command -> the keys that the manual names for it."""
    text = section("JSON").rpartition("The commands:\n")[2]
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith((" ", ".")):
            command = line.split()[0]
            found[command] = set()
        if line and not line.startswith("."):
            found[command] |= set(re.findall(r'"(\w+)"', line))
            same = re.search(r"\bas (?:in )?(\w+)", line)
            found[command] |= found[same[1]] if same else set()
    return found


FREE = {"figures", "config", "from", "damaged", "items"}  # mappings by name


def keys_of(value: Any, parent: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, below in value.items():
            if parent not in FREE:
                yield key
            if key not in {"config", "patch"}:
                yield from keys_of(below, key if parent not in FREE else "")
    elif isinstance(value, list):
        for below in value:
            yield from keys_of(below)


CALLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "snapshot": (("snapshot",), ("snapshot", "--dry-run")),
    "check": (("check",),),
    "assess": (("assess",),),
    "restore": (("restore", "--dry-run"), ("restore",), ("restore", "--to", "{tmp}/copy")),
    "list": (("list",),),
    "show": (("show", "app/1"), ("show", "app/1", "main")),
    "diff": (("diff", "app/1"),),
    "undo": (("undo",),),
    "accept": (("accept", "app"),),
    "pin": (("pin", "app/1"),),
    "unpin": (("unpin", "app/1"),),
    "export": (("export", "app/1", "{tmp}/app.tar"),),
    "import": (("import", "app", "{tmp}/2025-01-01/state.json"),),
    "pause": (("pause",),),
    "resume": (("resume",),),
    "init": (("init",),),
    "drill": (("drill",),),
    "status": (("status",),),
    "clear": (("clear", "--all", "--yes", "app"),),
    "prune": (("prune", "--dry-run"),),
    "config": (("config", "validate"), ("config", "show"), ("config", "paths")),
}


def test_the_manual_has_the_json_of_every_command() -> None:
    assert set(shapes()) == set(arguments.COMMANDS)


def test_the_json_of_each_command_has_the_keys_of_the_manual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a house with a damaged document, so that problems, attempts and quarantine are there too."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    state = tmp_path / "state.json"
    state.write_text('{"n": 1}')
    os.utime(state, (1_700_000_000, 1_700_000_000))
    (tmp_path / "2025-01-01").mkdir()
    (tmp_path / "2025-01-01" / "state.json").write_text('{"n": 0}')
    service = {"state": {"main": {"file": str(state), "format": "json"}}}
    config = tmp_path / "recoverd.yaml"
    config.write_text(yaml.safe_dump({"state_dir": str(tmp_path / "var"), "services": {"app": service}}))
    described = shapes()
    for command, calls in CALLS.items():
        for words in calls:
            if command in {"assess", "diff"}:
                state.write_text('{"n": ' if command == "assess" else '{"n": 2}')
            main(["--json", "--config", str(config), *(word.replace("{tmp}", str(tmp_path)) for word in words)])
            printed = json.loads(capsys.readouterr().out)
            assert "error" not in printed or command == "snapshot", (words, printed)
            found = set(keys_of(printed)) - {"recoverd", "command"}
            assert found <= described[command], (words, found - described[command])


PROCESSES: tuple[tuple[str, ...], ...] = (
    ("start",),
    ("status",),
    ("logs", "app"),
    ("confirm",),
    ("restart",),
    ("stop",),
    ("stop", "app", "nothing"),
    ("units",),
)


def test_the_json_of_each_command_for_processes_is_that_of_the_manual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All keys that the manual names are there, and no other; `outcome` and `wanted` have the values it lists."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    config = _house_with_a_process(tmp_path)
    described = shapes()
    start = re.search(r"^start     (.*?)^stop ", section("JSON"), re.MULTILINE | re.DOTALL)
    assert start is not None
    values = {
        key: set("".join(re.findall(rf'"{key}": "([^"]*)"', start[1])[0].split("\n               ")).split("|"))
        for key in ("outcome", "wanted")
    }
    seen: dict[str, set[str]] = {}
    try:
        for words in PROCESSES:
            main(["--json", "--config", str(config), *words])
            printed = json.loads(capsys.readouterr().out)
            assert printed["command"] == words[0]
            found = seen.setdefault(words[0], set())
            found |= set(keys_of(printed)) - {"recoverd", "command"}
            if words[0] in {"start", "restart", "stop", "status"}:
                for key, allowed in values.items():
                    assert {service[key] for service in printed["services"]} <= allowed
    finally:
        main(["--config", str(config), "stop"])
    # nothing was restored, so that there is nothing to tell of attempts and items
    described["confirm"] -= {
        *("candidate", "result", "why", "item", "document", "source", "age_seconds", "quarantine"),
        *("reason", "directory", "without", "path", "notes", "migrated", "from", "to", "older"),
    }
    assert seen == {command: described[command] for command in seen}


def test_the_json_of_the_scheduler_is_that_of_the_manual(tmp_path: Path) -> None:
    """It says one document when it ends, and nothing else on stdout."""
    config = _house_with_a_process(tmp_path)
    command = [sys.executable, "-m", "recoverd", "--json", "--config", str(config), "run"]
    ready = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(ready))
        told.settimeout(60)
        env = {**os.environ, "RUNTIME_DIRECTORY": str(tmp_path / "run"), "NOTIFY_SOCKET": str(ready)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env) as process:
            while b"READY=1" not in told.recv(4096):
                pass
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
    printed = json.loads(output)
    assert set(printed) - {"recoverd", "command"} == shapes()["run"]
    assert printed["exit_status"] == process.returncode == 0


def _house_with_a_process(tmp_path: Path) -> Path:
    state = tmp_path / "state.json"
    state.write_text("{}")
    service = {
        "state": {"main": {"file": str(state), "format": "json"}},
        "run": {"command": ["/bin/sh", "-c", "echo up; exec sleep 1000"]},
        "health": {"within": "20s", "stable_for": "10ms"},
    }
    config = tmp_path / "recoverd.yaml"
    config.write_text(yaml.safe_dump({"state_dir": str(tmp_path / "var"), "services": {"app": service}}))
    return config
