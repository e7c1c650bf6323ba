"""A real terminal: colours, widths, Ctrl-C; and output that nobody reads."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

import recoverd

ESCAPE = re.compile(r"\x1b\[[0-9;]*[mK]|\r")


def on_a_terminal(world: Any, *words: str, columns: int = 80, **variables: str) -> tuple[int, str]:
    """Exit status and all that a terminal of that width got, stdout and stderr."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = world.env | {"TERM": "xterm-256color"} | variables
    child = world.spawn(*words, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    parts = []
    with contextlib.suppress(OSError):  # EIO: nobody holds the other end any more
        while select.select([master], [], [], 30)[0] and (part := os.read(master, 65536)):
            parts.append(part)
    status = child.wait(30)
    os.close(master)
    return status, b"".join(parts).decode().replace("\r\n", "\n")


def widest(text: str) -> int:
    """Columns of the longest line that could have been broken."""
    lines = ESCAPE.sub("", text).splitlines()
    return max(
        sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)
        for line in lines
        if " " in line.strip()
    )


def test_a_wide_terminal_gets_colours_symbols_and_relative_times(saved: Any) -> None:
    """cli.md: text on a terminal is for people."""
    status, shown = on_a_terminal(saved, "check")
    assert (status, "\x1b[32m" in shown, "✓" in shown) == (0, True, True)
    assert len(shown.splitlines()) == 3
    status, shown = on_a_terminal(saved, "list")
    assert re.search(r"notes/1 +(just now|\d+ s ago)", shown)
    assert shown.startswith("\x1b[1mSNAPSHOT")


@pytest.mark.parametrize(
    ("words", "variables"),
    [([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"}), (["--no-color"], {})],
    ids=["NO_COLOR", "dumb", "--no-color"],
)
def test_colours_can_be_refused(saved: Any, words: list[str], variables: dict[str, str]) -> None:
    """no-color.org, TERM=dumb and --no-color: not one escape, also in errors."""
    for command in ("check", "restore nots"):
        _, shown = on_a_terminal(saved, *words, *command.split(), columns=80, **variables)
        assert "\x1b" not in shown


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}])
def test_a_terminal_without_letters(saved: Any, locale: dict[str, str]) -> None:
    """A rescue console in the C locale: plain ASCII words, no traceback."""
    for command in ("check", "list", "restore"):
        status, shown = on_a_terminal(saved, command, columns=40, **locale)
        assert status == 0
        assert shown.isascii(), shown


def test_a_narrow_terminal(saved: Any) -> None:
    """40 columns: lines break at words, tables leave out what can be spared, the names stay."""
    saved.main.write_bytes(b"")
    saved.run("snapshot").fine(1)
    for command in ("check", "list", "assess", "restore --dry-run", "show notes/1", "prune --dry-run", "nonsense"):
        _, shown = on_a_terminal(saved, *command.split(), columns=40)
        words = [word for line in ESCAPE.sub("", shown).splitlines() for word in line.split()]
        assert widest(shown) <= max(40, max(map(len, words)) + 6), shown
    _, shown = on_a_terminal(saved, "list", columns=40)
    assert widest(shown) <= 40
    assert "notes/2" in shown
    assert "invalid" in shown


BROKEN = """
    run: {{control: {{start: [/bin/true], stop: [/bin/true], status: [/not/there/status]}}}}
"""


@pytest.mark.parametrize("columns", [40, 80])
def test_what_is_wrong_is_read_whole(saved: Any, columns: int) -> None:
    """Not even 80 columns have room for a reason beside all the others: it is told below the table, with its hint."""
    path = saved.conf / "conf.d" / "notes.yaml"
    saved.declare(path.read_text() + BROKEN.format())
    status, shown = on_a_terminal(saved, "status", columns=columns)
    table, told = ESCAPE.sub("", shown).split("\n\n")
    assert status == 1 and widest(shown) <= columns
    assert table.splitlines()[0].split()[:2] == ["SERVICE", "PROCESS"] and "DETAIL" not in table
    words = " ".join(told.split())
    assert words.startswith("notes: /not/there/status can't be executed: No such file or directory hint: install it")
    # through a pipe the columns stay what they are
    piped = saved.run("status").fine(1).out
    assert piped.splitlines()[0].endswith("DETAIL") and "can't be executed" in piped.splitlines()[1]


def test_what_is_to_be_copied_is_not_broken(saved: Any) -> None:
    """A path or a unit's line stays whole, however narrow the terminal is."""
    _, shown = on_a_terminal(saved, "units", columns=40)
    lines = ESCAPE.sub("", shown).splitlines()
    assert any(line.startswith("# /") and line.endswith("/recoverd-restore.service") for line in lines)


SLOW = """
    run: {{command: [{python}, -c, "import time; time.sleep(600)"]}}
    health: {{within: 60s, stable_for: 40s}}
"""


