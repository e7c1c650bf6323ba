"""What a command makes of a document, or makes up for one: on files without a name, bounded in time and size."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from recoverd.errors import StateError
from recoverd.services.commands import run_command

MOST_BYTES = 128 * 1024 * 1024  # more is parsed of no document


def output_of(command: Sequence[str], *, timeout_s: float, uid: int, given: bytes | None = None) -> bytes:
    """What a command writes to its standard output, run as the user `uid`, with `given` on its standard input.

    Raises StateError when it fails, takes too long or writes too much, OSError when it can't be run.
    """
    with tempfile.TemporaryFile(prefix="recoverd-in-") as document, tempfile.TemporaryFile("w+b", 0) as made:
        if given is not None:
            document.write(given)
            document.seek(0)
        ran = run_command(
            command,
            timeout_s=timeout_s,
            stdin_fd=document.fileno() if given is not None else None,
            stdout_fd=made.fileno(),
            most_stdout_bytes=MOST_BYTES,
            uid=uid,
        )
        if ran.status != 0:
            said = f": {ran.last_line}" if ran.last_line else ""
            raise StateError(f"{command[0]} {ran.ending}{said}")
        made.seek(0)
        return made.read()
