"""Starts one command and writes `STATUS SECONDS KIB` to a descriptor: exit status, wall clock, peak resident memory.

A program of its own, run by an interpreter without site-packages: a process that is forked starts with the memory of
the one that forks it, and the kernel counts that into its peak. So this one has to be small.
"""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    report, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(report, False)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.execvp(command[0], command)  # noqa: S606 - no shell in between
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - started
    os.write(report, f"{os.waitstatus_to_exitcode(status)} {seconds} {usage.ru_maxrss}".encode())


if __name__ == "__main__":
    main()
