"""What a power cut leaves, chosen as unkindly as can be: each a `Choice` among the disks that the model allows."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.crash.lost_writes.disk import Choice, File, Name, Truncate, Write, apply


def _no_name(name: Name) -> int:
    return 0


def _every_name(name: Name) -> int:
    return len(name.pending)


def _removals(name: Name) -> int:
    """What was removed is gone; what was made is not there."""
    return len(name.pending) if name.node is None else 0


def _creations(name: Name) -> int:
    """What was made is there; what was removed is back."""
    counts = [at + 1 for at, change in enumerate(name.pending) if change.node is not None]
    return counts[-1] if counts else 0


def later(serial: int) -> Callable[[Name], int]:
    """Names that changed from here on survive, those that changed earlier do not."""
    return lambda name: len(name.pending) if name.pending and name.pending[-1].serial >= serial else 0


def earlier(serial: int) -> Callable[[Name], int]:
    """As many changes of each name as were made before this."""
    return lambda name: sum(change.serial < serial for change in name.pending)


def _no_data(file: File) -> bytes:
    return file.durable


def _all_data(file: File) -> bytes:
    return file.all()


def _zeros(file: File) -> bytes:
    """The size is there, the bytes are not."""
    if not file.pending:
        return file.durable
    return file.durable[: len(file.data)].ljust(len(file.data), b"\0")


NOTHING = Choice("nothing that was not synced", _no_name, _no_data)
NAMES = Choice("all names, no data", _every_name, _no_data)
ZEROS = Choice("all names, zeros for data", _every_name, _zeros)
DATA = Choice("all data, no names", _no_name, _all_data)
EVERYTHING = Choice("everything", _every_name, _all_data)
REMOVALS = Choice("removed names only", _removals, _all_data)
CREATIONS = Choice("new names only", _creations, _all_data)


def late(serial: int) -> Choice:
    return Choice(f"names from change {serial} on", later(serial), _all_data)


def torn(seed: str) -> Choice:
    """Any subset: names and sectors by chance."""
    chance = random.Random(seed)

    def names(name: Name) -> int:
        return chance.randint(0, len(name.pending))

    return Choice(f"by chance ({seed})", names, lambda file: _torn(file, chance))


def _torn(file: File, chance: random.Random) -> bytes:
    if not file.pending:
        return file.durable
    sector, share = chance.choice((512, 4096)), chance.choice((0.1, 0.5, 0.9))
    content = bytearray(file.durable)
    for step in file.pending:
        if isinstance(step, Truncate):
            if chance.random() < share:
                apply(content, step)
            continue
        at, end = step.offset, step.offset + len(step.data)
        while at < end:
            stop = min(end, (at // sector + 1) * sector)
            if chance.random() < share:
                apply(content, Write(at, step.data[at - step.offset : stop - step.offset]))
            at = stop
    if chance.random() < 0.5:  # the size is written separately
        apply(content, Truncate(len(file.data)))
    return bytes(content)
