"""A choice is one candidate made concrete: what would replace what, and what tells it from other choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from recoverd.config.model import EMPTY, Service, StateItem
from recoverd.errors import DamagedObject
from recoverd.recovery.candidates import find
from recoverd.recovery.differences import Difference, differences
from recoverd.recovery.extraction import Source
from recoverd.recovery.item_survey import ServiceSurvey, same_item
from recoverd.recovery.plan import PARTIAL, Origin, Plan, Target, Version
from recoverd.recovery.replacement import Replacement
from recoverd.recovery.stores import Trees
from recoverd.repository.records import Marks, Snapshot, SnapshotVerdict
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class Part:
    """One document (or a whole item, document "") that comes from one snapshot, or from another origin."""

    item: str
    document: str
    sequence: int  # 0: from no snapshot
    time_ns: int
    content: str
    reason: str = ""
    origin: Origin = Origin.SNAPSHOT
    label: str = ""  # of other origins than snapshots
    remembered: str = ""  # what it is rejected as, where that is not its content

    @property
    def target(self) -> Target:
        return self.item, self.document


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to bring a service's state back."""

    service: str
    parts: tuple[Part, ...]
    replacements: tuple[Replacement, ...]
    without: tuple[str, ...] = ()  # a sentence for each damaged document of which no good version was found
    left: tuple[str, ...] = ()  # a sentence for what stays otherwise than it was, and is no content
    dumps: tuple[Part, ...] = ()  # what the service's own tools load of the same snapshot, once it runs on the rest

    @property
    def key(self) -> frozenset[tuple[str, str, str]]:
        """(item, document, content) of each part: two choices with the same key write the same."""
        return frozenset((part.item, part.document, part.content) for part in (*self.parts, *self.dumps))

    @property
    def candidate(self) -> str:
        """The newest snapshot that it takes from, and what else it takes from."""
        newest = max(self.sequences, default=0)
        labels = [part.label for part in self.parts if part.origin is not Origin.SNAPSHOT]
        return " + ".join(dict.fromkeys((*((f"{self.service}/{newest}",) if newest else ()), *labels)))

    def named(self, part: Part) -> str:
        """The candidate that one part comes from."""
        return part.label if part.origin is not Origin.SNAPSHOT else f"{self.service}/{part.sequence}"

    @property
    def is_partial(self) -> bool:
        """Whether a service that starts on it is degraded: something is made up, or not there."""
        return bool(self.without) or any(part.origin in PARTIAL for part in self.parts)

    @property
    def sequences(self) -> set[int]:
        """The snapshots that it takes from."""
        return {part.sequence for part in (*self.parts, *self.dumps) if part.origin is Origin.SNAPSHOT}


def item_choice(service: Service, plan: Plan) -> Choice:
    """The smallest broken things, each replaced by a version of its own."""
    return Choice(
        service.name,
        tuple(
            Part(
                step.item,
                step.document,
                step.version.sequence,
                step.version.time_ns,
                step.version.content,
                step.reason,
                step.version.origin,
                step.version.label,
            )
            for step in plan.steps
        ),
        tuple(
            Replacement(
                item=step.item,
                target=service.state[step.item].path,
                relative=step.document,
                entry=step.version.entry,
                whole=step.version.entry is not None and step.version.entry.type == "dir",
                parents=step.version.parents,
                companions=service.state[step.item].companions,
            )
            for step in plan.steps
        ),
        plan.without,
    )


def snapshot_choice(
    service: Service,
    survey: ServiceSurvey,
    trees: Trees,
    snapshot: Snapshot,
    reason: str,
    *,
    asked: bool = False,
    mounts: Mapping[str, Sequence[str]] = EMPTY,
    dumps: Mapping[str, StateItem] = EMPTY,
) -> Choice:
    """All the state of a service as one snapshot has it. `trees` reads those of the survey and of the repository.

    Items that the snapshot does not have, or has as another kind, are left alone. `dumps`: items that go with them,
    and are not among the service's own. `asked`: somebody asked for this
    snapshot, so directories get their own owner, mode and attributes back too, by being replaced as a whole; where
    they may hold what is no state, or something of `mounts` (by item, paths below it), they are left as they are: what
    is mounted there would go with them. Raises DamagedObject.
    """
    parts: list[Part] = []
    replacements: list[Replacement] = []
    left: list[str] = []
    for name, item in service.state.items():
        record = snapshot.items.get(name)
        if record is None or record.good is None or record.kind != item.kind.value:
            continue
        parts.append(Part(name, "", snapshot.sequence, snapshot.time_ns, record.good, reason))
        whole = not (item.include or item.exclude or survey.items[name].notes)
        above: str | None = None  # the directory that is replaced as a whole, with all that differs in it
        for difference in differences(trees, survey.items[name].root, record.good):
            path = difference.path
            if above is not None and f"{path}/".startswith(f"{above}/" if above else ""):
                continue
            if (
                difference.before is None
                or difference.after is None
                or {difference.before.type, difference.after.type} != {"dir"}
            ):
                replacements += _replacements(item, difference, trees)
            elif asked and whole and not _holds_mount(path, mounts.get(name, ())):
                above = path
                replacements.append(Replacement(name, item.path, path, difference.after, whole=True))
            elif asked:
                left.append(f"{name}{'/' if path else ''}{path}: the directory keeps its owner, mode and attributes")
    along = tuple(
        Part(name, "", snapshot.sequence, snapshot.time_ns, record.good, reason)
        for name, item in dumps.items()
        if (record := snapshot.items.get(name)) is not None and record.good is not None and same_item(item, record)
    )
    return Choice(service.name, tuple(parts), tuple(replacements), left=tuple(left), dumps=along)


