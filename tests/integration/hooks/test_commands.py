"""Command hooks, each a real process: what it gets, and what becomes of one that hangs, dies or never stops talking."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recoverd.config.hook_model import Hook

Declare = Callable[..., Any]
Said = Callable[[], list[str]]
WaitFor = Callable[[Callable[[], object], str], None]
EVERY = ("*",)
COPY = (
    "import json, os, sys; json.dump([sys.argv[1:], sys.stdin.read(), dict(os.environ), os.getcwd()], open({!r}, 'w'))"
)


def script(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code, *arguments)


def test_what_a_command_gets(declare: Declare, tmp_path: Path) -> None:
    """cli.md: time, service, item, path, format and figures as JSON on stdin; no shell; little of our environment."""
    out = tmp_path / "out"
    words = ("{event}", "{service}/{item}", "{message}", "{bytes} bytes", "{new_bytes}", "$(touch x); `y`", "{format}")
    environ = {"PATH": os.environ["PATH"], "AWS_SECRET_ACCESS_KEY": "geheim", "LANG": "C.UTF-8", "TZ": "UTC"}
    house = declare(Hook(EVERY, script(COPY.format(str(out)), *words)), environ=environ)
    house.emit("state.corrupt", item="main", path="/srv/a\nb", format="json", bytes=2**60, message="-rf $(x)")
    house.close()
    arguments, text, environment, directory = json.loads(out.read_text())
    assert arguments[:4] == ["state.corrupt", "web/main", " -rf $(x)", f"{2**60} bytes"]
    assert arguments[4:] == ["", "$(touch x); `y`", "json"]
    document = json.loads(text)
    assert document["event"] == "state.corrupt"
    assert document["figures"] == {"bytes": str(2**60)}
    assert document["path"] == "/srv/a\\nb"
    assert {"recoverd", "host", "time", "level", "service", "item", "format", "message"} <= document.keys()
    assert "geheim" not in json.dumps(environment)
    known = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "LC_CTYPE", "PWD", "__CF_USER_TEXT_ENCODING"}
    assert environment.keys() <= known
    assert directory == "/"


def test_messages_stand_one_in_a_line(declare: Declare, tmp_path: Path) -> None:
    """recoverd(8): `messages` is one in a line, so its lines are lines, also in arguments; all else in them is escaped,
    and in no other field is there a line break that somebody's state could have brought in."""
    out = tmp_path / "out"
    house = declare(Hook(EVERY, script(COPY.format(str(out)), "{messages}", "{candidate}", "{message}")))
    hostile = "a\x1b[2J\u202eb\r\n"
    house.emit("restore.finished", message=hostile, candidate=hostile, messages="one: Back.\ntwo: \x1b[31mBack\u2028.")
    house.close()
    arguments, text, _, _ = json.loads(out.read_text())
    document = json.loads(text)
    assert document["figures"]["messages"] == "one: Back.\ntwo: \\x1b[31mBack\\u2028."
    assert document["figures"]["candidate"] == document["message"] == "a\\x1b[2J\\u202eb\\r\\n"
    assert arguments == [document["figures"]["messages"], document["message"], document["message"]]


def test_only_what_was_asked_for(declare: Declare, tmp_path: Path) -> None:
    """`when` names events; a hook of a service hears of that service and of what its documents list, of no other."""
    from recoverd.config.model import Config, Place, RepositoryConfig, Service
    from recoverd.events.stream import Events
    from recoverd.operations.hooks import hooks_of

    append = "import sys; open({!r}, 'a').write(sys.argv[1] + '\\n')"
    hook = Hook(("drill.failed",), script(append.format(str(tmp_path / "out")), "{service}"))
    services = {"web": Service("web", Place("x", 1, 1), hooks=(hook,))}
    hooks = hooks_of(Config("/n", RepositoryConfig("/n/r"), services), {})
    assert hooks is not None
    events = Events([hooks.tell])
    for name, service in (
        ("drill.failed", "web"),
        ("drill.passed", "web"),
        ("drill.failed", "webs"),
        ("drill.failed", None),
        ("drill.failed", "web@7"),
    ):
        events.emit(name, service=service)
    hooks.close(30)
    assert (tmp_path / "out").read_text().split() == ["web", "web@7"]


def test_one_that_fails_is_tried_again_and_told_once(
    declare: Declare, said: Said, tmp_path: Path, wait_for: WaitFor
) -> None:
    """Three tries, then a line in the log with what it said last. The next events are tried once, and told of at the
    end, in one line."""
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('x'); print('no such channel'); raise SystemExit(4)"
    house = declare(Hook(EVERY, script(code)))
    house.emit()
    house.emit("disk.low")
    house.emit("disk.low")
    wait_for(lambda: house.hooks.is_idle, "the end of it")
    house.close()
    assert count.read_text() == "xxxxx"
    first, second = said()
    assert "hooks[0]" in first
    assert "was not told of snapshot.failed web: it exited with status 4: no such channel" in first
    assert "was not told of 2 events (disk.low web, disk.low web)" in second


