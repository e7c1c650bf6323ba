"""Webhooks over real HTTP servers: what they get, and what becomes of one that refuses, hangs, redirects or lies."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.hook_model import Hook
from recoverd.config.model import Secret

Declare = Callable[..., Any]
Serve = Callable[..., Any]
Said = Callable[[], list[str]]
WaitFor = Callable[[Callable[[], object], str], None]
EVERY = ("*",)


def test_what_a_webhook_gets(declare: Declare, serve: Serve, said: Said) -> None:
    """Without a body the event as JSON, with the headers that were declared."""
    server = serve()
    house = declare(Hook(EVERY, webhook=server.url("/hook?x=1"), headers={"X-Kind": "test"}))
    house.emit("snapshot.saved", bytes=12, seconds=0.5, sequence=None)
    house.close()
    (asked,) = server.asked
    assert asked.path == "/hook?x=1"
    assert {name.lower(): value for name, value in asked.headers.items()}["x-kind"] == "test"
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.headers["User-Agent"].startswith("recoverd/")
    document = json.loads(asked.body)
    assert (document["event"], document["service"]) == ("snapshot.saved", "web")
    assert document["figures"] == {"bytes": 12, "seconds": 0.5}
    assert said() == []


def test_a_body_with_fields(declare: Declare, serve: Serve) -> None:
    """config.md's sample: whatever the message holds, the body stays JSON; plain text stays as it is."""
    server = serve()
    chat = Hook(EVERY, webhook=server.url("/chat"), body='{"text": "{message}", "seconds": {seconds}}')
    plain = Hook(EVERY, webhook=server.url("/plain"), body="{service}: {message}")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    house = declare(chat, plain, Hook(EVERY, webhook=server.url("/form"), headers=form, body="text={message}"))
    house.emit(message='", "x": "}\\ ü & more', seconds=1.5)
    house.close()
    found = {asked.path: asked for asked in server.asked}
    assert json.loads(found["/chat"].body) == {"text": '", "x": "}\\ ü & more', "seconds": 1.5}
    assert found["/plain"].body.decode() == 'web: ", "x": "}\\ ü & more'
    assert found["/plain"].headers["Content-Type"] == "text/plain; charset=utf-8"
    assert found["/form"].body == b"text=%22%2C+%22x%22%3A+%22%7D%5C+%C3%BC+%26+more"


def test_secrets_are_used_and_never_told(declare: Declare, serve: Serve, said: Said, tmp_path: Path) -> None:
    """URL and headers may be references; no sentence holds a part of them, whatever goes wrong."""
    server = serve(answers=[(403, {})])
    (tmp_path / "url").write_text(server.url("/geheim1?token=geheim2").replace("://", "://me:geheim3@") + "\n")
    (tmp_path / "url").chmod(0o600)
    environ = {"TOKEN": "geheim4"}
    hook = Hook(EVERY, webhook=Secret("file", str(tmp_path / "url")), headers={"X-Token": Secret("env", "TOKEN")})
    house = declare(hook, Hook(EVERY, webhook=server.url("/geheim5")), environ=environ)
    house.emit()
    house.close()
    asked = next(one for one in server.asked if one.path == "/geheim1?token=geheim2")
    assert {name.lower(): value for name, value in asked.headers.items()}["x-token"] == "geheim4"
    assert asked.headers["Authorization"] == f"Basic {b64encode(b'me:geheim3').decode()}"
    assert len(said()) == 2
    assert all("it answered 403" in line for line in said())
    assert not any("geheim" in line for line in said())


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (Secret("env", "NOT_SET"), "the environment variable NOT_SET is not set"),
        (Secret("env", "NO_URL"), "what is to be its URL is none that starts with http:// or https://"),
        (Secret("credential", "url"), "there is no credential url"),
    ],
)
def test_a_secret_that_is_none(declare: Declare, said: Said, secret: Secret, why: str) -> None:
    """Told once, without its value; nothing is tried again."""
    house = declare(Hook(EVERY, webhook=secret), environ={"NO_URL": "geheim"})
    house.emit()
    house.close()
    (line,) = said()
    assert why in line
    assert "geheim" not in line


