"""Writing to systemd's journal in its own protocol: an event with its fields, for whoever filters by them.

The protocol is that of systemd.io/JOURNAL_NATIVE_PROTOCOL: a datagram of `NAME=value` lines, where a value of several
lines follows its name with its length in 64 bits.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import struct
from collections.abc import Iterator, Mapping

from recoverd.events.names import EventName
from recoverd.events.stream import Event
from recoverd.events.text import printable, without_passwords

SOCKET = "/run/systemd/journal/socket"
_WITHIN_S = 2.0  # a journal that takes nothing holds nobody up for longer
_SEND_BYTES = 8 * 1024 * 1024
_NAMESPACE = b"recoverd event "
_LOG_FIELDS = ("service", "item", "path", "format")


def message_id(name: EventName) -> str:
    """The MESSAGE_ID of all events of a name, in 32 hexadecimal digits: the same for ever (sd-id128(3))."""
    digits = hashlib.sha256(_NAMESPACE + name.value.encode("ascii")).hexdigest()
    return f"{digits[:12]}4{digits[13:16]}8{digits[17:32]}"  # a random UUID by its form: version 4, variant 1


def fields_of(record: logging.LogRecord, line: str, priority: int) -> dict[str, str]:
    """All that the journal is told of a record; `line` is what it says in one line of text."""
    event = getattr(record, "event", None)
    fields = {"MESSAGE": line, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "recoverd"}
    if not isinstance(event, Event):
        return fields | {"RECOVERD_AREA": record.name.removeprefix("recoverd.")}
    fields |= {"MESSAGE_ID": message_id(event.name), "RECOVERD_EVENT": event.name.value}
    document = event.to_json()
    told = {key: document[key] for key in _LOG_FIELDS} | dict(document["figures"])
    return fields | {f"RECOVERD_{key.upper()}": _value(value) for key, value in told.items() if value is not None}


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "\n".join(printable(without_passwords(line)) for line in str(value).split("\n"))


def encoded(fields: Mapping[str, str]) -> bytes:
    """One entry as a datagram."""
    return b"".join(_lines(fields))


def _lines(fields: Mapping[str, str]) -> Iterator[bytes]:
    for name, text in fields.items():
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            yield b"%s\n%s%s\n" % (name.encode("ascii"), struct.pack("<Q", len(value)), value)
        else:
            yield b"%s=%s\n" % (name.encode("ascii"), value)


def send(fields: Mapping[str, str], path: str) -> None:
    """Raises OSError where the journal is not there, or takes no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as journal:
        journal.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        journal.settimeout(_WITHIN_S)
        journal.sendto(encoded(fields), path)
