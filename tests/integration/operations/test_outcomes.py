"""Promise 10: outcomes and exit statuses of captures are what the manual says, and none of them lies."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Restore
from recoverd.operations.snapshot import SnapshotRequest, snapshot

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def test_the_table_of_outcomes(house: House) -> None:
    """saved, unchanged, partial, invalid: with the exit status of each."""

    def take(**request: object) -> tuple[str, str | None, int]:
        house.assess()  # lets what was just written settle
        result = snapshot(house.context, SnapshotRequest(**request))  # type: ignore[arg-type]
        return result.services[0].outcome, result.services[0].verdict, result.exit_status

    assert take(dry_run=True) == ("saved", "ok", 0)
    assert house.list() == []
    assert take() == ("saved", "ok", 0)
    assert take() == ("unchanged", "ok", 0)
    assert take(label="by hand") == ("saved", "ok", 0)
    house.state.write_bytes(b"{")
    house.write_task("task-001", n=1)
    assert take() == ("saved", "partial", 3)
    assert take() == ("unchanged", "partial", 3)
    house.state.write_bytes(b"[")
    assert take() == ("invalid", "invalid", 1)
    house.write(1)
    assert take() == ("saved", "ok", 0)


def test_a_service_that_has_written_nothing_yet(house: House) -> None:
    """Nothing is captured, nothing fails, and the first document is."""
    house.state.unlink()
    shutil.rmtree(house.tasks)
    made = house.snapshot()
    assert (made.outcome, made.id) == ("unchanged", None)
    assert house.verdict() == "new"
    house.write(1)
    assert house.snapshot().id == "app/1"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_repository_that_can_t_be_written_fails_the_capture(house: House) -> None:
    """The failure is counted, and told."""
    house.snapshot()
    house.write(5)
    packs = house.state_dir / "repository" / "packs"
    packs.chmod(0o500)
    try:
        made = house.snapshot()
    finally:
        packs.chmod(0o700)
    assert made.outcome == "failed"
    assert house.context.repository().record("app").failures == 1
    assert house.snapshot().outcome == "saved"
    assert house.context.repository().record("app").failures == 0


def test_a_dry_run_that_fails_is_no_failed_capture(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what went wrong, and leaves neither a count, nor a run in the history, nor an event behind."""

    def bad_disk(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    house.snapshot()
    house.write(5)
    repository = house.context.repository()
    told, runs = len(house.events), repository.catalog.runs("app", "snapshot", 100)
    with monkeypatch.context() as patch:
        patch.setattr("recoverd.operations.snapshot.survey_service", bad_disk)
        result = snapshot(house.context, SnapshotRequest(dry_run=True))
        assert (result.services[0].outcome, result.exit_status) == ("failed", 1)
        assert "Input/output error" in str(result.services[0].error)
        assert len(house.events) == told
        assert (repository.record("app").failures, repository.catalog.runs("app", "snapshot", 100)) == (0, runs)
        assert snapshot(house.context, SnapshotRequest()).services[0].outcome == "failed"
    assert [event.name for event in house.events][told:] == ["snapshot.failed"]
    assert repository.record("app").failures == 1
    assert snapshot(house.context, SnapshotRequest(dry_run=True)).services[0].outcome == "saved"
    assert repository.record("app").failures == 1  # nor is it a capture that worked


def test_failures_are_forgotten_when_it_works_again(house: House) -> None:
    """Also when nothing changed meanwhile; and the run that ended them is in the history."""
    house.snapshot()
    repository = house.context.repository()
    repository.update_record("app", lambda record: replace(record, failures=3, last_error="x"))
    assert house.snapshot().outcome == "unchanged"
    assert (repository.record("app").failures, repository.record("app").last_error) == (0, None)
    assert repository.catalog.runs("app", "snapshot", 1)[0].outcome == "unchanged"


def test_a_service_is_restored_as_a_whole(house: House) -> None:
    """All items from one snapshot, good ones too; what came after it goes to quarantine, and back by undo."""
    house.change(restore=Restore(scope="service"))
    house.write(1)
    house.snapshot()
    then = house.contents()
    house.write_task("task-200", n=1)
    house.state.write_bytes(b"{")
    assert house.snapshot().verdict == "partial"
    before = house.contents()
    assert house.restore().outcome == "restored"
    assert house.contents() == then
    house.undo()
    assert house.contents() == before


def test_an_explicit_restore_of_what_is_there_writes_nothing(house: House) -> None:
    """And says so."""
    house.snapshot()
    before = house.contents()
    result = house.restore(snapshot="app/1")
    assert result.outcome == "untouched"
    assert any("is what app/1 holds" in reason for reason in result.reasons)
    assert house.contents() == before


def test_verdicts_of_other_rules_are_not_taken_for_those_of_today(house: House) -> None:
    """A snapshot that was ok by an older schema is judged again when it is staged."""
    house.write(5)
    house.snapshot()
    main = replace(
        house.service.state["main"],
        schema=house.schema({"required": ["version", "counter"], "properties": {"counter": {"minimum": 10}}}),
    )
    house.change(state={**house.service.state, "main": main})
    house.state.write_bytes(b"{")
    result = house.restore()
    assert result.outcome == "blocked"
    assert [one.result for one in result.attempts] == ["invalid"]
