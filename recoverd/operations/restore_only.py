"""`restore --only ITEM[/PATH]`: one state item, or one document of it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from recoverd.config.model import ItemKind, Service
from recoverd.errors import StateError, UsageError
from recoverd.recovery.candidates import find
from recoverd.recovery.plan import Action, Damage, Target
from recoverd.recovery.stores import Trees
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.state.verdicts import Verdict
from recoverd.values import dataclass, replace

_MOST_NAMES = 10_000  # among which a name like the one that is not there is looked for
_NOT_ASKED = "not asked for, so it stays as it is"


@dataclass(frozen=True, slots=True)
class Only:
    """What is asked for: a state item, or with `document` a path below it."""

    item: str
    document: str = ""

    @property
    def name(self) -> str:
        return f"{self.item}/{self.document}" if self.document else self.item

    def covers(self, target: Target) -> bool:
        item, document = target
        return item == self.item and (
            not self.document or document == self.document or document.startswith(f"{self.document}/")
        )


def one_service(services: Sequence[Service]) -> Service:
    """The service that `--only` is about. Raises UsageError when there are several, or none."""
    if len(services) != 1:
        raise UsageError("--only needs the name of one service", hint="recoverd restore SERVICE --only ITEM[/PATH]")
    return services[0]


def parse(service: str, text: str, items: Mapping[str, str]) -> Only:
    """What `--only` names; `items`: the kind of each item there is. Raises UsageError, with what is near."""
    item, _, path = text.partition("/")
    if item not in items:
        import difflib  # late: only who mistypes needs it

        near = difflib.get_close_matches(item, items, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(items)) or 'none'}"
        raise UsageError(f"{service} has no state item {item!r}", hint=hint)
    parts = [part for part in path.split("/") if part]
    if any(part in {".", ".."} for part in parts):
        raise UsageError(f"--only {text}: {path} is no path below {item}", hint="name it as `recoverd show` does")
    if parts and items[item] != ItemKind.DIRECTORY:
        raise UsageError(
            f"--only {text}: {item} is one document, and holds no others", hint=f"ask for all of it: --only {item}"
        )
    return Only(item, "/".join(parts))


def check_document(only: Only, trees: Trees, roots: Iterable[str | None]) -> None:
    """Raises UsageError, with what is near, when none of the item's trees (live, of snapshots) has the document."""
    known: list[str] = []
    for root in roots:
        if not only.document or (root is not None and find(trees, root, only.document)[0] is not None):
            return
        if root is not None:
            for entry in trees.tree(root):
                known += (name for name, _ in zip(_names(trees, "", entry), range(_MOST_NAMES), strict=False))
    import difflib

    near = difflib.get_close_matches(only.document, dict.fromkeys(known), n=1)
    hint = f"did you mean {only.item}/{near[0]}?" if near else "`recoverd show SNAPSHOT` lists what a snapshot holds"
    raise UsageError(f"there is no {only.document} in {only.item}", hint=hint)


def _names(trees: Trees, above: str, entry: Entry) -> Iterator[str]:
    if entry.type != "dir":
        yield above
        return
    for one in trees.tree(entry.hash or EMPTY_TREE):
        yield from _names(trees, f"{above}/{one.name}" if above else one.name, one)


def narrowed(found: tuple[Damage, ...], only: Only) -> tuple[tuple[Damage, ...], tuple[Damage, ...]]:
    """The damage, of which only what is asked for is restored; and what stays damaged that its policy would restore,
    or that blocks the service. Raises StateError where a part of it can't be had without the rest.
    """
    here: list[Damage] = []
    others: list[Damage] = []
    for one in found:
        above = one.item == only.item and (not one.document or only.document.startswith(f"{one.document}/"))
        if only.covers(one.target):
            here.append(one)
        elif above and one.verdict is Verdict.MISSING:
            here.append(replace(one, document=only.document))
        elif above and one.action is Action.RESTORE:
            raise StateError(
                f"{one.item} is {one.verdict} as a whole, so {only.document} alone can't be restored",
                hint=f"restore all of it: --only {one.item}",
            )
        elif one.action is Action.LEAVE:
            here.append(one)
        else:
            others.append(one)
            here.append(replace(one, action=Action.LEAVE, reason=_NOT_ASKED))
    return tuple(here), tuple(others)