def test_one_that_works_at_the_second_try(declare: Declare, said: Said, tmp_path: Path) -> None:
    """Nobody hears of a hiccup."""
    count = tmp_path / "count"
    code = f"import os; open({str(count)!r}, 'a').write('x'); raise SystemExit(os.path.getsize({str(count)!r}) < 2)"
    house = declare(Hook(EVERY, script(code)))
    house.emit()
    house.close()
    assert count.read_text() == "xx"
    assert said() == []


def test_one_that_is_not_there(declare: Declare, said: Said) -> None:
    """What can't be run is not tried again, and told."""
    house = declare(Hook(EVERY, ("/nonexistent/tell",)))
    house.emit()
    house.close()
    (line,) = said()
    assert line.endswith("it can't be run: no such file or directory")


def test_one_that_hangs_with_children(declare: Declare, said: Said, tmp_path: Path, wait_for: WaitFor) -> None:
    """At the deadline its whole process group is ended, and no other hook waited for it."""
    pids, out = tmp_path / "pids", tmp_path / "out"
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    code = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {child!r}])\n"
        f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} {{child.pid}} ')\n"
        "time.sleep(1000)"
    )
    append = f"open({str(out)!r}, 'a').write('x')"
    house = declare(Hook(EVERY, script(code), timeout_s=1.0), Hook(EVERY, script(append)))
    house.emit()
    wait_for(out.exists, "the other hook")
    house.close()
    assert any("did not end within 1 s" in line for line in said())
    found = [int(pid) for pid in pids.read_text().split()] if pids.exists() else []
    wait_for(lambda: not any(lives(pid) for pid in found), "the end of all of its processes")


def test_one_that_hangs_does_not_keep_a_process_alive(
    declare: Declare, said: Said, tmp_path: Path, wait_for: WaitFor
) -> None:
    """At the end what is at work is ended, though its deadline is far away, and what waits is told of, in one line."""
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    house = declare(Hook(EVERY, script(code), timeout_s=1000.0))
    for _ in range(5):
        house.emit()
    wait_for(lambda: pid.exists() and pid.read_text(), "the hook")
    house.close(0.0)
    assert not lives(int(pid.read_text()))
    (line,) = said()
    assert "was not told of 5 events (snapshot.failed web, snapshot.failed web, snapshot.failed web, …)" in line


def test_one_that_prints_megabytes(declare: Declare, said: Said) -> None:
    """Its output is read, so that it can go on, and not kept."""
    code = "import sys\nfor _ in range(32): sys.stdout.write('x' * (1 << 20))\nprint('\\nfull')\nraise SystemExit(1)"
    house = declare(Hook(EVERY, script(code)))
    house.emit()
    house.close()
    assert said()
    assert said()[0].endswith("it exited with status 1: full")
    assert max(map(len, said())) < 500


def test_one_that_does_not_read(declare: Declare, said: Said) -> None:
    """A large event never blocks on a command that has no use for it, nor is too large for its arguments."""
    house = declare(Hook(EVERY, ("/bin/true", "{json}", "{message}")))
    house.emit(message="\U0010ffff" * (1 << 20), path="/" + "ü" * 5000, item="x" * 10000, format="\0" * 10000)
    house.close()
    assert said() == []


def test_too_many_events(declare: Declare, said: Said, tmp_path: Path, wait_for: WaitFor) -> None:
    """The line is bounded; who tells never waits; what is left out is told, and once it works again so is that."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    house = declare(Hook(EVERY, script(f"open({str(gate)!r}).read()"), timeout_s=1000.0))
    for _ in range(500):
        house.emit()
    (line,) = said()
    assert "can't keep up: 200 events wait for it" in line

    def let_go() -> None:
        while not house.hooks.is_idle:
            with open(os.open(gate, os.O_RDWR), "w") as opened:
                opened.write("x")
            threading.Event().wait(0.001)

    opener = threading.Thread(target=let_go, daemon=True)
    opener.start()
    wait_for(lambda: len(said()) > 1, "the word that it works again")
    assert "works again; events it was not told of: " in said()[1]
    house.close(0.0)
    opener.join(30)


def test_a_reload_loses_nothing(declare: Declare, said: Said, tmp_path: Path, wait_for: WaitFor) -> None:
    """What the hooks of before have still to tell is told, and waited for, while new ones are told what is new."""
    gate, out = tmp_path / "gate", tmp_path / "out"
    code = f"import time, os, sys\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
    code += f"open({str(out)!r}, 'a').write(sys.argv[1] + ' ')"
    before = declare(Hook(EVERY, script(code, "old {event}"), timeout_s=1000.0))
    before.emit()
    before.emit("disk.low")
    after = declare(Hook(EVERY, script(code, "new {event}"), timeout_s=1000.0))
    after.hooks.follow(before.hooks)
    after.emit("drill.failed")
    assert not after.hooks.is_idle
    gate.touch()
    after.close()
    assert sorted(out.read_text().split()) == [
        "disk.low",
        "drill.failed",
        "new",
        "old",
        "old",
        "snapshot.failed",
    ]
    assert before.hooks.is_idle
    assert said() == []


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False
