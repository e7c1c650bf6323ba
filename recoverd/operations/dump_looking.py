"""Dump items of a service, one by one: what is there now, and what a snapshot holds, judged before it is loaded."""

from __future__ import annotations

import os

from recoverd.config.model import EMPTY, ItemKind, Service
from recoverd.errors import DamagedObject
from recoverd.operations.context import Context
from recoverd.recovery.aside import Aside, Kept
from recoverd.recovery.candidates import eligible, good_versions
from recoverd.recovery.dump_looks import DumpLook, as_file
from recoverd.recovery.item_survey import ItemSurvey, ServiceSurvey, newest_records
from recoverd.recovery.plan import Action, Damage, Version, damages
from recoverd.recovery.scratch import Scratch
from recoverd.recovery.survey import survey_service
from recoverd.repository.records import Snapshot
from recoverd.repository.trees import Entry
from recoverd.services.streaming import account_of
from recoverd.state.verdicts import Verdict
from recoverd.system import clock
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class There:
    """What a service holds now of one dump item. `kept`: a dump of it, None where none could be taken."""

    survey: ServiceSurvey
    item: ItemSurvey
    damage: tuple[Damage, ...]  # as it is known, with what its policies say
    kept: Kept | None
    content: str  # what tells it from others, as `Version.content` does; "" where there is none

    @property
    def action(self) -> Action:
        return next((one.action for one in self.damage), Action.LEAVE)


class _Guarded(Scratch):
    """Keeps nothing, and opens the repository only for as long as something is read: a dump may take long."""

    def __init__(self, context: Context) -> None:
        super().__init__(None)
        self._context = context

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        if tree_hash in self._trees:
            return self._trees[tree_hash]
        with self._context.state_changes, self._context.repository().reader() as reader:
            return reader.tree(tree_hash)

    def read(self, object_hash: str) -> bytes:
        with self._context.state_changes, self._context.repository().reader() as reader:
            return reader.read(object_hash)


def without_dumps(service: Service) -> Service:
    """The service with the state that lies on the disk."""
    return replace(service, state={name: item for name, item in service.state.items() if item.dump is None})


def look_at(context: Context, service: Service, name: str, aside: Aside) -> There:
    """Dump the item as it is now, into `aside`, and judge it. Raises StateError, RepositoryError."""
    repository = context.repository()
    one = replace(service, state={name: service.state[name]})
    snapshots = [each for each in repository.snapshots(service.name) if not each.imported]
    accepted = repository.record(service.name).accepted
    for count in range(len(snapshots), -1, -1):
        store = _Guarded(context)
        try:
            survey = survey_service(
                one,
                context.judges(service),
                store=store,
                before=newest_records(one, snapshots[:count]),
                memo=None,
                now_ns=clock.now_ns(),
                accepted=accepted,
                dumps=DumpLook(keep=aside.begin(name)),
            )
            break
        except DamagedObject as error:  # known-good state is looked up in the newest snapshot that can be read
            context.tell_damage(service.name, error.message)
    item = survey.items[name]
    is_dump = item.failure is None or item.verdict is not Verdict.UNREADABLE  # that of nothing is one too
    entry = next(iter(store.tree(item.root)), None)
    return There(
        survey,
        item,
        damages(one, survey, accepted),
        aside.kept(name) if is_dump else None,
        "" if entry is None else entry.hash or entry.blocks or "",
    )


def candidates(context: Context, service: Service, name: str) -> list[Version]:
    """The good versions of a dump item, best first. Raises RepositoryError."""
    repository = context.repository()
    with context.state_changes, repository.reader() as reader:
        versions, damage = good_versions(
            reader,
            eligible(repository.snapshots(service.name)),
            repository.all_marks(service.name),
            [(name, "")],
            items=service.state,
            most=service.restore.attempts,
        )
    for sentence in damage:
        context.tell_damage(service.name, sentence)
    return versions[name, ""]


def version_in(context: Context, name: str, snapshot: Snapshot) -> Version | None:
    """The good version of a dump item in one snapshot; None where it has none. Raises DamagedObject."""
    record = snapshot.items.get(name)
    if record is None or record.good is None or record.kind != ItemKind.DUMP.value:
        return None
    with context.state_changes, context.repository().reader() as reader:
        entry = reader.item_entry(record.good)
    return None if entry is None else Version(snapshot.sequence, snapshot.time_ns, entry, record.good)


def stage(context: Context, name: str, version: Version, aside: Aside) -> Kept:
    """All of a candidate in a file, every byte checked: nothing is loaded of what is damaged. Raises DamagedObject."""
    assert version.entry is not None, "a dump is a file"
    with context.state_changes, context.repository().reader() as reader:
        return aside.write(name, reader.file_chunks(version.entry))


def why_invalid(context: Context, service: Service, name: str, staged: Kept) -> str | None:
    """What keeps a staged candidate from being loaded, by the rules of today; None where nothing does."""
    item = service.state[name]
    if os.geteuid() == 0 and item.dump is not None:
        os.chown(staged.path, account_of(item.dump.user).uid, -1)  # as whom its tool is run; nobody else gets there
    found = survey_service(
        replace(service, state={name: as_file(item, staged.path)}),
        context.judges(service),
        store=Scratch(None),
        before=EMPTY,
        memo=None,
        now_ns=clock.now_ns(),
        full_read=True,
    ).items[name]
    if not found.findings:
        return None
    return f"{name} is {found.verdict.value}: {next((one.problem for one in found.problems), 'not valid')}"
