"""A service that is not healthy on migrated state gets back what it had, runs on that, and is not asked again."""

from __future__ import annotations

from typing import Any

from recoverd.config.migration_model import MigrationStep
from recoverd.operations.boot import boot
from recoverd.operations.confirm import confirm
from recoverd.operations.processes import bring_up as start

SPOILED = MigrationStep(
    "1",
    "2",
    patch=({"op": "add", "path": "/runs", "value": []}, {"op": "replace", "path": "/counter", "value": 5000}),
)


def test_it_is_put_back_and_the_service_runs_on_it(running: Any) -> None:
    """The old state lies there again, the service is up on it, and no restore tries the same for ever."""
    running.declare(SPOILED)
    running.house.context.repository(create=True)
    before = running.house.contents()
    result = running.house.restore()
    assert (result.outcome, result.exit_status, result.healthy) == ("failed", 1, True), result
    assert running.house.contents() == before
    assert running.house.running()
    assert "taken back" in running.told("migration.failed")[0]
    pinned = running.pinned()
    for _ in range(2):
        running.house.reopen()
        running.house.stop()
        again = running.house.restore()
        assert (again.outcome, again.exit_status, again.healthy) == ("untouched", 0, True), again
        assert "was not healthy after its migration" in " ".join(again.reasons)
    assert (running.house.contents(), running.pinned()) == (before, pinned)
    assert not any(one.marks.rejected for one in running.house.list())  # the snapshot from before is as good as ever


def test_steps_that_were_mended_are_tried(running: Any) -> None:
    """What is remembered is the migration, not the state alone: nobody has to ask once it is right."""
    running.declare(SPOILED)
    running.house.context.repository(create=True)
    running.house.restore()
    running.house.stop()
    running.declare()
    result = running.house.restore()
    assert (result.outcome, result.healthy, running.main["version"]) == ("restored", True, "2"), result


def test_migrate_brings_a_running_service_back_on_what_it_had(running: Any) -> None:
    """It ran before, so it runs after, on the same state; each `migrate` is a try of its own."""
    running.declare(SPOILED)
    before = running.house.contents()
    start(running.house.context, running.house.service, start=True)
    for _ in range(2):
        done = running.migrate()
        assert (done.outcome, done.exit_status, done.healthy) == ("failed", 1, True), done
        assert "not healthy on migrated state" in done.reasons[0]
        assert running.house.contents() == before
        assert running.house.running()
    assert len(running.told("migration.failed")) == 2
    assert len(running.pinned()) == 1


def test_the_second_phase_of_a_boot_takes_it_back(running: Any) -> None:
    """Migrated before services start, found unhealthy by `confirm`: the old state is back, and the next boot knows."""
    running.declare(SPOILED)
    running.house.context.repository(create=True)
    before = running.house.contents()
    (first,) = boot(running.house.context)[0].services
    assert (first.outcome, running.main["version"]) == ("restored", "2")
    running.house.reopen()
    (second,) = confirm(running.house.context).services
    assert (second.healthy, running.house.contents()) == (True, before), second
    assert "taken back" in running.told("migration.failed")[0]
    running.house.stop()
    running.house.reopen()
    (next_boot,) = boot(running.house.context)[0].services
    assert (next_boot.outcome, running.house.contents()) == ("untouched", before), next_boot


def test_where_the_cause_is_elsewhere_it_is_tried_again(running: Any) -> None:
    """Not healthy on the old state either: that tells nothing about the migration."""
    running.house.write(5000)
    running.house.context.repository(create=True)
    result = running.house.restore()
    assert (result.outcome, result.exit_status, result.healthy) == ("failed", 1, False), result
    assert running.main["version"] == "1"
    running.house.stop()
    running.house.restore()
    assert len(running.told("migration.failed")) == 2


def test_damage_whose_migrated_candidates_do_not_work_stays_as_it_was(running: Any) -> None:
    """Every candidate is migrated, and the service is healthy on none: the damaged original is back, and nothing that
    was saved is given up."""
    for counter in (1, 2):
        running.house.write(counter)
        running.house.snapshot()
    running.declare(SPOILED)
    running.house.state.write_bytes(b"{")
    result = running.house.restore()
    assert (result.outcome, result.exit_status, result.healthy) == ("failed", 1, False), result
    assert [one.result for one in result.attempts] == ["rejected", "rejected"]
    assert running.house.state.read_bytes() == b"{"
    assert not any(one.marks.rejected for one in running.house.list())
    running.declare()
    assert running.house.restore().outcome == "restored"
    assert running.main == {"version": "2", "counter": 2, "runs": []}
