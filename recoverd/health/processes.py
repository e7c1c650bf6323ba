"""The check of a service's process: a pure function from its facts to results."""

from __future__ import annotations

from recoverd.events.text import plural
from recoverd.health.facts import ProcessFacts
from recoverd.health.results import Figure, Result, Status

RESTARTS_WARN, RESTARTS_CRIT = 3, 10  # in an hour
ITS_LOG = "the log of the service says why"


def process(name: str, facts: ProcessFacts) -> list[Result]:
    """Running when it should be, healthy when it is, and not restarted again and again."""
    status, message, hint = Status.OK, "", None
    if facts.running is None:
        status, message = Status.UNKNOWN, f"not known whether it runs: {facts.why or 'its driver does not say'}"
        hint = f"`recoverd status {name}` says what to do about it"
    elif facts.running and facts.wanted == "stopped":
        status, message = Status.WARNING, "running, although it was stopped on purpose"
        hint = "somebody started it without recoverd"
    elif facts.running and facts.healthy is False:
        status, message = Status.CRITICAL, f"running but not healthy: {facts.why or 'a probe failed'}"
        hint = ITS_LOG
    elif facts.given_up is not None and facts.wanted == "running":
        status, message = Status.CRITICAL, f"given up: {facts.given_up}"
        hint = f"`recoverd logs {name}` shows what it said; once that is solved, `recoverd restore {name}`"
    elif facts.running:
        message = "running and healthy" if facts.healthy else "running"
    elif facts.wanted == "running":
        status, message = Status.CRITICAL, "should be running and is not" + (f": {facts.why}" if facts.why else "")
        hint = f"`recoverd restore {name}` checks its state, starts it and proves its health"
    elif facts.wanted == "stopped":
        message = "stopped on purpose"
    else:
        message = "not started yet"
    results = [Result("process", name, status, message, hint=hint)]
    figures = {
        "restarts": Figure(facts.restarts),
        "recent_restarts": Figure(facts.recent_restarts, warn=RESTARTS_WARN, crit=RESTARTS_CRIT),
    }
    if facts.recent_restarts >= RESTARTS_WARN:
        often = Status.CRITICAL if facts.recent_restarts >= RESTARTS_CRIT else Status.WARNING
        results.append(
            Result(
                "restarts",
                name,
                often,
                f"restarted {facts.recent_restarts} times in the last hour",
                hint=ITS_LOG,
                figures=figures,
            )
        )
    else:
        results.append(Result("restarts", name, Status.OK, plural(facts.restarts, "restart"), figures=figures))
    return results
