"""What `check` looks at of the spare."""

from __future__ import annotations

import os

from recoverd.errors import RepositoryError
from recoverd.health.facts import Space, SpareFacts
from recoverd.operations.context import Context
from recoverd.repository.store import Repository
from recoverd.repository.two_places import TwoPlaces
from recoverd.system import mounts
from recoverd.values import replace


def spare_facts(context: Context, repository: Repository | None, *, first_writable: bool) -> SpareFacts:
    """`repository`: what was opened, None where neither place could be."""
    path = context.config.repository.spare or ""
    places = repository if isinstance(repository, TwoPlaces) else None
    facts = SpareFacts(path, exists=False, first_writable=first_writable)
    if places is None or places.spare is None:
        problem = places.no_spare if places is not None else None
        return replace(facts, exists=problem is not None, error=problem)
    spare = places.spare
    try:
        figures = spare.statistics()
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            space, device = Space(*mounts.free_bytes(fd)), os.fstat(fd).st_dev
        finally:
            os.close(fd)
    except (RepositoryError, OSError) as error:
        sentence = error.message if isinstance(error, RepositoryError) else f"{path}: {error.strerror or error}"
        return replace(facts, exists=True, error=sentence)
    written = (path, spare.packs_path, f"{path}/snapshots", spare.state_dir)
    return replace(
        facts,
        exists=True,
        writable=all(os.access(one, os.W_OK | os.X_OK) for one in written),
        snapshots=figures.snapshots,
        size_bytes=figures.size_bytes,
        space=space,
        # a first one that is not in use may hang whoever looks at it
        same_file_system=places.first is not None and _device(places.first.path) == device,
    )


def _device(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None
