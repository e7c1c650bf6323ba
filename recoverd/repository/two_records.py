"""What recoverd remembers of services, in two places: in the state directory, and in the spare where that fails.

Each change counts up the record's `revision`, so whichever place has the higher one has the newer record, and the next
change that reaches the first place brings all of it there.
"""

from __future__ import annotations

from collections.abc import Callable

from recoverd.errors import RepositoryError
from recoverd.repository.records import ServiceRecord
from recoverd.repository.service_records import ServiceRecords
from recoverd.values import replace

Change = Callable[[ServiceRecord], ServiceRecord]


class TwoServiceRecords(ServiceRecords):
    """`first` and `spare` are directories; None: not to be touched (a file system that does not answer, none there).

    `make_spare` creates the spare when a record can't be written to the first, and returns its directory. It raises
    RepositoryError when it can't.
    """

    def __init__(self, first: str | None, spare: str | None, make_spare: Callable[[], str]) -> None:
        super().__init__(first or spare or "")
        self._first = ServiceRecords(first) if first is not None else None
        self._spare = ServiceRecords(spare) if spare is not None else None
        self._make_spare = make_spare

    def get(self, service: str) -> ServiceRecord:
        """The newer of the two. Raises RepositoryError for one of a newer version."""
        return newest(*(place.get(service) for place in (self._first, self._spare) if place is not None))

    def update(self, service: str, change: Change) -> ServiceRecord:
        """Replace the record durably in the first place, else in the spare.

        Raises RepositoryError for one of a newer version, and OSError when neither can be written.
        """
        problem: OSError | None = None
        if self._first is not None:
            try:
                return self._first.update(service, _onto(self._spare, service, change))
            except OSError as error:
                problem = error
        try:
            if self._spare is None:
                self._spare = ServiceRecords(self._make_spare())
            return self._spare.update(service, _onto(self._first, service, change))
        except (OSError, RepositoryError):
            if problem is not None:
                raise problem from None
            raise

    def remove(self, service: str) -> None:
        """In both: an older one would come back. Raises LockHeld, OSError."""
        for place in (self._spare, self._first):
            if place is not None:
                place.remove(service)


def _onto(other: ServiceRecords | None, service: str, change: Change) -> Change:
    """The change as it is made in one place, on top of what the other may know better."""

    def apply(record: ServiceRecord) -> ServiceRecord:
        before = newest(record) if other is None else newest(record, other.get(service))
        after = change(before)
        return before if after == before else replace(after, revision=before.revision + 1)

    return apply


def newest(*records: ServiceRecord) -> ServiceRecord:
    """The record that was changed last, with the highest next sequence of all: none is used twice."""
    if not records:
        return ServiceRecord()
    following = max(record.next_sequence for record in records)
    return replace(max(records, key=lambda record: record.revision), next_sequence=following)