def test_a_header_that_would_break_the_request(declare: Declare, serve: Serve, said: Said) -> None:
    """A secret can't smuggle in another header."""
    server = serve()
    house = declare(Hook(EVERY, webhook=server.url(), headers={"A": Secret("env", "A")}), environ={"A": "x\r\nB: y"})
    house.emit()
    house.close()
    assert server.asked == []
    assert "its header A is not plain ASCII in one line" in said()[0]


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (503, 3), (429, 3), (408, 3), (400, 1), (404, 1), (410, 1)])
def test_refusals(declare: Declare, serve: Serve, said: Said, wait_for: WaitFor, status: int, tries: int) -> None:
    """What may pass is tried three times, what was refused once; either is told of in one line."""
    server = serve(answers=[(status, {})])
    house = declare(Hook(EVERY, webhook=server.url()))
    house.emit()
    wait_for(lambda: house.hooks.is_idle, "the end of it")
    house.close()
    assert len(server.asked) == tries
    (line,) = said()
    assert line.endswith(f"was not told of snapshot.failed web: it answered {status}")


def test_one_that_recovers(declare: Declare, serve: Serve, said: Said) -> None:
    server = serve(answers=[(502, {}), (503, {"Retry-After": "0"}), (200, {})])
    house = declare(Hook(EVERY, webhook=server.url()))
    house.emit()
    server.until_asked(3)
    house.close()
    assert said() == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(declare: Declare, serve: Serve, said: Said, status: int) -> None:
    """Neither to another host, which would get the headers, nor anywhere else."""
    other = serve()
    server = serve(answers=[(status, {"Location": other.url("/geheim")})])
    house = declare(Hook(EVERY, webhook=server.url(), headers={"Authorization": "geheim"}))
    house.emit()
    house.close()
    assert other.asked == []
    assert len(server.asked) == 1
    assert said()[0].endswith(f"it answered {status}: redirects are not followed")


@pytest.mark.parametrize("how", ["silent", "dribbles"])
def test_one_that_never_answers(declare: Declare, serve: Serve, said: Said, wait_for: WaitFor, how: str) -> None:
    """The deadline is for all of a try: also a server that sends a byte now and then is left at its end."""
    server = serve(**{how: True})
    house = declare(Hook(EVERY, webhook=server.url(), timeout_s=0.3))
    house.emit()
    wait_for(lambda: house.hooks.is_idle, "its deadline")
    assert "no answer within 0.3 s" in said()[0]


def test_the_end_of_a_process_does_not_wait_for_one(declare: Declare, serve: Serve, said: Said) -> None:
    """At the end a webhook that never answers is given up, however long its own deadline."""
    server = serve(silent=True)
    house = declare(Hook(EVERY, webhook=server.url(), timeout_s=1000.0))
    house.emit()
    server.until_asked()
    house.close(0.0)
    assert said()[0].endswith("was not told of 1 event (snapshot.failed web): it was cut short")


def test_one_that_resets(declare: Declare, serve: Serve, said: Said, wait_for: WaitFor) -> None:
    """A connection that is torn down in the middle may be better next time."""
    server = serve(resets=True)
    house = declare(Hook(EVERY, webhook=server.url("/geheim")))
    house.emit()
    wait_for(lambda: house.hooks.is_idle, "the end of it")
    assert len(server.asked) == 3
    (line,) = said()
    assert line.endswith(("connection reset by peer", "it gave no HTTP answer: RemoteDisconnected"))
    assert "geheim" not in line


