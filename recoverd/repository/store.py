"""The repository: where snapshots live. Readers, the writer, and the records around the objects."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from recoverd.errors import RecoverdError, RepositoryError, os_hint
from recoverd.repository import layout
from recoverd.repository.catalog import CachedRecord, Catalog
from recoverd.repository.history import History, history_of, quick_history
from recoverd.repository.layout import Format
from recoverd.repository.marks import MarksDirectory
from recoverd.repository.records import Marks, ServiceRecord, Snapshot, SnapshotDraft
from recoverd.repository.service_records import ServiceRecords
from recoverd.repository.snapshots import (
    decode_snapshot,
    encode_snapshot,
    from_draft,
    is_instance_name,
    is_service_name,
    record_name,
    sequence_of,
)
from recoverd.repository.statistics import Statistics, directories, measured
from recoverd.system import durable, locks
from recoverd.system.locks import FileLock
from recoverd.values import replace

if TYPE_CHECKING:
    from recoverd.repository.objects import Reader
    from recoverd.repository.writer import Writer

_log = logging.getLogger("recoverd.repository")


class Repository:
    """An open repository. `state_dir` is where its catalog and the records of services are.

    Opening takes no lock and reads one small file.
    """

    def __init__(
        self, path: str, state_dir: str, format: Format, compression: int, records: ServiceRecords | None = None
    ) -> None:
        self.path = path
        self.state_dir = state_dir
        self.format = format
        self.in_spare_because: str | None = None  # why captures go to the spare, where they do
        self._compression = compression
        self.service_records = ServiceRecords(f"{state_dir}/services") if records is None else records
        self._decoded: dict[str, dict[int, tuple[int, int, Snapshot]]] = {}
        self._unreadable: dict[str, dict[int, str]] = {}
        self._lock = threading.Lock()
        self.catalog = Catalog(f"{state_dir}/catalog.sqlite", self.packs_path, format.id)

    @staticmethod
    def create(path: str, *, compression: int = 3) -> None:
        """Create an empty repository, durably. `compression` is the zstd level of its packs.

        Raises RepositoryError when something is there already, or it can't be created.
        """
        layout.create_layout(path, compression=compression)

    @staticmethod
    def open(
        path: str, *, state_dir: str, compression: int | None = None, records: ServiceRecords | None = None
    ) -> Repository:
        """Open what `create` made. `compression` (zstd level) overrides the one of the repository; `records` are what
        is remembered of services, where that is not in `state_dir` alone.

        Raises RepositoryError when there is none, or it is damaged, unreadable or of another format.
        """
        found = layout.read_format(path)
        return Repository(path, state_dir, found, found.compression if compression is None else compression, records)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog; it is opened again when it is needed."""
        self.catalog.close()

    @property
    def id(self) -> str:
        return self.format.id

    @property
    def packs_path(self) -> str:
        return f"{self.path}/{layout.PACKS}"

    def reader(self) -> Reader:
        """A reader; while it is open no pack is deleted. Raises LockHeld while a prune deletes packs."""
        from recoverd.repository.objects import Reader  # late: `check` reads records only

        return Reader(self.packs_path, self.catalog, self._readers_lock())

    def writer(self, *, wait_s: float, what: str) -> Writer:
        """The writer; waits up to `wait_s` seconds for another one. `what` names the work for the log.

        Raises LockHeld, which names the other one, and RepositoryError.
        """
        try:
            lock = locks.acquire(f"{self.path}/{layout.WRITER_LOCK}", wait_s=wait_s, what="the repository")
        except OSError as error:
            raise RepositoryError(
                f"the repository {self.path} can't be locked: {error.strerror or error}", hint=os_hint(error)
            ) from None
        _log.debug("writing to the repository: %s", what)
        try:
            return self._writer(lock)
        except BaseException:
            lock.release()
            raise

    def _writer(self, lock: FileLock) -> Writer:
        from recoverd.repository.writer import Writer

        return Writer(
            self.packs_path,
            self.catalog,
            lock,
            compression=self._compression,
            sequence=self.next_sequence,
            record=self._write_record,
        )

    def service_lock(self, service: str, *, wait_s: float, what: str) -> FileLock:
        """The lock under which a service is captured, restored or accepted. `what` says so in the error.

        Raises LockHeld, RepositoryError.
        """
        _check_service(service)
        try:
            path = f"{self.path}/{layout.LOCKS}/{service}.lock"
            return locks.acquire(path, wait_s=wait_s, what=what or f"service {service}")
        except OSError as error:
            raise RepositoryError(
                f"service {service} can't be locked: {error.strerror or error}", hint=os_hint(error)
            ) from None

    # --- snapshots

    def services(self) -> list[str]:
        """The services that have snapshots, sorted. Raises RepositoryError."""
        return sorted(name for name in self._list("") if is_service_name(name) and self.sequences(name))

    def sequences(self, service: str) -> list[int]:
        """The sequences of all records of a service, readable or not, ascending. Raises RepositoryError."""
        _check_service(service)
        return sorted(sequence for name in self._list(service) if (sequence := sequence_of(name)) is not None)

    def snapshots(self, service: str) -> list[Snapshot]:
        """The snapshots of a service, ascending by sequence. Those whose record is damaged are left out, and told by
        `unreadable_records`. Raises RepositoryError when records can't be listed."""
        sequences = self.sequences(service)
        with self._lock:
            decoded = self._decode(service, sequences)
            return [decoded[n][2] for n in sequences if n in decoded]

    def unreadable_records(self, service: str) -> dict[int, str]:
        """Why a record can't be read, by sequence. While there is one, no data is deleted. Raises RepositoryError."""
        self.snapshots(service)
        return dict(self._unreadable.get(service, {}))

    def history(self, service: str) -> History:
        """What is to be told of all its snapshots. Raises RepositoryError when records can't be listed."""
        stamps: dict[int, tuple[int, int]] = {}
        for sequence in self.sequences(service):
            with suppress(OSError):  # then the catalog knows of one more
                status = os.lstat(self.record_path(service, sequence))
                stamps[sequence] = status.st_size, status.st_mtime_ns
        found = quick_history(service, stamps, self.catalog.cached_records(service)) if stamps else None
        return found or history_of(self.snapshots(service), len(self.unreadable_records(service)))

    def snapshot(self, service: str, sequence: int) -> Snapshot:
        """One snapshot. Raises RepositoryError when there is none, or its record is damaged."""
        _check_service(service)
        try:
            with durable.open_own(self.record_path(service, sequence)) as file:
                return decode_snapshot(file.read(), service, sequence)
        except (FileNotFoundError, ValueError):
            raise RepositoryError(
                f"there is no snapshot {service}/{sequence}", hint=f"`recoverd list {service}` shows what there is"
            ) from None
        except OSError as error:
            raise RepositoryError(
                f"the record of {service}/{sequence} can't be read: {error.strerror}", hint=os_hint(error)
            ) from None

    def newest(self, service: str) -> Snapshot | None:
        """The newest readable snapshot that was not imported. Raises RepositoryError when records can't be listed."""
        for sequence in reversed(self.sequences(service)):
            try:
                snapshot = self.snapshot(service, sequence)
            except RepositoryError as error:
                _log.warning("%s", error.message)
                continue
            if not snapshot.imported:
                return snapshot
        return None

    # --- what changes

    def marks(self, service: str, sequence: int) -> Marks:
        """The marks of one snapshot; `pinned` when they are damaged."""
        return self.marks_of(service).get(sequence)

    def all_marks(self, service: str) -> dict[int, Marks]:
        """The marks of all snapshots that have any, by sequence. Raises RepositoryError."""
        try:
            return self.marks_of(service).all()
        except OSError as error:
            raise RepositoryError(
                f"the marks of {service} can't be listed: {error.strerror}", hint=os_hint(error)
            ) from None

    def set_marks(self, service: str, sequence: int, change: Callable[[Marks], Marks]) -> Marks:
        """Replace the marks of a snapshot durably. Raises RepositoryError, also when there is no such snapshot."""
        if sequence not in self.sequences(service):
            raise RepositoryError(f"there is no snapshot {service}/{sequence}")
        try:
            self.settle_records(service)
            return self.marks_of(service).change(sequence, change)
        except OSError as error:
            raise RepositoryError(
                f"the marks of {service}/{sequence} can't be written: {error.strerror}", hint=os_hint(error)
            ) from None

    def marks_of(self, service: str) -> MarksDirectory:
        _check_service(service)
        return MarksDirectory(f"{self.path}/{layout.MARKS}/{service}")

    def record(self, service: str) -> ServiceRecord:
        """What recoverd remembers of a service; defaults when nothing is there or it is damaged."""
        _check_service(service)
        return self.service_records.get(service)

    def update_record(self, service: str, change: Callable[[ServiceRecord], ServiceRecord]) -> ServiceRecord:
        """Replace the record of a service durably, under a short lock. Raises RepositoryError."""
        _check_service(service)
        try:
            return self.service_records.update(service, change)
        except OSError as error:
            raise RepositoryError(
                f"the record of {service} can't be written: {error.strerror or error}", hint=os_hint(error)
            ) from None

    def next_sequence(self, service: str) -> int:
        """The sequence of the next snapshot; never one that was used before, also where its record was lost since.
        Raises RepositoryError."""
        used = max(max(self.sequences(service), default=0), self.marks_of(service).highest())
        return max(self.record(service).next_sequence, used + 1)

    def statistics(self) -> Statistics:
        """Bytes and numbers, from listing alone. Raises RepositoryError."""
        try:
            return measured(self.packs_path, f"{self.path}/{layout.SNAPSHOTS}")
        except OSError as error:
            raise RepositoryError(
                f"the repository {self.path} can't be listed: {error.strerror}", hint=os_hint(error)
            ) from None

    # --- for the writer and for pruning

    def place_to_prune(self, doomed: Mapping[str, Sequence[int]]) -> Repository:  # noqa: ARG002
        """Whose packs a prune of these sequences looks at: of this one, for there is no other place."""
        return self

    def exclusive_readers_lock(self) -> FileLock:
        """The lock under which packs may be deleted. Raises LockHeld at once when somebody reads, and OSError."""
        return locks.acquire(f"{self.path}/{layout.READERS_LOCK}", what="the repository")

    def delete_records(self, service: str, sequences: list[int]) -> None:
        """Delete records, durably, and then their marks. The sequences are not used again. Raises OSError."""
        highest = max(self.sequences(service), default=0)
        if highest in sequences:
            self.update_record(service, lambda record: _past(record, highest))
        directory = os.open(f"{self.path}/{layout.SNAPSHOTS}/{service}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for sequence in sequences:
                os.unlink(record_name(sequence), dir_fd=directory)
            durable.fsync_directory(directory)
        finally:
            os.close(directory)
        self.marks_of(service).forget(sequences)

    def settle_records(self, service: str | None = None) -> None:
        """Make durable which records there are, of one service or of all, before something else relies on it.

        Who was killed left names that the next power cut takes back, or deletions that it undoes. Raises
        RepositoryError.
        """
        above = f"{self.path}/{layout.SNAPSHOTS}"
        try:
            for directory in directories(above) if service is None else [f"{above}/{service}"]:
                durable.settle_directory(directory)
        except OSError as error:
            raise RepositoryError(
                f"the snapshots in {self.path} can't be brought to the disk: {error.strerror}", hint=os_hint(error)
            ) from None

    def remove_leftovers(self) -> None:
        """Delete what processes that are gone left half written beside records and marks. Raises OSError."""
        places = [self.path, self.state_dir, f"{self.state_dir}/services"]
        for name in (layout.SNAPSHOTS, layout.MARKS):
            places += directories(f"{self.path}/{name}")
        for place in places:
            if os.path.isdir(place):
                layout.remove_leftovers(place)

    def record_path(self, service: str, sequence: int) -> str:
        """Where a snapshot's record is. Raises ValueError for what can't be a sequence."""
        return f"{self.path}/{layout.SNAPSHOTS}/{service}/{record_name(sequence)}"

    def _write_record(self, draft: SnapshotDraft, sequence: int, new_bytes: int) -> Snapshot:
        _check_service(draft.service)
        snapshot = from_draft(draft, sequence=sequence, new_bytes=new_bytes)
        path = self.record_path(snapshot.service, sequence)
        durable.make_directories(os.path.dirname(path))
        layout.remove_leftovers(os.path.dirname(path))
        durable.write_path(path, encode_snapshot(snapshot))
        return snapshot

    def _readers_lock(self) -> FileLock | None:
        path = f"{self.path}/{layout.READERS_LOCK}"
        try:
            return locks.acquire(path, exclusive=False, wait_s=30.0, what="the repository")
        except OSError as error:
            if error.errno in {errno.EROFS, errno.ENOENT}:
                return None  # a read-only medium on which nobody can delete anything
            raise RepositoryError(
                f"the repository {self.path} can't be locked: {error.strerror or error}", hint=os_hint(error)
            ) from None

    def _list(self, service: str) -> list[str]:
        try:
            return os.listdir(f"{self.path}/{layout.SNAPSHOTS}/{service}")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise RepositoryError(
                f"the snapshots in {self.path} can't be listed: {error.strerror}", hint=os_hint(error)
            ) from None

    def _decode(self, service: str, sequences: list[int]) -> dict[int, tuple[int, int, Snapshot]]:
        """Bring what is decoded in line with the files: from memory, else from the catalog, else from the files."""
        decoded = self._decoded.setdefault(service, {})
        unreadable: dict[int, str] = {}
        cached: dict[int, CachedRecord] | None = None
        fresh: dict[int, CachedRecord] = {}
        for sequence in sequences:
            path = self.record_path(service, sequence)
            try:
                status = os.lstat(path)
                stamp = status.st_size, status.st_mtime_ns
                known = decoded.get(sequence)
                if known is not None and known[:2] == stamp:
                    continue
                decoded.pop(sequence, None)
                if cached is None:
                    cached = self.catalog.cached_records(service)
                row = cached.get(sequence)
                snapshot = None
                if row is not None and (row.size, row.mtime_ns) == stamp:
                    with suppress(RepositoryError):  # then it is the catalog that is damaged
                        snapshot = decode_snapshot(row.record, service, sequence)
                if snapshot is None:
                    with durable.open_own(path) as file:
                        row = fresh[sequence] = CachedRecord(*stamp, file.read())
                    snapshot = decode_snapshot(row.record, service, sequence)
                decoded[sequence] = (*stamp, snapshot)
            except FileNotFoundError:
                decoded.pop(sequence, None)  # deleted since it was listed
            except RepositoryError as error:
                fresh.pop(sequence, None)
                unreadable[sequence] = error.message
            except OSError as error:
                unreadable[sequence] = f"the record of snapshot {service}/{sequence} can't be read: {error.strerror}"
        self._forget(service, set(sequences), cached, fresh)
        for sequence in unreadable.keys() - self._unreadable.get(service, {}).keys():
            _log.warning("%s", unreadable[sequence])
        self._unreadable[service] = unreadable
        return decoded

    def _forget(
        self, service: str, sequences: set[int], cached: dict[int, CachedRecord] | None, fresh: dict[int, CachedRecord]
    ) -> None:
        for sequence in self._decoded[service].keys() - sequences:
            del self._decoded[service][sequence]
        gone = (cached or {}).keys() - sequences
        if gone and max(gone) > max(sequences, default=0):
            with suppress(RecoverdError):  # its number must not be used again; on read-only media nobody will
                if self.record(service).next_sequence <= max(gone):
                    self.update_record(service, lambda record: _past(record, max(gone)))
        if fresh or gone:
            self.catalog.cache_records(service, fresh, gone)


def _past(record: ServiceRecord, sequence: int) -> ServiceRecord:
    return replace(record, next_sequence=max(record.next_sequence, sequence + 1))


def _check_service(service: str) -> None:
    if not is_service_name(service) and not is_instance_name(service):
        raise RepositoryError(f"{service!r} is no name of a service")
