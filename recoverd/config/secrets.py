"""Fetching secrets: only when they are needed, never stored, never printed."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from recoverd.config.model import Secret
from recoverd.errors import ConfigError, ConfigProblem

_MOST_BYTES = 1024 * 1024  # systemd.exec(5): credentials are at most 1 MB


def resolve(secret: Secret, environ: Mapping[str, str]) -> str:
    """The secret itself, without a newline at its end.

    Raises ConfigError when it is absent, empty, no text, or (for root) in a file that others can read.
    """
    if secret.source == "env":
        value = environ.get(secret.name)
        if value is None:
            raise _absent(secret, f"the environment variable {secret.name} is not set")
    elif secret.source == "credential":
        value = _credential(secret, environ)
    else:
        value = _read(secret, secret.name, private=True)
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise _absent(secret, f"{describe(secret)} is empty")
    return value


def describe(secret: Secret) -> str:
    """How a secret is called in messages; never its value."""
    return {"credential": "the credential", "file": "the file", "env": "the environment variable"}[
        secret.source
    ] + f" {secret.name}"


def _credential(secret: Secret, environ: Mapping[str, str]) -> str:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise _absent(secret, f"there is no credential {secret.name}: systemd passed none ($CREDENTIALS_DIRECTORY)")
    if "/" in secret.name or secret.name in {"", ".", ".."}:
        raise _absent(secret, f"{secret.name!r} is not the name of a credential")
    return _read(secret, os.path.join(directory, secret.name), private=False)


def _read(secret: Secret, path: str, *, private: bool) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise _absent(secret, f"{describe(secret)} can't be read: {(error.strerror or str(error)).lower()}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise _absent(secret, f"{describe(secret)} is no regular file")
    with open(fd, "rb") as file:
        if private and os.geteuid() == 0 and status.st_mode & stat.S_IROTH:
            raise _absent(secret, f"{describe(secret)} can be read by everybody", hint=f"chmod o-rwx {path}")
        data = file.read(_MOST_BYTES + 1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if len(data) > _MOST_BYTES or "\0" in text:
        raise _absent(secret, f"{describe(secret)} is no text of at most 1 MiB")
    return text


def _absent(secret: Secret, sentence: str, *, hint: str | None = None) -> ConfigError:
    where = secret.name if secret.source == "file" else f"{{{secret.source}: {secret.name}}}"
    return ConfigError((ConfigProblem(where, 0, 0, "", sentence),), hint=hint)
