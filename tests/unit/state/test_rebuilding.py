"""A rebuilt document: what is collected, fixed and computed, and nothing that was not declared."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Computed, Rebuild
from recoverd.state.rebuilding import compute, matches, put, rebuild, rfc3339, time_of
from recoverd.state.signs import at

NOW = 1_763_718_600_123_000_000  # 2025-11-21T09:50:00.123Z
TASKS: list[dict[str, Any]] = [
    {"id": "a", "status": "completed", "started_at": "2025-11-21T09:00:00Z", "completed_at": "2025-11-21T09:00:10Z"},
    {"id": "b", "status": "failed", "started_at": "2025-11-21T09:00:00Z", "completed_at": None},
    {"id": "c", "status": "completed", "started_at": "2025-11-21T09:00:00+01:00", "completed_at": 1763712020},
    {"id": "d", "status": 1},
]


def test_the_whole_document() -> None:
    """first-systems.md: rebuilt from the tasks with metrics computed."""
    rule = Rebuild(
        collect={"/tasks": "tasks"},
        constants={"/version": "1.0.0", "/metrics/average": -1},
        compute={
            "/metrics/total": Computed("count", "tasks"),
            "/metrics/completed": Computed("count", "tasks", {"status": "completed"}),
            "/metrics/average": Computed("mean", "tasks", {"status": "completed"}, "started_at", "completed_at"),
            "/last_saved": Computed("now"),
        },
    )
    assert rebuild(rule, {"tasks": TASKS}, now_ns=NOW) == {
        "version": "1.0.0",
        "tasks": TASKS,
        "metrics": {"average": 15.0, "total": 4, "completed": 2},
        "last_saved": "2025-11-21T09:50:00.123Z",
    }


def test_a_mean_of_nothing_is_nothing() -> None:
    rule = Computed("mean", "tasks", {}, "started_at", "completed_at")
    assert compute(rule, {"tasks": [{}, 7, None]}, now_ns=NOW) == 0


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({}, "abcd"),
        ({"status": ["failed", "completed"]}, "abc"),
        ({"status": True}, ""),
        ({"status": 1}, "d"),
        ({"started_at": {"within": "1h"}}, "ab"),
        ({"completed_at": {"within": "2h"}}, "ac"),
        ({"/status": "failed", "id": "b"}, "b"),
        ({"nothing": None}, ""),
        ({"completed_at": None}, "b"),
    ],
)
def test_where(where: dict[str, Any], ids: str) -> None:
    assert "".join(task["id"] for task in TASKS if matches(where, task, now_ns=NOW)) == ids


@pytest.mark.parametrize(
    ("value", "time_ns"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01 01:00:01+01:00", 10**9),
        ("1970-01-01T00:00:01.5", 1_500_000_000),
        (1, 10**9),
        (1.5, 1_500_000_000),
        (1_763_718_600_123, 1_763_718_600_123_000_000),
        (True, None),
        ("soon", None),
        (None, None),
        ([], None),
        (1e300, None),
        (float("nan"), None),
    ],
)
def test_times(value: Any, time_ns: int | None) -> None:
    assert time_of(value) == time_ns


@given(st.integers(0, 4 * 10**18))
def test_times_come_back(time_ns: int) -> None:
    assert time_of(rfc3339(time_ns)) == time_ns // 1_000_000 * 1_000_000


@given(st.lists(st.text(max_size=3), min_size=1, max_size=4), st.integers())
def test_what_is_put_is_there(path: list[str], value: int) -> None:
    document: dict[str, Any] = {}
    pointer = "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)
    put(document, pointer, value)
    assert at(document, pointer) == value


def test_a_pointer_into_a_list() -> None:
    with pytest.raises(ValueError, match="/a/b leads into something that is no mapping"):
        rebuild(Rebuild(collect={"/a": "x"}, compute={"/a/b": Computed("now")}), {"x": []}, now_ns=NOW)
