"""`recoverd import`: dated copies, or a program's own backups, become snapshots."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from recoverd.config.crontab import zone_named
from recoverd.config.model import ItemKind, Service, StateItem
from recoverd.errors import UsageError
from recoverd.operations.context import Context
from recoverd.operations.what_changed import snapshot_verdict
from recoverd.recovery.dated_names import asked_time, time_in_name
from recoverd.recovery.differences import differ
from recoverd.recovery.dump_looks import as_file, name_of
from recoverd.recovery.item_survey import ItemSurvey, ServiceSurvey
from recoverd.recovery.survey import survey_service
from recoverd.repository.records import Snapshot, SnapshotDraft, SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.repository.writer import Writer
from recoverd.system import clock
from recoverd.system.walk import lstat_at, open_parent
from recoverd.values import dataclass, replace

SAVED, UNCHANGED, INVALID = "saved", "unchanged", "invalid"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    service: str
    paths: tuple[str, ...]
    item: str | None = None  # None: the one that a path's name and type tell
    time: str | None = None  # of all of them; None: of each what its name tells, else its modification time
    label: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one path."""

    path: str
    item: str
    time_ns: int
    time_from: str  # asked | name | mtime
    outcome: str  # saved | unchanged (imported before) | invalid (nothing good in it; it is not kept)
    id: str | None = None
    verdict: str | None = None
    files: int = 0
    size_bytes: int = 0
    problems: tuple[tuple[str, str], ...] = ()  # (place, sentence)

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "item": self.item,
            "time": clock.rfc3339(self.time_ns),
            "time_from": self.time_from,
            "outcome": self.outcome,
            "id": self.id,
            "verdict": self.verdict,
            "files": self.files,
            "bytes": self.size_bytes,
            "problems": [{"place": place, "problem": problem} for place, problem in self.problems],
        }


@dataclass(frozen=True, slots=True)
class ImportResult:
    service: str
    imports: tuple[Imported, ...]  # oldest first
    dry_run: bool = False

    @property
    def exit_status(self) -> int:
        """1 when a copy was invalid, 3 when one was partial."""
        if any(one.outcome == INVALID for one in self.imports):
            return 1
        return 3 if any(one.verdict == SnapshotVerdict.PARTIAL for one in self.imports) else 0

    def to_json(self) -> dict[str, Any]:
        """`{"service", "imports": [{"path", "item", "time", "time_from", "outcome", "id", "verdict", …}]}`."""
        return {
            "service": self.service,
            "imports": [one.to_json() for one in self.imports],
            "dry_run": self.dry_run,
        }


@dataclass(frozen=True, slots=True)
class Copy:
    """One path, the item that it is a copy of, and of when."""

    path: str
    item: StateItem
    time_ns: int
    time_from: str


def import_copies(context: Context, request: ImportRequest) -> ImportResult:
    """Make an imported snapshot of each path, judged as live state is. Imports are never the newest snapshot.

    Owner, mode and attributes are those of the known-good version, where there is one: a copy made by somebody
    else would not be the service's own otherwise. All or nothing. Raises UsageError, LockHeld, RepositoryError.
    """
    (service,) = context.select((request.service,))
    copies = sorted(_copies(context, service, request), key=lambda copy: copy.time_ns)
    repository = context.repository(create=True)
    name = service.name
    with (
        repository.service_lock(name, wait_s=context.wait_s, what=f"service {name}"),
        context.state_changes,
        repository.writer(wait_s=context.wait_s, what="the repository") as writer,
    ):
        surveys = [survey_copy(context, repository, writer, service, copy) for copy in copies]
        results: list[Imported] = []
        drafts: list[tuple[int, SnapshotDraft]] = []
        known = [one for one in repository.snapshots(name) if one.imported]
        for copy, survey in zip(copies, surveys, strict=True):
            good = not (survey.good is None or survey.files <= len(survey.findings))
            verdict = snapshot_verdict(ServiceSurvey(name, {copy.item.name: survey}), good_changed=good)
            if verdict is SnapshotVerdict.INVALID:
                outcome = INVALID
            elif any(_is_same(writer, one, copy, survey) for one in known):
                outcome = UNCHANGED
            else:
                outcome = SAVED
                drafts.append(
                    (len(results), draft(name, {copy.item.name: survey}, verdict, copy.time_ns, label=request.label))
                )
            results.append(_result(copy, survey, verdict, outcome))
        if not request.dry_run:
            made = writer.commit([draft for _, draft in drafts])
            for (index, _), snapshot in zip(drafts, made, strict=True):
                results[index] = replace(results[index], id=snapshot.id)
                context.events.emit(
                    "snapshot.saved",
                    service=name,
                    message=f"imported {copies[index].path}",
                    item=copies[index].item.name,
                    path=copies[index].path,
                    format=copies[index].item.format.value,
                    items=1,
                    files=snapshot.files,
                    size_bytes=snapshot.size_bytes,
                    new_bytes=snapshot.new_bytes,
                    sequence=snapshot.sequence,
                )
    return ImportResult(name, tuple(results), request.dry_run)


