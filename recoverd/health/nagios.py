"""Results as a monitoring plugin gives them: one line with status, sentence and figures, then the long text.

By the guidelines of monitoring-plugins.org: "Plugin Output for Nagios", "Threshold and Ranges", "Performance data".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recoverd.events.text import plural, printable
from recoverd.health.results import Figure, Result, Status, overall


def render(results: Sequence[Result]) -> str:
    """The lines, without a newline at the end.

    The figures that have limits stand on the first line, where every reader looks; all others follow the long
    text, behind a second `|`.
    """
    worst = overall(results)
    bad = sorted((one for one in results if one.status is not Status.OK), key=lambda one: -one.status.severity)
    limited = [text for one in results for text in _figures(one, limited=True)]
    others = [text for one in results for text in _figures(one, limited=False)]
    lines = [_clean(_headline(worst, bad, len(results))), *(_clean(line) for one in bad for line in _told(one))]
    if limited:
        lines[0] += " | " + " ".join(limited)
    if others:
        lines += [] if bad else ["further figures"]
        lines[-1] += " | " + others[0]
        lines += others[1:]
    return "\n".join(lines)


def failed(sentence: str, hint: str | None) -> str:
    """What is said when nothing could be checked."""
    lines = [f"{Status.UNKNOWN} - {sentence}", *([f"hint: {hint}"] if hint else [])]
    return "\n".join(_clean(line) for line in lines)


def _headline(worst: Status, bad: Sequence[Result], count: int) -> str:
    if not count:
        return f"{worst} - nothing was checked"
    if not bad:
        return f"{worst} - {plural(count, 'check')}"
    first = bad[0]
    where = f"{first.service}: " if first.service is not None else ""
    return f"{worst} - {len(bad)} of {plural(count, 'check')} not OK; {where}{first.message}"


def _told(result: Result) -> Iterator[str]:
    yield f"{result.status} {_name(result)}: {result.message}"
    if result.hint is not None:
        yield f"  hint: {result.hint}"


def _name(result: Result) -> str:
    return result.name if result.service is None else f"{result.service}/{result.name}"


def _clean(line: str) -> str:
    """One line that can't be taken for the start of performance data."""
    return printable(line).replace("|", "/")


def _figures(result: Result, *, limited: bool) -> Iterator[str]:
    """`'label'=value[unit];[warn];[crit];[min]` of each figure that has limits, or that has none."""
    for name, figure in result.figures.items():
        if (figure.warn is not None or figure.crit is not None) == limited:
            label = _label(f"{_name(result)}/{name}")
            lowest = "0" if figure.value >= 0 else ""
            yield ";".join([f"{label}={_number(figure.value)}{figure.unit}", *_limits(figure), lowest]).rstrip(";")


def _label(text: str) -> str:
    """A label in quotes where it needs them; `=` and `'` may not stand in one."""
    text = _clean(text).replace("=", "_").replace("'", "_")
    return f"'{text}'" if any(map(str.isspace, text)) else text


def _limits(figure: Figure) -> tuple[str, str]:
    """The ranges outside of which the figure warns and is critical.

    A limit that warns sooner than it is critical from above is a lowest value (`10:`). Counts complain from their
    limit on, ranges beyond it: the range of a count ends one below.
    """
    floor = figure.warn is not None and figure.crit is not None and figure.warn > figure.crit
    count = figure.unit == "" and isinstance(figure.value, int)

    def limit(value: int | float | None) -> str:
        if value is None:
            return ""
        return f"{_number(value)}:" if floor else _number(value - 1 if count else value)

    return limit(figure.warn), limit(figure.crit)


def _number(value: int | float) -> str:
    """Digits and a point, never an exponent."""
    return str(value) if isinstance(value, int) else f"{value:.6f}".rstrip("0").rstrip(".")
