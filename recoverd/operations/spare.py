"""`repository.spare`: captures land there while the repository can't be written, and come home as soon as it can be.

Where a spare is declared, `Context.repository` is one in two places (repository.two_places), opened by `opened`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from recoverd.errors import LockHeld, RecoverdError, RepositoryError, os_hint
from recoverd.events.text import size
from recoverd.repository import layout, pruning
from recoverd.repository.reserve import is_full
from recoverd.repository.store import Repository
from recoverd.repository.taking_over import take_over as bring_home
from recoverd.repository.two_places import TwoPlaces
from recoverd.repository.two_records import TwoServiceRecords
from recoverd.system import clock, durable, mounts
from recoverd.system.answering import silent
from recoverd.values import dataclass, replace

if TYPE_CHECKING:
    from recoverd.operations.context import Context

T = TypeVar("T")
STATE = "state"  # in the spare: its catalog, and what is remembered of services while the state directory fails
_FIRST = "first.json"  # there: which repository it is the spare of
_PATIENCE_S = 15.0  # with a disk that has to start turning
_ASK_EVERY_S = 5.0
_REST_S = 600.0  # after snapshots could not be brought home
_LOG = logging.getLogger("recoverd.operations")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found at the two places: device and inode of their format.json, else why it can't be looked at."""

    first: tuple[int, int] | str | None  # None: it is not there
    spare: tuple[int, int] | str | None
    silent: frozenset[str] = frozenset()  # paths whose file system does not answer
    asked_s: float = 0.0  # monotonic: when that was found out


def opened(context: Context, known: Repository | None, *, create: bool) -> TwoPlaces:
    """The repository in its two places, as they are now; `known` is what was opened before, and goes on if it still is.

    With `create` both are created if need be: the spare too, so that it is ready when it is needed. A first one that
    was there and is gone is not: its file system may not be mounted.
    Raises RepositoryError when neither can be used.
    """
    before = known.seen if isinstance(known, TwoPlaces) and isinstance(known.seen, Seen) else None
    seen = _look(context, before)
    if isinstance(known, TwoPlaces) and before is not None and replace(seen, asked_s=before.asked_s) == before:
        known.seen = seen
        if not create or (known.first is not None and known.spare is not None):
            return known
    places = _open(context, seen, create=create)
    if places.in_spare and (not known.in_spare if isinstance(known, TwoPlaces) else create):
        _LOG.warning("what changes goes to the spare %s: %s", places.path, places.why)
    places.seen = seen if not create else _look(context, seen)
    if known is not None:
        known.close()
    return places


def opened_if_any(context: Context, known: Repository | None) -> TwoPlaces | None:
    """The same; None when nothing was ever saved."""
    if known is None:
        seen = _look(context, None)
        if seen.first is None and seen.spare is None and not _was_there(context, seen):
            return None
    return opened(context, known, create=False)


def _look(context: Context, before: Seen | None) -> Seen:
    first, spare = context.config.repository.path, context.config.repository.spare or ""
    now_s = clock.monotonic_s()
    if before is None or now_s - before.asked_s >= _ASK_EVERY_S:
        paths = (first, spare, context.state_dir)
        quiet = silent(paths, within_s=min(context.config.io_timeout_s, _PATIENCE_S))
    else:
        quiet, now_s = before.silent, before.asked_s
    return Seen(_identity(first, quiet), _identity(spare, quiet), quiet, now_s)


def _identity(path: str, quiet: frozenset[str]) -> tuple[int, int] | str | None:
    if path in quiet:
        return "its file system does not answer"
    try:
        status = os.stat(os.path.join(path, layout.FORMAT_NAME), follow_symlinks=False)
        return status.st_dev, status.st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error.strerror or str(error)


def _open(context: Context, seen: Seen, *, create: bool) -> TwoPlaces:
    config = context.config.repository
    assert config.spare is not None
    make = partial(_made_spare, context)
    state_dir = None if context.state_dir in seen.silent else context.state_dir
    gone = seen.first is None and _was_there(context, seen)
    if gone and not os.path.isdir(os.path.join(context.state_dir, "services")):
        state_dir = None  # it went with the first: nothing is written into an empty mount point
    has_spare = isinstance(seen.spare, tuple)
    records = TwoServiceRecords(
        f"{state_dir}/services" if state_dir is not None else None,
        f"{config.spare}/{STATE}/services" if has_spare else None,
        lambda: f"{make().state_dir}/services",
    )
    no_spare: RepositoryError | None
    if has_spare:
        spare, no_spare = _tried(lambda: _open_spare(context, records))
    else:
        spare, no_spare = None, RepositoryError(f"{config.spare}: {seen.spare}") if seen.spare is not None else None
    first, why = _open_first(context, seen, records, gone=gone, create=create)
    if spare is None and (first is None or create):
        if not create:
            raise why or RepositoryError(f"there is no repository at {config.path}")
        spare, no_spare = _tried(make)
    if first is None and spare is None:
        assert why is not None
        nor = f"; nor can the spare: {no_spare.message}" if no_spare is not None else ""
        raise RepositoryError(f"{why.message}{nor}", hint=why.hint) from why
    if first is not None and spare is not None and create:
        _note_first(spare, first)
    return TwoPlaces(
        first,
        spare,
        in_spare=first is None,
        records=records,
        make_spare=make,
        why=why.message if why is not None else None,
        no_spare=no_spare.message if no_spare is not None else None,
    )