def _holds_mount(path: str, mounts: Sequence[str]) -> bool:
    """Whether something is mounted on a directory below an item, or below it; the item itself may be a mount."""
    return any(not path or f"{one}/".startswith(f"{path}/") for one in mounts)


def part_choice(
    service: Service,
    survey: ServiceSurvey,
    trees: Trees,
    snapshot: Snapshot,
    reason: str,
    item: str,
    document: str,
    *,
    mounts: Mapping[str, Sequence[str]] = EMPTY,
) -> Choice:
    """One state item as a snapshot has it, or with `document` one path below it, and nothing else.

    What the snapshot lacks there is taken away. Raises DamagedObject.
    """
    declared = replace(service, state={item: service.state[item]})
    whole = snapshot_choice(declared, survey, trees, snapshot, reason, asked=not document, mounts=mounts)
    if not document or not whole.parts:
        return whole
    target = service.state[item].path
    entry, parents = find(trees, whole.parts[0].content, document)
    content = Version(snapshot.sequence, snapshot.time_ns, entry).content
    below = [one for one in whole.replacements if f"{one.relative}/".startswith(f"{document}/")]
    if any(f"{document}/".startswith(f"{one.relative}/" if one.relative else "") for one in whole.replacements):
        directory = entry is not None and entry.type == "dir"
        below = [Replacement(item, target, document, entry, whole=directory, parents=parents)]
    part = Part(item, document, snapshot.sequence, snapshot.time_ns, content, reason)
    return Choice(service.name, (part,), tuple(below))


def service_choices(
    service: Service,
    survey: ServiceSurvey,
    trees: Trees,
    snapshots: Sequence[Snapshot],
    marks: Mapping[int, Marks],
    dumps: Mapping[str, StateItem] = EMPTY,
) -> Iterator[Choice]:
    """Every `ok` snapshot with all items of the service, and `dumps` among them, newest first, that was not rejected
    before.

    Of those captured while the service was not healthy only the newest stands in its place, the others come last.
    Snapshots whose trees can't be read are passed over.
    """
    ill = [one for one in snapshots if marks.get(one.sequence, Marks()).unhealthy][1:]
    late = {one.sequence for one in ill}
    for snapshot in (*(one for one in snapshots if one.sequence not in late), *ill):
        mark = marks.get(snapshot.sequence, Marks())
        whole = all(
            name in snapshot.items and same_item(item, snapshot.items[name])
            for name, item in (*service.state.items(), *dumps.items())
        )
        if snapshot.verdict is not SnapshotVerdict.OK or mark.rejected or not whole:
            continue
        try:
            choice = snapshot_choice(
                service, survey, trees, snapshot, "the service is restored as a whole", dumps=dumps
            )
        except DamagedObject:
            continue
        if len(choice.dumps) == len(dumps):
            yield choice


def _replacements(item: StateItem, difference: Difference, trees: Trees) -> Iterator[Replacement]:
    name, target, with_it = item.name, item.path, item.companions
    before, after = difference.before, difference.after
    if after is not None:
        yield Replacement(name, target, difference.path, after, whole=after.type == "dir", companions=with_it)
    elif before is not None:
        for path in _files_below(trees, difference.path, before):
            yield Replacement(name, target, path, None, companions=with_it)


def _files_below(trees: Trees, path: str, entry: Entry) -> Iterator[str]:
    """What the item covers there: file by file, for a directory may hold names that it does not cover."""
    if entry.type != "dir":
        yield path
        return
    for one in trees.tree(entry.hash or EMPTY_TREE):
        yield from _files_below(trees, f"{path}/{one.name}" if path else one.name, one)


def damaged_targets(reader: Source, choice: Choice) -> list[Target]:
    """The parts whose objects can't be read whole; asked after staging has met damage."""
    found = []
    for part, replacement in _paired(choice):
        try:
            if replacement.entry is not None:
                _read_all(reader, replacement.entry)
        except DamagedObject:
            found.append(part.target)
    return list(dict.fromkeys(found))


def _paired(choice: Choice) -> Iterator[tuple[Part, Replacement]]:
    parts = {part.target: part for part in choice.parts}
    for replacement in choice.replacements:
        yield parts.get((replacement.item, replacement.relative)) or parts[replacement.item, ""], replacement


def _read_all(reader: Source, entry: Entry) -> None:
    if entry.type == "dir":
        for one in reader.tree(entry.hash or EMPTY_TREE):
            _read_all(reader, one)
    elif entry.type == "file":
        for _ in reader.file_chunks(entry):
            pass
