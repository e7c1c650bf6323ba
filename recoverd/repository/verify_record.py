"""What is remembered of verifying between runs: where a sample stopped, when, and the damage that is known.

A small file in the state directory, beside the catalog but not in it: the catalog may be lost at any time, and `check`
answers without it.
"""

from __future__ import annotations

import logging
import os

from recoverd.repository.fields import Fields, as_text, canonical, check_version, parse
from recoverd.system import durable
from recoverd.values import dataclass

NAME = "verify.json"
VERSION = 1
MOST_KEPT = 1000  # damages that are remembered one by one
_log = logging.getLogger("recoverd.repository")


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in the repository that is not what it should be, and whom it hurts.

    `object` is None where no single object is damaged: a record (`path`, below the repository), or a pack as a file.
    """

    problem: str
    object: str | None = None
    pack: str | None = None
    path: str | None = None
    snapshots: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    more: bool = False  # there are more snapshots or files than are named

    @property
    def what(self) -> str:
        """In words: which object, record or pack."""
        if self.object is not None:
            return f"object {self.object}"
        return self.path or f"pack {self.pack}"


@dataclass(frozen=True, slots=True)
class VerifyRecord:
    """`verified_ns`: the end of the last run, sample or not; `complete_ns`: when all had been read once more."""

    repository: str = ""
    verified_ns: int | None = None
    complete_ns: int | None = None
    position: str = ""  # the last pack that a sample read; samples go through the packs in the order of their names
    damaged: int = 0
    damage: tuple[Damage, ...] = ()  # the first of them
    hurt: tuple[str, ...] = ()  # snapshots


def load(state_dir: str, repository_id: str) -> VerifyRecord:
    """What is remembered of this repository; nothing when it can't be read or is that of another one."""
    path = os.path.join(state_dir, NAME)
    try:
        with durable.open_own(path) as file:
            found = _decode(parse(file.read()))
    except FileNotFoundError:
        return VerifyRecord(repository_id)
    except Exception as error:  # a damaged one costs nothing but the place where the last sample stopped
        _log.warning("what was verified last is not known: %s: %s", path, error)
        return VerifyRecord(repository_id)
    return found if found.repository == repository_id else VerifyRecord(repository_id)


def save(state_dir: str, record: VerifyRecord) -> None:
    """Replace the file, durably. Raises OSError."""
    durable.make_directories(state_dir)
    durable.write_path(os.path.join(state_dir, NAME), _encode(record))


def _encode(record: VerifyRecord) -> bytes:
    document = {
        "verify": VERSION,
        "repository": record.repository,
        "verified_ns": None if record.verified_ns is None else str(record.verified_ns),
        "complete_ns": None if record.complete_ns is None else str(record.complete_ns),
        "position": record.position,
        "damaged": record.damaged,
        "damage": [
            {
                "problem": one.problem,
                "object": one.object,
                "pack": one.pack,
                "path": one.path,
                "snapshots": list(one.snapshots),
                "files": list(one.files),
                "more": one.more,
            }
            for one in record.damage[:MOST_KEPT]
        ],
        "hurt": list(record.hurt),
    }
    return canonical(document).encode("ascii") + b"\n"


def _decode(fields: Fields) -> VerifyRecord:
    check_version(fields, "verify", VERSION, "what was verified last")
    return VerifyRecord(
        repository=fields.text("repository"),
        verified_ns=fields.long_or_none("verified_ns"),
        complete_ns=fields.long_or_none("complete_ns"),
        position=fields.text("position"),
        damaged=fields.whole("damaged"),
        damage=fields.list_of("damage", _decode_damage),
        hurt=fields.list_of("hurt", as_text),
    )


def _decode_damage(value: object) -> Damage:
    fields = Fields(value)
    return Damage(
        problem=fields.text("problem"),
        object=fields.text_or_none("object"),
        pack=fields.text_or_none("pack"),
        path=fields.text_or_none("path"),
        snapshots=fields.list_of("snapshots", as_text),
        files=fields.list_of("files", as_text),
        more=fields.flag("more"),
    )
