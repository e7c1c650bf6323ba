"""What a restore has written and nobody has proven yet: durable, in the service's record, before the first live name
changes and before each start on it.

Where the service turns out not to be healthy on it, the next restore of any kind takes it back and tries the next
older candidate. So it does when the machine, or recoverd, went down `TRIES` times before the proof came to an end:
a candidate on which the machine dies is not tried for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from recoverd.recovery.evidence import list_quarantine
from recoverd.repository.records import ServiceRecord
from recoverd.repository.store import Repository
from recoverd.system import clock
from recoverd.values import dataclass, replace

if TYPE_CHECKING:
    from recoverd.operations.rejecting import Taken

TRIES = 2  # starts on one candidate that never come to a proof


@dataclass(frozen=True, slots=True)
class Unproven:
    """One restore, or several in a row of which none was proven: the last one is what lies there.

    `quarantines`: how the quarantine of each ends or is called, oldest first; `rejected`: what was rejected on the way.
    """

    candidate: str
    quarantines: tuple[str, ...]
    parts: tuple[Taken, ...]
    starts: int = 0  # on these parts, without a proof so far
    boot_id: str = ""  # of the last start that was counted
    asked: bool = False  # by name or time: nothing is concluded about the candidate
    rejected: tuple[Taken, ...] = ()

    @property
    def is_used_up(self) -> bool:
        return self.starts >= TRIES

    def to_json(self) -> dict[str, Any]:
        return {
            "candidate": self.candidate,
            "quarantines": list(self.quarantines),
            "parts": [one.to_json() for one in self.parts],
            "starts": self.starts,
            "boot_id": self.boot_id,
            "asked": self.asked,
            "rejected": [one.to_json() for one in self.rejected],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Unproven | None:
        """None for a record of something else."""
        from recoverd.operations.rejecting import Taken  # late: there is hardly ever one

        try:
            names = value["quarantines"] if "quarantines" in value else [value["quarantine"]]
            return Unproven(
                str(value["candidate"]),
                tuple(str(name) for name in names),
                tuple(Taken.from_json(part) for part in value["parts"]),
                int(value.get("starts", 0)),
                str(value.get("boot_id", "")),
                bool(value.get("asked", False)),
                tuple(Taken.from_json(part) for part in value.get("rejected", ())),
            )
        except (KeyError, TypeError, ValueError):
            return None


def again(before: Unproven | None, written: Unproven) -> Unproven:
    """The note of a new restore: starts on the very same go on counting, whatever lay there in between."""
    if before is None or set(before.parts) != set(written.parts):
        return written
    return replace(written, starts=before.starts, boot_id=before.boot_id)


def counted(note: Unproven) -> Unproven:
    """The same with one more start."""
    return replace(note, starts=note.starts + 1, boot_id=clock.boot_id())


def quarantines(state_dir: str, service: str, names: Iterable[str]) -> list[str | None]:
    """The quarantine that each name means, None where there is none: nothing was swapped, or it was put back."""
    known = [one.id for one in list_quarantine(state_dir, service)]
    return [next((one for one in known if one == name or one.endswith(f"-{name}")), None) for name in names]


def waiting(state_dir: str, service: str, record: ServiceRecord | None) -> str | None:
    """The candidate that lies there unproven; None where nothing was swapped in, or it was put back since."""
    note = Unproven.from_json(record.last_restore) if record is not None and record.last_restore else None
    if note is None or quarantines(state_dir, service, note.quarantines[-1:]) in ([], [None]):
        return None
    return note.candidate


def load(repository: Repository, service: str) -> Unproven | None:
    return Unproven.from_json(repository.record(service).last_restore)


def save(repository: Repository, service: str, unproven: Unproven | None) -> None:
    """Remember it, or forget with None; durable on return."""
    value = unproven.to_json() if unproven is not None else {}

    def change(record: ServiceRecord) -> ServiceRecord:
        return replace(record, last_restore=value)

    if repository.record(service).last_restore != value:
        repository.update_record(service, change)
