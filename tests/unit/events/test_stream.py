"""The event stream: a fixed list of names, and sinks that can fail without harm."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from recoverd.config.model import Secret
from recoverd.events import Event, EventName, Events
from recoverd.events.names import KINDS
from recoverd.system import clock

# Copied from recoverd(8), "Events".
CONTRACT = [
    "snapshot.saved",
    "snapshot.unchanged",
    "snapshot.invalid",
    "snapshot.failed",
    "autosave.triggered",
    "state.loaded",
    "state.corrupt",
    "state.reset",
    "state.missing",
    "restore.started",
    "restore.rejected",
    "restore.finished",
    "restore.failed",
    "service.started",
    "service.unhealthy",
    "service.gave-up",
    "prune.finished",
    "verify.damage",
    "replica.lagging",
    "drill.passed",
    "drill.failed",
    "migration.done",
    "migration.failed",
    "prune.failed",
    "replica.failed",
    "state.newer",
    "state.unreadable",
    "disk.low",
]


def test_the_names_are_those_of_the_contract() -> None:
    """cli.md, "Events": hooks are written against exactly these names."""
    assert sorted(EventName) == sorted(CONTRACT)
    assert set(KINDS) == set(EventName)


def test_an_event_reaches_every_sink_with_all_it_carries() -> None:
    """cli.md: each carries time, service, item, path, format, and figures with units."""
    first: list[Event] = []
    second: list[Event] = []
    events = Events([first.append])
    events.add(second.append)
    before_ns = clock.now_ns()
    told = events.emit(
        "state.loaded", service="svc", item="main", path="/x/state.json", format="json", items=3, bytes=12, seconds=0.5
    )
    assert first == second == [told]
    assert before_ns <= told.time_ns <= clock.now_ns()
    assert (told.service, told.item, told.path, told.format) == ("svc", "main", "/x/state.json", "json")
    assert dict(told.figures) == {"items": 3, "bytes": 12, "seconds": 0.5}
    assert told.level == "debug"


def test_a_failing_sink_fails_nothing_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """config.md, hooks: "never block or fail a job"."""

    def broken(event: Event) -> None:
        raise OSError("no space left")

    heard: list[Event] = []
    caplog.set_level(logging.DEBUG)
    logging.getLogger("recoverd").propagate = True
    Events([broken, heard.append]).emit("disk.low")
    assert [event.name for event in heard] == ["disk.low"]
    assert "no space left" in caplog.text


@pytest.mark.parametrize("wrong", [{"name": "snapshot.imagined"}, {"name": "disk.low", "level": "loud"}])
def test_unknown_names_and_levels_are_mistakes_of_the_program(wrong: Any) -> None:
    """A misspelt event would never reach its hooks."""
    with pytest.raises(ValueError, match=r"imagined|loud"):
        Events().emit(**wrong)


def test_a_reference_to_a_secret_is_no_figure() -> None:
    """config.md: secrets are never printed; events take plain values only."""
    secret: Any = Secret("env", "TOKEN")
    with pytest.raises(TypeError, match=r"figure token of disk\.low is a Secret"):
        Events().emit("disk.low", token=secret)


@pytest.mark.parametrize(
    ("name", "figures", "said"),
    [
        (
            "snapshot.saved",
            {"files": 12, "bytes": 9, "new_bytes": 35_328, "sequence": 42},
            "12 files, 34.5 KiB new (42)",
        ),
        ("snapshot.saved", {"files": 1, "size_bytes": 2048}, "1 file, 2.0 KiB"),
        ("snapshot.saved", {}, "saved"),
        ("snapshot.unchanged", {"seconds": 0.004}, "nothing changed: in 4 ms"),
        ("prune.finished", {"removed": 3, "freed_bytes": 1024}, "pruned: 1.0 KiB freed, 3 removed"),
        ("service.started", {"pid": 7, "item": None}, "started: pid 7"),
        ("state.corrupt", {"bytes": "many"}, "live state is corrupt: many"),
    ],
)
def test_without_words_the_figures_speak(name: str, figures: dict[str, Any], said: str) -> None:
    """Every event says something useful by itself; a figure that nobody knows is said by its name."""
    figures.pop("item", None)
    assert Events().emit(name, **figures).message == said


def test_json_keeps_large_integers_exact() -> None:
    """repository.md: 64-bit values are strings in every JSON; what JSON holds exactly stays a number."""
    document = Events().emit("snapshot.saved", service="svc", bytes=2**60, files=2, message="x").to_json()
    assert json.loads(json.dumps(document))["figures"] == {"bytes": str(2**60), "files": 2}
    assert document["event"] == "snapshot.saved"
    assert document["item"] is None
    assert clock.parse_rfc3339(document["time"]) > 0