def test_one_that_accepts_nothing(declare: Declare, said: Said, wait_for: WaitFor) -> None:
    """Its queue of connections is full, so that not even that is answered: the deadline holds for that as well."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        house = declare(Hook(EVERY, webhook=f"http://127.0.0.1:{address[1]}/", timeout_s=0.3))
        house.emit()
        wait_for(lambda: house.hooks.is_idle, "its deadline")
        for one in waiting:
            one.close()
    assert "no answer within 0.3 s" in said()[0]


def test_one_on_ipv6(declare: Declare, serve: Serve, said: Said) -> None:
    try:
        server = serve(host="::1")
    except OSError as error:
        pytest.skip(f"there is no IPv6 here: {error}")
    house = declare(Hook(EVERY, webhook=server.url()))
    house.emit()
    house.close()
    assert len(server.asked) == 1
    assert server.asked[0].headers["Host"] == f"[::1]:{server.port}"
    assert said() == []


def test_by_way_of_a_proxy(declare: Declare, serve: Serve, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """`http_proxy` and `no_proxy` are followed, as by other programs; of the proxy only that it refused is told."""
    proxy, server = serve(), serve()
    monkeypatch.setenv("http_proxy", proxy.url("/").replace("://", "://me:geheim@"))
    house = declare(Hook(EVERY, webhook="http://chat.invalid/geheim"))
    house.emit()
    house.close()
    assert [one.path for one in proxy.asked] == ["http://chat.invalid/geheim"]
    assert proxy.asked[0].headers["Proxy-Authorization"] == f"Basic {b64encode(b'me:geheim').decode()}"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    direct = declare(Hook(EVERY, webhook=server.url()))
    direct.emit()
    direct.close()
    assert (len(server.asked), len(proxy.asked)) == (1, 1)
    assert said() == []
    proxy.answers[:] = [(407, {})]
    refused = declare(Hook(EVERY, webhook="http://chat.invalid/geheim"))
    refused.emit()
    refused.close()
    (line,) = said()
    assert line.endswith("hooks[0] (the webhook at chat.invalid) was not told of snapshot.failed web: it answered 407")


def test_a_proxy_that_is_not_there(declare: Declare, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with TLS, which goes through it; its password is in no sentence."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://me:geheim@127.0.0.1:{taken.getsockname()[1]}")
        house = declare(Hook(EVERY, webhook="https://chat.invalid/geheim"))
        house.emit()
        house.close()
    assert "connection refused" in said()[0]
    assert "geheim" not in said()[0]


def test_tls_by_way_of_a_proxy(declare: Declare, serve: Serve, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is asked for a connection, and gets neither path, nor headers, nor the event."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse() -> None:
            while True:
                try:
                    opened, _ = proxy.accept()
                except OSError:
                    return
                with opened:
                    asked.append(opened.recv(1 << 16))
                    opened.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        house = declare(Hook(EVERY, webhook="https://chat.invalid/geheim", headers={"X": "geheim"}))
        house.emit()
        house.close()
        proxy.shutdown(socket.SHUT_RDWR)
    assert asked[0].startswith(b"CONNECT chat.invalid:443 HTTP/1.")
    assert b"geheim" not in asked[0]
    assert said()[0].endswith("the proxy answered 403")
    assert "geheim" not in said()[0]


def test_one_that_answers_megabytes(declare: Declare, serve: Serve, said: Said) -> None:
    """Told is told: what else it says is not listened to."""
    server = serve(megabytes=64)
    house = declare(Hook(EVERY, webhook=server.url()))
    house.emit()
    house.close()
    assert said() == []


def test_nobody_listens(declare: Declare, said: Said) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # without listen(): refused
        house = declare(Hook(EVERY, webhook=f"http://127.0.0.1:{taken.getsockname()[1]}/geheim"))
        house.emit()
        house.close()
    assert "connection refused" in said()[0]
    assert "geheim" not in said()[0]


def test_one_that_does_not_speak_http(declare: Declare, said: Said) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    opened, _ = server.accept()
                except OSError:
                    return
                with opened:
                    opened.recv(1 << 16)
                    opened.sendall(b"SSH-2.0-nonsense\r\n")

        threading.Thread(target=answer, daemon=True).start()
        house = declare(Hook(EVERY, webhook=f"http://127.0.0.1:{server.getsockname()[1]}/"))
        house.emit()
        house.close()
        server.shutdown(socket.SHUT_RDWR)
    assert "it gave no HTTP answer" in said()[0] or "connection reset" in said()[0]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of localhost, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    where = tmp_path_factory.mktemp("tls")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(where / "key"), "-out", str(where / "cert")]
    subprocess.run(command, check=True, capture_output=True)
    return where / "cert", where / "key"


def test_certificates_are_verified(
    declare: Declare, serve: Serve, said: Said, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody vouches for gets not a byte of the event; once it is trusted, it does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = serve(lambda plain: context.wrap_socket(plain, server_side=True))
    hook = Hook(EVERY, webhook=server.url(scheme="https"), headers={"Authorization": "geheim"})
    house = declare(hook)
    house.emit()
    house.close()
    assert server.asked == []
    assert "its certificate is not trusted: " in said()[0]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    again = declare(hook)
    again.emit()
    again.close()
    assert [asked.headers["Authorization"] for asked in server.asked] == ["geheim"]


def test_a_certificate_of_somebody_else(
    declare: Declare, serve: Serve, said: Said, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trusted, and of another host: whoever has it gets nothing either."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    server = serve(lambda plain: context.wrap_socket(plain, server_side=True), host="127.0.0.2")
    house = declare(Hook(EVERY, webhook=server.url(scheme="https")))
    house.emit()
    house.close()
    assert server.asked == []
    assert "its certificate is not trusted: " in said()[0]
    assert "127.0.0.2" in said()[0].rpartition("trusted: ")[2]
