"""cli.md to the letter: the first keys of each JSON document, exit statuses, text through a pipe, help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import recoverd
from recoverd.cli.arguments import COMMANDS

LIST = ["id", "service", "sequence", "time", "verdict", "reason", "label", "tags", "pinned", "proven", "rejected"]
LIST += ["bytes", "new_bytes", "files", "kept_by", "confirmed", "items"]
SNAPSHOT = ["service", "id", "outcome", "verdict", "bytes", "new_bytes", "files", "seconds", "error"]
RESTORE_ITEM = ["item", "verdict_before", "source", "candidate", "age_seconds", "quarantine"]
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HEAVY = {"yaml", "jsonschema", "apscheduler", "psutil", "sqlite3", "referencing", "asyncio"}


def framed(document: Any, command: str) -> Any:
    assert list(document)[:2] == ["recoverd", "command"]
    assert (document["recoverd"], document["command"]) == (recoverd.__version__, command)
    return document


def in_order(document: Any, keys: list[str]) -> None:
    """All of `keys`, in their order, before anything else that may follow."""
    found = [key for key in document if key in keys]
    assert found == keys, list(document)


def test_list_and_snapshot(world: Any) -> None:
    """cli.md, "JSON": first keys of each; statuses 0, 1 and 3 of `snapshot`."""
    taken = framed(world.run("snapshot", "--json", "--label", "l", "--tag", "t").fine().json, "snapshot")["snapshots"][
        0
    ]
    in_order(taken, SNAPSHOT)
    assert list(taken)[: len(SNAPSHOT)] == SNAPSHOT
    assert (taken["outcome"], taken["id"], taken["error"]) == ("saved", "notes/1", None)
    unchanged = world.run("snapshot", "--json").fine().json["snapshots"][0]
    assert (unchanged["outcome"], unchanged["id"], unchanged["verdict"]) == ("unchanged", None, "ok")
    world.write(2)
    (world.tasks / "t1.json").write_bytes(bytes(50))
    partial = world.run("snapshot", "--json").fine(3).json["snapshots"][0]
    assert (partial["outcome"], partial["verdict"]) == ("saved", "partial")
    world.main.write_bytes(b"")
    invalid = world.run("snapshot", "--json").fine(1).json["snapshots"][0]
    assert (invalid["outcome"], invalid["verdict"]) == ("invalid", "invalid")

    listed = framed(world.run("list", "--json").fine().json, "list")["snapshots"]
    assert [one["id"] for one in listed] == ["notes/3", "notes/2", "notes/1"]
    for one in listed:
        assert list(one)[: len(LIST)] == LIST
        assert RFC3339.fullmatch(one["time"])
        assert list(one["items"]) == ["main", "tasks"]
        assert list(one["items"]["main"])[:2] == ["verdict", "problems"]
    first = listed[-1]
    assert (first["label"], first["tags"], first["reason"]) == ("l", ["t"], "manual")
    assert first["kept_by"]
    in_order(listed[0]["items"]["main"]["problems"][0], ["place", "problem"])


def test_assess_restore_prune_check(saved: Any) -> None:
    """cli.md, "JSON" and "Exit status": assess 0/1, restore 0/1, prune, check 0 to 2."""
    good = framed(saved.run("assess", "--json").fine().json, "assess")["services"][0]
    assert list(good)[:3] == ["service", "verdict", "items"]
    assert list(good["items"][0])[:3] == ["item", "verdict", "problems"]
    checked = framed(saved.run("check", "--json").fine().json, "check")
    assert list(checked)[2:4] == ["status", "results"]
    assert checked["status"] == "OK"
    for one in checked["results"]:
        assert list(one) == ["name", "service", "status", "message", "hint", "figures"]
    assert saved.run("check", "--format", "json").json["status"] == "OK"

    saved.main.write_bytes(b"")
    bad = saved.run("assess", "--json").fine(1).json["services"][0]
    assert bad["verdict"] == "corrupt"
    in_order(bad["items"][0]["problems"][0], ["place", "problem"])
    assert saved.run("check", "--json").fine(2).json["status"] == "CRITICAL"

    for words, outcome in ((["--dry-run"], "restored"), ([], "restored"), ([], "untouched")):
        restored = framed(saved.run("restore", "--json", *words).fine().json, "restore")["services"][0]
        keys = ["service", "outcome", "healthy", "attempts", "resume", "items"]
        in_order(restored, keys)
        assert restored["outcome"] == outcome
        in_order(restored["items"][0], RESTORE_ITEM)
        live = [one["source"] for one in restored["items"]]
        assert live == (["snapshot", "live"] if outcome == "restored" else ["live", "live"])
        if outcome == "restored" and not words:
            assert list(restored["attempts"][0])[:3] == ["candidate", "result", "why"]
            assert Path(restored["items"][0]["quarantine"]).is_dir()
    undone = framed(saved.run("undo", "--json").fine().json, "undo")
    assert undone["service"] == "notes"

    pruned = framed(saved.run("prune", "--json").fine().json, "prune")
    in_order(pruned, ["kept", "removed", "freed_bytes"])
    in_order(pruned["kept"][0], ["id", "rules"])
    framed(saved.run("show", "--json", "notes/good").fine().json, "show")
    framed(saved.run("config", "paths", "--json").fine().json, "config paths")
    framed(saved.run("--version", "--json").fine().json, "version")


def test_a_restore_that_has_nothing_good_fails(world: Any) -> None:
    """Promise 10: exit status 1, and what to do is said."""
    world.main.write_bytes(b"")
    done = world.run("restore").fine(1)
    assert "blocked" in done.out
    assert "hint: " in done.out
    assert world.main.read_bytes() == b""


def test_text_through_a_pipe_is_plain_and_stable(saved: Any) -> None:
    """cli.md: no escapes, no symbols, no shortening, no relative times; the same words twice."""
    declared = (saved.conf / "conf.d" / "notes.yaml").read_text()
    saved.declare(declared.replace("notes:", "n" * 60 + ":").replace(str(saved.app), str(saved.root / "a")), "long")
    (saved.root / "a").mkdir()
    (saved.root / "a" / "state.json").write_text('{"counter": 1}')
    saved.run("snapshot").fine()
    for command in (
        "list",
        "check -v",
        "assess",
        "show notes/1",
        "prune --dry-run",
        "restore --dry-run",
        "config show",
    ):
        narrow = saved.env | {"COLUMNS": "30", "LANG": "C", "TERM": "xterm-256color"}
        out = saved.run(*command.split(), env=narrow).fine().out
        assert "\x1b" not in out, command
        assert out.isascii(), command
        assert " ago" not in out or command == "check -v", command
        assert not re.search(r"[ \t]$", out, re.MULTILINE), command
    table = saved.run("list").out
    assert "n" * 60 + "/1" in table
    assert saved.run("list").out == table


@pytest.mark.parametrize("command", ["--help", *(f"{name} --help" for name in COMMANDS)])
def test_help_of_every_command(command: str) -> None:
    """Every command's help works without a configuration, fits 80 columns and 40, and loads nothing heavy."""
    code = (
        "import sys; sys.argv[0] = 'recoverd'\n"
        "from recoverd.cli.main import main\n"
        "status = main(sys.argv[1:])\n"
        f"print(status, sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)"
    )
    for columns in (80, 40):
        env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        done = subprocess.run(
            [sys.executable, "-c", code, *command.split()],
            env=env | {"COLUMNS": str(columns)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == "0 []\n"
        assert len(done.stdout.splitlines()) > 5
        long = [line for line in done.stdout.splitlines() if len(line) > columns]
        assert long == [] or columns == 40, long


# What a command that finds nothing to do must not load: each costs 1 to 50 ms of every start.
LATE = HEAVY - {"sqlite3"} | {
    *("attr", "base64", "bz2", "dataclasses", "decimal", "difflib", "email", "hashlib", "http", "inspect", "ipaddress"),
    *("jsonschema_rs", "lzma", "pathlib", "random", "secrets", "select", "shutil", "socket", "ssl", "subprocess"),
    *("tempfile", "tomllib", "urllib", "uuid", "zoneinfo"),
}
if sys.version_info >= (3, 14):
    LATE -= {"dataclasses", "inspect"}  # argparse itself loads them, for its colours


def loaded_late(world: Any, command: str, late: set[str]) -> tuple[Any, list[str]]:
    """The document that a command prints, and what it loaded of `late`."""
    code = (
        "import sys; sys.argv[0] = 'recoverd'\n"
        "from recoverd.cli.main import main\n"
        "status = main(sys.argv[1:])\n"
        f"print(status, *sorted({late!r} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", str(world.conf), command, "--json"],
        env={name: value for name, value in world.env.items() if not name.startswith("COV")},
        capture_output=True,
        check=False,
    )
    status, *found = done.stderr.decode().split()
    assert status == "0", done.stderr.decode()
    return json.loads(done.stdout), found


def test_a_command_that_finds_nothing_to_do_starts_fast(saved: Any) -> None:
    """Promise 11: state that is as it was costs no more than a look, also for a single service on a timer."""
    saved.run("snapshot")  # fills the cache of the configuration
    found = {command: loaded_late(saved, command, LATE) for command in ("check", "snapshot", "restore", "list")}
    assert {command: late for command, (_, late) in found.items()} == {command: [] for command in found}
    assert found["check"][0]["status"] == "OK"
    assert found["snapshot"][0]["snapshots"][0]["outcome"] == "unchanged"
    assert found["restore"][0]["services"][0]["outcome"] == "untouched"
    assert loaded_late(saved, "check", {"backports", "compression"})[1] == []
    capture = {"health", "operations.bounding", "operations.children", "repository.pruning"}
    assert loaded_late(saved, "snapshot", {f"recoverd.{name}" for name in capture})[1] == []
    look = {"operations.bounding", "operations.rejecting", "recovery.item_survey", "repository.writer"}
    assert loaded_late(saved, "check", {f"recoverd.{name}" for name in look})[1] == []


def test_a_check_from_records_loads_nothing_heavy(saved: Any) -> None:
    """cli.md, `check`: well under 150 ms for 100 services, so no schema, scheduler or cloud library is imported."""
    saved.declare(
        (saved.conf / "conf.d" / "notes.yaml").read_text()
        + f"    run: {{command: [{sys.executable}, -c, 'import time; time.sleep(600)']}}\n"
        + "    autosave: {every: 1s}\n"
    )
    saved.run("restore").fine()
    saved.run("check")  # fills the cache of the configuration
    document, found = loaded_late(saved, "check", HEAVY - {"sqlite3"} | {"ssl", "socket"})
    assert found == []
    assert document["status"] == "OK"


HOSTILE = "t\x1b]0;pwned\x07\n\u202etxt\udcff.json"


def test_names_that_would_drive_a_terminal(world: Any) -> None:
    """Promise 12: control characters in file names never reach the terminal raw, in no command."""
    name = os.fsencode(HOSTILE)
    with open(os.path.join(os.fsencode(str(world.tasks)), name), "wb") as file:
        file.write(b"{")
    world.run("snapshot", "-v").fine(3)
    world.main.write_bytes(b"")
    for command in ("snapshot -v", "assess", "show notes/latest", "check --live", "restore -v"):
        done = world.run(*command.split())
        for text in (done.out, done.err):
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", text), command
        assert "Traceback" not in done.err
    world.run("show", "notes/latest", "--json").fine().json["files"]
    assert "\\x1b" in world.run("show", "notes/latest").out
