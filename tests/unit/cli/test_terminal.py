"""What a terminal gets and what a pipe gets; a real pseudo-terminal where it matters."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pty
import struct
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import pytest

import recoverd
from recoverd.cli.terminal import Terminal
from recoverd.errors import ConfigError, ConfigProblem, LockHeld, StateError


@dataclass
class Screen:
    """A pseudo-terminal, 40 columns wide: what is written to `stream` is what `read` gives."""

    stream: TextIO
    master: int

    def read(self) -> str:
        self.stream.flush()
        os.set_blocking(self.master, False)
        parts = []
        while True:
            try:
                part = os.read(self.master, 65536)
            except OSError as error:
                assert error.errno in {errno.EAGAIN, errno.EIO}
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.fixture
def screen() -> Iterator[Screen]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with open(slave, "w", encoding="utf-8") as stream:
        yield Screen(stream, master)
    os.close(master)


def piped(**options: Any) -> tuple[Terminal, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Terminal(out, err, environment={}, **options), out, err


def test_a_pipe_gets_no_colours_no_symbols_no_width() -> None:
    """cli.md: through a pipe it is plain and stable."""
    terminal, out, _ = piped()
    terminal.print(terminal.style("good", "green"))
    terminal.table([["x" * 300, "1"]], ["NAME", "N"], "<>")
    assert (terminal.color, terminal.symbols, terminal.columns) == (False, False, None)
    assert out.getvalue().splitlines()[0] == "good"
    assert "x" * 300 in out.getvalue()


def test_a_terminal_gets_colours_and_lines_that_fit(screen: Screen) -> None:
    """cli.md: text on a terminal is for people."""
    terminal = Terminal(screen.stream, screen.stream, environment={})
    assert (terminal.color, terminal.symbols, terminal.columns) == (True, True, 40)
    terminal.print(terminal.style("good", "green"))
    terminal.table([["x" * 300, "1"]], ["NAME", "N"], "<>")
    good, header, row = screen.read().splitlines()
    assert good == "\x1b[32mgood\x1b[0m"
    assert header.startswith("\x1b[1mNAME")
    assert (len(row), row[-4]) == (40, "…")


@pytest.mark.parametrize(
    ("environment", "color"),
    [({"NO_COLOR": "1"}, "auto"), ({"TERM": "dumb"}, "auto"), ({}, "never")],
)
def test_colours_can_be_refused(screen: Screen, environment: dict[str, str], color: str) -> None:
    """no-color.org, TERM=dumb and --no-color."""
    terminal = Terminal(screen.stream, screen.stream, color=color, environment=environment)
    terminal.print(terminal.style("good", "green"))
    terminal.error(StateError("bad", hint="h"))
    assert "\x1b" not in screen.read()


def test_the_width_can_be_said(screen: Screen) -> None:
    """$COLUMNS wins over the kernel; nonsense in it does not; very narrow ones stay usable."""

    def columns(said: str) -> int | None:
        return Terminal(screen.stream, screen.stream, environment={"COLUMNS": said}).columns

    assert (columns("100"), columns("nonsense"), columns("3"), columns("0")) == (100, 40, 20, 40)
    fcntl.ioctl(screen.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    assert columns("") == 80


def test_symbols_need_an_encoding_that_has_them(screen: Screen) -> None:
    """LC_ALL=C: no ✓, and no traceback for a letter that the encoding lacks."""
    with open(os.dup(screen.stream.fileno()), "w", encoding="ascii") as ascii_only:
        terminal = Terminal(ascii_only, ascii_only, environment={})
        assert terminal.symbols is False
        terminal.print("café")
        assert screen.read() == "caf\\xe9\n"


def test_json_is_alone_on_stdout() -> None:
    """cli.md: `--json` prints one JSON document to stdout, nothing else."""
    terminal, out, _ = piped(json=True, verbose=True)
    terminal.print("a")
    terminal.say("b")
    terminal.detail("c")
    terminal.table([["x"]], ["X"])
    terminal.print_json("list", snapshots=[])
    assert json.loads(out.getvalue()) == {"recoverd": recoverd.__version__, "command": "list", "snapshots": []}
    assert list(json.loads(out.getvalue())) == ["recoverd", "command", "snapshots"]


def test_quiet_and_verbose() -> None:
    """-q keeps the answer, -v adds detail."""
    for quiet, verbose, expected in ((False, False, "ab"), (True, False, "a"), (False, True, "abc")):
        terminal, out, _ = piped(quiet=quiet, verbose=verbose)
        terminal.print("a")
        terminal.say("b")
        terminal.detail("c")
        assert out.getvalue().replace("\n", "") == expected


def test_errors_are_a_sentence_and_a_hint() -> None:
    """cli.md: `recoverd: error: sentence` with a `hint:` line, on stderr."""
    terminal, out, err = piped()
    terminal.error(LockHeld("the repository", pid=12, command="recoverd run"))
    terminal.error(StateError("plain"))
    terminal.warn("odd")
    assert err.getvalue().splitlines() == [
        "recoverd: error: the repository is in use by process 12 (recoverd run)",
        "hint: wait for it to finish, or give it longer with --wait TIME",
        "recoverd: error: plain",
        "recoverd: warning: odd",
    ]
    assert out.getvalue() == ""


def test_every_problem_of_a_configuration_is_told_first() -> None:
    """config.md: all problems at once, each as `file:line:column: place: sentence`."""
    terminal, _, err = piped()
    problems = (
        ConfigProblem("/a.yaml", 3, 5, "services.x", "unknown key"),
        ConfigProblem("/b.yaml", 0, 0, "", "is a link"),
    )
    terminal.error(ConfigError(problems, hint="see recoverd.yaml(5)"))
    assert err.getvalue().splitlines() == [
        "/a.yaml:3:5: services.x: unknown key",
        "/b.yaml: is a link",
        "recoverd: error: the configuration has 2 problems",
        "hint: see recoverd.yaml(5)",
    ]


def test_an_error_that_quotes_hostile_names_and_passwords() -> None:
    """Promise 12 and masked secrets hold for errors too."""
    terminal, _, err = piped()
    terminal.error(StateError("bad \x1b[2J name\n at http://u:p@host/", hint="\x07"))
    assert err.getvalue() == "recoverd: error: bad \\x1b[2J name\\n at http://***@host/\nhint: \\x07\n"


def test_errors_are_coloured_by_where_they_go(screen: Screen) -> None:
    """stdout in a pipe and stderr on a terminal: the error has colours, the answer has none."""
    out = io.StringIO()
    terminal = Terminal(out, screen.stream, environment={})
    terminal.error(StateError("bad", hint="try"))
    terminal.print(terminal.style("x", "red"))
    assert screen.read() == "recoverd: \x1b[1;31merror:\x1b[0m bad\n\x1b[36mhint: try\x1b[0m\n"
    assert out.getvalue() == "x\n"


def test_progress_shows_on_a_terminal_after_a_while_and_cleans_up(screen: Screen) -> None:
    """cli.md: progress bars on work that takes longer than a second, on stderr."""
    terminal = Terminal(io.StringIO(), screen.stream, environment={})
    with terminal.progress("packing\x1b", 10, after_s=0.02) as progress:
        progress.advance(5)
        deadline = time.monotonic() + 5
        while not progress.drawn and time.monotonic() < deadline:
            time.sleep(0.01)
    shown = screen.read()
    assert "\r\x1b[Kpacking\\x1b [###############-----" in shown  # shortened to the screen
    assert shown.endswith("\r\x1b[K")


def test_quick_work_shows_no_progress(screen: Screen) -> None:
    """Nothing flickers."""
    with Terminal(io.StringIO(), screen.stream, environment={}).progress("packing", 10) as progress:
        progress.advance(10)
    assert screen.read() == ""


@pytest.mark.parametrize(("quiet", "environment"), [(True, {}), (False, {"TERM": "dumb"})])
def test_progress_can_be_refused(screen: Screen, quiet: bool, environment: dict[str, str]) -> None:
    """-q and dumb terminals see no bar."""
    terminal = Terminal(io.StringIO(), screen.stream, quiet=quiet, environment=environment)
    with terminal.progress("packing", 10, after_s=0.0):
        time.sleep(0.05)
    assert screen.read() == ""


def test_progress_without_an_end_counts() -> None:
    """Nobody knows how many there are: the count itself is shown, and never more than all."""
    terminal, _, err = piped()
    with terminal.progress("scanning") as scanning, terminal.progress("packing", 4) as packing:
        scanning.advance(1200)
        packing.advance(9)
    assert scanning.line() == "scanning 1200"
    assert packing.line() == f"packing [{'#' * 30}] 100 %"
    assert err.getvalue() == ""


def test_a_closed_stream_is_no_terminal() -> None:
    """`recoverd … >&-` is not a reason for a traceback."""
    closed = io.StringIO()
    closed.close()
    assert Terminal(closed, closed, environment={}).interactive is False
