"""The resume report says what came back, how old it is, and what is lost; its history is bounded."""

from __future__ import annotations

import json

import pytest

from recoverd.recovery.resume import (
    MOST_REPORTS,
    History,
    ResumeReport,
    Shutdown,
    decode_history,
    encode_history,
    followed,
)

TIME_NS = 1_700_000_000_000_000_000


def report(count: int = 1, **more: object) -> ResumeReport:
    return ResumeReport("app", TIME_NS, "boot", "boot", count, Shutdown(False, "by itself"), "restored", **more)  # type: ignore[arg-type]


def test_what_is_lost() -> None:
    """All that was written after the restored content was captured; nothing where live state stayed."""
    items = [
        {"item": "main", "document": "", "source": "snapshot", "age_seconds": 60.0},
        {"item": "tasks", "document": "a.json", "source": "sibling", "age_seconds": 1.5},
        {"item": "logs", "document": "", "source": "live", "age_seconds": None},
        {"item": "index", "document": "", "source": "rebuild", "age_seconds": None},
    ]
    found = report(items=items).to_json()
    assert found["lost"] == [
        "main: what was written after 2023-11-14T22:12:20.000Z",
        "tasks/a.json: what was written after 2023-11-14T22:13:18.500Z",
    ]
    assert found["items"] == items
    assert (found["restart_count"], found["clean_shutdown"], found["shutdown"]) == (1, False, "by itself")


def test_the_history_goes_on_and_is_bounded() -> None:
    """The count goes on whatever is forgotten."""
    history = History()
    for count in range(1, MOST_REPORTS + 6):
        history = followed(history, report(count))
    assert history.restart_count == MOST_REPORTS + 5
    assert [one["restart_count"] for one in history.reports] == list(range(6, MOST_REPORTS + 6))
    assert history.unclean == MOST_REPORTS
    assert decode_history(encode_history(history)) == history


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"reports": 3}', b'{"reports": [], "restart_count": "x"}'])
def test_a_damaged_history_is_an_empty_one(data: bytes) -> None:
    """It keeps nothing from coming back."""
    assert decode_history(data) == History()


def test_what_is_no_report_is_left_out() -> None:
    data = json.dumps({"reports": [3, {"clean_shutdown": False}], "restart_count": 4}).encode()
    assert decode_history(data) == History(4, ({"clean_shutdown": False},))
