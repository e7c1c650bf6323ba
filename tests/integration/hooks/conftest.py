"""Hooks over real processes and real servers: each answers as its test says, and remembers what it was asked."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from recoverd.config.hook_model import Hook
from recoverd.config.model import Config, RepositoryConfig
from recoverd.events import hooks as lines
from recoverd.events.hooks import Hooks
from recoverd.events.stream import Events
from recoverd.operations.hooks import hooks_of

PATIENCE_S = 30.0  # a loaded machine is slow; nobody waits this long when all is well


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """An HTTP server on a port of its own. `answers`: (status, headers) one after the other, the last for ever."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(200, {})])
    asked: list[Asked] = field(default_factory=list)
    silent: bool = False  # takes the request, and never answers
    dribbles: bool = False  # answers a byte now and then, for ever
    megabytes: int = 0  # of an answer
    resets: bool = False  # the connection, once it has the request
    host: str = "127.0.0.1"
    end: threading.Event = field(default_factory=threading.Event)
    server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        assert self.server is not None
        return int(self.server.server_address[1])

    def url(self, path: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}{path}"

    def until_asked(self, times: int = 1) -> list[Asked]:
        until(lambda: len(self.asked) >= times, f"{times} requests")
        return self.asked

    def start(self, wrap: Callable[[Any], Any] | None = None) -> Server:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append(Asked(self.path, dict(self.headers.items()), body))
                if outer.resets:
                    reset = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                    self.connection.close()
                    return
                if outer.silent:
                    outer.end.wait()
                    return
                if outer.dribbles:
                    self._dribble()
                    return
                status, headers = outer.answers[min(len(outer.asked), len(outer.answers)) - 1]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    for _ in range(outer.megabytes):
                        self.wfile.write(b"x" * (1 << 20))
                except OSError:
                    pass  # nobody wants all of it

            do_GET = do_POST

            def _dribble(self) -> None:
                try:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    while not outer.end.wait(0.01):
                        self.wfile.write(b"x")
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in outer.host else socket.AF_INET

        self.server = Listener((self.host, 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if wrap is not None:
            self.server.socket = wrap(self.server.socket)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        self.end.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@pytest.fixture
def wait_for() -> Callable[[Callable[[], object], str], None]:
    return until


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def start(wrap: Callable[[Any], Any] | None = None, **options: Any) -> Server:
        made.append(Server(**options).start(wrap))
        return made[-1]

    yield start
    for server in made:
        server.stop()


@dataclass
class House:
    """Hooks as a configuration declares them, and the events that they are told of."""

    hooks: Hooks
    events: Events

    def emit(self, name: str = "snapshot.failed", **more: Any) -> None:
        self.events.emit(name, **{"service": "web", "message": "it failed", **more})

    def close(self, wait_s: float = PATIENCE_S) -> None:
        self.hooks.close(wait_s)


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., House]]:
    """Hooks of the host, without pauses worth mentioning between tries."""
    monkeypatch.setattr(lines, "PAUSES_S", (0.01, 0.02))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made: list[House] = []

    def declare(*hooks: Hook, environ: dict[str, str] | None = None) -> House:
        config = Config("/nowhere", RepositoryConfig("/nowhere/repository"), {}, hooks=hooks)
        built = hooks_of(config, environ if environ is not None else {})
        assert built is not None
        made.append(House(built, Events([built.tell])))
        return made[-1]

    yield declare
    for house in made:
        house.hooks.close(0.0)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What was logged of hooks, line by line."""
    logger = logging.getLogger("recoverd.events")
    logger.addHandler(caplog.handler)
    propagate, logger.propagate = logger.propagate, False
    caplog.set_level(logging.WARNING, logger="recoverd.events")
    yield lambda: [record.getMessage() for record in caplog.records]
    logger.propagate = propagate
    logger.removeHandler(caplog.handler)
