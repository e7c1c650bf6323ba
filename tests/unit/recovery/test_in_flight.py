"""What was in flight: in order, counted from now; whatever a document holds, the worst that comes of it is a note."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.in_flight_model import InFlight
from recoverd.recovery.in_flight import MOST_ENTRIES, MOST_NOTES, Asked, Found
from recoverd.recovery.resume import MOST_REPORTS, History, ResumeReport, Shutdown, decode_history, encode_history
from recoverd.recovery.resume import followed as followed_by

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
NOW_NS = round(NOW.timestamp()) * 1_000_000_000
TASKS = InFlight(
    "main", "/tasks", {"status": ["in_progress", "paused"]}, ("id", "title"), exists="checkpoint", called="task:{id}"
)
TALKS = InFlight(
    "main",
    "/conversations",
    {"lastActivityAt": {"within": "1h"}},
    called="conversation:{id}",
    message="Back after a restart.",
)
SELF = InFlight(
    "main",
    "/selfImprovement/currentTask",
    {"status": ["implementing", "testing"]},
    notify="{description} was {status}: verify",
)


def ask(*queries: InFlight, **documents: Any) -> Found:
    asked = Asked(queries, now_ns=NOW_NS)
    for name, document in documents.items():
        asked.add("main", "" if name == "only" else name, document)
    return asked.found()


def talks(*times: Any) -> Found:
    found = [{"id": f"c{number}", "lastActivityAt": time} for number, time in enumerate(times)]
    return ask(TALKS, only={"conversations": found})


def test_the_orchestrator() -> None:
    """The example of the contract: what is to be resumed, in order, with a message and a warning beside it."""
    found = ask(
        TASKS, TALKS, SELF,
        only={
            "tasks": [
                {"id": "t1", "title": "Mend", "status": "in_progress", "checkpoint": {"step": 3}},
                {"id": "t2", "title": "Done", "status": "completed"},
                {"id": "t3", "title": "Wait", "status": "paused", "checkpoint": None},
            ],
            "conversations": [
                {"id": "c1", "lastActivityAt": "2026-11-21T08:45:00Z"},
                {"id": "c2", "lastActivityAt": "2026-11-21T08:15:00Z"},
            ],
            "selfImprovement": {"currentTask": {"description": "Faster start", "status": "testing"}},
        },
    )  # fmt: skip
    assert found.summary == "resuming 2 tasks and 1 conversation"
    assert [one.called for one in found.entries] == ["task:t1", "task:t3", "conversation:c1", None]
    assert [one.place for one in found.entries] == [
        "/tasks/0", "/tasks/2", "/conversations/0", "/selfImprovement/currentTask",
    ]  # fmt: skip
    assert [one.exists for one in found.entries[:2]] == [{"checkpoint": True}, {"checkpoint": False}]
    assert found.entries[0].show == {"id": "t1", "title": "Mend"}
    assert [one.message for one in found.messages] == ["Back after a restart."]
    assert found.warnings == ("Faster start was testing: verify",)
    assert found.notes == ()
    assert found.count == 3  # a warning is nothing that is resumed


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 2), (1, 1), (2, 3)])
def test_the_summary_counts_what_is_there(counts: tuple[int, int]) -> None:
    tasks = [{"id": number, "status": "paused"} for number in range(counts[0])]
    times = [{"id": number, "lastActivityAt": NOW.isoformat()} for number in range(counts[1])]
    words = {(0, 0): "nothing to resume", (1, 0): "resuming 1 task", (0, 2): "resuming 2 conversations",
             (1, 1): "resuming 1 task and 1 conversation", (2, 3): "resuming 2 tasks and 3 conversations"}  # fmt: skip
    assert ask(TASKS, TALKS, only={"tasks": tasks, "conversations": times}).summary == words[counts]


def test_a_restart_says_what_is_resumed() -> None:
    found = ask(TASKS, only={"tasks": [{"id": "a", "status": "paused"}]})
    shutdown = Shutdown(None, "nobody saw how it ended")
    report = ResumeReport("app", NOW_NS, "boot", "b", 4, shutdown, "untouched", in_flight=found)
    assert report.message == "restarted (#4), resuming 1 task"
    assert report.to_json()["in_flight"]["entries"][0]["as"] == "task:a"
    first = ResumeReport("app", NOW_NS, "boot", "b", 0, shutdown, "untouched")
    assert (first.message, first.to_json()["in_flight"]) == ("started for the first time", None)


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-21T09:00:00Z",
        "2026-11-21T09:00:00.123+00:00",
        "2026-11-21T11:00:00+02:00",
        "2026-11-21T09:00:00",  # UTC where no zone is named
        "2026-11-21 09:00:00",
        "2026-11-21t09:00:00.5z",  # RFC 3339, 5.6: in lower case too
        "20261121T090000Z",
        round((NOW - timedelta(minutes=30)).timestamp()),
        (NOW - timedelta(minutes=30)).timestamp(),
        round((NOW - timedelta(minutes=30)).timestamp()) * 1000,
        NOW.isoformat(),
        (NOW - timedelta(hours=1)).isoformat(),
    ],
)
def test_times_as_services_write_them(time: Any) -> None:
    """ISO 8601 with and without a zone, seconds, milliseconds: all of them within the last hour."""
    found = talks(time)
    assert (found.count, found.notes) == (1, ())


@given(
    st.integers(-10_000_000, 10_000_000),
    st.sampled_from(["seconds", "milliseconds", "iso", "zone"]),
    st.integers(-14, 14),
)
def test_a_window_counts_back_from_now(offset_s: int, form: str, zone_h: int) -> None:
    """Only what lies between an hour ago and now fits, in whatever form; what lies in the future is told."""
    moment = NOW + timedelta(seconds=offset_s)
    time: Any = {
        "seconds": round(moment.timestamp()),
        "milliseconds": round(moment.timestamp()) * 1000,
        "iso": moment.isoformat().replace("+00:00", "Z"),
        "zone": moment.astimezone(timezone(timedelta(hours=zone_h))).isoformat(),
    }[form]
    found = talks(time)
    assert found.count == (-3600 <= offset_s <= 0)
    future = ("main /conversations: 1 entry left out: lastActivityAt lies in the future",) if offset_s > 0 else ()
    assert found.notes == future


@pytest.mark.parametrize("time", ["soon", "", True, [], {}, float("nan"), 10**400, 1e300, "9" * 5000])
def test_what_is_no_time_is_told(time: Any) -> None:
    found = talks(time, NOW.isoformat(), time)
    assert [one.called for one in found.entries] == ["conversation:c1"]
    assert found.notes == ("main /conversations: 2 entries left out: lastActivityAt is no time",)


def test_without_a_time_it_was_never_active() -> None:
    """Absent or null is no fault that anybody need hear of."""
    found = ask(TALKS, only={"conversations": [{"id": "a"}, {"id": "b", "lastActivityAt": None}]})
    assert (found.count, found.notes) == (0, ())


@pytest.mark.parametrize("document", [None, 3, "x", [], {}, {"tasks": None}, {"other": []}, [1, 2]])
def test_no_list_there_is_nothing_in_flight(document: Any) -> None:
    found = ask(TASKS, only=document)
    assert (found.entries, found.notes, found.summary) == ((), (), "nothing to resume")


@pytest.mark.parametrize("value", [3, "tasks", True, 1.5])
def test_no_list_where_one_is_to_be_is_told(value: Any) -> None:
    assert ask(TASKS, only={"tasks": value}).notes == ("main /tasks is neither a list nor an object",)


@pytest.mark.parametrize("status", ["implementing", "testing", "planned", "done", None, ["testing"], 7])
def test_a_warning_only_in_the_middle_of_it(status: Any) -> None:
    """first-systems, 5: of an improvement of itself that was implementing or testing, and of nothing else."""
    found = ask(SELF, only={"selfImprovement": {"currentTask": {"description": "Faster", "status": status}}})
    warned = (f"Faster was {status}: verify",) if status in ("implementing", "testing") else ()
    assert (found.warnings, found.count) == (warned, 0)


def test_entries_of_another_shape() -> None:
    """Numbers, text, null and lists have no fields: they fit no `where`, and a query without one lists them bare."""
    entries = [1, "two", None, [3], {"id": "x", "status": "paused", "progress": {"steps": [{"name": "first"}]}}]
    assert [one.called for one in ask(TASKS, only={"tasks": entries}).entries] == ["task:x"]
    every = InFlight("main", "/tasks", {}, ("/progress/steps/0/name",), called="{id}")
    found = ask(every, only={"tasks": entries})
    assert [one.called for one in found.entries] == ["?", "?", "?", "?", "x"]
    assert [dict(one.show) for one in found.entries][-2:] == [{}, {"/progress/steps/0/name": "first"}]
    assert found.notes == ("main /tasks: 4 entries without id",)
    assert ask(TASKS, only={"tasks": [{"status": ["paused"]}, {"status": {"is": "paused"}}]}).entries == ()


def test_a_mapping_and_one_object() -> None:
    """The values of a mapping count, also beside something that is no entry; an object with what the query names is
    one entry by itself, also where it holds others."""
    paused = {"status": "paused", "id": "x"}
    found = ask(TASKS, only={"tasks": {"a/b": paused, "c": 3, "status": paused}})
    assert [one.place for one in found.entries] == ["/tasks/a~1b", "/tasks/status"]
    assert [one.place for one in ask(TASKS, only={"tasks": paused}).entries] == ["/tasks"]
    whole = InFlight("main", "", {"status": "paused"}, called="{id}")
    nested = {"id": 7, "status": "paused", "log": {"a": {}}}
    assert [(one.called, one.document) for one in ask(whole, **{"t7.json": nested}).entries] == [("7", "t7.json")]
    assert ask(whole, only={}).entries == ()
    every = InFlight("main", "")
    assert [one.place for one in ask(every, only=nested).entries] == [""]
    assert [one.place for one in ask(every, only={"a": paused, "b": {}}).entries] == ["/a", "/b"]


def test_the_order_is_that_of_queries_then_documents() -> None:
    whole = InFlight("main", "", {"status": "paused"}, called="task:{id}")
    running = InFlight("main", "", {"status": "running"}, called="run:{id}")
    states = {"a": (1, "paused"), "b": (2, "running"), "c": (3, "paused")}
    documents = {name: {"id": number, "status": status} for name, (number, status) in states.items()}
    assert [one.called for one in ask(running, whole, **documents).entries] == ["run:2", "task:1", "task:3"]


def test_what_an_entry_lacks_is_told_once() -> None:
    """A template that can't be filled is no reason not to list the entry."""
    tasks = [{"status": "paused", **more} for more in ({}, {"id": None}, {"id": False})]
    found = ask(TASKS, only={"tasks": tasks})
    assert [one.called for one in found.entries] == ["task:?", "task:?", "task:false"]
    assert found.notes == ("main /tasks: 2 entries without id",)