def test_ctrl_c_ends_a_long_proof_and_leaves_the_service_up(saved: Any) -> None:
    """130; the service that was started lives on; state is wholly restored; the next command works."""
    path = saved.conf / "conf.d" / "notes.yaml"
    saved.declare(path.read_text() + SLOW.format(python=sys.executable))
    saved.main.write_bytes(b"")
    child = saved.spawn("restore", stderr=subprocess.PIPE, start_new_session=True)
    saved.wait_for(lambda: len(saved.processes()) > 1 and saved.main.read_bytes(), "the service to be started")
    time.sleep(0.5)
    os.killpg(child.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(3)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGINT)
    assert child.wait(10) == 130
    assert b"Traceback" not in child.stderr.read()
    assert saved.main.read_text() == '{"counter": 1}'
    assert len(saved.processes()) == 1, "the service was ended with recoverd"
    assert saved.run("--wait", "200ms", "list").fine().out.count("notes/") >= 1
    assert saved.run("--wait", "200ms", "snapshot").status == 0


def test_ctrl_c_at_once(saved: Any) -> None:
    """Whatever is interrupted: 130, no traceback of ours, no lock left. Before recoverd listens, the signal itself."""
    house = str(Path(recoverd.__file__).parent)
    for number in range(6):
        child = saved.spawn("snapshot", "--label", "x", stderr=subprocess.PIPE)
        time.sleep(0.12 + 0.03 * number)
        child.send_signal(signal.SIGINT)
        status, said = child.wait(20), child.stderr.read().decode()
        frames = set(re.findall(r'File "([^"]+)"', said))  # of the interpreter, where it was still starting
        ours = {frame for frame in frames if frame.startswith(house)}
        assert ours <= {f"{house}/__init__.py", f"{house}/__main__.py"}, said
        pythons = "KeyboardInterrupt" in said or "Fatal Python error" in said  # it may name no frame at all
        assert pythons or status in {130, 0, -signal.SIGINT}, (status, said)
    saved.run("--wait", "0ms", "snapshot").fine()


def test_ctrl_c_with_json(saved: Any) -> None:
    """Also then one document, with exit status 130 in it."""
    with saved_lock(saved):
        child = saved.spawn("--json", "snapshot", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        maps = Path(f"/proc/{child.pid}/maps")
        saved.wait_for(lambda: "blake3" in maps.read_text(), "the command to be under way")
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
        assert b'"exit_status": 130' in child.stdout.read()


def test_ctrl_c_while_a_module_is_imported(tmp_path: Path) -> None:
    """Python would keep the module's lock, and another thread wait for it: the process ends, with its answer."""
    (tmp_path / "slow.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    code = (
        "import signal, sys; sys.argv = ['recoverd', '--json', 'snapshot']; import recoverd.cli.main as front;"
        "signal.signal(signal.SIGINT, front._interrupt); import slow"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 130, done.stderr
    assert '"exit_status": 130' in done.stdout
    assert "Traceback" not in done.stderr


@contextlib.contextmanager
def saved_lock(world: Any) -> Any:
    """Hold the lock of service notes, as another recoverd does."""
    with next(world.repository.rglob("notes.lock")).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_reader_that_has_had_enough(saved: Any) -> None:
    """`recoverd … | head`: no traceback, nothing on stderr."""
    for number in range(60):
        (saved.tasks / f"long-name-{'x' * 180}-{number}.json").write_text("{}")
    for number in range(30):
        (saved.tasks / f"other-{'y' * 200}-{number}.json").write_text("{}")
    saved.run("snapshot").fine()
    for words in (["show", "notes/2", "--json"], ["show", "notes/2"], ["config", "schema"]):
        child = saved.spawn(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdout.read(1)
        child.stdout.close()
        status = child.wait(20)
        assert (status in {0, 1}, child.stderr.read()) == (True, b"")


@pytest.mark.parametrize("closing", [">&-", ">&- 2>&- <&-"])
def test_closed_streams(saved: Any, closing: str, files: Any) -> None:
    """What recoverd opens next must not take the place of a closed stdout: it would be written to."""
    before = files(saved.repository)
    for words in ("nonsense", "check", "show notes/1 main"):
        line = " ".join([*saved.command(*words.split()), closing])
        done = subprocess.run(["/bin/sh", "-c", line], env=saved.env, capture_output=True, check=False)
        assert done.returncode == (64 if words == "nonsense" else 0), (words, done)
        assert b"Traceback" not in done.stderr
    line = " ".join([*saved.command("snapshot", "--label", "x"), closing])
    assert subprocess.run(["/bin/sh", "-c", line], env=saved.env, check=False).returncode == 0
    after = files(saved.repository)
    assert {name: after[name] for name in before if "packs" in name} == {n: before[n] for n in before if "packs" in n}
    assert saved.run("show", "notes/2", "main").fine().out == '{"counter": 1}'


def test_an_output_that_is_full(saved: Any) -> None:
    """/dev/full: the answer is lost, and that is said; the disk of the repository is not blamed."""
    for words in (["check", "--json"], ["show", "notes/1", "main"], ["list"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                saved.command(*words), env=saved.env, stdout=full, stderr=subprocess.PIPE, check=False
            )
        said = done.stderr.decode()
        assert done.returncode == (3 if words[0] == "check" else 1), said
        assert "the answer can't be written to standard output" in said
        assert "Traceback" not in said
        assert "prune" not in said
