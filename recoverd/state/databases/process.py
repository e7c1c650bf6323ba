"""The parent's side of `child`: starts it, hears what it says in time, and ends it."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from recoverd.config.database_model import DatabaseRules
from recoverd.state.verdicts import Judgement, Problem, Verdict
from recoverd.system.interpreter import start_module
from recoverd.values import dataclass

DEADLINE_S = 60.0
_COPIED_PER_S = 5_000_000  # bytes, on a slow board with a slow card
_JUDGED_PER_S = 2_000_000
_END_S = 5.0


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be copied: `name` in the directory open at `directory`, or the open file `file`."""

    size_bytes: int
    uid: int  # whose it is: as root, the child becomes that user
    gid: int
    directory: int = -1
    name: str = ""
    file: int | None = None


@dataclass(frozen=True, slots=True)
class Copied:
    """What the copy is: of a whole database, or with `damage`, a sentence, mere bytes. `why`: there is none."""

    damage: str | None = None
    why: str | None = None
    how: str = ""


class Examination:
    """One database, copied into the existing file `target` and judged there; the child ends with the `with` block.

    `target` lies in a private directory that the source's owner can write to. The child judges while the caller does
    something with the copy, which it must not change. Without a target the database is judged where it lies: begin with
    `in_place`. `deadline_s` is what a small database may take at each step.
    """

    def __init__(
        self, source: Source, target: str | None, rules: DatabaseRules, *, deadline_s: float = DEADLINE_S
    ) -> None:
        self._copy_s = deadline_s + source.size_bytes / _COPIED_PER_S
        self._judge_s = deadline_s + source.size_bytes / _JUDGED_PER_S
        given = source.directory if source.file is None else source.file
        asked = {
            "directory": source.directory,
            "name": source.name,
            "file": source.file,
            "target": target,
            "uid": source.uid,
            "gid": source.gid,
            "deadline_s": int(self._copy_s + self._judge_s) + 1,
            "check": rules.check,
            "require_tables": rules.require_tables,
            "assert": rules.assertions,
        }
        self._heard = b""
        self._process = start_module("recoverd.state.databases.child", pass_fds=(given,))
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it is gone already: the first question tells

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        import subprocess

        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk ends when that answers
            self._process.wait(_END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass  # what was not yet written is lost with the child

    def in_place(self) -> bool:
        """Whether the database can be judged where it lies; `judged` holds if it has not changed since before."""
        try:
            return bool(self._next(self._copy_s)["outcome"] == "in place")
        except (TimeoutError, EOFError):
            return False

    def copied(self) -> Copied:
        """What became of the copy. Raises FileNotFoundError when there is nothing any more."""
        try:
            answer = self._next(self._copy_s)
        except TimeoutError:
            return Copied(why=f"could not be read within {self._copy_s:.0f} s")
        except EOFError:
            return Copied(why="can't be read: the process that copies it ended")
        if answer["outcome"] == "gone":
            raise FileNotFoundError
        if answer["outcome"] != "copied":
            return Copied(why=answer["why"])
        return Copied(damage=answer["damage"], how=answer["how"])

    def judged(self, *, unchecked: bool) -> Judgement:
        """The verdict on a copy without damage, or on a database in its place."""
        try:
            answer = self._next(self._judge_s)
        except TimeoutError:
            return _unjudged(f"could not be judged within {self._judge_s:.0f} s")
        except EOFError:
            return _unjudged("could not be judged: the process that judges it ended")
        return Judgement(
            Verdict(answer["verdict"]),
            tuple(Problem("", sentence) for sentence in answer["problems"]),
            tuple(Problem("", sentence) for sentence in answer["notes"]),
            unchecked=unchecked,
        )

    def _next(self, within_s: float) -> Any:
        """The child's next line. Raises TimeoutError, EOFError."""
        import select

        assert self._process.stdout is not None
        fd, until = self._process.stdout.fileno(), time.monotonic() + within_s
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while b"\n" not in self._heard:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError
            block = os.read(fd, 65536)
            if not block:
                raise EOFError
            self._heard += block
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)


def _unjudged(sentence: str) -> Judgement:
    return Judgement(Verdict.UNREADABLE, (Problem("", sentence),))
