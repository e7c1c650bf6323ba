"""`pin` and `unpin`, `pause` and `resume`: durable facts that retention and the scheduler honour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Autosave, Retention
from recoverd.errors import UsageError
from recoverd.operations.pause import PauseRequest, pause
from recoverd.operations.pin import PinRequest, pin

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def listed(house: House) -> dict[str, bool]:
    return {one.snapshot.id: one.marks.pinned for one in house.list()}


def test_a_pinned_snapshot_outlives_its_retention(house: House) -> None:
    """repository.md: pinned ones are never deletable; unpinned, retention decides again."""
    house.change(retention=Retention(last=1))
    for counter in range(3):
        house.write(counter)
        house.snapshot(prune=False)
    assert pin(house.context, PinRequest(("app/1", "app/1", "app/latest"))).to_json() == {
        "snapshots": [
            {"id": "app/1", "pinned": True, "changed": True, "label": None},
            {"id": "app/3", "pinned": True, "changed": True, "label": None},
        ]
    }
    house.reopen()
    house.prune()
    assert listed(house) == {"app/3": True, "app/1": True}
    assert [one.changed for one in pin(house.context, PinRequest(("app/1",))).snapshots] == [False]
    assert pin(house.context, PinRequest(("app/1",), pinned=False)).snapshots[0].changed
    house.prune()
    assert listed(house) == {"app/3": True}


def test_nothing_is_pinned_when_one_name_is_wrong(house: House) -> None:
    house.snapshot()
    with pytest.raises(UsageError, match="no snapshot 7"):
        pin(house.context, PinRequest(("app/1", "app/7")))
    assert listed(house) == {"app/1": False}


def test_a_pause_lasts_and_is_told(house: House) -> None:
    """cli.md: autosave off and on at run time, durable; `check` warns, `--due` passes the service over."""
    from recoverd.operations.due import paused_services

    house.change(autosave=Autosave(every_s=30))
    assert pause(house.context, PauseRequest()).to_json() == {
        "services": [{"service": "app", "paused": True, "changed": True, "scheduled": True}]
    }
    house.reopen()
    assert paused_services(house.context) == {"app"}
    assert not pause(house.context, PauseRequest(("app",))).services[0].changed
    assert [one.status.value for one in house.check().results if one.name == "paused"] == ["WARNING"]
    assert house.snapshot().id == "app/1"  # by hand as ever
    assert pause(house.context, PauseRequest(("app",), paused=False)).services[0].changed
    assert paused_services(house.context) == frozenset()
    with pytest.raises(UsageError, match="no service"):
        pause(house.context, PauseRequest(("ap",)))


def test_a_crontab_is_due_and_checked(house: House) -> None:
    """`check` derives its limit from the crontab: three missed times, at least two minutes."""
    house.change(autosave=Autosave(cron="* * * * *"))
    house.snapshot()
    (age,) = [one for one in house.check().results if one.name == "snapshot-age"]
    assert age.figures["age_seconds"].warn is not None
    assert 120 <= age.figures["age_seconds"].warn <= 180
    assert age.status.value == "OK"
