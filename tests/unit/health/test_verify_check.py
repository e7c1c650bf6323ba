"""What `check` says of the repository's wholeness."""

from __future__ import annotations

import pytest

from recoverd.health.facts import VerifyFacts
from recoverd.health.results import Status
from recoverd.health.verify_check import verify

DAY_NS = 86400 * 10**9
NOW_NS = 1_700_000_000 * 10**9


@pytest.mark.parametrize(
    ("verified_days", "created_days", "every_s", "status"),
    [
        (0.5, 100, 86400.0, Status.OK),
        (2.9, 100, 86400.0, Status.OK),  # one that was missed is no alarm
        (3.1, 100, 86400.0, Status.WARNING),
        (3.1, 100, None, Status.OK),  # nobody asks for it
        (None, 1, 86400.0, Status.OK),  # there was no time for it yet
        (None, 3.1, 86400.0, Status.WARNING),
        (-2, 100, 86400.0, Status.OK),  # the clock was set back
    ],
)
def test_knowledge_that_is_out_of_date_warns(
    verified_days: float | None, created_days: float, every_s: float | None, status: Status
) -> None:
    verified_ns = None if verified_days is None else NOW_NS - round(verified_days * DAY_NS)
    found = verify(VerifyFacts(verified_ns, NOW_NS - round(created_days * DAY_NS), every_s), NOW_NS)
    assert found.status is status
    assert (found.hint is None) == (status is Status.OK)


def test_damage_is_critical_however_fresh_and_says_what_heals_it() -> None:
    facts = VerifyFacts(NOW_NS, NOW_NS, 86400.0, damaged=3, first="object ab… in pack cd…: it has other bytes", hurt=2)
    found = verify(facts, NOW_NS)
    assert found.status is Status.CRITICAL
    assert found.hint == "`recoverd verify --heal`"
    assert found.message == (
        "3 damages in the repository, which hurt 2 snapshots: object ab… in pack cd…: it has other bytes"
    )
    assert found.figures["damaged"].value == 3