def test_the_report_stays_small() -> None:
    """A hundred thousand entries and values of any size: all counted, the first listed, each cut short."""
    long = {"id": "x" * 100_000, "title": ["y" * 50] * 1000, "status": "paused"}
    found = ask(TASKS, only={"tasks": [long] * 3000})
    assert (found.count, len(found.entries)) == (3000, MOST_ENTRIES)
    assert found.notes == (f"main /tasks: 3000 entries fit, of which the first {MOST_ENTRIES} are listed",)
    assert len(json.dumps(found.to_json())) < 2000 * MOST_ENTRIES


def test_the_history_keeps_one_list() -> None:
    """Of older reports only how much was in flight: a history is read by every `check`."""
    found = ask(TASKS, only={"tasks": [{"id": "a", "status": "paused"}]})
    history = History()
    for count in range(MOST_REPORTS + 5):
        one = ResumeReport("app", NOW_NS, "boot", "b", count, Shutdown(None, ""), "untouched", in_flight=found)
        history = followed_by(history, one)
    assert decode_history(encode_history(history)) == history
    assert len(history.reports) == MOST_REPORTS
    assert [len(each["in_flight"]["entries"]) for each in history.reports] == [0] * (MOST_REPORTS - 1) + [1]
    assert {each["in_flight"]["count"] for each in history.reports} == {1}


