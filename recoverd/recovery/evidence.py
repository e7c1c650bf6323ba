"""The evidence that goes to quarantine with what was replaced: who, why, and where each old object is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from recoverd.recovery.intents import Intent, encode
from recoverd.recovery.steps import Step
from recoverd.system.clock import now_ns
from recoverd.system.durable import open_own
from recoverd.values import dataclass

EVIDENCE = "evidence.json"
PENDING_PREFIX = "evidence-"
GOING_PREFIX = ".going-"  # of a quarantine that is being removed


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What one restore or undo replaced. `evidence` is all of evidence.json; {} when it is damaged."""

    id: str  # <time>-<transaction id>, the directory's name
    time_ns: int
    path: str
    evidence: Mapping[str, Any]
    sequence: int = 0


def list_quarantine(state_dir: str, service: str) -> list[Quarantined]:
    """The service's quarantines, oldest first; damaged ones come first of all. Reads only."""
    directory = os.path.join(state_dir, "quarantine", service)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    found = [_read(os.path.join(directory, name), name) for name in names if not name.startswith(GOING_PREFIX)]
    return sorted((one for one in found if one is not None), key=lambda one: (one.sequence, one.time_ns, one.id))


def _read(path: str, name: str) -> Quarantined | None:
    if not os.path.isdir(path):
        return None
    evidence = read_evidence(path)
    if evidence is None:
        return Quarantined(name, 0, path, {})
    return Quarantined(name, int(evidence["time"]), path, evidence, int(evidence["sequence"]))


def read_evidence(path: str) -> dict[str, Any] | None:
    """The evidence in the quarantine at `path`; None when it is damaged."""
    try:
        with open_own(os.path.join(path, EVIDENCE)) as file:
            evidence = json.loads(file.read())
        int(evidence["time"]), int(evidence["sequence"])
        for place in evidence["places"]:
            str(place["path"]), int(place["inode"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return evidence if isinstance(evidence, dict) else None


def next_quarantine(state_dir: str, service: str, transaction: str) -> tuple[str, int, int]:
    """(path, sequence, time in ns) of the quarantine that a new transaction gets; the sequence needs no right clock."""
    time_ns = now_ns()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time_ns // 1_000_000_000))
    sequence = max((one.sequence for one in list_quarantine(state_dir, service)), default=0) + 1
    return os.path.join(state_dir, "quarantine", service, f"{stamp}-{transaction}"), sequence, time_ns


def pending_name(intent: Intent) -> str:
    """What the evidence is called until the swap is done: an undo still needs that of the quarantine it starts from."""
    return f"{PENDING_PREFIX}{intent.id}.json"


def where_kept(intent: Intent, step: Step) -> str:
    """The absolute path at which a replaced object ends up."""
    place = intent.quarantine if step.place == 0 else intent.places[step.place].path
    return os.path.join(place, step.slot)


def encode_evidence(intent: Intent) -> bytes:
    """evidence.json of a transaction."""
    return encode(
        {
            "format": 1,
            "id": intent.id,
            "service": intent.service,
            "kind": intent.kind,
            "time": str(intent.time_ns),
            "sequence": intent.sequence,
            "places": [place.to_json() for place in intent.places],
            "steps": [
                {**step.to_json(), "quarantined": None if step.old is None else where_kept(intent, step)}
                for step in intent.steps
            ],
            "evidence": dict(intent.evidence),
        }
    )
