"""Probes: one look at whether a service is healthy. An unhealthy service is a result, never an exception."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from recoverd.config.model import Health, Probe, ProbeKind
from recoverd.errors import ServiceError
from recoverd.services.commands import run_command
from recoverd.services.driver import Driver, ServiceStatus
from recoverd.services.proving import Observation, ProbeResult, Proof, Proving, Verdict
from recoverd.system.clock import monotonic_s
from recoverd.values import replace

_BODY_BYTES = 64 * 1024  # read so that the server sees a finished answer; not looked at
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5
_SHORTEST_TIMEOUT_S = 0.1


def run_probe(probe: Probe, *, driver: Driver | None) -> ProbeResult:
    """Run one probe; it takes `probe.timeout_s` at most (plus a moment). `driver` serves the `running` probe."""
    began = monotonic_s()
    match probe.kind:
        case ProbeKind.HTTP:
            healthy, message = _bounded(lambda opened: _http(probe, opened), probe, _without_password(probe.target))
        case ProbeKind.TCP:
            healthy, message = _bounded(lambda opened: _tcp(probe, opened), probe, probe.target)
        case ProbeKind.COMMAND:
            healthy, message = _command(probe.command, probe.timeout_s)
        case ProbeKind.RUNNING:
            healthy, message = _running(_look(driver) if driver is not None else None)
    return ProbeResult(_label(probe), healthy, message, monotonic_s() - began)


def wait_until_healthy(
    health: Health,
    driver: Driver | None,
    *,
    clock: Callable[[], float] = monotonic_s,
    sleep: Callable[[float], None] = time.sleep,
) -> Proof:
    """Look at a service again and again until it is proven healthy, or can't be any more.

    Proven: all probes pass within `health.within_s` seconds, and from then on all pass, with one and the same process,
    for `health.stable_for_s` seconds. With a driver, the process must run even when no probe says so. A manager that
    can't be asked for a moment is asked again. Raises nothing of its own.
    """
    proving = Proving(health.within_s, health.stable_for_s, clock(), has_process=driver is not None)
    pause_s = _FIRST_PAUSE_S
    while True:
        left_s = proving.ends_at_s - clock()
        results = tuple(
            run_probe(replace(probe, timeout_s=max(_SHORTEST_TIMEOUT_S, min(probe.timeout_s, left_s))), driver=driver)
            for probe in health.probes
        )
        # the process is looked at last: what answered before must be what is there now
        status = _look(driver) if driver is not None else None
        proving = proving.after(Observation(clock(), status, results))
        if proving.verdict is not Verdict.UNDECIDED:
            return proving.proof()
        sleep(max(0.0, min(pause_s, proving.ends_at_s - clock())))
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


_Opened = Callable[[socket.socket], None]


def _bounded(look: Callable[[_Opened], tuple[bool, str]], probe: Probe, shown: str) -> tuple[bool, str]:
    """Run a look at the network in a thread, with a deadline for all of it.

    Socket timeouts bound single reads only: a server that sends a byte a second, or a name server that is
    silent, would hold the probe for much longer.
    """
    outcome: list[tuple[bool, str]] = []
    sockets: list[socket.socket] = []

    def work() -> None:
        try:
            outcome.append(look(sockets.append))
        except (OSError, ValueError) as error:
            outcome.append((False, f"{shown}: {_sentence(error, probe.timeout_s)}"))

    thread = threading.Thread(target=work, name=f"probe {shown}", daemon=True)
    thread.start()
    thread.join(probe.timeout_s)
    if outcome:
        return outcome[0]
    for opened in sockets:
        try:
            opened.shutdown(socket.SHUT_RDWR)  # so that the thread ends too
        except OSError:
            pass
    return False, f"{shown}: {_no_answer(probe.timeout_s)}"


def _http(probe: Probe, opened: _Opened) -> tuple[bool, str]:
    """GET: 200 to 399 is healthy. No proxy is used and no redirect followed: the service itself is asked."""
    import http.client
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(probe.target)
    shown = _without_password(probe.target)
    if parts.hostname is None or parts.scheme not in {"http", "https"}:
        return False, f"{shown} is not an http:// or https:// URL"
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"User-Agent": "recoverd", "Accept": "*/*", "Connection": "close"}
    if parts.username is not None:
        from base64 import b64encode

        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = parts.port or connect.default_port  # left out, an IPv6 address would be cut at its last colon
    with closing(connect(parts.hostname, port, timeout=probe.timeout_s)) as connection:
        try:
            connection.connect()
            opened(connection.sock)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            message = f"{shown} answered {answer.status} {answer.reason}".rstrip()
            answer.read(_BODY_BYTES)
        except http.client.HTTPException as error:
            return False, f"{shown} gave no HTTP answer: {type(error).__name__}"
        return 200 <= answer.status < 400, message


def _tcp(probe: Probe, opened: _Opened) -> tuple[bool, str]:
    host, _, port = probe.target.rpartition(":")
    if not host or not port.isdecimal():
        return False, f"{probe.target} is not HOST:PORT"
    with socket.create_connection((host.strip("[]"), int(port)), timeout=probe.timeout_s) as connection:
        opened(connection)
        return True, f"{probe.target} accepts connections"


def _command(command: Sequence[str], timeout_s: float) -> tuple[bool, str]:
    """Run a command without a shell, in a process group of its own, which is killed whole at the deadline."""
    shown = " ".join(command)
    try:
        ran = run_command(command, timeout_s=timeout_s)
    except (OSError, ValueError) as error:
        return False, f"{shown} can't be run: {_sentence(error, timeout_s)}"
    last = f": {ran.last_line}" if ran.last_line and ran.status is not None else ""
    return ran.status == 0, f"{shown} {ran.ending}{last}"


def _look(driver: Driver) -> ServiceStatus:
    """Its status; when that can't be had, one that is not settled and says why."""
    try:
        return driver.status()
    except ServiceError as error:
        return ServiceStatus(False, None, None, "unknown", 0, error.message, settled=False)


def _running(status: ServiceStatus | None) -> tuple[bool, str]:
    if status is None:
        return False, "there is no process to look at: the service declares no `run`"
    return status.running and status.settled, status.detail


def _label(probe: Probe) -> str:
    target = " ".join(probe.command) if probe.kind is ProbeKind.COMMAND else _without_password(probe.target)
    return f"{probe.kind} {target}".rstrip()


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}" if separator else url


def _sentence(error: OSError | ValueError, timeout_s: float) -> str:
    """What went wrong, without error numbers."""
    import ssl

    match error:
        case TimeoutError():
            return _no_answer(timeout_s)
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case socket.gaierror():
            return "there is no such host"
        case OSError() if error.strerror:
            return error.strerror[0].lower() + error.strerror[1:]
        case _:
            return str(error) or type(error).__name__


def _no_answer(timeout_s: float) -> str:
    return f"no answer within {timeout_s:g} s"
