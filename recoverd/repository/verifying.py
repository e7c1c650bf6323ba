"""Verify: read everything, or a rotating sample, and name what is damaged and whom it hurts.

A sample reads whole packs in the order of their names, from where the last one stopped. Names are hashes, so new
packs fall anywhere in that order and can't starve old ones: each sample goes on by its share, until a round is full.
Records and marks are few bytes and are read each time. That every object that something refers to is there is looked up
for all that was read; all trees are walked when everything is verified, and to name what damage hurts.

A verify writes nothing but what the catalog knows of damage and the place where it stopped.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from recoverd.errors import RepositoryError
from recoverd.repository import layout, verify_record
from recoverd.repository.blocks import BLOCKS_HEAD
from recoverd.repository.marks import decode_marks
from recoverd.repository.objects import Reader
from recoverd.repository.pack_check import PackReport, check_pack
from recoverd.repository.packs import SUFFIX
from recoverd.repository.references import References, Root, Shape
from recoverd.repository.snapshots import decode_snapshot, is_service_name, sequence_of
from recoverd.repository.store import Repository
from recoverd.repository.trees import EMPTY_TREE, PARTS_HEAD, TREE_HEAD
from recoverd.repository.verify_record import Damage, VerifyRecord
from recoverd.system import clock
from recoverd.system.durable import open_own, open_own_fd
from recoverd.values import dataclass, replace

Told = Callable[[int], None]

_REFERRING = (TREE_HEAD, PARTS_HEAD, BLOCKS_HEAD)
_REFERENCE = re.compile(rb'"(?:hash|blocks)":"([0-9a-f]{64})"')
_LISTED = re.compile(rb'"([0-9a-f]{64})"')
_TOGETHER = 5000  # references that are looked up at once
_SAVED_EVERY_S = 30.0
_log = logging.getLogger("recoverd.repository")


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, and all damage that is known now: found by this run, or by an earlier one and not read again."""

    checked_bytes: int
    objects: int
    packs: int  # that were read
    of_packs: int  # that there are
    damage: tuple[Damage, ...]
    hurt: tuple[str, ...]  # snapshots
    lost: Mapping[str, Shape]  # objects that something refers to and of which no intact copy is stored
    reports: tuple[PackReport, ...] = ()  # of damaged packs
    needed: frozenset[str] = frozenset()  # of the objects in these packs: those that something refers to


def verify(
    repository: Repository,
    *,
    sample: float | None = None,
    only: Collection[str] | None = None,
    told: Told | None = None,
) -> Verified:
    """Verify all of a repository, or a `sample` of its packs (0 < share <= 1), or `only` some packs and all trees.

    `told` gets bytes as they are read.

    Packs stay until it returns. Raises LockHeld while a prune deletes packs, RepositoryError.
    """
    with repository.reader() as reader:
        return Verification(repository, reader, told or (lambda _: None)).run(sample, only)


def bytes_to_read(repository: Repository, sample: float | None) -> int:
    """How much `verify` will read of packs, about. Raises RepositoryError."""
    return round(repository.statistics().size_bytes * (1.0 if sample is None else sample))


