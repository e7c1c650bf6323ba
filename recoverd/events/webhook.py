"""Telling a webhook: one POST, with a deadline for all of it. No sentence holds more of its URL than the host."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import recoverd
from recoverd.config.hook_model import Hook
from recoverd.config.model import Secret
from recoverd.errors import ConfigError
from recoverd.events.hooks import Document, Told
from recoverd.events.stopping import Stop

if TYPE_CHECKING:
    import http.client
    import socket
    import urllib.request

_BODY_BYTES = 64 * 1024  # of the answer: so that the server sees it taken; not looked at
_AGAIN = frozenset({408, 425, 429})  # RFC 9110, 8470, 6585: later may do
_REFUSED = 400
_TUNNEL = re.compile(r"Tunnel connection failed: (\d+)")  # how http.client words it


def deliver(hook: Hook, environ: Mapping[str, str], document: Document, timeout_s: float, stop: Stop) -> Told:
    """POST the event. Secrets are fetched now, and forgotten. Raises nothing that a hook can cause."""
    try:
        request = _request(hook, document, environ)
    except ConfigError as error:
        return Told("; ".join(problem.sentence for problem in error.problems), again=False)
    except _Unusable as error:
        return Told(str(error), again=False)
    attempt = _Attempt(request, timeout_s)
    with stop.calling(attempt.give_up):
        return attempt.outcome()


class _Unusable(Exception):
    """What can't be sent, in a sentence without secrets."""


def _request(hook: Hook, document: Document, environ: Mapping[str, str]) -> urllib.request.Request:
    """Raises ConfigError where a secret can't be had, _Unusable where it is no URL or no header."""
    import urllib.request
    from base64 import b64encode
    from urllib.parse import unquote, urlsplit

    from recoverd.config.addresses import why_no_url

    url = _resolved(hook.webhook, environ)
    if why_no_url(url):
        raise _Unusable("what is to be its URL is none that starts with http:// or https://, or has no host")
    body, content_type = body_of(hook, document)
    headers = {"User-Agent": f"recoverd/{recoverd.__version__}", "Content-Type": content_type}
    parts = urlsplit(url)
    if parts.username is not None:
        given = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(given.encode()).decode()}"
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    for name, value in hook.headers.items():
        text = _resolved(value, environ)
        if not text.isprintable() or not text.isascii():
            raise _Unusable(f"its header {name} is not plain ASCII in one line")
        headers = {known: each for known, each in headers.items() if known.lower() != name.lower()} | {name: text}
    request = urllib.request.Request(url, data=body, method="POST")  # noqa: S310 - it is http or https
    for name, text in headers.items():
        request.add_unredirected_header(name, text)
    return request


def body_of(hook: Hook, document: Document) -> tuple[bytes, str]:
    """The body and its content type."""
    import json

    from recoverd.config import templates
    from recoverd.events.filling import values_of

    if hook.body is None:
        return json.dumps(document).encode("ascii"), hook.content_type or "application/json"
    kind = templates.kind_of(hook.body, hook.content_type)
    text = templates.fill(hook.body, values_of(document), kind)
    usual = "application/json" if kind is templates.Kind.JSON else "text/plain; charset=utf-8"
    return text.encode("utf-8"), hook.content_type or usual


def _resolved(value: str | Secret | None, environ: Mapping[str, str]) -> str:
    if isinstance(value, Secret):
        from recoverd.config.secrets import resolve

        return resolve(value, environ)
    return value or ""


class _Attempt:
    """One request in a thread of its own: timeouts of sockets bound single reads only, and name servers may be silent.

    When it is given up its connection is closed, and the thread ends with it.
    """

    def __init__(self, request: urllib.request.Request, timeout_s: float) -> None:
        self._request, self._timeout_s = request, timeout_s
        self._end = threading.Event()
        self._told: Told | None = None
        self._sockets: list[socket.socket] = []

    def give_up(self) -> None:
        self._end.set()

    def outcome(self) -> Told:
        threading.Thread(target=self._work, name="webhook", daemon=True).start()
        in_time = self._end.wait(self._timeout_s)
        told = self._told
        if told is not None:
            return told
        import socket

        for opened in self._sockets:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        return Told("it was cut short" if in_time else self._no_answer)

    @property
    def _no_answer(self) -> str:
        return f"no answer within {self._timeout_s:g} s"

    def _work(self) -> None:
        try:
            self._told = self._post()
        except Exception as error:  # whatever a server comes up with
            self._told = Told(self._sentence(error))
        finally:
            self._end.set()

    def _post(self) -> Told:
        import urllib.error

        try:
            with self._opener().open(self._request, timeout=self._timeout_s) as answer:
                answer.read(_BODY_BYTES)
                return _judged(answer.status, answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return _judged(error.code, error.headers)

    def _opener(self) -> urllib.request.OpenerDirector:
        """Certificates are verified; redirects are not followed: where to, only the server knows."""
        import http.client
        import ssl
        import urllib.request

        sockets = self._sockets

        class Plain(http.client.HTTPConnection):
            def connect(self) -> None:
                super().connect()
                sockets.append(self.sock)

        class Secure(http.client.HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                sockets.append(self.sock)

        class PlainHandler(urllib.request.HTTPHandler):
            def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(Plain, request)

        class SecureHandler(urllib.request.HTTPSHandler):
            def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(Secure, request, context=ssl.create_default_context())

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                return None

        return urllib.request.build_opener(PlainHandler, SecureHandler, Stay)

    def _sentence(self, error: BaseException) -> str:
        """What went wrong, without numbers of errors and without the URL."""
        import http.client
        import socket
        import ssl
        import urllib.error

        if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
            error = error.reason
        match error:
            case TimeoutError():
                return self._no_answer
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {error.verify_message}"
            case ssl.SSLError():
                return "it does not speak TLS as it should"
            case socket.gaierror():
                return "there is no such host, or no name server answers"
            case http.client.HTTPException() | ValueError():
                return f"it gave no HTTP answer: {type(error).__name__}"
            case OSError() if found := _TUNNEL.match(str(error)):
                return f"the proxy answered {found[1]}"
            case OSError() if error.strerror:
                return error.strerror[0].lower() + error.strerror[1:]
            case _:
                return type(error).__name__


def _judged(status: int, headers: Any) -> Told:
    if 200 <= status < 300:
        return Told()
    if 300 <= status < _REFUSED:
        return Told(f"it answered {status}: redirects are not followed", again=False)
    again = status >= 500 or status in _AGAIN
    return Told(f"it answered {status}", again=again, after_s=_retry_after_s(headers) if again else 0.0)


def _retry_after_s(headers: Any) -> float:
    """How long the server wants to be left alone (RFC 9110, Retry-After: seconds or a date)."""
    text = str(headers.get("Retry-After", "")).strip()
    if text.isdecimal() and len(text) < 9:
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0
