"""What was in flight, in lines for people: as `restore` and `status` show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recoverd.cli.text import printable

_MOST = 12


def lines(found: Mapping[str, Any], *, verbose: bool) -> Iterator[str]:
    """The `in_flight` of a resume report; lists are cut short unless `verbose`."""
    entries = [one for one in found["entries"] if one["warning"] is None or one["as"] is not None]
    if found["count"]:
        yield str(found["summary"])
    shown = entries if verbose else entries[:_MOST]
    yield from (f"  {_entry(one)}" for one in shown)
    if len(entries) > len(shown):
        yield f"  and {len(entries) - len(shown)} more; --verbose shows them"
    yield from (f"warning: {printable(one)}" for one in found["warnings"])
    yield from (f"note: {printable(one)}" for one in found["notes"])


def _entry(one: Mapping[str, Any]) -> str:
    """`task:t7 (title: Mend the roof, no checkpoint): Back after a restart.`"""
    where = "/".join(part for part in (one["item"], one["document"]) if part) + one["place"]
    told = [f"{_last(name)}: {value}" for name, value in one["show"].items() if value is not None]
    told += [f"{'with' if there else 'no'} {_last(name)}" for name, there in one["exists"].items()]
    text = printable(one["as"] or where) + (f" ({printable(', '.join(told))})" if told else "")
    return text + (f": {printable(one['message'])}" if one["message"] else "")


def _last(name: str) -> str:
    """A field without what leads to it."""
    return name.rpartition("/")[2] if name.startswith("/") else name
