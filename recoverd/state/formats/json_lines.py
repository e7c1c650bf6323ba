"""JSON lines: each line a document. Read as a stream, so that a log of any length needs only one line of memory.

A last line without a newline is fine when it parses, and a torn tail when it does not. Blank lines are a note. A log
that holds nothing at all may be right (it was just begun), so that is `blank`, to be compared with the known-good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recoverd.state.formats import json_format
from recoverd.state.formats.text import POWER_LOSS, Limits, Unjudgeable, blank
from recoverd.state.verdicts import Problem

Check = Callable[[Any, bytes], tuple[Problem, ...]]
_MOST_NOTES = 5


class LinesReader:
    """Takes a file block by block; `check(value, line)` gives the schema's problems with one line."""

    def __init__(
        self, *, allow: frozenset[str] = frozenset(), limits: Limits | None = None, check: Check | None
    ) -> None:
        self._allow = allow
        self._limits = limits or Limits()
        self._check = check
        self._rest: list[bytes] = []  # the line that has begun
        self._rest_bytes = 0
        self._line = 0
        self._blank_lines = 0
        self._first_blank = 0
        self._nuls_only = True
        self._problems: list[Problem] = []
        self._more = 0
        self._notes: list[Problem] = []
        self._size_bytes = 0
        self._documents = 0
        self.unjudged = False  # the schema could not be applied to a line

    def feed(self, block: bytes) -> None:
        self._size_bytes += len(block)
        if self._nuls_only:
            self._nuls_only = block.count(0) == len(block)
        head, newline, tail = block.rpartition(b"\n")
        if newline:
            self._keep(head)
            for line in b"".join(self._rest).split(b"\n"):
                self._judge(line)
            self._rest.clear()
            self._rest_bytes = 0
        self._keep(tail)

    def finish(self) -> tuple[tuple[Problem, ...], tuple[Problem, ...], bool]:
        """(problems, notes, blank)."""
        if self._size_bytes and self._nuls_only:
            return (
                (Problem("", f"holds only NUL bytes ({self._size_bytes} of them): {POWER_LOSS}"),),
                (),
                True,
            )
        last = b"".join(self._rest)
        if last:
            self._judge(last)
        if self._more:
            self._problems.append(Problem("", f"and {self._more} more lines with problems"))
        if self._blank_lines:
            lines = "a blank line" if self._blank_lines == 1 else f"{self._blank_lines} blank lines"
            self._notes.append(Problem(f"line {self._first_blank}", f"{lines}, the first here"))
        holds_nothing = not self._documents and not self._problems
        if not self._size_bytes:
            self._notes.append(Problem("", "is empty (0 bytes)"))
        return tuple(self._problems), tuple(self._notes), holds_nothing

    def _keep(self, part: bytes) -> None:
        # A line beyond the limit is cut: it is a problem anyway, and must not fill the memory.
        room = self._limits.size_bytes + 1 - self._rest_bytes
        if part and room > 0:
            self._rest.append(part[:room] if b"\n" not in part else part)
            self._rest_bytes += len(part)

    def _judge(self, line: bytes) -> None:
        self._line += 1
        if not line.strip(b" \t\r"):
            self._blank_lines += 1
            self._first_blank = self._first_blank or self._line
            return
        if len(line) > self._limits.size_bytes:
            self._report(Problem(f"line {self._line}", f"is longer than {self._limits.size_bytes} bytes"))
            return
        parsed = json_format.parse(line, allow=self._allow, limits=self._limits, line=self._line)
        self._notes.extend(
            Problem(self._place(note.place), note.problem) for note in parsed.notes[: _MOST_NOTES - len(self._notes)]
        )
        if parsed.problems:
            self._report(*(self._on_this_line(problem, line) for problem in parsed.problems))
            return
        self._documents += 1
        if self._check is None or self.unjudged:
            return
        try:
            found = self._check(parsed.value, line)
        except Unjudgeable as reason:
            self.unjudged = True
            found = (Problem("", str(reason)),)
        self._report(*(Problem(self._place(problem.place), problem.problem) for problem in found))

    def _on_this_line(self, problem: Problem, line: bytes) -> Problem:
        return Problem(self._place(problem.place), blank(line) or problem.problem)

    def _place(self, inner: str) -> str:
        if inner.startswith("line "):
            return inner
        return f"line {self._line}, {inner}" if inner else f"line {self._line}"

    def _report(self, *problems: Problem) -> None:
        for problem in problems:
            if len(self._problems) < self._limits.problems:
                self._problems.append(problem)
            else:
                self._more += 1
                return