def _result(copy: Copy, survey: ItemSurvey, verdict: SnapshotVerdict, outcome: str) -> Imported:
    return Imported(
        copy.path,
        copy.item.name,
        copy.time_ns,
        copy.time_from,
        outcome,
        verdict=verdict.value,
        files=survey.files,
        size_bytes=survey.size_bytes,
        problems=tuple((problem.place, problem.problem) for problem in survey.problems),
    )


def draft(
    service: str, surveys: Mapping[str, ItemSurvey], verdict: SnapshotVerdict, time_ns: int, *, label: str | None
) -> SnapshotDraft:
    """An imported snapshot of these items."""
    return SnapshotDraft(
        service=service,
        time_ns=time_ns,
        boot_id=clock.boot_id(),
        host=clock.host_name(),
        verdict=verdict,
        items={name: survey.record() for name, survey in surveys.items()},
        reason="import",
        label=label,
        files=sum(survey.files for survey in surveys.values()),
        size_bytes=sum(survey.size_bytes for survey in surveys.values()),
        imported=True,
    )


def _is_same(writer: Writer, known: Snapshot, copy: Copy, survey: ItemSurvey) -> bool:
    """Whether a copy was imported before."""
    record = known.items.get(copy.item.name)
    if record is None or known.time_ns != copy.time_ns:
        return False
    return not differ(writer, record.root, survey.root) and not differ(writer, record.good, survey.good)


# --- what is a copy of what, and of when


def _copies(context: Context, service: Service, request: ImportRequest) -> list[Copy]:
    zone, now_ns = zone_named(context.config.timezone), clock.now_ns()
    asked = None if request.time is None else asked_time(request.time, context.config.timezone)
    if request.item is not None and request.item not in service.state:
        raise UsageError(
            f"service {service.name} has no item {request.item!r}", hint=f"its items are: {', '.join(service.state)}"
        )
    copies = []
    for path in dict.fromkeys(map(os.path.abspath, request.paths)):
        status = _looked_at(path)
        item = _item(service, path, status, request.item)
        named = [time_in_name(name, zone, now_ns) for name in reversed(path.split("/")[-2:])]
        told = next((time for time in named if time is not None), None)
        if asked is not None:
            copies.append(Copy(path, item, asked, "asked"))
        elif told is not None:
            copies.append(Copy(path, item, told, "name"))
        else:
            copies.append(Copy(path, item, status.st_mtime_ns, "mtime"))
    return copies


def _looked_at(path: str) -> os.stat_result:
    try:
        fd, name = open_parent(path)
        try:
            status = lstat_at(fd, name)
        finally:
            os.close(fd)
    except OSError as error:
        raise UsageError(f"{path} can't be imported: {error.strerror or error}", hint="name files that exist") from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise UsageError(f"{path} is neither a file nor a directory", hint="name what a link leads to, not the link")
    return status


