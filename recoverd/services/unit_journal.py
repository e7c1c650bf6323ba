"""What the manager itself wrote into the journal about units: jobs, and ends. Pure.

Fields are those of systemd.journal-fields(7), message ids those of systemd's catalog (sd-messages.h).
"""

from __future__ import annotations

import json

from recoverd.values import dataclass

FIELDS = ("UNIT", "USER_UNIT", "INVOCATION_ID", "USER_INVOCATION_ID", "JOB_ID", "JOB_TYPE", "MESSAGE_ID")
_ENDS = frozenset(
    {
        "7ad2d189f7e94e70a38c781354912448",  # deactivated successfully
        "d9b373ed55a64feb8242e02dbe79a49c",  # failed with a result
        "0e4284a0caca4bfc81c0bb6786972673",  # was skipped by its ExecCondition=
    }
)


@dataclass(frozen=True, slots=True)
class JobLine:
    """One line of the manager about one unit. `at_us`: on the monotonic clock."""

    unit: str
    invocation: str = ""  # which run of the unit; "" where there was none yet
    job: int = 0  # the number of the job that it is about, 0 for none
    job_type: str = ""  # start | stop | restart | …
    ended: bool = False  # it says that this run is over
    at_us: int = 0


def parse_lines(text: str) -> list[JobLine]:
    """The answer of `journalctl --output=json`, in its order; what is no line of a manager is left out."""
    lines = []
    for line in text.split("\n"):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        unit = _text(found.get("UNIT") or found.get("USER_UNIT")) if isinstance(found, dict) else ""
        if unit:
            lines.append(
                JobLine(
                    unit,
                    invocation=_text(found.get("INVOCATION_ID") or found.get("USER_INVOCATION_ID")),
                    job=_number(found.get("JOB_ID")),
                    job_type=_text(found.get("JOB_TYPE")),
                    ended=_text(found.get("MESSAGE_ID")) in _ENDS,
                    at_us=_number(found.get("__MONOTONIC_TIMESTAMP")),
                )
            )
    return lines


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return int(value) if isinstance(value, str) and value.isdecimal() else 0
