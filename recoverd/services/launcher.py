"""Becomes the process of a service. A program of its own: run as a file, imports nothing of recoverd.

recoverd has threads, and forking a process with threads is unsafe in Python: the child may hold locks that
nobody will release. So recoverd spawns this small program, which has one thread and forks in its place.

stdin: one line of JSON, what to run, and later the line "go". stdout: one line of JSON with the pid of the
process that waits, or with the error; after "go" nothing, and the pipe closes when the command has been
executed, or one line with the error. stderr: the service's log. When stdin closes without a "go", recoverd
has died before it could write down whom it has started: then nothing is executed. So there is never a
process that nobody knows.

Coverage can't follow a process that becomes another program: what is marked so is tested from the outside.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
from typing import Any, NoReturn

FIRST_FREE_FD = 10


def read_line(fd: int) -> bytes:
    """Bytes up to a line end or the end of the pipe; the writer sends one line and then waits."""
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(fd, 1 << 16)
        if not more:
            return b""
        line += more
    return line


def report(fd: int, **facts: Any) -> None:
    os.write(fd, json.dumps(facts).encode("ascii") + b"\n")


def fail(fd: int, stage: str, error: OSError | ValueError, **facts: Any) -> NoReturn:  # pragma: no cover
    number = error.errno if isinstance(error, OSError) else None
    report(fd, stage=stage, errno=number, text=str(error), **facts)
    os._exit(1)


def forget_signals() -> None:  # pragma: no cover
    """Ignored signals and the mask would be inherited by the service, over exec too."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def become(spec: dict[str, Any], results: int) -> None:  # pragma: no cover
    """Credentials and working directory; the directory last, so that it is entered with the service's own rights."""
    try:
        if spec["groups"] is not None:
            os.setgroups(spec["groups"])
            os.setresgid(spec["gid"], spec["gid"], spec["gid"])
            os.setresuid(spec["uid"], spec["uid"], spec["uid"])
    except OSError as error:
        fail(results, "user", error)
    try:
        os.chdir(spec["cwd"])
    except (OSError, ValueError) as error:
        fail(results, "cwd", error)
    os.umask(spec["umask"])


def find_program(name: str, path: str) -> str:
    """The program that a bare name means. Directories that can't be searched hold nothing, as for a shell."""
    if "/" in name:
        return name
    for directory in path.split(":"):
        program = os.path.join(directory or ".", name)
        if os.access(program, os.X_OK) and not os.path.isdir(program):
            return program
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def limit(spec: dict[str, Any], results: int) -> None:  # pragma: no cover
    """As late as possible: this program is not to be measured by them."""
    try:
        for name, most in spec["rlimits"].items():
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(number, (allowed, allowed))
    except (OSError, ValueError) as error:
        fail(results, "limit", error)


def execute(spec: dict[str, Any], results: int) -> NoReturn:  # pragma: no cover
    command, env = spec["command"], spec["env"]
    try:
        os.execve(find_program(command[0], env["PATH"]), command, env)  # noqa: S606 - on purpose without a shell
    except (OSError, ValueError) as error:
        missing = isinstance(error, OSError) and error.errno == errno.ENOENT
        # a file that is there and yet "not found" has a first line that names a missing interpreter
        fail(results, "exec", error, present=missing and "/" in command[0] and os.path.exists(command[0]))


def main() -> NoReturn:  # pragma: no cover
    spec = json.loads(read_line(0))
    if os.fork():
        os._exit(0)  # the service is nobody's child: recoverd's end is not its end
    os.setsid()
    orders = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD)
    results = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    become(spec, results)
    report(results, pid=os.getpid())
    if read_line(orders) != b"go\n":
        os._exit(1)
    forget_signals()
    limit(spec, results)
    execute(spec, results)


if __name__ == "__main__":
    main()
