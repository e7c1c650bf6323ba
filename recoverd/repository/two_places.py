"""A repository in two places: the first, and the spare that takes captures while the first can't be written.

Whoever reads sees the snapshots of both as one row of sequences. Whoever writes does so to one of them, `main`: that is
the first, or the spare. Each place is a repository by itself, with all objects that its records need.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from recoverd.errors import LockHeld, RepositoryError, os_hint
from recoverd.repository import layout
from recoverd.repository.history import History, history_of
from recoverd.repository.marks import MarksDirectory
from recoverd.repository.records import Marks, Snapshot, SnapshotDraft
from recoverd.repository.service_records import ServiceRecords
from recoverd.repository.store import Repository
from recoverd.system.locks import FileLock
from recoverd.values import replace

if TYPE_CHECKING:
    from recoverd.repository.both import Roots
    from recoverd.repository.objects import Reader
    from recoverd.repository.writer import Writer

T = TypeVar("T")
STEP = 100_000_000
"""While the first place can't be listed nobody knows its highest sequence: the spare goes on from the next multiple."""

_log = logging.getLogger("recoverd.repository")


class TwoPlaces(Repository):
    """`first` and `spare` are open repositories; at least one of them is given. `in_spare`: captures go to the spare.

    `make_spare` creates the spare when it is first needed, and raises RepositoryError when it can't be.
    """

    def __init__(
        self,
        first: Repository | None,
        spare: Repository | None,
        *,
        in_spare: bool,
        records: ServiceRecords,
        make_spare: Callable[[], Repository],
        why: str | None = None,
        no_spare: str | None = None,
    ) -> None:
        main = spare if in_spare or first is None else first
        if main is None:
            raise ValueError("one of the two places must be there")
        super().__init__(main.path, main.state_dir, main.format, main._compression, records)
        self.first, self.spare, self.main, self.in_spare = first, spare, main, main is spare
        self.why = why  # the first can't be used, where it can't
        self.no_spare = no_spare  # the same of the spare
        self.in_spare_because = why if self.in_spare else None
        self.seen: object = None  # what of the two places this was opened on
        self.catalog = main.catalog
        self._make_spare = make_spare
        self._places = [place for place in (first, spare) if place is not None]

    def over_spare(self, why: str) -> TwoPlaces:
        """The same with captures going to the spare, which is created if need be. Raises RepositoryError."""
        spare = self.spare if self.spare is not None else self._make_spare()
        return TwoPlaces(
            self.first,
            spare,
            in_spare=True,
            records=self.service_records,
            make_spare=self._make_spare,
            why=self.why or why,
        )

    def close(self) -> None:
        for place in self._places:
            place.close()

    @property
    def id(self) -> str:
        """That of the first place while it is there: what is noted under it stays in force."""
        return self._places[0].id

    # --- reading: both places as one

    def services(self) -> list[str]:
        return sorted(set().union(*self._of_each(Repository.services)))

    def sequences(self, service: str) -> list[int]:
        return sorted(set().union(*self._of_each(lambda place: place.sequences(service))))

    def snapshots(self, service: str) -> list[Snapshot]:
        found = {
            snapshot.sequence: snapshot
            for snapshots in reversed(self._of_each(lambda place: place.snapshots(service)))
            for snapshot in snapshots
        }
        return [found[sequence] for sequence in sorted(found)]

    def unreadable_records(self, service: str) -> dict[int, str]:
        """Also those of the spare whose sequence the first has given to another snapshot."""
        found: dict[int, str] = {}
        for unreadable in reversed(self._of_each(lambda place: place.unreadable_records(service))):
            found.update(unreadable)
        readable = {snapshot.sequence for snapshot in self.snapshots(service)}
        found = {sequence: why for sequence, why in found.items() if sequence not in readable}
        return {**found, **{n: self._in_the_way(service, n) for n in self._twice(service)}}

    def history(self, service: str) -> History:
        return history_of(self.snapshots(service), len(self.unreadable_records(service)))

    def snapshot(self, service: str, sequence: int) -> Snapshot:
        problem: RepositoryError | None = None
        for place in self._places:
            if sequence in _listed(place, service):
                try:
                    return place.snapshot(service, sequence)
                except RepositoryError as error:
                    problem = problem or error
        if problem is not None:
            raise problem
        return self.main.snapshot(service, sequence)

    def record_path(self, service: str, sequence: int) -> str:
        holder = self._holder(service, sequence)
        return (holder or self.main).record_path(service, sequence)

    def reader(self) -> Reader:
        """Raises LockHeld while a prune deletes packs in either place, and RepositoryError."""
        readers: list[Reader] = []
        try:
            self._of_each(lambda place: readers.append(place.reader()))
        except BaseException:
            for reader in readers:
                reader.close()
            raise
        if len(readers) == 1:
            return readers[0]
        from recoverd.repository.both import BothReader

        return BothReader(*readers)

    # --- marks: with the record, and of what the first holds in the spare while the first can't be written

    def marks(self, service: str, sequence: int) -> Marks:
        return self.all_marks(service).get(sequence, Marks())

    def all_marks(self, service: str) -> dict[int, Marks]:
        if self.first is None or self.spare is None:
            return self.main.all_marks(service)
        try:
            found = self.first.all_marks(service)
        except RepositoryError as error:
            _log.warning("%s: its snapshots count as pinned", error.message)
            found = dict.fromkeys(_listed(self.first, service), Marks(pinned=True))
        return {**found, **self._noted(service)}

    def set_marks(self, service: str, sequence: int, change: Callable[[Marks], Marks]) -> Marks:
        holder = self._holder(service, sequence)
        if holder is None:
            raise RepositoryError(f"there is no snapshot {service}/{sequence}")
        if holder is self.spare:
            try:
                return holder.set_marks(service, sequence, change)
            except RepositoryError:
                if self._holder(service, sequence) in {None, holder}:
                    raise
                return self.set_marks(service, sequence, change)  # it was taken over meanwhile
        noted = self._noted(service).get(sequence)
        try:
            after = holder.set_marks(service, sequence, lambda marks: change(noted or marks))
        except RepositoryError as error:
            return self._mark_in_spare(service, sequence, change, error)
        if noted is not None and self.spare is not None:
            try:
                self.spare.marks_of(service).forget([sequence])
            except OSError as error:
                raise RepositoryError(
                    f"the marks of {service}/{sequence} can't be written: {error.strerror}", hint=os_hint(error)
                ) from None
        return after

    def _noted(self, service: str) -> dict[int, Marks]:
        """The marks in the spare, but for those of a snapshot whose sequence another one of the first place has."""
        marks = self.spare.all_marks(service) if self.spare is not None else {}
        twice = self._twice(service) if marks else ()
        return {sequence: one for sequence, one in marks.items() if sequence not in twice}

    def _mark_in_spare(
        self, service: str, sequence: int, change: Callable[[Marks], Marks], why: RepositoryError
    ) -> Marks:
        before = self.marks(service, sequence)
        try:
            spare = self.spare if self.spare is not None else self._make_spare()
            # also marks like the default's must be there, to stand before those of the first
            return spare.marks_of(service).change(sequence, lambda _: change(before), always=True)
        except (OSError, RepositoryError):
            raise why from None

    # --- locks and sequences

    def service_lock(self, service: str, *, wait_s: float, what: str) -> FileLock:
        """In both places, so that nobody who sees only one of them works on the service meanwhile."""
        held: list[FileLock] = []
        problem: RepositoryError | None = None
        try:
            for place in self._places:
                try:
                    held.append(place.service_lock(service, wait_s=wait_s, what=what))
                except RepositoryError as error:
                    problem = problem or error
        except LockHeld:
            for lock in held:
                lock.release()
            raise
        if not held and self.spare is None:  # not even an empty file has room there
            return self._make_spare().service_lock(service, wait_s=wait_s, what=what)
        if not held:
            raise problem or AssertionError("there is a place")
        return _Locks(held)

    def next_sequence(self, service: str) -> int:
        """One above all that are known; far above them while the first place can't be listed."""
        record = self.record(service).next_sequence
        spare = max(_listed(self.spare, service), default=0) + 1
        try:
            if self.first is not None:
                return max(record, spare, max(self.first.sequences(service), default=0) + 1)
        except RepositoryError as error:
            _log.debug("sequences of %s in the first place are not known: %s", service, error)
        return max(-(-record // STEP) * STEP + 1, spare)

    def _writer(self, lock: FileLock) -> Writer:
        other = self.first if self.in_spare else self.spare
        try:
            reader = other.reader() if other is not None and other.services() else None
        except RepositoryError as error:
            _log.debug("%s is not read: %s", other.path if other is not None else "", error)
            reader = None
        if reader is None:
            return super()._writer(lock)
        from recoverd.repository.both import BothWriter

        try:
            return BothWriter(
                self.packs_path,
                self.catalog,
                lock,
                compression=self._compression,
                sequence=self.next_sequence,
                record=self._write_record,
                other=reader,
                here=self._newest_here,
            )
        except BaseException:
            reader.close()
            raise

    def _write_record(self, draft: SnapshotDraft, sequence: int, new_bytes: int) -> Snapshot:
        return self.main._write_record(draft, sequence, new_bytes)

    def place_to_prune(self, doomed: Mapping[str, Sequence[int]]) -> Repository:
        """The place that is written to. In the spare, records that are doomed go; its packs wait to be taken over.

        Raises RepositoryError, OSError.
        """
        if self.spare is not None and not self.in_spare:
            for service, sequences in doomed.items():
                there = sorted(set(sequences) & set(_listed(self.spare, service)))
                if there:
                    self.spare.delete_records(service, there)
        return self.main

    def marks_of(self, service: str) -> MarksDirectory:
        return self.main.marks_of(service)

    # --- which place

    def holds_captures(self) -> bool:
        """Whether snapshots are in the spare."""
        return self.spare is not None and bool(_quiet(self.spare.services))

    def is_spare_empty(self) -> bool:
        """Whether the spare holds no snapshot, no pack that was left behind, and no marks of others."""
        if self.spare is None:
            return True
        try:
            figures = self.spare.statistics()
            names = os.listdir(f"{self.spare.path}/{layout.MARKS}")
            return not figures.packs and not figures.snapshots and not any(map(self.spare.all_marks, names))
        except (OSError, RepositoryError) as error:
            _log.debug("what is in %s is not known: %s", self.spare.path, error)
            return True

    def _holder(self, service: str, sequence: int) -> Repository | None:
        return next((place for place in self._places if sequence in _listed(place, service)), None)

    def _newest_here(self, service: str) -> Roots:
        snapshots = self.main.snapshots(service)
        return {name: (item.root, item.good) for name, item in snapshots[-1].items.items()} if snapshots else {}

    def _of_each(self, look: Callable[[Repository], T]) -> list[T]:
        """What each place says; one that can't say anything is passed over unless it is the only one."""
        found: list[T] = []
        problem: RepositoryError | None = None
        for place in self._places:
            try:
                found.append(look(place))
            except RepositoryError as error:
                _log.debug("%s is passed over: %s", place.path, error)
                problem = problem or error
        if not found:
            raise problem or AssertionError("there is a place")
        return found

    def _twice(self, service: str) -> list[int]:
        """The sequences under which the two places have different snapshots."""
        if self.first is None or self.spare is None:
            return []
        first, spare = self.first, self.spare
        ours = {one.sequence: one for one in _quiet(lambda: first.snapshots(service))}
        theirs = _quiet(lambda: spare.snapshots(service))
        return [one.sequence for one in theirs if one.sequence in ours and not same_capture(one, ours[one.sequence])]

    def _in_the_way(self, service: str, sequence: int) -> str:
        path = self.spare.path if self.spare is not None else ""
        return f"another snapshot is {service}/{sequence} too, in {path}: it gets another number when it is taken over"


class _Locks(FileLock):
    """Several locks as one."""

    def __init__(self, locks: list[FileLock]) -> None:
        super().__init__(-1, locks[0].path)
        self._locks = locks

    def release(self) -> None:
        for lock in reversed(self._locks):
            lock.release()

    @property
    def held(self) -> bool:
        return all(lock.held for lock in self._locks)


def same_capture(one: Snapshot, other: Snapshot) -> bool:
    """Whether two records are of one and the same capture: its number may have changed, and what it added."""
    alike = replace(
        one, sequence=other.sequence, parent=other.parent, new_bytes=other.new_bytes, imported=other.imported
    )
    return alike == other


def _listed(place: Repository | None, service: str) -> list[int]:
    return _quiet(lambda: place.sequences(service) if place is not None else [])


def _quiet(look: Callable[[], list[T]]) -> list[T]:
    try:
        return look()
    except RepositoryError as error:
        _log.debug("%s", error)
        return []
