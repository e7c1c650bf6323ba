"""When a capture reads everything, whatever the stat cache believes."""

from __future__ import annotations

from recoverd.repository.store import Repository

FULL_READ = "full-read"  # in the run history
FULL_READ_EVERY_NS = 24 * 3600 * 1_000_000_000


def full_read_due(repository: Repository, service: str, now_ns: int) -> bool:
    """Once a day everything is read, whatever the stat cache believes (memory-mapped writers, odd file systems), and
    once after damage was found in the repository: what is still there is stored anew.

    Without a record of one (a new service, a lost catalog) there is no stat cache either, and all is read anyway.
    """
    last = repository.catalog.runs(service, FULL_READ, 1)
    damaged_ns = repository.catalog.trust.distrusted_ns()
    if last and damaged_ns is not None and last[0].time_ns <= damaged_ns <= now_ns:
        return True
    return not last or not 0 <= now_ns - last[0].time_ns < FULL_READ_EVERY_NS
