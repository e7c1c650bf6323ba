"""Where the kernel stops no child at its calls, Python's own are stopped in the child itself; SQLite's are not seen."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from tests.crash.calls.stopping import OPENS, SYNCS, TAKE_SPACE

_AS = {  # what Python calls, and which system call it makes
    "open": "openat",
    "write": "write",
    "fsync": "fsync",
    "rename": "renameat",
    "replace": "renameat",
    "unlink": "unlinkat",
    "mkdir": "mkdirat",
    "rmdir": "unlinkat",
    "ftruncate": "ftruncate",
    "fchmod": "fchmod",
    "chmod": "fchmodat",
    "link": "linkat",
}


class Patched:
    """Counts the calls below `root` and does what the request says at one of them; tells each through a socket."""

    def __init__(self, request: dict[str, Any], channel: socket.socket) -> None:
        self._request, self._channel = request, channel
        self._roots = tuple(str(request["root"]).split(os.pathsep))
        self._number = 0

    def arm(self) -> None:
        for name, call in _AS.items():
            setattr(os, name, self._watched(call, getattr(os, name)))

    @staticmethod
    def told(data: bytes) -> dict[str, Any]:
        """What the socket said: the calls, and the first one that was hit."""
        lines = data.decode().splitlines()
        hits = [line[1:] for line in lines if line.startswith("!")]
        return {"calls": [line.lstrip("!") for line in lines], "hit": hits[0] if hits else ""}

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            path = self._path(args[0], options)
            if not path.startswith(self._roots) or (name in OPENS and not args[1] & (os.O_CREAT | os.O_TRUNC)):
                return real(*args, **options)
            self._number += 1
            at, fault = int(self._request.get("at", 0)), self._request.get("fault")
            here = self._number == at or (self._request.get("lasting") and self._number > at > 0)
            error = int(self._request.get("error", 0))
            hit = bool(here) and (fault in {"kill", "tear"} or (fault == "short" and name == "write"))
            hit = hit or (bool(here) and fault == "error" and self._could_fail(name, path, error))
            self._channel.send(f"{'!' * hit}{name} {self._below(path)}\n".encode())
            if hit and name == "write" and fault in {"tear", "short"}:
                args = args[0], bytes(args[1])[: max(1, len(args[1]) // 2)]
                if fault == "tear":
                    real(*args)
            if hit and fault in {"kill", "tear"}:
                os.kill(os.getpid(), signal.SIGKILL)
            if hit and fault == "error":
                raise OSError(error, os.strerror(error), path)
            if self._number == 1 and self._request.get("endless"):
                signal.raise_signal(signal.SIGTERM)
            return real(*args, **options)

        return call

    def _below(self, path: str) -> str:
        return path.removeprefix(next(root for root in self._roots if path.startswith(root)))

    @staticmethod
    def _could_fail(name: str, path: str, error: int) -> bool:
        if name in OPENS and os.path.lexists(path):
            return False
        return name in TAKE_SPACE or name in SYNCS or os.strerror(error) == "Input/output error"

    def _path(self, named: Any, options: dict[str, Any]) -> str:
        if isinstance(named, int):
            return os.readlink(f"/proc/self/fd/{named}")
        directory = options.get("dir_fd", options.get("src_dir_fd"))
        base = os.getcwd() if directory is None else os.readlink(f"/proc/self/fd/{directory}")
        return os.path.normpath(os.path.join(base, os.fsdecode(named)))