class Verification:
    """One run. `reader` holds the lock that keeps packs where they are."""

    def __init__(self, repository: Repository, reader: Reader, told: Told) -> None:
        self._repository = repository
        self._catalog = repository.catalog
        self._reader = reader
        self._told = told
        self._now_ns = clock.now_ns()
        self._bytes = self._objects = 0
        self._referred: set[str] = set()  # that were not looked up yet
        self._astray: set[str] = set()  # referred to and not stored, by something that was read
        self._reports: list[PackReport] = []
        self._was_in: dict[str, str] = {}  # object -> pack, of packs that are gone or of another size than they had

    def run(self, sample: float | None, only: Collection[str] | None = None) -> Verified:
        """With `only`, read these packs alone, and walk all trees. Raises RepositoryError."""
        remembered = verify_record.load(self._repository.state_dir, self._repository.id)
        if sample is None:
            self._catalog.trust.examine()
        try:
            packs = self._catalog.listed()
            known = self._catalog.packs()
            self._was_in = self._catalog.trust.objects_of(x for x, size in known.items() if packs.get(x) != size)
            self._catalog.catch_up()
        except OSError as error:
            raise RepositoryError(f"the packs can't be listed: {error.strerror or error}") from None
        self._believe(remembered, packs)
        roots, damage = self._records()
        chosen, complete = choose(packs, remembered.position, sample)
        if only is not None:
            chosen, complete = sorted(packs.keys() & only), False
        saved_s = clock.monotonic_s()
        for name in chosen:
            self._pack(name)
            if sample is not None and clock.monotonic_s() - saved_s > _SAVED_EVERY_S:
                saved_s = clock.monotonic_s()
                self._save(replace(remembered, position=name))  # a sample that is broken off is not begun anew
        self._look_up()
        kept = [
            one
            for one in remembered.damage
            if one.pack in packs and one.pack not in chosen and one.object is None and one.path is None
        ]
        found = self._assess(roots, whole=sample is None)
        hurt = dict.fromkeys([*(x for one in damage for x in one.snapshots), *found[1]])
        damage = [*damage, *found[0], *kept]
        result = Verified(
            self._bytes,
            self._objects,
            len(chosen),
            len(packs),
            tuple(damage),
            tuple(hurt),
            found[2],
            tuple(self._reports),
            found[3],
        )
        self._save(
            VerifyRecord(
                self._repository.id,
                self._now_ns,
                self._now_ns if complete else remembered.complete_ns,
                chosen[-1] if chosen and sample is not None and only is None else remembered.position,
                len(damage),
                tuple(replace(one, snapshots=one.snapshots[:3], files=one.files[:3]) for one in damage),
                result.hurt,
            )
        )
        return result

    # --- records and marks

    def _records(self) -> tuple[list[Root], list[Damage]]:
        """What all snapshots refer to, and the records and marks that are damaged."""
        roots: list[Root] = []
        damage: list[Damage] = []
        for service, sequence, path in self._files(layout.SNAPSHOTS):
            name = f"{service}/{sequence}"
            try:
                with open_own(f"{self._repository.path}/{path}") as file:
                    data = file.read()
                self._count(len(data))
                snapshot = decode_snapshot(data, service, sequence)
            except FileNotFoundError:
                continue  # pruned meanwhile
            except (RepositoryError, OSError) as error:
                damage.append(Damage(_why(error), path=path, snapshots=(name,)))
                continue
            for item in snapshot.items.values():
                roots += [Root(name, item.path, tree) for tree in dict.fromkeys((item.root, item.good)) if tree]
        for service, sequence, path in self._files(layout.MARKS):
            try:
                with open_own(f"{self._repository.path}/{path}") as file:
                    data = file.read()
                self._count(len(data))
                decode_marks(data)
            except FileNotFoundError:
                continue
            except (ValueError, RepositoryError, OSError) as error:
                why = f"the marks of snapshot {service}/{sequence} can't be read: {_why(error)}"
                damage.append(Damage(why, path=path, snapshots=(f"{service}/{sequence}",)))
        return roots, damage

    def _files(self, kind: str) -> Iterator[tuple[str, int, str]]:
        """(service, sequence, path below the repository) of all records, or marks."""
        base = f"{self._repository.path}/{kind}"
        try:
            services = sorted(os.listdir(base))
            for service in services:
                if is_service_name(service) and os.path.isdir(f"{base}/{service}"):
                    for name in sorted(os.listdir(f"{base}/{service}")):
                        sequence = sequence_of(name)
                        if sequence is not None:
                            yield service, sequence, f"{kind}/{service}/{name}"
        except FileNotFoundError:
            return
        except OSError as error:
            raise RepositoryError(f"{base} can't be listed: {error.strerror or error}") from None

    # --- packs

    def _pack(self, name: str) -> None:
        path = f"{self._repository.packs_path}/{name[:2]}/{name}{SUFFIX}"
        try:
            fd = open_own_fd(path)
        except FileNotFoundError:
            return  # what it held is looked for below
        except OSError as error:
            why = f"it can't be opened: {error.strerror or error}"
            another = error.errno in {errno.EINVAL, errno.EISDIR, errno.ELOOP}  # no file lies there
            self._reports.append(PackReport(name, 0, {}, {}, why, out_of_reach=not another))
            return
        try:
            report = check_pack(fd, name, look=lambda _, data: self._look(data), read=self._count)
        finally:
            os.close(fd)
        if not report.unknown_version:
            known = self._catalog.trust.of_pack(name)
            bad = {*report.damaged, *((name,) if not report.intact else ())}
            listed = report.everything
            if bad != known or not self._catalog.trust.agrees(name, listed):
                self._catalog.trust.correct(name, report.size_bytes, listed, bad, self._now_ns)
        if not report.intact:
            self._reports.append(report)

    def _look(self, data: bytes) -> None:
        """An intact object: what it refers to must be stored."""
        self._objects += 1
        if data.startswith(_REFERRING):
            pattern = _REFERENCE if data.startswith(TREE_HEAD) else _LISTED
            self._referred.update(found.decode() for found in pattern.findall(data))
            if len(self._referred) > _TOGETHER:
                self._look_up()

    def _look_up(self) -> None:
        self._referred.discard(EMPTY_TREE)
        self._astray |= self._referred - self._catalog.known(self._referred)
        self._referred.clear()

    def _believe(self, remembered: VerifyRecord, packs: Iterable[str]) -> None:
        """A catalog that was lost since forgot what is damaged."""
        known = self._catalog.trust.distrusted()
        present = set(packs)
        copies = [(one.object, one.pack) for one in remembered.damage if one.object and one.pack in present]
        forgotten = [(key, pack) for key, pack in copies if pack and pack not in known.get(key, ())]
        self._catalog.trust.distrust(forgotten, self._now_ns)

    # --- what it means

    def _assess(
        self, roots: list[Root], *, whole: bool
    ) -> tuple[list[Damage], tuple[str, ...], Mapping[str, Shape], frozenset[str]]:
        """Damage of objects and packs, snapshots that are hurt, lost objects, and what damaged packs hold that is
        needed. Trees are walked when everything is verified, or when something may be lost."""
        bad = self._catalog.trust.distrusted()
        for report in self._reports:
            for key in report.damaged:
                bad.setdefault(key, set()).add(report.name)
        missing_roots = {one.tree for one in roots} - {EMPTY_TREE}
        missing_roots -= self._catalog.known(missing_roots)
        damage: list[Damage] = []
        lost: Mapping[str, Shape] = {}
        hurt: tuple[str, ...] = ()
        needed: frozenset[str] = frozenset()
        why = {key: text for report in self._reports for key, text in report.damaged.items()}
        named: set[str] = set()
        if whole or bad or missing_roots or self._astray or self._reports or self._catalog.trust.missing():
            held = {key for report in self._reports for key in report.index} | bad.keys()
            with References(self._reader, self._stored(bad), held) as references:
                references.add(roots)
                for one in references.losses():
                    named.add(one.object)
                    copies: list[str | None] = [*sorted(bad.get(one.object, ()))]
                    for pack in copies or [self._was_in.get(one.object)]:
                        problem = why.get(one.object, "it can't be read") if copies else one.problem
                        damage.append(Damage(problem, one.object, pack, None, one.snapshots, one.files, one.more))
                lost, hurt, needed = references.shapes, references.hurt, frozenset(references.needed)
        self._catalog.trust.set_missing([key for key in lost if key not in bad], self._now_ns)
        for key in sorted(bad.keys() - named):
            for pack in sorted(bad[key]):
                problem = why.get(key, "it can't be read")
                more = "another copy is intact" if key in needed else "nothing that can be read needs it"
                damage.append(Damage(f"{problem}; {more}", key, pack))
        damage += [
            Damage(one.problem, pack=one.name) for one in self._reports if one.problem is not None and not one.damaged
        ]
        return damage, hurt, lost, needed

    def _stored(self, bad: dict[str, set[str]]) -> Callable[[Iterable[str]], dict[str, int]]:
        """Sizes of what is intact, also where the catalog could not be told of damage, and can be read."""
        unread = {report.name for report in self._reports if report.out_of_reach}

        def sizes(hashes: Iterable[str]) -> dict[str, int]:
            found = self._catalog.trust.sizes(hashes)
            for key in list(found) if unread else found.keys() & bad.keys():
                if {pack for pack, _ in self._catalog.locations(key)} <= bad.get(key, set()) | unread:
                    del found[key]
            return found

        return sizes

    def _count(self, size: int) -> None:
        self._bytes += size
        self._told(size)

    def _save(self, record: VerifyRecord) -> None:
        try:
            verify_record.save(self._repository.state_dir, record)
        except OSError as error:
            _log.debug("what was verified is not remembered: %s", error)


def choose(packs: dict[str, int], position: str, sample: float | None) -> tuple[list[str], bool]:
    """The packs to read now, in the order of their names from after `position`, and whether that ends a round.

    `packs`: bytes by name. A sample takes packs until it has its share of all bytes, and at least one.
    """
    names = sorted(packs)
    if sample is None:
        return names, True
    start = next((at for at, name in enumerate(names) if name > position), 0)
    wanted = sample * sum(packs.values())
    chosen: list[str] = []
    taken = 0
    for name in names[start:] + names[:start]:
        if chosen and taken >= wanted:
            break
        chosen.append(name)
        taken += packs[name]
    return chosen, start + len(chosen) >= len(names)


def _why(error: Exception) -> str:
    if isinstance(error, RepositoryError):
        return error.message
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