def _open_first(
    context: Context, seen: Seen, records: TwoServiceRecords, *, gone: bool, create: bool
) -> tuple[Repository | None, RepositoryError | None]:
    config = context.config.repository
    if isinstance(seen.first, str):
        return None, RepositoryError(f"the repository at {config.path} can't be read: {seen.first}")
    if gone:
        return None, RepositoryError(
            f"the repository at {config.path} is gone",
            hint="is its file system mounted? If it is lost: `recoverd init`",
        )
    opening = partial(
        Repository.open, config.path, state_dir=context.state_dir, compression=config.compression, records=records
    )
    if seen.first is None and create:
        _, problem = _tried(lambda: Repository.create(config.path, compression=config.compression))
        if problem is not None:
            return None, problem
    return _tried(opening)


def _was_there(context: Context, seen: Seen) -> bool:
    """Whether there was a first repository once. One that was never created is no loss."""
    note = f"{context.config.repository.spare}/{STATE}/{_FIRST}"
    if isinstance(seen.spare, tuple) and os.path.exists(note):
        return True
    return context.state_dir not in seen.silent and os.path.exists(f"{context.state_dir}/catalog.sqlite")


def _made_spare(context: Context) -> Repository:
    """The spare, created unless it is there. Raises RepositoryError."""
    path = context.config.repository.spare
    assert path is not None
    if not os.path.lexists(os.path.join(path, layout.FORMAT_NAME)):
        try:
            Repository.create(path, compression=context.config.repository.compression)
        except RepositoryError:
            if not os.path.lexists(os.path.join(path, layout.FORMAT_NAME)):
                raise  # and else another process was faster
    try:
        durable.make_directories(f"{path}/{STATE}")
    except OSError as error:
        raise RepositoryError(
            f"the spare at {path} can't be written: {error.strerror or error}", hint=os_hint(error)
        ) from error
    state_dir = context.state_dir
    records = TwoServiceRecords(f"{state_dir}/services", f"{path}/{STATE}/services", lambda: f"{path}/{STATE}/services")
    return _open_spare(context, records)


def _open_spare(context: Context, records: TwoServiceRecords) -> Repository:
    """Raises RepositoryError, also for a directory that others could have put there: a restore takes from it."""
    path = context.config.repository.spare
    assert path is not None
    try:
        status = os.lstat(path)
    except OSError as error:
        raise RepositoryError(
            f"the spare at {path} can't be read: {error.strerror or error}", hint=os_hint(error)
        ) from None
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        whose = "others can write to it" if status.st_uid == os.geteuid() else "it belongs to another user"
        raise RepositoryError(
            f"the spare at {path} is not used: {whose}", hint="a restore trusts it: it must be yours, and mode 0700"
        )
    compression = context.config.repository.compression
    return Repository.open(path, state_dir=f"{path}/{STATE}", compression=compression, records=records)


def _note_first(spare: Repository, first: Repository) -> None:
    """Note in the spare that there is a first one, so that its absence is not taken for a fresh start."""
    import json

    path = f"{spare.state_dir}/{_FIRST}"
    try:
        with durable.open_own(path) as file:
            if json.loads(file.read())["id"] == first.format.id:
                return
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not noted yet
    try:
        durable.make_directories(spare.state_dir)
        durable.write_path(path, json.dumps({"id": first.format.id, "path": first.path}).encode("ascii") + b"\n")
    except OSError as error:
        _LOG.debug("the spare can't be written: %s", error)  # `check` tells


def _tried(make: Callable[[], T]) -> tuple[T | None, RepositoryError | None]:
    try:
        return make(), None
    except RepositoryError as error:
        return None, error
    except OSError as error:
        return None, RepositoryError(str(error))


def state_of(spare: str) -> str:
    """Where the spare keeps what the state directory keeps otherwise."""
    return os.path.join(spare, STATE)


# --- captures


