"""Results for people: grouped by service, the worst first."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.events.text import paint, plural, printable
from recoverd.health.results import Result, Status, overall

_SYMBOLS = {Status.OK: "✓", Status.WARNING: "!", Status.CRITICAL: "✗", Status.UNKNOWN: "?"}
_HOST = "host"


def render(
    results: Sequence[Result], *, color: bool = False, symbols: bool = False, verbose: bool = False, quiet: bool = False
) -> str:
    """Lines of text without a newline at the end. The first one says how it is over all.

    What is OK is only counted, in one line for each group, unless `verbose`; `quiet` leaves it out.
    `symbols` shows ✓ ! ✗ instead of the status words; without it and `color` the text adds nothing to the
    ASCII of the messages themselves.
    """
    worst = overall(results)
    lines = [_style(_headline(worst, results), worst, color)]
    for name, group in _groups(results):
        status = overall(group)
        if status is Status.OK and not verbose:
            if not quiet:
                lines.append(f"{_mark(status, color, symbols)} {name}: {plural(len(group), 'check')}")
            continue
        lines.append(f"{paint(name, 'bold') if color else name}:")
        for result in sorted(group, key=lambda one: -one.status.severity):
            if result.status is Status.OK and not verbose:
                continue
            mark = _mark(result.status, color, symbols)
            lines.append(f"  {mark} {printable(result.name)}: {printable(result.message)}")
            if result.hint is not None and result.status is not Status.OK:
                hint = f"    hint: {printable(result.hint)}"
                lines.append(paint(hint, "hint") if color else hint)
        fine = sum(result.status is Status.OK for result in group)
        if fine and not verbose and not quiet:
            lines.append(f"  {_mark(Status.OK, color, symbols)} {plural(fine, 'other check')}")
    return "\n".join(lines)


def _headline(worst: Status, results: Sequence[Result]) -> str:
    if not results:
        return f"{worst}: nothing was checked"
    bad = [result for result in results if result.status is not Status.OK]
    if not bad:
        return f"{worst}: {plural(len(results), 'check')}"
    return f"{worst}: {len(bad)} of {plural(len(results), 'check')} not OK"


def _groups(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """By service, the worst group first, the host before services that are as bad; else by name."""
    groups: dict[str | None, list[Result]] = {}
    for result in results:
        groups.setdefault(result.service, []).append(result)

    def rank(service: str | None) -> tuple[int, bool, str]:
        return (-overall(groups[service]).severity, service is not None, service or "")

    return [(_HOST if service is None else printable(service), groups[service]) for service in sorted(groups, key=rank)]


def _mark(status: Status, color: bool, symbols: bool) -> str:
    return _style(_SYMBOLS[status] if symbols else status.value, status, color)


def _style(text: str, status: Status, color: bool) -> str:
    return paint(text, status.value.lower()) if color else text
