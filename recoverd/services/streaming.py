"""Commands that a lot of bytes come out of, or go into: in bounded memory, with a deadline, ended as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from recoverd.config.model import Run, RunKind
from recoverd.services.commands import OUTPUT_BYTES, Ran, end_group
from recoverd.services.environment import DEFAULT_PATH, Account, find_account
from recoverd.system.clock import monotonic_s
from recoverd.values import dataclass

if TYPE_CHECKING:
    import subprocess

_PIECE_BYTES = 1 << 18
_REAPED_WITHIN_S = 1.0
_MOST_LAST_WORDS = 16


@dataclass(frozen=True, slots=True)
class Streamed:
    """How it ended: `ran.output` is the tail of its errors. `whole`: its output came to its end, and so did it."""

    ran: Ran
    size_bytes: int  # that came, or were there to be read
    whole: bool
    too_large: bool = False  # it was ended because more came than it may have


def read_from(
    command: Sequence[str],
    take: Callable[[bytes], None],
    *,
    timeout_s: float,
    most_bytes: int | None = None,
    user: str | None = None,
) -> Streamed:
    """Run a command in a session of its own, and hand what it writes to `take` as it comes, at most 256 KiB at a time.

    It is over when the command has ended and its output too: what a child of it still writes belongs to it. Whatever
    happens, also in `take`, nothing of its process group is left. `user`: as whom, where recoverd is root. Raises
    OSError and ValueError when it can't be executed, ServiceError for a user that recoverd can't become.
    """
    import subprocess

    deadline_s = monotonic_s() + timeout_s
    with _started(command, user, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as (process, errors):
        assert process.stdout is not None
        size, whole, too_large = 0, False, False
        with _Waiting(process, errors, deadline_s) as waiting:
            os.set_blocking(process.stdout.fileno(), False)
            for _ in waiting.until_ready(process.stdout.fileno()):
                data = os.read(process.stdout.fileno(), _PIECE_BYTES)
                if not data:
                    whole = True
                    break
                size += len(data)
                if most_bytes is not None and size > most_bytes:
                    too_large = True
                    break
                take(data)
            ended = whole and waiting.for_end()
        return Streamed(_ran(process, errors, timeout_s, ended=ended), size, whole and ended, too_large)


def read_into(
    command: Sequence[str], file_fd: int, *, timeout_s: float, user: str | None = None, hold_fd: int | None = None
) -> Streamed:
    """Run a command the same way, with a whole file as its input; what it writes goes nowhere.

    A file, not a pipe: should recoverd die, the command still gets all of it, instead of an early end that it would
    take for the whole. `hold_fd`: a descriptor that it holds open for as long as it lives. `whole`: it has read of it.
    """
    import subprocess

    deadline_s = monotonic_s() + timeout_s
    held = () if hold_fd is None else (hold_fd,)
    with _started(command, user, stdin=file_fd, stdout=subprocess.DEVNULL, held=held) as (process, errors):
        with _Waiting(process, errors, deadline_s) as waiting:
            ended = waiting.for_end()
        at, size = os.lseek(file_fd, 0, os.SEEK_CUR), os.fstat(file_fd).st_size
        return Streamed(_ran(process, errors, timeout_s, ended=ended), size, ended and (at > 0 or not size))


def account_of(user: str | None) -> Account:
    """As whom a service's own tool runs. Raises ServiceError for a user that recoverd can't become."""
    return find_account(Run(RunKind.COMMAND, user=user))


@dataclass(slots=True)
class _Errors:
    """The tail of what a command says."""

    tail: bytes = b""

    def add(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-OUTPUT_BYTES:]


@contextmanager
def _started(
    command: Sequence[str], user: str | None, *, stdin: int, stdout: int, held: Sequence[int] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], _Errors]]:
    """The process, of whose group nothing is left at the end of the block."""
    import subprocess

    account = account_of(user)
    switched = account.groups is not None
    environment = dict(os.environ)
    if switched:  # recoverd's own home, caches and terminal are not that user's
        environment = {name: value for name, value in environment.items() if name in {"LANG", "TZ"}}
        environment |= {"PATH": DEFAULT_PATH, "HOME": account.home, "USER": account.name, "LOGNAME": account.name}
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        pass_fds=held,
        cwd="/",
        env=environment,
        user=account.uid if switched else None,
        group=account.gid if switched else None,
        extra_groups=account.groups,
    )
    try:
        yield process, _Errors()
    finally:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        if process.returncode is None:
            end_group(process.pid)
            _reap(process)


def _ran(process: subprocess.Popen[bytes], errors: _Errors, timeout_s: float, *, ended: bool) -> Ran:
    end_group(process.pid)  # before it is waited for: then the number could be another's
    status = _reap(process)
    return Ran(status if ended else None, errors.tail.decode("utf-8", "replace"), timeout_s)


def _reap(process: subprocess.Popen[bytes]) -> int | None:
    import subprocess

    try:
        return process.wait(_REAPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        return None  # it hangs in a dead file system, and is left to itself


class _Waiting:
    """Waits for what comes, for the command's end, and meanwhile takes down what it says."""

    def __init__(self, process: subprocess.Popen[bytes], errors: _Errors, deadline_s: float) -> None:
        import selectors

        self._errors = errors
        self._deadline_s = deadline_s
        self._selector = selectors.DefaultSelector()
        self._pidfd = os.pidfd_open(process.pid)
        assert process.stderr is not None
        self._said = process.stderr.fileno()
        os.set_blocking(self._said, False)
        self._read = selectors.EVENT_READ
        self._selector.register(self._said, self._read)

    def __enter__(self) -> _Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        os.close(self._pidfd)

    def until_ready(self, fd: int) -> Iterator[None]:
        """Once each time that there is something to read, until the deadline."""
        self._selector.register(fd, self._read)
        try:
            while (left_s := self._deadline_s - monotonic_s()) > 0:
                if fd in self._ready(left_s):
                    yield
        finally:
            self._selector.unregister(fd)

    def for_end(self) -> bool:
        """Whether the command ends in time; what it has said by then is taken down."""
        self._selector.register(self._pidfd, self._read)
        while (left_s := self._deadline_s - monotonic_s()) > 0:
            if self._pidfd in self._ready(left_s):
                for _ in range(_MOST_LAST_WORDS):  # what is left in the pipe, and no more of a child that goes on
                    if not self._hear():
                        break
                return True
        return False

    def _ready(self, left_s: float) -> set[int]:
        ready = {key.fd for key, _ in self._selector.select(left_s)}
        if self._said in ready:
            self._hear()
        return ready

    def _hear(self) -> bool:
        """Whether there may be more to hear."""
        if self._said < 0:
            return False
        try:
            data = os.read(self._said, 1 << 16)
        except BlockingIOError:
            return False
        self._errors.add(data)
        if not data:
            self._selector.unregister(self._said)
            self._said = -1
        return bool(data)
