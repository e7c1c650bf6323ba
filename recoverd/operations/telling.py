"""What events tell of a look at live state, whoever took it, and of a service that is back."""

from __future__ import annotations

from recoverd.config.model import Service
from recoverd.events.text import plural, printable
from recoverd.operations.context import Context
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.resume import ResumeReport
from recoverd.state.verdicts import Verdict
from recoverd.values import dataclass

_MOST_WARNINGS = 5  # in the message of an event
_FINE = frozenset({Verdict.OK, Verdict.NEW})


def tell_state(context: Context, service: Service, survey: ServiceSurvey) -> None:
    """One event for each state item that is not ok: its first problem in words, and how many there are."""
    for name, item in survey.items.items():
        if item.verdict in _FINE:
            continue
        first = next((f"{one.place}: {one.problem}" for one in item.problems), "")
        more = f"; and {plural(len(item.problems) - 1, 'more problem')}" if len(item.problems) > 1 else ""
        context.events.emit(
            f"state.{item.verdict}",
            service=service.name,
            item=name,
            message=first + more,
            path=item.path,
            format=service.state[name].format.value,
            problems=len(item.problems),
            files=item.files,
            size_bytes=item.size_bytes,
        )


@dataclass(frozen=True, slots=True)
class Returned:
    """The figures of a service's return; None is not known, or not asked."""

    restart_count: int | None = None
    clean_shutdown: bool | None = None
    in_flight: int | None = None
    warnings: int | None = None
    messages: str | None = None  # one in a line
    resume: str | None = None  # the path of the report


def finished(report: ResumeReport | None, origin: str) -> tuple[str, str | None, Returned]:
    """Message, level (None: the usual one) and figures of `restore.finished`. `origin`: where its state came from.

    Where queries are declared, the message says first what is resumed, and what is warned of. Pure.
    """
    if report is None:
        return origin, None, Returned()
    found = report.in_flight
    if found is None:
        return origin, None, Returned(report.restart_count, report.shutdown.clean, resume=report.path)
    warnings = list(found.warnings)
    if len(warnings) > _MOST_WARNINGS:
        warnings[_MOST_WARNINGS:] = [f"and {len(warnings) - _MOST_WARNINGS} more warnings"]
    told = "\n".join(
        printable(f"{one.called}: {one.message}" if one.called else str(one.message)) for one in found.messages
    )
    figures = Returned(
        report.restart_count, report.shutdown.clean, found.count, len(found.warnings), told or None, report.path
    )
    return "; ".join([report.message, *warnings, origin]), "warning" if warnings else None, figures
