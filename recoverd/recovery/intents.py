"""Intents: the durable record of a restore under way, `STATE_DIR/intents/<service>.json`.

It is on the disk before the first live name changes and goes when the last replaced object is in quarantine;
while it exists, the next restore of any kind finishes it or takes it back, before it does anything else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from recoverd.errors import StateError
from recoverd.recovery.steps import Step
from recoverd.system.durable import fsync_directory, make_directories, open_own, write_path
from recoverd.values import dataclass

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class PlaceRecord:
    """Where a place is; places[0] of an intent is the transaction's home, which becomes the quarantine."""

    path: str
    inode: int

    def to_json(self) -> dict[str, str]:
        return {"path": self.path, "inode": str(self.inode)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PlaceRecord:
        return PlaceRecord(str(value["path"]), int(value["inode"]))


@dataclass(frozen=True, slots=True)
class Intent:
    id: str
    service: str
    kind: str  # restore | undo
    time_ns: int
    sequence: int  # of quarantines of this service: their order does not depend on the clock
    quarantine: str  # absolute path that the home gets in the end
    places: tuple[PlaceRecord, ...]
    steps: tuple[Step, ...]
    evidence: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "id": self.id,
            "service": self.service,
            "kind": self.kind,
            "time": str(self.time_ns),
            "sequence": self.sequence,
            "quarantine": self.quarantine,
            "places": [place.to_json() for place in self.places],
            "steps": [step.to_json() for step in self.steps],
            "evidence": dict(self.evidence),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Intent:
        """The reverse of `to_json`. Raises KeyError, TypeError, ValueError."""
        if value["format"] != _FORMAT:
            raise ValueError(f"format {value['format']!r} is not known here")
        return Intent(
            str(value["id"]),
            str(value["service"]),
            str(value["kind"]),
            int(value["time"]),
            int(value["sequence"]),
            str(value["quarantine"]),
            tuple(PlaceRecord.from_json(place) for place in value["places"]),
            tuple(Step.from_json(step) for step in value["steps"]),
            dict(value["evidence"]),
        )


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An unfinished restore, for those who only want to know. `problem` says why its record can't be read."""

    service: str
    path: str
    id: str = ""
    time_ns: int = 0
    steps: int = 0
    problem: str = ""


def intent_path(state_dir: str, service: str) -> str:
    return os.path.join(state_dir, "intents", f"{service}.json")


def encode(value: Mapping[str, Any]) -> bytes:
    """JSON in ASCII: names that are no UTF-8 are kept as escaped surrogates."""
    return json.dumps(value, indent=1).encode("ascii") + b"\n"


def save(state_dir: str, intent: Intent) -> None:
    """Write an intent; durable on return. Raises OSError."""
    make_directories(os.path.join(state_dir, "intents"))
    write_path(intent_path(state_dir, intent.service), encode(intent.to_json()))


def clear(state_dir: str, service: str) -> None:
    """Remove a service's intent; durable on return. Raises OSError."""
    directory = os.open(os.path.join(state_dir, "intents"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.unlink(f"{service}.json", dir_fd=directory)
        fsync_directory(directory)
    finally:
        os.close(directory)


def load(state_dir: str, service: str) -> Intent | None:
    """The service's intent, None when there is none. Raises StateError when it can't be read."""
    path = intent_path(state_dir, service)
    try:
        with open_own(path) as file:
            return Intent.from_json(json.loads(file.read()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"the record of an unfinished restore, {path}, can't be read: {error}",
            hint="look at the service's state and at STATE_DIR/staging, then move the record away and restore again",
        ) from error


def open_intents(state_dir: str) -> list[OpenIntent]:
    """All restores that were begun and not finished, by service; reads only. Raises nothing for a damaged one."""
    directory = os.path.join(state_dir, "intents")
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    found: list[OpenIntent] = []
    for name in names:
        service, extension = os.path.splitext(name)
        if extension != ".json" or name.startswith("."):
            continue
        path = os.path.join(directory, name)
        try:
            intent = load(state_dir, service)
        except StateError as error:
            found.append(OpenIntent(service, path, problem=error.message))
            continue
        if intent is not None:
            found.append(OpenIntent(service, path, intent.id, intent.time_ns, len(intent.steps)))
    return found
