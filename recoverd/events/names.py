"""The events that recoverd tells of: their names, their usual level and what they say when nobody words them.

The names are part of the command line's contract (recoverd(8), "Events"); hooks are written against them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

from recoverd.events.text import duration, plural, size
from recoverd.values import dataclass

FigureValue = str | int | float | bool | None
Figures = Mapping[str, FigureValue]


class EventName(StrEnum):
    SNAPSHOT_SAVED = "snapshot.saved"
    SNAPSHOT_UNCHANGED = "snapshot.unchanged"
    SNAPSHOT_INVALID = "snapshot.invalid"
    SNAPSHOT_FAILED = "snapshot.failed"
    AUTOSAVE_TRIGGERED = "autosave.triggered"
    STATE_LOADED = "state.loaded"
    STATE_CORRUPT = "state.corrupt"
    STATE_RESET = "state.reset"
    STATE_MISSING = "state.missing"
    STATE_NEWER = "state.newer"
    STATE_UNREADABLE = "state.unreadable"
    RESTORE_STARTED = "restore.started"
    RESTORE_REJECTED = "restore.rejected"
    RESTORE_FINISHED = "restore.finished"
    RESTORE_FAILED = "restore.failed"
    SERVICE_STARTED = "service.started"
    SERVICE_UNHEALTHY = "service.unhealthy"
    SERVICE_GAVE_UP = "service.gave-up"
    PRUNE_FINISHED = "prune.finished"
    PRUNE_FAILED = "prune.failed"
    VERIFY_DAMAGE = "verify.damage"
    REPLICA_LAGGING = "replica.lagging"
    REPLICA_FAILED = "replica.failed"
    DRILL_PASSED = "drill.passed"
    DRILL_FAILED = "drill.failed"
    MIGRATION_DONE = "migration.done"
    MIGRATION_FAILED = "migration.failed"
    DISK_LOW = "disk.low"


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is the same for all events of one name."""

    level: Level
    sentence: str  # said before the figures; "" lets the figures speak


def _kinds() -> dict[EventName, Kind]:
    name, level = EventName, Level
    return {
        name.SNAPSHOT_SAVED: Kind(level.INFO, ""),
        # Every idle service, every few seconds: of interest only to someone who looks for it.
        name.SNAPSHOT_UNCHANGED: Kind(level.DEBUG, "nothing changed"),
        name.SNAPSHOT_INVALID: Kind(level.ERROR, "nothing good is new; kept as evidence"),
        name.SNAPSHOT_FAILED: Kind(level.ERROR, "the capture failed"),
        name.AUTOSAVE_TRIGGERED: Kind(level.DEBUG, "due"),
        name.STATE_LOADED: Kind(level.DEBUG, "read and judged"),
        name.STATE_CORRUPT: Kind(level.ERROR, "live state is corrupt"),
        name.STATE_RESET: Kind(level.WARNING, "live state was emptied"),
        name.STATE_MISSING: Kind(level.ERROR, "live state is missing"),
        name.STATE_NEWER: Kind(level.WARNING, "live state is of a newer version than configured"),
        name.STATE_UNREADABLE: Kind(level.ERROR, "live state can't be read"),
        name.RESTORE_STARTED: Kind(level.INFO, "restore started"),
        name.RESTORE_REJECTED: Kind(level.WARNING, "candidate rejected"),
        name.RESTORE_FINISHED: Kind(level.INFO, "restore finished"),
        name.RESTORE_FAILED: Kind(level.ERROR, "restore failed"),
        name.SERVICE_STARTED: Kind(level.INFO, "started"),
        name.SERVICE_UNHEALTHY: Kind(level.ERROR, "not healthy"),
        name.SERVICE_GAVE_UP: Kind(level.ERROR, "gave up starting it"),
        # Follows every snapshot that adds one.
        name.PRUNE_FINISHED: Kind(level.DEBUG, "pruned"),
        name.PRUNE_FAILED: Kind(level.ERROR, "prune failed; nothing that is needed was deleted"),
        name.VERIFY_DAMAGE: Kind(level.ERROR, "the repository is damaged"),
        name.REPLICA_LAGGING: Kind(level.WARNING, "the replica lags behind"),
        name.REPLICA_FAILED: Kind(level.ERROR, "the replica can't be written"),
        name.DRILL_PASSED: Kind(level.INFO, "drill passed"),
        name.DRILL_FAILED: Kind(level.ERROR, "drill failed"),
        name.MIGRATION_DONE: Kind(level.INFO, "migrated"),
        name.MIGRATION_FAILED: Kind(level.ERROR, "migration failed; everything stays as it was"),
        name.DISK_LOW: Kind(level.WARNING, "disk space is low"),
    }


KINDS: Mapping[EventName, Kind] = MappingProxyType(_kinds())


def _number(word: Callable[[float], str]) -> Callable[[FigureValue], str]:
    def say(value: FigureValue) -> str:
        return word(value) if isinstance(value, int | float) else str(value)

    return say


def _count(noun: str) -> Callable[[FigureValue], str]:
    return _number(lambda value: plural(int(value), noun))


# In the order in which they are said; a figure that is not listed is said as "name value".
_WORDS: Mapping[str, Callable[[FigureValue], str]] = MappingProxyType(
    {
        "files": _count("file"),
        "items": _count("item"),
        "new_bytes": _number(lambda value: f"{size(value)} new"),
        "bytes": _number(size),
        "size_bytes": _number(size),
        "freed_bytes": _number(lambda value: f"{size(value)} freed"),
        "free_bytes": _number(lambda value: f"{size(value)} free"),
        "removed": _number(lambda value: f"{int(value)} removed"),
        "age_seconds": _number(lambda value: f"{duration(value)} old"),
        "seconds": _number(lambda value: f"in {duration(value)}"),
    }
)


def wording(name: EventName, figures: Figures) -> str:
    """What an event says when its sender has no words of its own: "12 files, 34.5 KiB new (42)".

    `sequence` stands in brackets at the end; the whole size is left out where `new_bytes` says more, and the number of
    items where that of files does.
    """
    said = {key: value for key, value in figures.items() if value is not None and key != "sequence"}
    if "new_bytes" in said:
        said.pop("bytes", None)
        said.pop("size_bytes", None)
    if "files" in said:
        said.pop("items", None)
    parts = [word(said.pop(key)) for key, word in _WORDS.items() if key in said]
    parts += [f"{key.replace('_', ' ')} {value}" for key, value in said.items()]
    sentence, listed = KINDS[name].sentence, ", ".join(parts)
    text = f"{sentence}: {listed}" if sentence and listed else sentence or listed or name.value.partition(".")[2]
    sequence = figures.get("sequence")
    return text if sequence is None else f"{text} ({sequence})"
