"""Starting a process in two steps: it exists and waits, then, once its identity is durable, it executes the command."""

from __future__ import annotations

import errno
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from signal import SIGKILL
from types import MappingProxyType
from typing import Any

from recoverd.errors import ServiceError, StartError
from recoverd.services import launcher
from recoverd.system.clock import monotonic_s
from recoverd.system.processes import ProcessIdentity, identify, signal
from recoverd.values import dataclass, field

DEADLINE_S = 20.0  # for each of the two steps; only a file system that hangs takes as long


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What to execute, as whom and where. `groups` None: as the user that recoverd runs as."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    uid: int
    gid: int
    groups: tuple[int, ...] | None
    umask: int = 0o022
    rlimits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # RLIMIT_… -> most
    prefix: tuple[str, ...] = ()  # a command that executes what follows it, such as `systemd-run --scope`
    prefix_env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Launch:
    """A process that waits for `release`. As a context manager it is abandoned, and ends, unless released."""

    def __init__(self, spec: LaunchSpec, log_fd: int, *, deadline_s: float = DEADLINE_S) -> None:
        """Create the process, detached from the caller, its output to `log_fd`. Raises StartError, ServiceError."""
        self._spec = spec
        self._deadline_s = deadline_s
        self._waiting: ProcessIdentity | None = None  # exists, and has not executed the command yet
        # -I and -S: neither the environment nor site packages have a say, and it starts in half the time
        try:
            self._process = subprocess.Popen(
                [*spec.prefix, sys.executable, "-I", "-S", launcher.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_fd,
                cwd="/",
                env={
                    **{name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
                    **spec.prefix_env,
                },
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(
                f"no process can be started: {error.strerror}",
                hint=f"see whether {sys.executable} is there, and what `ulimit -u` and the memory allow",
            ) from error
        try:
            self.identity = self._waiting = self._prepare()
        except BaseException:
            self.abandon()
            raise

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def release(self) -> None:
        """Let it execute the command; returns when that is done. Raises ServiceError when it can't be."""
        self._send(b"go\n")
        answer = self._receive()
        if answer:
            raise self._failure(answer)
        self._waiting = None

    def abandon(self) -> None:
        """End a process that was not released, or that did not come to execute the command. Harmless after that."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdout.close()
        self._process.stdin.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._waiting is not None:
            # one that was told to go on, and hangs in a dead file system, must not begin when that comes back
            signal(self._waiting, SIGKILL)

    def _prepare(self) -> ProcessIdentity:
        spec = self._spec
        facts = {
            "command": spec.command,
            "env": dict(spec.env),
            "cwd": spec.cwd,
            "uid": spec.uid,
            "gid": spec.gid,
            "groups": spec.groups,
            "umask": spec.umask,
            "rlimits": dict(spec.rlimits),
        }
        self._send(json.dumps(facts).encode("ascii") + b"\n")
        answer = self._receive()
        if "pid" not in answer:
            raise self._failure(answer)
        self._process.wait()  # the launcher itself has nothing left to do
        identity = identify(answer["pid"])
        if identity is None:
            raise self._failure({})
        return identity

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._process.stdin.fileno(), view) :]
        except BrokenPipeError:
            pass  # it has ended: what it said before, or its silence, tells more than this

    def _receive(self) -> dict[str, Any]:
        """One answer; empty when the pipe was closed without one. Raises ServiceError after the deadline."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        deadline = monotonic_s() + self._deadline_s
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - monotonic_s()) * 1000):
                raise ServiceError(
                    f"{self._spec.command[0]} could not be executed within {self._deadline_s:g} s",
                    hint=f"see whether {self._spec.cwd} and the program's file system answer",
                )
            more = os.read(fd, 1 << 16)
            if not more:
                return {}
            line += more
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failure(self, answer: Mapping[str, Any]) -> ServiceError:
        program, cwd = self._spec.command[0], self._spec.cwd
        number, stage = answer.get("errno"), answer.get("stage")
        why = os.strerror(number) if isinstance(number, int) else answer.get("text", "")
        if stage == "cwd":
            return ServiceError(
                f"the working directory {cwd} can't be entered: {why}",
                hint="correct run.cwd, or create the directory and let the service's user enter it",
            )
        if stage == "user":
            return ServiceError(
                f"can't become user {self._spec.uid}, group {self._spec.gid}: {why}",
                hint="only root can start services as somebody else",
            )
        if stage == "limit":
            return ServiceError(f"the limits of {program} can't be set: {why}", hint="correct `limits` of the service")
        if stage == "exec":
            return ServiceError(f"{program} can't be executed: {why}", hint=self._exec_hint(answer))
        return ServiceError(f"{program} was not started: its process ended too early", hint="look into its log")

    def _exec_hint(self, answer: Mapping[str, Any]) -> str:
        program = self._spec.command[0]
        match answer.get("errno"):
            case errno.ENOENT if answer.get("present"):
                return f"the interpreter that the first line of {program} names is missing"
            case errno.ENOENT if "/" not in program:
                return f"it is not on the service's PATH, {self._spec.env.get('PATH', '')}; give its full path"
            case errno.ENOENT:
                return "install it, or correct run.command"
            case errno.EACCES:
                return "make the file executable, and its directories accessible, for the service's user"
            case errno.ENOEXEC:
                return "it is no program for this machine, or a script without a #! line"
            case _:
                return "correct run.command"
