"""What `restore --boot` has written and nobody has proven yet: durable, in the service's record.

Where the service turns out not to be healthy on it, `confirm` takes it back and tries the next older candidate; also
after a reboot in between.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from recoverd.operations.rejecting import Taken, taken
from recoverd.recovery.choices import Choice
from recoverd.recovery.swapping import Applied
from recoverd.repository.records import ServiceRecord
from recoverd.repository.store import Repository
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class Unproven:
    """One restore: its quarantine, and what it took."""

    candidate: str
    quarantine: str
    parts: tuple[Taken, ...]

    def to_json(self) -> dict[str, Any]:
        parts = [{"sequence": one.sequence, "item": one.item, "content": one.content} for one in self.parts]
        return {"candidate": self.candidate, "quarantine": self.quarantine, "parts": parts}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Unproven | None:
        """None for a record of something else."""
        try:
            parts = tuple(
                Taken(int(part["sequence"]), str(part["item"]), str(part.get("content", ""))) for part in value["parts"]
            )
            return Unproven(str(value["candidate"]), str(value["quarantine"]), parts)
        except (KeyError, TypeError, ValueError):
            return None


def of_choice(choice: Choice, applied: Applied) -> Unproven:
    return Unproven(
        choice.candidate,
        os.path.basename(applied.quarantine),
        taken(choice),
    )


def load(repository: Repository, service: str) -> Unproven | None:
    return Unproven.from_json(repository.record(service).last_restore)


def save(repository: Repository, service: str, unproven: Unproven | None) -> None:
    """Remember it, or forget with None; durable on return."""
    value = unproven.to_json() if unproven is not None else {}

    def change(record: ServiceRecord) -> ServiceRecord:
        return replace(record, last_restore=value)

    if repository.record(service).last_restore != value:
        repository.update_record(service, change)
