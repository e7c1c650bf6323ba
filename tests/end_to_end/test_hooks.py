"""Hooks as an operator has them: told by every command, by both phases of a boot, and by `recoverd run`."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

APPEND = """\
#!{python} -S
import sys
open({told!r}, "a").write(sys.stdin.read())
"""


def teller(world: Any, name: str = "told") -> tuple[Path, Path]:
    """A command that writes down what it is told, and where."""
    told, command = world.root / name, world.root / f"tell-{name}"
    command.write_text(APPEND.format(python=sys.executable, told=str(told)))
    command.chmod(0o755)
    return command, told


def hooks(world: Any, *lines: str) -> None:
    text = f"version: 1\nstate_dir: {world.state_dir}\nhooks:\n"
    (world.conf / "recoverd.yaml").write_text(text + "".join(f"  - {line}\n" for line in lines))


def events(told: Path) -> list[dict[str, Any]]:
    """What was told so far; a line that is being written is left for later."""
    text = told.read_text() if told.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def names(told: Path) -> list[str]:
    return [one["event"] for one in events(told)]


@contextmanager
def webhook(status: int = 204) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes everything, or answers something else; its URL and the bodies."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", bodies
    finally:
        server.shutdown()
        server.server_close()


def test_a_command_tells_before_it_ends(world: Any) -> None:
    """A one-shot command waits for its hooks; its output and exit status are what they are without them."""
    command, told = teller(world)
    hooks(world, f'{{when: ["*"], command: [{command}]}}')
    world.run("snapshot").fine()
    (saved,) = events(told)
    assert saved["event"] == "snapshot.saved"
    assert saved["service"] == "notes"
    assert {"items", "files", "size_bytes", "new_bytes", "seconds"} <= saved["figures"].keys()
    world.main.write_text("{")
    done = world.run("--json", "snapshot")
    assert done.status == 3 or done.json["snapshots"][0]["verdict"] in {"partial", "invalid"}
    corrupt = next(one for one in events(told) if one["event"] == "state.corrupt")
    assert (corrupt["item"], corrupt["format"], corrupt["path"]) == ("main", "json", str(world.main))
    assert corrupt["figures"]["problems"] == 1


def test_a_dead_hook_fails_nothing(world: Any) -> None:
    """promise: hooks never fail a job; what could not be told is one line on stderr."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        hooks(
            world,
            '{when: ["*"], command: [/nonexistent]}',
            f'{{when: ["*"], webhook: "http://127.0.0.1:{port}/geheim", timeout: 1s}}',
        )
        done = world.run("snapshot").fine()
    assert "saved as notes/1" in done.out
    assert sorted(line.split("events: ")[1].split(" was")[0] for line in done.err.splitlines()) == [
        "hook hooks[0] (/nonexistent)",
        f"hook hooks[1] (the webhook at 127.0.0.1:{port})",
    ]
    assert "geheim" not in done.err


def of_hooks(world: Any) -> dict[str, Any]:
    """What `check` says of them."""
    (found,) = [one for one in world.run("--json", "check").json["results"] if one["name"] == "hooks"]
    return dict(found)


def test_check_tells_of_a_hook_that_does_not_work(world: Any) -> None:
    """Which one, of what it was not told and why, until it was told of something; whichever process found out. It holds
    no secret."""
    assert not [one for one in world.run("--json", "check").json["results"] if one["name"] == "hooks"]
    command = world.root / "tell"
    first = f"{{when: [snapshot.saved], command: [{command}], timeout: 60s}}"
    with webhook(404) as (url, _):
        address = url.split("/")[2]
        secret = url.replace("//", "//me:geheim@").replace("/hook", "/geheim")
        hooks(world, first, f'{{when: [snapshot.saved], webhook: "{secret}", timeout: 60s}}')
        assert of_hooks(world)["status"] == "OK"
        for untold in (2, 4):
            world.write(untold)
            world.run("snapshot").fine()
            found = of_hooks(world)
            figures = {name: found["figures"][name]["value"] for name in ("hooks", "failing", "untold")}
            assert (found["status"], figures) == ("WARNING", {"hooks": 2, "failing": 2, "untold": untold})
    last, since = ", last snapshot.saved notes: it ", r" was not told of 2 events since [0-9TZ:.-]+"
    assert re.fullmatch(
        re.escape(f"hooks[0] ({command})") + since + re.escape(f"{last}can't be run: no such file or directory; ")
        + re.escape(f"hooks[1] (the webhook at {address})") + since + re.escape(f"{last}answered 404"),
        found["message"],
    )  # fmt: skip
    for words in (["check"], ["check", "--format", "nagios"], ["check", "--format", "prometheus"], ["--json", "check"]):
        assert "geheim" not in world.run(*words).out
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    hooks(world, first)
    world.write(5)
    world.run("snapshot").fine()
    assert (of_hooks(world)["status"], of_hooks(world)["message"]) == ("OK", "1 hook is told of events")
    assert list((Path(world.state_dir) / "hooks").iterdir()) == []


