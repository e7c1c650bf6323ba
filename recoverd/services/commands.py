"""Running somebody's command to its end: no shell, a deadline, and only so much of what it says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from recoverd.system.clock import monotonic_s
from recoverd.values import dataclass

if TYPE_CHECKING:
    import subprocess

OUTPUT_BYTES = 8 * 1024  # the tail of a command's output that is kept unless more is asked for
_LINE_CHARACTERS = 200
_NOBODY = 65534
_LOOK_S = 0.01  # how often a limited output is measured: into memory, a command writes some tens of megabytes meanwhile
_REAPED_WITHIN_S = 1.0  # a killed command; one that waits for a dead disk is left to itself


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. `status` is its exit status, negative for a signal, None when it took too long, or more."""

    status: int | None
    output: str  # the tail of what it said; "" when its output went elsewhere
    timeout_s: float
    most_stdout_bytes: int | None = None  # where it was ended because it wrote more

    @property
    def last_line(self) -> str:
        lines = self.output.strip().splitlines()
        return lines[-1].strip()[:_LINE_CHARACTERS] if lines else ""

    @property
    def ending(self) -> str:
        """How it ended, as a clause: "exited with status 3"."""
        if self.most_stdout_bytes is not None:
            return f"wrote more than {self.most_stdout_bytes} bytes"
        if self.status is None:
            return f"did not end within {self.timeout_s:g} s"
        return ending(self.status)


def ending(status: int) -> str:
    """An exit status, negative for a signal, as a clause."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def run_command(
    command: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    output_fd: int | None = None,
    most_bytes: int = OUTPUT_BYTES,
    uid: int | None = None,
    stdin_fd: int | None = None,
    stdout_fd: int | None = None,
    most_stdout_bytes: int | None = None,
    end_fd: int | None = None,
) -> Ran:
    """Run a command in a session of its own, from /, its errors among its output.

    At the deadline its whole process group is killed. So is what it left running, unless its output goes to
    `output_fd`: then it may start something that stays. `env` replaces the environment. `uid`: the user it runs
    as, with that user's groups, where recoverd is root. `stdin_fd`: what it reads, else nothing. `stdout_fd`: where
    its output goes, apart from its errors; with `most_stdout_bytes` a file, and a command that writes more is ended
    soon after. `end_fd`: when that becomes readable, the deadline has come.
    Raises OSError and ValueError when it can't be executed.
    """
    import subprocess

    account = _account(uid) if uid is not None and os.geteuid() == 0 and uid != 0 else None
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin_fd is None else stdin_fd,
        stdout=stdout_fd if stdout_fd is not None else subprocess.PIPE if output_fd is None else output_fd,
        stderr=subprocess.STDOUT if stdout_fd is None else subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env=env,
        user=None if account is None else uid,
        group=None if account is None else account[0],
        extra_groups=None if account is None else account[1],
    )
    tail, ended = b"", False

    def flooded() -> bool:
        return most_stdout_bytes is not None and os.fstat(stdout_fd or 0).st_size > most_stdout_bytes

    try:
        look_s = None if most_stdout_bytes is None else _LOOK_S
        tail, ended = _follow(process, timeout_s, most_bytes, end_fd, flooded, look_s)
    finally:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        if output_fd is None or not ended:
            end_group(process.pid)
    try:
        status: int | None = process.wait(0.0 if ended else _REAPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        status = None
    too_much = most_stdout_bytes if flooded() else None
    return Ran(status if ended and too_much is None else None, tail.decode("utf-8", "replace"), timeout_s, too_much)


def _account(uid: int) -> tuple[int, list[int]]:
    """The primary group and all groups of a user; of one that no account belongs to, the group nobody has."""
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return _NOBODY, []
    return entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)


def end_group(leader: int) -> None:
    """The group can't be another's, as its leader was not waited for yet."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except PermissionError:
        pass  # it became somebody else, as sudo does, and recoverd runs as a plain user


def _follow(
    process: subprocess.Popen[bytes],
    timeout_s: float,
    most_bytes: int,
    end_fd: int | None,
    is_too_much: Callable[[], bool],
    look_s: float | None,
) -> tuple[bytes, bool]:
    """The tail of a command's output, and whether the command ended in time; its children may not have.

    `is_too_much` is asked every `look_s`: a command that writes without end is not waited for.
    """
    import selectors

    deadline = monotonic_s() + timeout_s
    tail = b""
    pidfd = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            output = None
            pipe = process.stdout or process.stderr
            if pipe is not None:
                output = selector.register(pipe, selectors.EVENT_READ)
            end = selector.register(pidfd, selectors.EVENT_READ)
            told = selector.register(end_fd, selectors.EVENT_READ) if end_fd is not None else None
            while (left_s := deadline - monotonic_s()) > 0:
                if is_too_much():
                    break
                ready = [key for key, _ in selector.select(left_s if look_s is None else min(left_s, look_s))]
                if output is not None and output in ready:
                    data = os.read(output.fd, 1 << 16)
                    tail = (tail + data)[-most_bytes:]
                    if not data:
                        selector.unregister(output.fileobj)
                elif end in ready:
                    return tail, True
                elif told is not None and told in ready:
                    break
    finally:
        os.close(pidfd)
    return tail, False
