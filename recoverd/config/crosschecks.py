"""What only several services, or several items of one, can do wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from recoverd.config.database_model import COMPANIONS
from recoverd.config.items import Claim, is_inside
from recoverd.config.model import ItemKind


def cycles(after: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """The ways on which services wait for one another, each once round: ("a", "b", "a").

    `after` maps each service to those it starts after; names that are no service are left out.
    """
    done: set[str] = set()
    for first in after:
        way = [first] if first not in done else []  # from `first` to where we are
        pending = [iter(after[name]) for name in way]
        while pending:
            other = next(pending[-1], None)
            if other is None:
                pending.pop()
                done.add(way.pop())
            elif other in way:
                yield (*way[way.index(other) :], other)
            elif other in after and other not in done:
                way.append(other)
                pending.append(iter(after[other]))


def overlaps(claims: Sequence[Claim]) -> Iterator[tuple[Claim, str]]:
    """Claims that meet an earlier one, with a sentence: in a service paths lie apart, between services they differ.

    A file may lie in a directory item that does not cover it: two items, each with rules of its own.
    """
    by_path: dict[str, Claim] = {}
    by_service: dict[str, list[Claim]] = {}
    beside: dict[str, Claim] = {}  # what goes with a database, by path
    for claim in claims:
        others = by_service.setdefault(claim.service, [])
        same = by_path.setdefault(claim.path, claim)
        if same is not claim:
            yield (
                claim,
                f"{claim.path} is the path of {_whose(same, claim)} as well ({same.place.file}:{same.place.line})",
            )
        for other in others:
            at = f'item "{other.item}" ({other.place.file}:{other.place.line}): items must not overlap'
            if claim.path != other.path and is_inside(claim.path, other.path) and other.covers(claim):
                yield claim, f"{claim.path} lies inside {at}{_way_out(other)}"
            elif claim.path != other.path and is_inside(other.path, claim.path) and claim.covers(other):
                yield claim, f"{claim.path} contains {at}{_way_out(claim)}"
        if claim.kind is ItemKind.SQLITE:
            beside.update({claim.path + ending: claim for ending in COMPANIONS})
        others.append(claim)
    for claim in claims:
        if (database := beside.get(claim.path)) is not None:
            yield claim, f"{claim.path} goes with {database.path}, which is the database of {_whose(database, claim)}"


def _whose(claim: Claim, seen_from: Claim) -> str:
    return f'item "{claim.item}"' if claim.service == seen_from.service else f'service "{claim.service}"'


def _way_out(outer: Claim) -> str:
    return f'; `exclude` takes a file out of "{outer.item}"' if outer.selection is not None else ""
