"""Flags for systemd: a service with one in /run/recoverd-blocked does not start, whoever asks (`units`, drop-ins).

They live in memory: a reboot forgets them, and the next check of the state sets them anew.
"""

from __future__ import annotations

import json
import logging
import os

from recoverd.system import durable

_LOG = logging.getLogger("recoverd.operations")


def flag_path(runtime_dir: str, service: str) -> str:
    return os.path.join(f"{runtime_dir}-blocked", service)


def block(runtime_dir: str, service: str, why: str, *, because: str | None = None) -> None:
    """Let systemd refuse the service. `because` names the blocked service that it comes after."""
    path = flag_path(runtime_dir, service)
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        text = json.dumps({"why": why, "because": because}) + "\n"
        temporary = os.path.join(os.path.dirname(path), durable.temporary_name())
        with open(temporary, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        _LOG.error("%s can't be kept from starting: %s", service, error)


def unblock(runtime_dir: str, service: str) -> None:
    """Let the service start again, with all that was only held back because of it."""
    free = [service]
    while free:
        name = free.pop()
        try:
            os.unlink(flag_path(runtime_dir, name))
        except OSError:
            pass  # it was not blocked
        free += [other for other, because in _held(runtime_dir).items() if because == name]


def reason(runtime_dir: str, service: str) -> str | None:
    """Why systemd refuses a service; None when it does not."""
    try:
        with durable.open_own(flag_path(runtime_dir, service)) as file:
            return str(json.loads(file.read())["why"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "it is blocked"


def _held(runtime_dir: str) -> dict[str, str]:
    """Service -> the one that it waits for."""
    directory, found = f"{runtime_dir}-blocked", {}
    try:
        names = os.listdir(directory)
    except OSError:
        return {}
    for name in names:
        try:
            with durable.open_own(os.path.join(directory, name)) as file:
                because = json.loads(file.read())["because"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if because:
            found[name] = str(because)
    return found
