"""Dumps that are to be loaded, durable in the service's record: asked for while the service did not run, or begun and
not seen to their end. Whoever brings the service up next loads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.repository.records import ServiceRecord
from recoverd.repository.store import Repository
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class PendingLoad:
    """One load of one dump item, from the snapshot with this sequence; 0: of what was there before, out of quarantine.

    `quarantine`: where a dump of what was there before lies, "" while none was taken, so nothing was loaded yet.
    `asked`: somebody asked for this snapshot; else it was chosen, because what was there was damaged.
    """

    sequence: int
    quarantine: str = ""
    asked: bool = True
    files: tuple[str, ...] = ()  # quarantines of what was replaced with it, as how they end or are called

    @property
    def has_begun(self) -> bool:
        return bool(self.quarantine)

    def to_json(self) -> dict[str, Any]:
        files = {"files": list(self.files)} if self.files else {}
        return {"sequence": self.sequence, "quarantine": self.quarantine, "asked": self.asked, **files}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PendingLoad | None:
        """None for a record of something else."""
        try:
            files = tuple(str(name) for name in value.get("files", ()))
            return PendingLoad(int(value["sequence"]), str(value["quarantine"]), bool(value["asked"]), files)
        except (KeyError, TypeError, ValueError):
            return None


def load(repository: Repository, service: str) -> dict[str, PendingLoad]:
    """By item."""
    found = {item: PendingLoad.from_json(value) for item, value in repository.record(service).loads.items()}
    return {item: one for item, one in found.items() if one is not None}


def save(repository: Repository, service: str, item: str, pending: PendingLoad | None) -> None:
    """Remember it, or forget with None; durable on return."""

    def change(record: ServiceRecord) -> ServiceRecord:
        loads = {name: value for name, value in record.loads.items() if name != item}
        return replace(record, loads=loads | ({item: pending.to_json()} if pending is not None else {}))

    if item in repository.record(service).loads or pending is not None:
        repository.update_record(service, change)
