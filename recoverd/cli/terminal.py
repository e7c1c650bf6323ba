"""Where commands write: what a terminal gets, what a pipe gets, errors with their hints, progress."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import recoverd
from recoverd.cli import text
from recoverd.errors import ConfigError, RecoverdError
from recoverd.events.text import without_passwords

_USUAL_COLUMNS = 80
_FEWEST_COLUMNS = 20


class Terminal:
    """The output of one command.

    `color` is `auto` (a terminal that can, unless NO_COLOR is set: no-color.org) or `never`. With `json` only
    `print_json` and `write` write to stdout. `quiet` silences `say`, `verbose` lets `detail` speak. On a terminal
    lines are wrapped at words, with what goes on set in by two; through a pipe a line stays a line.
    """

    def __init__(
        self,
        stdout: TextIO,
        stderr: TextIO,
        *,
        color: str = "auto",
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._stdout, self._stderr = stdout, stderr
        self.json, self.quiet, self.verbose = json, quiet, verbose
        wanted = color != "never" and not self._environment.get("NO_COLOR") and self._environment.get("TERM") != "dumb"
        self.interactive = _is_terminal(stdout)
        self.color = wanted and self.interactive
        self._error_color = wanted and _is_terminal(stderr)
        self._endings: list[Callable[[], None]] = []

    def at_end(self, call: Callable[[], None]) -> None:
        """Have this called once the command has said everything."""
        self._endings.append(call)

    def end(self) -> None:
        """Everything is said, and shown: what only the end of the process waits for."""
        if self._endings:
            with suppress(OSError):
                self._stdout.flush()
        while self._endings:
            self._endings.pop()()

    @property
    def columns(self) -> int | None:
        """How wide stdout is; None where it is no terminal: then nothing is shortened."""
        return _columns(self._stdout, self._environment) if self.interactive else None

    @property
    def symbols(self) -> bool:
        """Whether stdout can show ✓ and its kin: a terminal, with an encoding that has them, in a locale that has."""
        if not self.interactive or _is_plain_locale(self._environment):
            return False
        try:
            "✓✗…".encode(self._stdout.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def style(self, words: str, style: str) -> str:
        """`words` in a style of `events.text`, where stdout shows colours."""
        return text.paint(words, style) if self.color else words

    def print(self, line: str = "") -> None:
        """The answer to the command: always on stdout, except with `json`. `line` may hold styles; names in it
        must have gone through `text.printable`.
        """
        if not self.json:
            for one in text.wrapped(line, self.columns):
                self.write(one + "\n")

    def write(self, words: str) -> None:
        """`words` as they are, on stdout. Raises RecoverdError when that takes no more, BrokenPipeError as it is."""
        with _answering():
            _write(self._stdout, words)

    def write_bytes(self, data: bytes) -> None:
        """The same for a file's content."""
        with _answering():
            self._stdout.buffer.write(data)
            self._stdout.buffer.flush()

    def say(self, line: str) -> None:
        """What is nice to know: on stdout, unless quiet."""
        if not self.quiet:
            self.print(line)

    def detail(self, line: str) -> None:
        """What only a closer look needs: on stdout, when verbose."""
        if self.verbose:
            self.print(line)

    def table(
        self,
        rows: Sequence[Sequence[str]],
        header: Sequence[str],
        align: str = "",
        *,
        spare: Sequence[str] = (),
        styles: Callable[[str, str], str | None] | None = None,
    ) -> None:
        """A table that fits the terminal; through a pipe whole, aligned by spaces, with the same columns.

        `spare` names the columns that a narrow terminal can do without, the least needed first; `styles` the style of
        a cell, given its column's header and its words.
        """
        style = "header" if self.color else None
        dots = "…" if self.symbols else "~"
        for line in text.table(
            rows,
            header,
            align=align,
            columns=self.columns,
            header_style=style,
            spare=spare,
            dots=dots,
            styles=styles if self.color else None,
        ):
            if not self.json:
                self.write(line + "\n")

    def json_document(self, command: str, **keys: Any) -> dict[str, Any]:
        """`{"recoverd": version, "command": command, …}`: the frame of every JSON document of recoverd(8)."""
        return {"recoverd": recoverd.__version__, "command": command, **keys}

    def print_json(self, command: str, **keys: Any) -> None:
        """The one JSON document of a command, on stdout."""
        self.write(json.dumps(self.json_document(command, **keys), indent=2) + "\n")

    def warn(self, sentence: str) -> None:
        """Something that is odd but stops nothing, on stderr."""
        self._tell("warning", "warning", sentence)

    def error(self, error: RecoverdError) -> None:
        """`recoverd: error: sentence` and its hint on stderr; each problem of a configuration first."""
        if isinstance(error, ConfigError):
            for problem in error.problems:
                self._stderr_line(_safe(str(problem)))
        self._tell("error", "critical", error.message)
        if error.hint:
            line = f"hint: {_safe(error.hint)}"
            self._stderr_line(text.paint(line, "hint") if self._error_color else line)

    def _tell(self, word: str, style: str, sentence: str) -> None:
        head = text.paint(f"{word}:", style) if self._error_color else f"{word}:"
        self._stderr_line(f"recoverd: {head} {_safe(sentence)}")

    def _stderr_line(self, line: str) -> None:
        columns = _columns(self._stderr, self._environment) if _is_terminal(self._stderr) else None
        with suppress(OSError):  # nobody can be told; the exit status still says it
            for one in text.wrapped(line, columns):
                _write(self._stderr, one + "\n")

    @contextmanager
    def progress(self, title: str, total: int | None = None, *, after_s: float = 1.0) -> Iterator[Progress]:
        """Shows how far a work is, on stderr, if that is a terminal and the work takes longer than `after_s`.

        `total` counts the same things as `Progress.advance`; None when nobody knows how many there are.
        """
        shown = _is_terminal(self._stderr) and not self.quiet and self._environment.get("TERM") != "dumb"
        progress = Progress(title, total)
        if not shown:
            yield progress
            return
        done = threading.Event()

        def draw() -> None:
            pause_s = after_s
            while not done.wait(pause_s):
                columns = _columns(self._stderr, self._environment) - 1
                try:
                    _write(self._stderr, f"\r\x1b[K{text.fit(progress.line(), columns)}")
                except OSError:  # the terminal went away; the work goes on
                    return
                pause_s = 0.1

        painter = threading.Thread(target=draw, name="progress", daemon=True)
        painter.start()
        try:
            yield progress
        finally:
            done.set()
            painter.join()
            if progress.drawn:
                with suppress(OSError):
                    _write(self._stderr, "\r\x1b[K")


