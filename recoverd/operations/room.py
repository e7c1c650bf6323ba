"""How much room a restore needs, before anything is read."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.recovery.choices import Choice
from recoverd.recovery.plan import Origin
from recoverd.recovery.staging import ENTRY_BYTES
from recoverd.repository.records import Snapshot


def at_most_bytes(choice: Choice, snapshots: Iterable[Snapshot]) -> int | None:
    """What the items of a choice take as a whole, by the records of the snapshots that they come from; None where
    these do not tell: other origins, and items of which something was carried forward."""
    known = {one.sequence: one for one in snapshots}
    total = 0
    for sequence, name, origin in {(part.sequence, part.item, part.origin) for part in choice.parts}:
        record = known[sequence].items.get(name) if sequence in known else None
        if origin is not Origin.SNAPSHOT or record is None or record.root != record.good:
            return None
        total += record.size_bytes + record.files * ENTRY_BYTES
    return total
