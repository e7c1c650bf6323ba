"""Candidates from other origins than snapshots: siblings, what can be salvaged, a rebuild, an initial document.

Each becomes a version with an order among the snapshots, as `restore.fallback` lists them; which one is taken is
decided by `plan.plans`, like everything else.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from recoverd.config.model import Format, ItemKind, Service, StateItem
from recoverd.errors import DamagedObject, RecoverdError
from recoverd.recovery.entries import file_entry
from recoverd.recovery.extraction import Source
from recoverd.recovery.gathered import Gathered
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.plan import Origin, Target, Version
from recoverd.recovery.rebuilt import Rebuilder
from recoverd.recovery.siblings import find_siblings
from recoverd.recovery.stores import Trees
from recoverd.repository.trees import BLOCK_SIZE, Entry
from recoverd.state.formats import detection
from recoverd.state.formats.encoding import Encoding, describe, encode
from recoverd.state.judging import Judge
from recoverd.state.salvaging import line_judge, whole_lines
from recoverd.state.verdicts import Verdict
from recoverd.system.reading import open_regular
from recoverd.system.walk import lstat_at, open_declared_directory, open_directory_at, open_parent
from recoverd.values import dataclass, replace

_log = logging.getLogger("recoverd.recovery")
_FIRST = 1 << 60  # order of what comes before all snapshots
_MOST_LINE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ground:
    """What the search for other origins stands on: one look at live state, and what snapshots hold."""

    service: Service
    survey: ServiceSurvey
    trees: Trees  # of the survey, and of the repository
    source: Source
    judges: Mapping[str, Judge]
    now_ns: int


def other_versions(
    ground: Ground,
    targets: Sequence[Target],
    known: Mapping[Target, Sequence[Version]],
    gathered: Gathered,
    *,
    fallback: Sequence[str],
    confirmed_ns: int | None,
    rejected: Mapping[str, Mapping[str, str]],
    notes: list[str],
) -> dict[Target, list[Version]]:
    """For each damaged document all its versions: `known` ones from snapshots among those of the other origins.

    `fallback` is the order of origins. `confirmed_ns`: when live state was last seen to be as the newest snapshot has
    it; a sibling from before is older than the known-good version. `rejected`: item -> contents not to be tried again.
    """
    search = _Search(ground, gathered, notes, confirmed_ns)
    found: dict[Target, list[Version]] = {}
    for target in targets:
        versions = list(known.get(target, ())) if "snapshots" in fallback else []
        if ground.service.state[target[0]].kind in {ItemKind.FILE, ItemKind.DIRECTORY}:
            for version in search.versions(target, known.get(target, ()), fallback):
                if version.content not in rejected.get(target[0], {}):
                    versions.append(version)
        found[target] = _unique(sorted(versions, key=_before(versions), reverse=True))
        _log.debug(
            "%s: %s: candidates, best first: %s",
            ground.service.name,
            "/".join(filter(None, target)),
            ", ".join(version.label or f"snapshot {version.sequence}" for version in found[target]) or "none",
        )
    return found


def _before(versions: Sequence[Version]) -> Callable[[Version], tuple[int, int]]:
    """Snapshots stay in the order in which they came."""
    place = {id(version): len(versions) - index for index, version in enumerate(versions)}

    def key(version: Version) -> tuple[int, int]:
        group = 1 if version.order is not None and version.order > 0 else 0 if version.order is None else -1
        return group, place[id(version)] if version.order is None else version.order

    return key


def _unique(versions: Sequence[Version]) -> list[Version]:
    """Equal content is tried once: as the first that has it, and in its place."""
    found: dict[str, Version] = {}
    for version in versions:
        found.setdefault(version.content, version)
    return list(found.values())


class _Search:
    def __init__(self, ground: Ground, gathered: Gathered, notes: list[str], confirmed_ns: int | None) -> None:
        self._ground = ground
        self._gathered = gathered
        self._notes = notes
        self._confirmed_ns = confirmed_ns or 0
        self._rebuilder = Rebuilder(ground.service, ground.survey, ground.trees, ground.source, ground.judges)

    def versions(self, target: Target, known: Sequence[Version], fallback: Sequence[str]) -> list[Version]:
        item = self._ground.service.state[target[0]]
        found: list[Version] = []
        if self._ground.service.restore.salvage == "tail":
            found += self._salvaged(item, target[1], known)
        origins: dict[str, Callable[[], list[Version]]] = {
            "siblings": lambda: self._siblings(item, target[1], known, older="snapshots" not in fallback),
            "rebuild": lambda: self._rebuilt(item, target[1], known),
            "initial": lambda: self._initial(item, target[1], known),
        }
        pivot = fallback.index("snapshots") if "snapshots" in fallback else -1
        for index, name in enumerate(fallback):
            if name not in origins:
                continue
            order = _FIRST - (index << 20) if index < pivot else -((index + 1) << 20)
            made = origins[name]()
            found += [replace(version, order=order - place) for place, version in enumerate(made)]
        return found

    # -- the origins --------------------------------------------------------------------------------------

    def _siblings(self, item: StateItem, document: str, known: Sequence[Version], *, older: bool) -> list[Version]:
        """Newer than the known-good version: better than any snapshot. `older` ones too where no snapshot is asked."""
        good = next((version for version in known if version.entry is not None), None)
        if item.kind is ItemKind.DIRECTORY and not document:
            return []
        like = (good.entry if good is not None else None) or self._live(item, document)
        found = find_siblings(
            item,
            document,
            self._ground.judges[item.name],
            self._gathered,
            like=like,
            now_ns=self._ground.now_ns,
            notes=self._notes,
        )
        newest_ns = max(good.time_ns, self._confirmed_ns) if good is not None else 0
        return [
            Version(
                0, one.time_ns, one.entry, parents=_parents(known), origin=Origin.SIBLING, label=f"sibling {one.name}"
            )
            for one in found
            if good is None or older or one.time_ns > newest_ns
        ]

    def _salvaged(self, item: StateItem, document: str, known: Sequence[Version]) -> list[Version]:
        """The whole lines at the beginning of damaged JSON lines. First choice where they go on from the known-good
        version; where they hold less, a snapshot is better, and they are the last."""
        if item.format not in {Format.JSON_LINES, Format.AUTO} or (item.kind is ItemKind.DIRECTORY and not document):
            return []
        try:
            fd = self._open(item, document)
        except OSError:
            return []
        status = os.fstat(fd)
        size = whole_lines(line_judge(item), _blocks(fd), most_bytes=_MOST_LINE_BYTES)
        if not size:
            os.close(fd)
            return []
        name = (document or item.path).rpartition("/")[2]
        try:
            entry = self._gathered.put_file(file_entry(name, status, "", 0, (), None), fd, size)
        except (OSError, EOFError):
            os.close(fd)
            return []
        good = next((version.entry for version in known if version.entry is not None), None)
        first = good is None or self._goes_on(entry, good)
        order = _FIRST + 1 if first else -(1 << 40)
        label = f"the first {size} of {status.st_size} bytes"
        version = Version(0, status.st_mtime_ns, entry, parents=_parents(known), origin=Origin.SALVAGE, label=label)
        return [replace(version, order=order)]

    def _goes_on(self, longer: Entry, good: Entry) -> bool:
        """Whether the known-good content is the beginning of the other."""
        if good.type != "file" or good.size > longer.size:
            return False
        ours = (piece if isinstance(piece, bytes) else b"\0" * piece for piece in self._gathered.chunks(longer))
        rest = b""
        with suppress(DamagedObject):
            for piece in self._ground.source.file_chunks(good):
                wanted = piece if isinstance(piece, bytes) else b"\0" * piece
                while len(rest) < len(wanted):
                    rest += next(ours)
                if not rest.startswith(wanted):
                    return False
                rest = rest[len(wanted) :]
            return True
        return False

    def _rebuilt(self, item: StateItem, document: str, known: Sequence[Version]) -> list[Version]:
        if item.rebuild is None or document:
            return []
        like = self._like(item, known)
        try:
            data = self._rebuilder.rebuild(item, self._encoding(item, known), like.uid, now_ns=self._ground.now_ns)
        except (RecoverdError, OSError, ValueError) as error:
            self._notes.append(f"{item.name} can't be rebuilt: {error}")
            return []
        return self._valid(item, data, like, Origin.REBUILD)

    def _initial(self, item: StateItem, document: str, known: Sequence[Version]) -> list[Version]:
        if item.initial is None or document:
            return []
        if item.initial.path is not None:
            data = base64.b64decode(item.initial.content)
        else:
            try:
                data = encode(item.initial.document, self._encoding(item, known))
            except RecoverdError as error:
                self._notes.append(f"the initial document of {item.name} can't be written: {error}")
                return []
        return self._valid(item, data, self._like(item, known), Origin.INITIAL)

    def _valid(self, item: StateItem, data: bytes, like: Entry, origin: Origin) -> list[Version]:
        judgement = self._ground.judges[item.name].judge("", data)
        emptied_on_purpose = origin is Origin.INITIAL and judgement.verdict is Verdict.RESET
        if judgement.verdict is not Verdict.OK and not emptied_on_purpose:
            why = judgement.problems[0] if judgement.problems else judgement.verdict
            self._notes.append(f"{item.name}: what {origin} gives is not valid: {why}")
            return []
        now_ns = self._ground.now_ns
        entry = self._gathered.put(replace(like, mtime_ns=now_ns, hard_link=None), data)
        return [Version(0, now_ns, entry, origin=origin, label=origin.value)]

    # -- what it is to look like --------------------------------------------------------------------------

    def _encoding(self, item: StateItem, known: Sequence[Version]) -> Encoding:
        """As its known-good version is written, else as what is left of it; indented by two where nothing tells."""
        data = b""
        with suppress(DamagedObject, OSError):
            good = next((version.entry for version in known if version.entry is not None), None)
            if good is not None:
                pieces = self._ground.source.file_chunks(good)
                data = b"".join(piece for piece in pieces if isinstance(piece, bytes))
            else:
                fd = self._open(item, "")
                try:
                    data = os.pread(fd, BLOCK_SIZE, 0)
                finally:
                    os.close(fd)
        kind = item.format
        if kind is Format.AUTO:
            kind = detection.format_of(data, item.path, structured=item.schema is not None)
        if kind is Format.OPAQUE:
            kind = Format.JSON
        if data.strip(b"\0 \t\r\n"):
            return describe(data, kind)
        return Encoding(kind, indent="  " if kind is Format.JSON else None)

    def _like(self, item: StateItem, known: Sequence[Version]) -> Entry:
        """Owner, mode and attributes: of the known-good version, of what lies there, else of the directory above."""
        good = next((version.entry for version in known if version.entry is not None), None)
        live = good or self._live(item, "")
        if live is not None:
            return live
        name = os.path.basename(item.path)
        with suppress(OSError):
            parent, _ = open_parent(item.path)
            try:
                status = os.fstat(parent)
            finally:
                os.close(parent)
            return replace(file_entry(name, status, "", 0), mode=status.st_mode & 0o666)
        return Entry(name, "file", 0o600, os.geteuid(), os.getegid(), "", "", 0, 0, "")

    def _live(self, item: StateItem, document: str) -> Entry | None:
        """What lies there now, if it is a file."""
        with suppress(OSError):
            fd = self._open(item, document)
            try:
                return file_entry((document or item.path).rpartition("/")[2], os.fstat(fd), "", 0)
            finally:
                os.close(fd)
        return None

    def _open(self, item: StateItem, document: str) -> int:
        """The live document, opened for reading. Raises OSError."""
        if not document:
            directory, name = open_parent(item.path)
        else:
            directory = open_declared_directory(item.path)
            *above, name = document.split("/")
            for part in above:
                below = open_directory_at(directory, part)
                os.close(directory)
                directory = below
        try:
            lstat_at(directory, name)
            return open_regular(directory, name)
        finally:
            os.close(directory)


def _parents(known: Sequence[Version]) -> tuple[Entry, ...]:
    """The directories above a document, as its known-good version has them."""
    return known[0].parents if known else ()


def _blocks(fd: int) -> Iterator[bytes]:
    """The content of an open file."""
    at = 0
    while block := os.pread(fd, BLOCK_SIZE, at):
        yield block
        at += len(block)
