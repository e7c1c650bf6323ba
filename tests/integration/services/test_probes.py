"""Probes against real servers and commands: healthy or not, in time, with a sentence that says what was seen."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from recoverd.config.model import Probe, ProbeKind
from recoverd.services.command import CommandDriver
from recoverd.services.probes import run_probe
from recoverd.services.proving import ProbeResult

SUBJECTS = Path(__file__).parents[2] / "subjects"


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A real HTTP server that gives one status; its HOST:PORT."""
    command = [sys.executable, str(SUBJECTS / "unhealthy_http.py"), "0", str(status)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"127.0.0.1:{server.stdout.readline().split()[1]}"
        finally:
            server.kill()


@contextmanager
def serving(talk: Callable[[socket.socket], object], *, accepts: bool = True) -> Iterator[str]:
    """A socket that does anything but HTTP: `talk` gets the first connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            try:
                connection, _ = server.accept()
                with connection:
                    talk(connection)
            except OSError:
                pass  # the test is over

        if accepts:
            thread = threading.Thread(target=serve)
            thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        if accepts:
            thread.join(10)
            assert not thread.is_alive()


def unused() -> str:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def http(target: str, timeout_s: float = 5.0) -> ProbeResult:
    return run_probe(Probe(ProbeKind.HTTP, target, timeout_s=timeout_s), driver=None)


def tcp(target: str, timeout_s: float = 5.0) -> ProbeResult:
    return run_probe(Probe(ProbeKind.TCP, target, timeout_s=timeout_s), driver=None)


def command(*words: str, timeout_s: float = 5.0) -> ProbeResult:
    return run_probe(Probe(ProbeKind.COMMAND, command=words, timeout_s=timeout_s), driver=None)


# --- http -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "healthy", "words"),
    [
        (200, True, "200 OK"),
        (204, True, "204 No Content"),
        (302, True, "302 Found"),
        (399, True, "399"),
        (400, False, "400 Bad Request"),
        (404, False, "404 Not Found"),
        (503, False, "503 Service Unavailable"),
    ],
)
def test_http_status(status: int, healthy: bool, words: str) -> None:
    """200 to 399 is healthy; a redirect is an answer and is not followed."""
    with answering(status) as address:
        result = http(f"http://{address}/health?a=b")
        assert (result.healthy, result.message) == (healthy, f"http://{address}/health?a=b answered {words}")
        assert result.probe == f"http http://{address}/health?a=b"
        assert 0 < result.seconds < 5


def test_http_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment must not answer for the service."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    with answering(200) as address:
        assert http(f"http://{address}").healthy


def test_http_version_6() -> None:
    """[ADDRESS] is understood with and without a port."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with closing(server):
        url = f"http://[::1]:{server.getsockname()[1]}/"
        assert http(url, 0.2).message == f"{url}: no answer within 0.2 s", "it was connected"
    assert "no such host" not in http("http://[::1]/").message


def test_http_sends_credentials_and_never_shows_them() -> None:
    """Credentials in a URL are used, and masked in what is printed."""
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\n\r\n")

    with serving(talk) as address:
        result = http(f"http://me:p%40ss@{address}/x")
    assert b"Authorization: Basic bWU6cEBzcw==" in asked[0]
    assert b"GET /x HTTP/1.1\r\nHost: " + address.encode() in asked[0]
    assert "ss@" not in str(result)
    assert result.message == f"http://{address}/x answered 401 Unauthorized"


def test_http_refused() -> None:
    """Nobody listens."""
    url = f"http://{unused()}/health"
    result = http(url)
    assert (result.healthy, result.message) == (False, f"{url}: connection refused")


def drip(connection: socket.socket) -> None:
    """A byte now and then: each single read is in time."""
    try:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
    except OSError:
        pass


def test_http_deadline_is_for_all_of_it() -> None:
    """A server that accepts and is silent, or that drips, holds the probe no longer than its timeout."""
    with serving(drip) as address:
        result = http(f"http://{address}/", timeout_s=0.4)
        assert (result.healthy, result.message) == (False, f"http://{address}/: no answer within 0.4 s")
        assert result.seconds < 2
    with serving(lambda _: None, accepts=False) as address:
        assert http(f"http://{address}/", timeout_s=0.2).message == f"http://{address}/: no answer within 0.2 s"


def test_http_socket_timeout_reads_the_same() -> None:
    """Whichever of the two deadlines is first, the sentence is the same."""

    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        time.sleep(0.6)

    with serving(talk) as address:
        assert "no answer within 0.3 s" in http(f"http://{address}/", timeout_s=0.3).message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "RemoteDisconnected"),
        (b"220 mail.example ESMTP\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "LineTooLong"),
        (b"HTTP/1.1 999999 x\r\n\r\n", "BadStatusLine"),
    ],
)
def test_http_nonsense(answer: bytes, words: str) -> None:
    """What does not speak HTTP is not healthy; the probe does not fail over it."""

    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    with serving(talk) as address:
        result = http(f"http://{address}/")
        assert not result.healthy
        assert words in result.message or "reset" in result.message