def test_secrets_are_in_no_output(world: Any) -> None:
    """config.md: masked in everything that is printed, be it text, JSON, a log or an error, and in no record of runs:
    URLs, their passwords, headers, what is read from files and the environment, the password of a proxy."""
    secret = world.root / "secret"
    with webhook(500) as (url, bodies):
        secret.write_text(f"{url.replace('//', '//me:geheim1@')}/geheim2?token=geheim3\n")
        secret.chmod(0o600)
        hooks(
            world,
            f"{{when: ['*'], webhook: {{file: {secret}}}, headers: {{A: {{env: TOKEN}}, B: geheim4}}, timeout: 1s}}",
            "{when: ['*'], webhook: 'http://me:geheim5@127.0.0.1:1/geheim6', timeout: 1s}",
            "{when: ['*'], webhook: 'https://me:geheim7@chat.invalid/geheim8', timeout: 1s}",
            f"{{when: ['*'], webhook: {{file: {world.root}/nothing}}, body: '{{message}}'}}",
        )
        env = world.env | {"TOKEN": "geheim9", "https_proxy": "http://me:geheim10@127.0.0.1:1"}
        said = ""
        for words in (
            ["--json", "-v", "--debug", "events", "--debug", "operations", "snapshot"],
            ["-v", "--debug", "events", "snapshot"],
            ["config", "validate"],
            ["config", "show"],
            ["--json", "config", "show"],
            ["--json", "check"],
            ["check", "--live"],
            ["--json", "status"],
            ["--json", "list"],
            ["units"],
        ):
            done = world.run(*words, env=env)
            said += f"{done.out}{done.err}"
        (world.conf / "recoverd.yaml").write_text(
            (world.conf / "recoverd.yaml").read_text().replace("//me:geheim5@127.0.0.1:1/geheim6", "/geheim5 geheim6")
        )
        done = world.run("config", "validate", env=env).fine(78)
        said += done.err
    assert bodies
    assert "geheim" not in said
    kept = [path for path in (*world.state_dir.rglob("*"), *(world.root / "run").rglob("*")) if path.is_file()]
    told = [path for path in kept if b"geheim" in path.read_bytes()]
    # the parsed configuration, for its own user alone, holds what the files hold that it was read from, as they do
    assert {path.name.partition("-")[0] for path in told} <= {"effective"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in told} <= {0o600}


def test_both_phases_of_a_boot(world: Any) -> None:
    """The first phase asks no network: its webhooks are told by the second. Commands are told at once."""
    command, told = teller(world)
    with webhook() as (url, bodies):
        hooks(world, f'{{when: ["*"], command: [{command}]}}', f'{{when: [restore.finished], webhook: "{url}"}}')
        world.run("snapshot").fine()
        world.main.write_text("")
        world.run("restore", "--boot").fine()
        assert [name for name in names(told) if name.startswith(("state", "restore"))] == [
            "state.loaded",
            "state.corrupt",
            "restore.started",
            "restore.finished",
        ]
        finished = events(told)[-1]
        assert finished["figures"]["candidate"] == "notes/1"
        assert finished["figures"]["age_seconds"] >= 0
        assert bodies == []
        world.run("confirm").fine()
        assert [one["time"] for one in bodies] == [finished["time"]]
        world.run("confirm").fine()
        assert len(bodies) == 1


def test_a_boot_is_not_held_up(world: Any) -> None:
    """A command that hangs in the first phase is ended with it, long before its deadline; the second tells it again."""
    command, told = teller(world)
    hang, pid = world.root / "hang", world.root / "pid"
    wrapper = world.root / "wrapper"
    wrapper.write_text(f"#!/bin/sh\nif [ -e {hang} ]; then echo $$ > {pid}; exec sleep 1000; fi\nexec {command}\n")
    wrapper.chmod(0o755)
    hooks(world, f"{{when: [restore.finished], command: [{wrapper}], timeout: 900s}}")
    world.run("snapshot").fine()
    world.main.write_text("")
    hang.touch()
    world.run("restore", "--boot").fine()  # which would wait for 900 seconds
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
    assert events(told) == []
    hang.unlink()
    world.run("confirm").fine()
    assert names(told) == ["restore.finished"]