@contextmanager
def _answering() -> Iterator[None]:
    """Tells a stdout that takes no more from the disks that the work was about."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RecoverdError(
            f"the answer can't be written to standard output: {error.strerror}",
            hint="what was asked for may be done all the same; see where the output goes, then ask again",
        ) from error


class Progress:
    """How far a work is. `advance` may be called from any thread, often."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total = text.printable(title), total
        self._started_s = time.monotonic()
        self._count, self._lock = 0, threading.Lock()
        self.drawn = False

    def advance(self, count: int = 1) -> None:
        with self._lock:
            self._count += count

    def line(self) -> str:
        """`packing [######----] 62 %`; the count where the total is not known; the time where nothing is counted."""
        self.drawn = True
        if not self._total:
            so_far = str(self._count) if self._count else text.duration(round(time.monotonic() - self._started_s))
            return f"{self._title} {so_far}"
        share = min(self._count / self._total, 1.0)
        filled = int(share * 30)
        return f"{self._title} [{'#' * filled}{'-' * (30 - filled)}] {int(share * 100)} %"


def _safe(words: str) -> str:
    return text.printable(without_passwords(words))


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _is_plain_locale(environment: Mapping[str, str]) -> bool:
    """Whether the user asked for the C locale: Python speaks UTF-8 there all the same (PEP 538), a console may not."""
    named = environment.get("LC_ALL") or environment.get("LANG") or ""
    return named in {"C", "POSIX"}


def _columns(stream: TextIO, environment: Mapping[str, str]) -> int:
    """The width that the environment or the kernel names; 80 when neither knows."""
    named = environment.get("COLUMNS", "")
    if named.isascii() and named.isdigit() and int(named) > 0:
        return max(int(named), _FEWEST_COLUMNS)
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return max(columns, _FEWEST_COLUMNS) if columns else _USUAL_COLUMNS


def _write(stream: TextIO, words: str) -> None:
    """Write at once; a letter that the stream's encoding lacks is written as an escape, not as a traceback."""
    try:
        stream.write(words)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(words.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
