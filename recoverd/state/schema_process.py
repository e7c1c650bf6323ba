"""Judging in a child process with a deadline, for schemas that may never come to an end with a document.

A match in progress can't be stopped from another thread, but a process can be killed. The child is started when it is
first needed, serves one schema, and ends with its parent's end of the pipe. Only documents that `schema_cost` has no
small bound for go this way: a hostile document must not hang a boot.

Frames on both pipes: length (4 bytes, big-endian) and JSON. Child: `python -m recoverd.state.schema_process`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import weakref
from typing import IO, TYPE_CHECKING, Any

from recoverd.config.model import Place, SchemaSource
from recoverd.state.formats import json_format
from recoverd.state.formats.text import Limits, Unjudgeable
from recoverd.state.schemas import Closure, Validator
from recoverd.state.verdicts import Problem
from recoverd.system.interpreter import start_module

if TYPE_CHECKING:
    import subprocess

DEADLINE_S = 3.0
_START_S = 20.0  # for the interpreter and jsonschema on a slow, busy board
_JUDGED_PER_S = 200_000  # bytes of JSON that are parsed and judged when nothing is wrong, on a slow board
_HEADER = 4


class GuardedValidator:
    """The same answers as `Validator`, or Unjudgeable when the deadline passes. Usable from any thread."""

    def __init__(
        self, closure: Closure, allow: frozenset[str], limits: Limits, *, deadline_s: float = DEADLINE_S
    ) -> None:
        self._setup = json.dumps(
            {
                "name": closure.name,
                "document": closure.source.document,
                "path": closure.source.path,
                "directories": closure.source.directories,
                "files": dict(closure.source.files),
                "allow": sorted(allow),
                "limits": {name: getattr(limits, name) for name in limits.__match_args__},
            }
        ).encode()
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Any = None

    def problems(self, data: bytes) -> tuple[Problem, ...]:
        """What the schema says of a JSON document that is known to parse. Raises Unjudgeable."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            answer = self._ask(data, self._deadline_s + len(data) / _JUDGED_PER_S)
        if "unjudgeable" in answer:
            raise Unjudgeable(answer["unjudgeable"])
        return tuple(Problem(place, sentence) for place, sentence in answer["problems"])

    def close(self) -> None:
        """Ends the child, if there is one."""
        if self._end is not None:
            self._end()
        self._process = None

    def _start(self) -> None:
        self.close()
        self._process = start_module(__name__)
        self._end = weakref.finalize(self, _kill, self._process)
        self._ask(self._setup, _START_S)

    def _ask(self, data: bytes, deadline_s: float) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(len(data).to_bytes(_HEADER, "big") + data)
            self._process.stdin.flush()
            return json.loads(_receive(self._process.stdout.fileno(), time.monotonic() + deadline_s))
        except TimeoutError:
            self.close()
            raise Unjudgeable(f"could not be judged by its schema within {deadline_s:.1f} s") from None
        except (OSError, EOFError):
            self.close()
            raise Unjudgeable("could not be judged: the process that applies its schema ended") from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                pass  # what was not yet written is lost with the child


def _receive(fd: int, until: float) -> bytes:
    """One frame; raises TimeoutError at `until` (monotonic), EOFError when the child is gone."""
    import select

    received = bytearray()
    wanted = _HEADER
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(received) < wanted:
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError
        block = os.read(fd, 65536)
        if not block:
            raise EOFError
        received += block
        if len(received) >= _HEADER:
            wanted = _HEADER + int.from_bytes(received[:_HEADER], "big")
    return bytes(received[_HEADER:])


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """The child: a schema first, then documents, until the parent closes the pipe."""
    setup = json.loads(_frame(requests))
    source = SchemaSource(
        setup["document"], setup["path"], tuple(setup["directories"]), Place(setup["name"], 0, 0), setup["files"]
    )
    validator = Validator(Closure(setup["name"], source, hash=""))
    allow = frozenset(setup["allow"])
    limits = Limits(**setup["limits"])
    _send(answers, {})
    while data := _frame(requests):
        parsed = json_format.parse(data, allow=allow, limits=limits)
        try:
            problems = validator.problems(parsed.value, limits.problems)
        except Unjudgeable as reason:
            _send(answers, {"unjudgeable": str(reason)})
        else:
            _send(answers, {"problems": [(problem.place, problem.problem) for problem in problems]})


def _frame(requests: IO[bytes]) -> bytes:
    return requests.read(int.from_bytes(requests.read(_HEADER), "big"))


def _send(answers: IO[bytes], value: Any) -> None:
    data = json.dumps(value).encode()
    answers.write(len(data).to_bytes(_HEADER, "big") + data)
    answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
