"""A warm recoverd, which forks for each command. Run as a module.

Each line on stdin is one command as JSON, each line on stdout tells what became of it (`house.Told`). Nothing of
recoverd is replaced; only packs and blocks are made smaller, so that there are several.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.crash.calls.in_process import Patched
from tests.crash.calls.stopping import Supervisor, listen

PACK_BYTES, BLOCK_BYTES = 96 * 1024, 64 * 1024


def warm_up() -> None:
    """Import all that commands import late, and make packs and blocks small."""
    import recoverd
    from recoverd.recovery import documents
    from recoverd.repository import writer

    for module in pkgutil.walk_packages(recoverd.__path__, "recoverd."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    late = "apscheduler.schedulers.background concurrent.futures.thread jsonschema.validators psutil sqlite3 subprocess"
    for name in (*late.split(), "uuid", "yaml"):
        importlib.import_module(name)
    writer.PACK_BYTES = PACK_BYTES  # type: ignore[attr-defined]
    documents.BLOCK_SIZE, documents.BLOCK_THRESHOLD = BLOCK_BYTES, 2 * BLOCK_BYTES  # type: ignore[attr-defined]
    gc.freeze()


def compress_beside() -> None:
    """Have a process compress all frames of packs: it would not have begun when so small a snapshot is done. With many
    small frames in one pack, some are written by one call."""
    from recoverd.repository import compression, packs, writer

    class AtOnce(compression.CompressionProcess):
        def __init__(self, level: int) -> None:
            super().__init__(level, start_bytes=0)
            self._is_over = False

        def takes(self, size: int) -> bool:
            while not (taken := super().takes(size)) and not self._is_over:
                time.sleep(0.001)
            return taken

    packs.FRAME_BYTES, writer.PACK_BYTES = 8 * 1024, 1024 * 1024  # type: ignore[attr-defined]
    compression.CompressionProcess = AtOnce  # type: ignore[misc, assignment]


def command(words: list[str]) -> int:
    """What `recoverd WORDS` does, in this process."""
    from recoverd.cli.main import main

    sys.argv = ["recoverd", *words]
    try:
        return main()
    except Exception:  # as the interpreter would tell it
        traceback.print_exc()
        return 1


def why_not() -> str:
    """Why the kernel can't stop a child at its calls; empty when it can."""
    pid = os.fork()
    if pid == 0:
        try:
            listen()
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return f"seccomp(2): {os.strerror(status)}" if status > 0 else ""


def serve(requests: Iterator[str], answers: io.TextIOBase) -> list[str] | None:
    """Fork for each request. In a child: the words it is to run."""
    refused = why_not()
    for line in requests:
        request = json.loads(line)
        ours, theirs = socket.socketpair()
        output = os.memfd_create("out"), os.memfd_create("err")
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.environ.update(request["environment"])
            if request.get("compressing"):
                compress_beside()
            for number, fd in enumerate(output, 1):
                os.dup2(fd, number)
            with theirs:
                if "root" in request and (request.get("in_process") or refused):
                    patched = Patched(request, theirs.dup())
                    patched.arm()
                elif "root" in request:
                    listener = listen()
                    socket.send_fds(theirs, [b"listener"], [listener])
                    os.close(listener)
            return list(request["words"])
        theirs.close()
        told: dict[str, Any] = {"calls": [], "hit": "", "pid": pid, "refused": refused}
        with ours:
            data, fds, _, _ = socket.recv_fds(ours, 1, 1)
            if fds:
                supervisor = Supervisor(fds[0], pid, request)
                supervisor.watch()
                os.close(fds[0])
                told |= {"calls": supervisor.calls, "hit": supervisor.hit}
            elif data:
                with ours.makefile("rb") as rest:
                    told |= Patched.told(data + rest.read())
        _, status = os.waitpid(pid, 0)
        told["status"] = os.waitstatus_to_exitcode(status)
        for name, fd in zip(("out", "err"), output, strict=True):
            told[name] = Path(f"/proc/self/fd/{fd}").read_bytes().decode()
            os.close(fd)
        answers.write(json.dumps(told) + "\n")
        answers.flush()
    return None


def main() -> None:
    warm_up()
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    words = serve(iter(requests.readline, ""), answers)
    if words is not None:  # a child
        status = command(words)
        atexit._run_exitfuncs()  # closes the catalog
        sys.stdout.flush()
        os._exit(status)  # what is left of an end would only touch every page that was forked


if __name__ == "__main__":
    main()