def test_many_notes_are_cut_short() -> None:
    asked = Asked((TASKS,), now_ns=NOW_NS)
    for number in range(1000):
        asked.note(f"document {number} is bad")
        asked.add("main", f"d{number}", {"tasks": 3})
    notes = asked.found().notes
    assert len(notes) == MOST_NOTES
    assert notes[-1].endswith("more could not be told")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**330)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["paused", "testing", "\ud800", "a\0b", "\x1b[2J", NOW.isoformat(), "9999-12-31T23:59:59-14:00"]),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "status", "title", "checkpoint", "lastActivityAt", "a", "~/", "\ud83d", ""]),
            below,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(VALUES, VALUES)
def test_hostile_documents(tasks: Any, rest: Any) -> None:
    """Whatever stands there: no exception, and a report that is JSON for everybody, exact and bounded."""
    document = {"tasks": tasks, "conversations": rest, "selfImprovement": {"currentTask": rest}}
    found = ask(TASKS, TALKS, SELF, InFlight("main", "", {}, ("/tasks", "conversations")), only=document)
    text = json.dumps(found.to_json(), allow_nan=False)
    text.encode("utf-8")
    again = json.loads(text, parse_int=lambda digits: pytest.fail(digits) if abs(int(digits)) > 2**53 else int(digits))
    assert again == found.to_json()
    report = ResumeReport("app", NOW_NS, "boot", "b", 1, Shutdown(None, ""), "untouched", in_flight=found)
    assert decode_history(encode_history(followed_by(History(), report))).reports[-1]["in_flight"] == found.to_json()


def test_a_number_that_python_does_not_spell() -> None:
    """sys.set_int_max_str_digits(3): more digits than that raise ValueError in str()."""
    digits = sys.get_int_max_str_digits() or 4300
    found = ask(TASKS, only={"tasks": [{"id": 10 ** (digits + 10), "title": 2**63, "status": "paused"}]})
    assert found.entries[0].show["title"] == str(2**63)
    assert "digits" in found.entries[0].show["id"]