def test_http_endless_body_is_not_read() -> None:
    """The status is the answer: an endless body neither fills the memory nor takes time."""

    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                connection.sendall(b"x" * 65536)
        except OSError:
            pass

    with serving(talk) as address:
        result = http(f"http://{address}/")
        assert result.healthy
        assert result.seconds < 2


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://127.0.0.1:x/", "127.0.0.1:80", "http://[::1/"])
def test_http_no_url(url: str) -> None:
    """A target that is no URL is an unhealthy result with a sentence."""
    result = http(url)
    assert not result.healthy
    assert result.message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl is not there to make a certificate")
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@contextmanager
def tls(certificate: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(4096)
            wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with serving(talk) as address:
        yield address


def test_https(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https works, and a certificate that is not trusted is told as such."""
    with tls(certificate) as address:
        result = http(f"https://{address}/")
        assert not result.healthy
        assert "its certificate is not trusted: self" in result.message
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    with tls(certificate) as address:
        result = http(f"https://{address}/")
        assert (result.healthy, result.message) == (True, f"https://{address}/ answered 200 OK")


# --- tcp ------------------------------------------------------------------------------------------------


def test_tcp() -> None:
    """A connection is enough; refused, unknown and malformed targets are sentences."""
    with serving(lambda _: None) as address:
        assert (tcp(address).healthy, tcp(address).message) == (True, f"{address} accepts connections")
    address = unused()
    assert (tcp(address).healthy, tcp(address).message) == (False, f"{address}: connection refused")
    assert tcp("host.invalid:80", 1.0).message.split(": ")[1] in {"there is no such host", "no answer within 1 s"}
    for target in ("localhost", ":80", "localhost:http", "localhost:99999"):
        assert not tcp(target).healthy
        assert tcp(target).message


def test_tcp_version_6() -> None:
    """[ADDRESS]:PORT is understood."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with closing(server):
        assert tcp(f"[::1]:{server.getsockname()[1]}").healthy


# --- command --------------------------------------------------------------------------------------------


def test_command() -> None:
    """Exit status 0 is healthy; the last line of what it says is in the sentence; there is no shell."""
    fine = command("/bin/true")
    assert (fine.probe, fine.healthy) == ("command /bin/true", True)
    assert fine.message == "/bin/true exited with status 0"
    failed = command("/bin/sh", "-c", "echo first; echo 'Could not connect' >&2; exit 3")
    assert not failed.healthy
    assert failed.message.endswith("exited with status 3: Could not connect")
    assert command("/bin/echo", "$HOME;", "*").message == "/bin/echo $HOME; * exited with status 0: $HOME; *"
    assert command("/bin/sh", "-c", "kill -9 $$").message.endswith("was ended by SIGKILL")
    assert command("/bin/sh", "-c", "cat; pwd").message.endswith("status 0: /"), "stdin is empty"


def test_command_missing() -> None:
    """A probe that can't be run is a sentence, no exception."""
    assert command("/no/such").message == "/no/such can't be run: no such file or directory"
    assert not command("/bin/echo", "\0").healthy


def test_command_deadline_ends_the_whole_group(mark: str, marked: Callable[[], list[int]]) -> None:
    """After the timeout nothing of the command is left, also no child of it."""
    result = command(
        "/usr/bin/env", f"RECOVERD_TEST={mark}", "/bin/sh", "-c", "sleep 600 & sleep 600 & wait", timeout_s=0.3
    )
    assert not result.healthy
    assert result.message.endswith("did not end within 0.3 s")
    assert 0.3 <= result.seconds < 2
    deadline = time.monotonic() + 5
    while marked() and time.monotonic() < deadline:
        time.sleep(0.01)  # killed, and reaped by init a moment later
    assert not marked()


def test_command_that_leaves_a_child_with_its_output(mark: str, marked: Callable[[], list[int]]) -> None:
    """A child that keeps the pipe open does not hold the probe, and does not stay."""
    result = command("/usr/bin/env", f"RECOVERD_TEST={mark}", "/bin/sh", "-c", "sleep 600 & echo done")
    assert (result.healthy, result.message[-4:]) == (True, "done")
    assert result.seconds < 2
    deadline = time.monotonic() + 5
    while marked() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not marked()


def test_command_that_closes_its_output() -> None:
    """The end of the output is not the end of the command."""
    assert command("/bin/sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 4").message.endswith("exited with status 4")
    assert not command("/bin/sh", "-c", "exec >&- 2>&-; sleep 9", timeout_s=0.2).healthy


def test_command_with_endless_output() -> None:
    """Output is bounded in memory and in the sentence."""
    result = command("/usr/bin/yes", "x" * 1000, timeout_s=0.3)
    assert "did not end within 0.3 s" in result.message
    code = "print('y' * 10_000_000); print('z' * 5000)"
    result = command(sys.executable, "-c", code)
    assert result.healthy
    assert result.message.endswith("z" * 200)
    assert len(result.message) < 600


# --- running --------------------------------------------------------------------------------------------


def test_running(make_driver: Callable[..., CommandDriver]) -> None:
    """`running` is told by identity, in the driver's words."""
    driver = make_driver("/bin/sleep", "600")
    probe = Probe(ProbeKind.RUNNING)
    before = run_probe(probe, driver=driver)
    assert (before.probe, before.healthy, before.message) == ("running", False, "it was never started")
    pid = driver.start().pid
    result = run_probe(probe, driver=driver)
    assert result.healthy
    assert result.message.startswith(f"process {pid} runs since")
    os.kill(pid, 9)
    driver.stop()
    assert not run_probe(probe, driver=driver).healthy
    assert "declares no `run`" in run_probe(probe, driver=None).message