def capture(
    context: Context,
    trouble: Exception,
    work: Callable[[Repository], tuple[dict[str, T], Exception | None]],
    held: frozenset[str],
    *,
    dry_run: bool,
) -> tuple[dict[str, T], Exception | None]:
    """Do in the spare what the first place can't take because of `trouble`.

    `work` captures in the repository that it is given, and returns its results and what kept all of it from being
    written; the caller holds the locks of these services, `held`. Returns the same, of the spare or of both.
    """
    if isinstance(trouble, LockHeld):
        return {}, trouble
    why = trouble.message if isinstance(trouble, RecoverdError) else str(trouble)
    try:
        places = context.repository(create=not dry_run)
        if not isinstance(places, TwoPlaces) or places.in_spare:
            return {}, trouble  # it was tried there
        target = places.over_spare(why)
        results, again = work(target)
        if again is not None and not dry_run and is_full(again):
            _prune(context, target, tuple(held), held=held)
            results, again = work(target)
    except RecoverdError as error:
        again = error
    if again is None:
        _LOG.warning("the repository can't be written, so what changes goes to the spare %s: %s", target.path, why)
        return results, None
    nor = again.message if isinstance(again, RecoverdError) else str(again)
    hint = trouble.hint if isinstance(trouble, RecoverdError) else None
    return {}, RepositoryError(f"{why}; nor can the spare be used: {nor}", hint=hint)


def take_over(context: Context, repository: Repository) -> tuple[str, ...]:
    """Bring home what the spare holds, if the first place can be written and has room.

    What came, and what had to stay, in sentences; they are logged too. Raises nothing.
    """
    if not isinstance(repository, TwoPlaces) or repository.in_spare or repository.spare is None:
        return ()
    if clock.monotonic_s() < context.rest_until_s or repository.is_spare_empty():
        return ()
    told: list[str] = []
    try:
        needed_bytes, free_bytes = repository.spare.statistics().size_bytes, _free_bytes(repository.packs_path)
        if free_bytes <= needed_bytes:
            return (f"the spare's snapshots stay there: {size(needed_bytes)}, and {size(free_bytes)} are free",)
        done = bring_home(repository, wait_s=context.wait_s)
        told += [f"taken over from the spare: {', '.join(done.taken)}"] if done.taken else []
        told += [f"stays in the spare: {sentence}" for sentence in done.left]
        if not done.left:
            return _logged(told)
    except LockHeld:
        return ()
    except (RecoverdError, OSError) as error:
        told.append(f"the spare's snapshots stay there for now: {error}")
    context.rest_until_s = clock.monotonic_s() + _REST_S
    return _logged(told)


def _logged(sentences: Sequence[str]) -> tuple[str, ...]:
    for sentence in sentences:
        _LOG.warning("%s", sentence)
    return tuple(sentences)


def tidy(context: Context, repository: Repository, held: frozenset[str]) -> tuple[str, ...]:
    """Before the repository is pruned: what the spare holds comes home, and what has to stay there is pruned.

    Returns what is to be said of it.
    """
    told = take_over(context, repository)
    if isinstance(repository, TwoPlaces) and repository.spare is not None:
        with suppress(OSError):  # of captures that were killed there, also where nothing of them is to come home
            layout.remove_leftovers(repository.spare.packs_path)
            repository.spare.remove_leftovers()
    if isinstance(repository, TwoPlaces) and not repository.in_spare and repository.holds_captures():
        prune_spare(context, (), held=held)
    return told


def prune_spare(context: Context, names: Sequence[str], *, held: frozenset[str] = frozenset()) -> int:
    """Apply retention, which spans both places, to what lies in the spare. How many snapshots went.

    Raises nothing: a prune that fails is told, and fails no capture.
    """
    try:
        places = context.repository()
        if not isinstance(places, TwoPlaces) or places.spare is None:
            return 0
        return _prune(context, places.over_spare(places.why or ""), names, held=held, automatic=bool(names))
    except LockHeld:
        return 0
    except (RecoverdError, OSError) as error:
        context.events.emit("prune.failed", message=str(error), path=context.config.repository.path)
        return 0


def _prune(
    context: Context, places: TwoPlaces, names: Sequence[str], *, held: frozenset[str], automatic: bool = False
) -> int:
    from recoverd.operations.prune import decisions

    spare = places.main
    doomed: dict[str, list[int]] = {}
    with ExitStack() as stack:
        stack.enter_context(context.state_changes)
        for service in context.select(names, enabled_only=False):
            try:
                if service.name not in held:
                    stack.enter_context(places.service_lock(service.name, wait_s=0, what=f"service {service.name}"))
            except LockHeld:
                continue
            there = set(spare.sequences(service.name))
            found = decisions(context, places, service) if there else []
            doomed[service.name] = [one.sequence for one in found if not one.keep and one.sequence in there]
        removed = sum(map(len, doomed.values()))
        if removed or not automatic:  # when it was asked for, also what former ones have left is freed
            writer = stack.enter_context(spare.writer(wait_s=context.wait_s, what="the spare repository"))
            pruned = pruning.prune(spare, writer, doomed, automatic=automatic)
            context.events.emit("prune.finished", removed=removed, freed_bytes=pruned.freed_bytes, path=spare.path)
    return removed


def _free_bytes(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return mounts.free_bytes(fd)[0]
    finally:
        os.close(fd)
