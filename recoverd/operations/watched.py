"""How services are watched for changes: noted by `recoverd run` in the runtime directory, read by `recoverd check`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from recoverd.operations import confirmations
from recoverd.operations.confirmations import Confirmation
from recoverd.operations.context import Context
from recoverd.repository.store import Repository
from recoverd.system import clock, durable
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Watched:
    """How one service is watched. `why`: why it can't be, so that everything is looked at every `look_s` seconds."""

    directories: int = 0
    why: str | None = None
    hint: str | None = None
    look_s: float | None = None


def _path(runtime_dir: str, repository: Repository) -> str:
    return os.path.join(runtime_dir, f"watched-{repository.id}.json")


def save(runtime_dir: str, repository: Repository, watched: Mapping[str, Watched]) -> None:
    """Best effort: a reboot may forget it, and so may a full disk."""
    document = {
        name: {"directories": one.directories, "why": one.why, "hint": one.hint, "look_s": one.look_s}
        for name, one in watched.items()
    }
    temporary = os.path.join(runtime_dir, durable.temporary_name())
    try:
        os.makedirs(runtime_dir, mode=0o700, exist_ok=True)
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(document, file, separators=(",", ":"))
        os.replace(temporary, _path(runtime_dir, repository))
    except OSError:
        pass


def load(runtime_dir: str, repository: Repository) -> dict[str, Watched]:
    """What the scheduler noted last, by service; what can't be read counts as nothing."""
    try:
        with durable.open_own(_path(runtime_dir, repository)) as file:
            document = dict(json.loads(file.read()))
        return {
            name: Watched(one["directories"], one["why"], one["hint"], one["look_s"]) for name, one in document.items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def confirm(context: Context, unchanged: Mapping[str, int]) -> None:
    """Confirm services of which nothing changed since the snapshot with this sequence: seen by watching them, which is
    as good as a capture that finds nothing new. Those that have another newest snapshot are left out.

    Raises RepositoryError, OSError.
    """
    repository = context.repository_if_any()
    if repository is None:
        return
    now_ns = clock.now_ns()
    fresh = {}
    for name, sequence in unchanged.items():
        newest = repository.newest(name)
        if newest is not None and newest.sequence == sequence:
            fresh[name] = Confirmation(now_ns, sequence)
    confirmations.save(context.runtime_dir, repository, fresh)
