"""Figures of saves and loads: from the history of what was done, without a look at state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recoverd.health import Result
    from tests.integration.operations.conftest import House


def figures(house: House, name: str) -> dict[str, float]:
    return {key: figure.value for key, figure in found(house, name).figures.items()}


def found(house: House, name: str) -> Result:
    (one,) = [one for one in house.check().results if one.name == name and one.service == "app"]
    return one


def test_snapshots_are_counted(house: House) -> None:
    """Backup count, file count and disk usage: of all snapshots, and of what the newest one holds."""
    house.write(1)
    first = house.snapshot()
    house.state.write_text("{")
    second = house.snapshot()
    assert figures(house, "snapshots") == {
        "snapshots": 2,
        "known_good": 1,
        "new_bytes": first.new_bytes + second.new_bytes,
        "files": second.files,
        "bytes": second.size_bytes,
    }


def test_restores_are_timed(house: House) -> None:
    """Load duration and failure rate: of every restore but rehearsals and those that another recoverd held up."""
    house.write(1)
    house.snapshot()
    assert "load-duration" not in {one.name for one in house.check().results}
    house.restore(dry_run=True)
    assert "load-duration" not in {one.name for one in house.check().results}
    first = house.restore()
    house.state.write_text("{")
    second = house.restore()
    assert (first.outcome, second.outcome) == ("untouched", "restored")
    told = figures(house, "load-duration")
    assert (told["runs"], told["failure_rate"]) == (2, 0)
    assert told["last_seconds"] == round(second.seconds, 6)
    assert told["longest_seconds"] == round(max(first.seconds, second.seconds), 6)
    with house.context.repository().service_lock("app", wait_s=0, what="the test"):
        house.context.wait_s = 0
        assert house.restore().exit_status == 75
    assert figures(house, "load-duration")["runs"] == 2


def test_a_restore_tells_that_state_was_loaded(house: House) -> None:
    """`state.loaded`: live state was read and judged, with the figures of it, whatever came of that."""
    house.write(1)
    files = house.snapshot().files
    house.state.write_text("{")
    house.events.clear()
    house.restore()
    (event,) = [one for one in house.events if one.name == "state.loaded"]
    assert event.message == "its state is corrupt"
    assert event.figures["files"] == files
    assert event.figures["size_bytes"]
    house.events.clear()
    house.restore(dry_run=True)
    assert "state.loaded" not in {one.name for one in house.events}
