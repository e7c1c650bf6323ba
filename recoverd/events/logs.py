"""The log on stderr, or in systemd's journal: one-line text or JSON lines, a level, and debug output by area.

Areas are the folders of the program: `--debug scheduler` shows what the logger `recoverd.scheduler` says.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TextIO

from recoverd.config.model import LogConfig
from recoverd.errors import UsageError
from recoverd.events.stream import Event
from recoverd.events.text import printable, without_passwords
from recoverd.system import clock

AREAS = (
    "cli",
    "config",
    "events",
    "health",
    "operations",
    "recovery",
    "repository",
    "scheduler",
    "services",
    "state",
    "system",
)
_ROOT = "recoverd"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# What systemd's journal reads a line's priority from (sd-daemon(3)).
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_EVENTS = logging.getLogger("recoverd.events")


def log_sink(event: Event) -> None:
    """The sink that writes events to the log."""
    _EVENTS.log(_LEVELS[event.level], "%s", event.message, extra={"event": event})


def set_up(
    log: LogConfig,
    *,
    level: str | None = None,
    debug: Iterable[str] = (),
    stream: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Log as `log` says, to `stream` (stderr), or to the journal that reads it; may be called again, after a reload.

    `level` overrides the configured one, `debug` adds areas. UsageError for an area, level or format that
    does not exist.
    """
    target = sys.stderr if stream is None else stream
    areas = {*log.debug, *debug}
    if unknown := sorted(areas - set(AREAS)):
        raise UsageError(f"there is no debug area {unknown[0]!r}", hint=f"areas are {', '.join(AREAS)}")
    chosen = log.level if level is None else level
    if chosen not in _LEVELS:
        raise UsageError(f"there is no log level {chosen!r}", hint=f"levels are {', '.join(_LEVELS)}")
    in_journal = log.format == "auto" and _goes_to_journal(target, os.environ if environment is None else environment)
    handler = _JournalHandler(target) if in_journal else _Handler(target)
    handler.setFormatter(_formatter(log.format, journal=in_journal))
    root = logging.getLogger(_ROOT)
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(_LEVELS[chosen])
    root.propagate = False
    for area in AREAS:
        logging.getLogger(f"{_ROOT}.{area}").setLevel(logging.DEBUG if area in areas else logging.NOTSET)


def _formatter(name: str, *, journal: bool) -> logging.Formatter:
    if name == "json":
        return JsonFormatter()
    if name in {"auto", "text"}:
        return TextFormatter(journal=journal)
    raise UsageError(f"there is no log format {name!r}", hint="formats are auto, text and json")


def _goes_to_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether `stream` is the one that systemd connected to its journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file at all
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines; a log that can't be written (closed, full) never disturbs the work."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Nothing: there is nowhere left to say it."""


class _JournalHandler(_Handler):
    """Tells the journal itself, with all fields; where that takes none, the line goes where systemd reads it."""

    def emit(self, record: logging.LogRecord) -> None:
        from recoverd.events import journal  # late: most commands run elsewhere

        try:
            line = self.format(record)
            priority, _, text = line.removeprefix("<").partition(">")
            journal.send(journal.fields_of(record, text, int(priority)), journal.SOCKET)
        except OSError:
            super().emit(record)


def _area(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{_ROOT}.")


def _event(record: logging.LogRecord) -> Event | None:
    event = getattr(record, "event", None)
    return event if isinstance(event, Event) else None


class TextFormatter(logging.Formatter):
    """`2026-11-21T09:30:00Z info snapshot.saved coding-agent: 12 files, 34.5 KiB new (42)`.

    For the journal, which has a time of its own: without the time, with a priority in front that it takes off.
    """

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        event, level = _event(record), record.levelname.lower()
        if event is None:
            head = f"{level} {_area(record)}"
        else:
            subject = "/".join(part for part in (event.service, event.item) if part)
            head = f"{level} {event.name.value}" + (f" {subject}" if subject else "")
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = printable(without_passwords(f"{head}: {text}"))
        if self._journal:
            return f"<{_PRIORITIES.get(level, 6)}>{line}"
        return f"{_seconds(record)} {line}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: an event as it is, any other record with time, level, area and message."""

    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        if event is not None:
            document = event.to_json()
        else:
            document = {
                "time": clock.rfc3339(_time_ns(record)),
                "level": record.levelname.lower(),
                "area": _area(record),
                "message": record.getMessage(),
            }
            if record.exc_info:
                document["exception"] = self.formatException(record.exc_info)
        document["message"] = without_passwords(document["message"])
        return json.dumps(document)


def _time_ns(record: logging.LogRecord) -> int:
    return int(record.created * 1_000_000) * 1000


def _seconds(record: logging.LogRecord) -> str:
    return clock.rfc3339(_time_ns(record))[:19] + "Z"