def _item(service: Service, path: str, status: os.stat_result, wanted: str | None) -> StateItem:
    """The item that a path is a copy of: the one of its type, or the one whose name its name begins with."""
    kind = ItemKind.DIRECTORY if stat.S_ISDIR(status.st_mode) else ItemKind.FILE
    kinds = {kind} if kind is ItemKind.DIRECTORY else {kind, ItemKind.SQLITE, ItemKind.DUMP}
    items = [item for item in service.state.values() if item.kind in kinds and wanted in {None, item.name}]
    if not items:
        what = f"item {wanted}" if wanted is not None else f"no item of service {service.name}"
        raise UsageError(
            f"{path} is a {kind}, and {what} is {'none' if wanted is not None else 'one'}",
            hint=f"`recoverd config show` lists the items of {service.name}",
        )
    if len(items) == 1:
        return items[0]
    base = os.path.basename(path)
    matching = [item for item in items if base.startswith(_stem(item))]
    longest = max((len(_stem(item)) for item in matching), default=0)
    best = [item for item in matching if len(_stem(item)) == longest]
    if len(best) != 1:
        raise UsageError(
            f"{path} could be a copy of {' or '.join(item.name for item in best or items)}",
            hint="say which with --item ITEM",
        )
    return best[0]


def _stem(item: StateItem) -> str:
    return name_of(item).split(".")[0] or name_of(item)


# --- looking at a copy


def survey_copy(context: Context, repository: Repository, writer: Writer, service: Service, copy: Copy) -> ItemSurvey:
    """The survey of a copy, as if it lay at the item's path."""
    here = replace(service, state={copy.item.name: as_file(copy.item, copy.path)})
    survey = survey_service(
        here, context.judges(service), store=writer, before={}, memo=None, now_ns=clock.now_ns(), full_read=True
    ).items[copy.item.name]
    like = _known_good(repository, writer, service, copy.item)
    base = name_of(copy.item)
    roots = {root: _moved(writer, root, base, like) for root in (survey.root, survey.good or EMPTY_TREE)}
    return replace(
        survey,
        kind=copy.item.kind,
        path=copy.item.path,
        root=roots[survey.root],
        good=None if survey.good is None else roots[survey.good],
        rows=None,
    )


def _known_good(repository: Repository, writer: Writer, service: Service, item: StateItem) -> Entry | None:
    for snapshot in reversed(repository.snapshots(service.name)):
        record = snapshot.items.get(item.name)
        if not snapshot.imported and record is not None and record.good not in {None, EMPTY_TREE}:
            return writer.item_entry(record.good or EMPTY_TREE)
    return None


def _moved(writer: Writer, root: str, name: str, like: Entry | None) -> str:
    """An item's root under another name, dressed as `like`."""
    return writer.put_tree([replace(_dressed(writer, entry, like, like), name=name) for entry in writer.tree(root)])


def _dressed(writer: Writer, entry: Entry, like: Entry | None, owner: Entry | None) -> Entry:
    """An entry with the owner, mode and attributes of `like`; where there is none, with the owner of `owner`."""
    if owner is None:
        return entry
    known = like if like is not None and like.type == entry.type else None
    whose = known or owner
    if (entry.uid, entry.gid) != (whose.uid, whose.gid):  # as chown(2) does: it was given no rights of its new owner
        bits = stat.S_ISUID | stat.S_ISGID if entry.type == "file" else 0
        rights = tuple(pair for pair in entry.xattrs if pair[0] != "security.capability")
        entry = replace(entry, mode=entry.mode & ~bits, xattrs=rights)
    entry = replace(entry, uid=whose.uid, gid=whose.gid, user=whose.user, group=whose.group)
    if known is not None:
        entry = replace(entry, mode=known.mode, xattrs=known.xattrs)
    if entry.type != "dir":
        return entry
    below = {} if known is None else {one.name: one for one in writer.tree(known.hash or EMPTY_TREE)}
    children: Sequence[Entry] = writer.tree(entry.hash or EMPTY_TREE)
    return replace(entry, hash=writer.put_tree([_dressed(writer, one, below.get(one.name), whose) for one in children]))