def test_what_is_left_down_is_told(world: Any) -> None:
    """restore.failed: a service without a candidate, and one that comes after it."""
    command, told = teller(world)
    hooks(world, f"{{when: [restore.failed], command: [{command}]}}")
    world.declare(
        f"""
        services:
          second:
            after: [notes]
            state: {{main: {{file: {world.root}/other.json, format: json, optional: true}}}}
        """,
        "second",
    )
    world.main.write_text("{")
    world.run("restore").fine(1)
    assert sorted((one["service"], one["figures"]["outcome"]) for one in events(told)) == [
        ("notes", "blocked"),
        ("second", "blocked"),
    ]


def test_the_scheduler_takes_new_hooks(world: Any) -> None:
    """SIGHUP: the new hooks are told from then on; what happens while it stops is told as well. That a capture is due
    is told before it begins, and why."""
    first, told_first = teller(world, "first")
    second, told_second = teller(world, "second")
    text = (world.conf / "conf.d" / "notes.yaml").read_text()
    schedule = "    autosave: {on_change: {quiet: 20ms, at_most: 1s}, on_shutdown: true}\n"
    (world.conf / "conf.d" / "notes.yaml").write_text(text + schedule)
    third, told_third = teller(world, "third")
    hooks(
        world,
        f"{{when: [snapshot.saved], command: [{first}]}}",
        f"{{when: [autosave.triggered], command: [{third}], timeout: 60s}}",
    )
    log = world.root / "log"
    with log.open("wb") as stderr:
        run = world.spawn("run", stderr=stderr)
    world.wait_for(lambda: names(told_first) and names(told_third), "the first snapshot")
    due = events(told_third)[0]
    assert (due["service"], due["format"]) == ("notes", "json")
    assert (due["item"], due["path"], due["figures"]) == (None, str(world.main.parent), {})
    assert due["message"]
    hooks(world, f"{{when: [snapshot.saved], command: [{second}]}}")
    run.send_signal(signal.SIGHUP)
    world.wait_for(lambda: b"configuration loaded again" in log.read_bytes(), "the reload")
    before = len(names(told_first))
    world.write(2)
    world.wait_for(lambda: names(told_second), "the second hook")
    assert len(names(told_first)) == before
    # while it stands still nothing can be captured before it is told to stop
    run.send_signal(signal.SIGSTOP)
    world.write(3)
    run.send_signal(signal.SIGTERM)
    run.send_signal(signal.SIGCONT)
    assert run.wait(60) == 0
    newest = world.json("list", "notes")["snapshots"]
    sequences = {one["sequence"] for one in newest}
    told = {one["figures"]["sequence"] for one in [*events(told_first), *events(told_second)]}
    assert told == sequences


def test_a_webhook_that_hangs_does_not_hold_up_a_shutdown(world: Any) -> None:
    """Its server takes the connection and never answers, with a quarter of an hour to do so; the scheduler ends
    all the same, in order, and its log and `check` say who was not told."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/geheim"
        hooks(world, f'{{when: ["*"], webhook: "{url}", timeout: 900s}}')
        text = (world.conf / "conf.d" / "notes.yaml").read_text()
        (world.conf / "conf.d" / "notes.yaml").write_text(f"{text}    autosave: {{every: 1h, on_shutdown: true}}\n")
        log = world.root / "log"
        with log.open("wb") as stderr:
            run = world.spawn("run", stderr=stderr)
        world.wait_for(lambda: world.json("list")["snapshots"], "the first snapshot")
        world.write(2)
        run.send_signal(signal.SIGTERM)
        assert run.wait(120) == 0
    assert [one["reason"] for one in world.json("list")["snapshots"]] == ["shutdown", "scheduled"]
    assert "hook hooks[0] (the webhook at 127.0.0.1:" in log.read_text()
    assert "geheim" not in log.read_text()
    assert of_hooks(world)["status"] == "WARNING"


def test_what_it_costs(world: Any) -> None:
    """architecture.md, "Heavy imports are late": with hooks declared, `check` loads nothing that speaks to anybody."""
    hooks(world, '{when: ["*"], webhook: "https://x.example/y"}', '{when: ["*"], command: [tell]}')
    world.run("config", "validate").fine()
    code = (
        "import sys\nfrom recoverd.cli.main import main\nmain(sys.argv[1:])\n"
        "print('loaded', *(set(sys.modules) & {'urllib', 'urllib.request', 'ssl', 'http.client', 'subprocess'}))"
    )
    words = world.command("check")[1:]
    env = {name: value for name, value in world.env.items() if not name.startswith("COV")}
    world.run("check")  # from now on the configuration comes from its cache
    done = subprocess.run([sys.executable, "-c", code, *words], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"
