"""What a look at live state tells, whoever took it."""

from __future__ import annotations

from recoverd.config.model import Service
from recoverd.events.text import plural
from recoverd.operations.context import Context
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.state.verdicts import Verdict

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
