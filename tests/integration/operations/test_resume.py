"""What a service is told when it comes back: before it starts, in a file that it can read, with a history beside it."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.config.model import Run, RunKind
from recoverd.operations.boot import boot
from recoverd.operations.confirm import confirm
from recoverd.operations.lifetimes import begin, end
from recoverd.operations.processes import driver_of
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest
from recoverd.operations.resume_files import load_history
from recoverd.values import replace

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def told(house: House) -> dict[str, Any]:
    """The newest report, as the service finds it."""
    found = json.loads((house.root / "runtime-resume" / "app.json").read_text())
    assert isinstance(found, dict)
    return found


def kill(house: House) -> None:
    driver = driver_of(house.context, house.service)
    assert driver is not None
    identity = driver.status().identity
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    while driver.status().running:
        pass


def test_the_service_finds_it_when_it_starts(judged: House) -> None:
    """It is there before the process is, under the name that its environment gives, readable for its group."""
    assert judged.service.run is not None
    seen = judged.root / "seen"
    run = judged.service.run
    program = 'cp "$RECOVERD_RESUME" "$0"; exec "$@"'
    judged.change(run=replace(run, command=("/bin/sh", "-c", program, str(seen), *run.command)))
    result = judged.restore()
    assert result.healthy
    first = json.loads(seen.read_text())
    assert (first["restart_count"], first["clean_shutdown"], first["outcome"]) == (0, None, "untouched")
    judged.snapshot()
    kill(judged)
    judged.state.write_bytes(b"torn")
    result = judged.restore()
    assert result.to_json()["resume"] == str(judged.root / "runtime-resume" / "app.json")
    second = json.loads(seen.read_text())
    assert second == told(judged)
    assert (second["restart_count"], second["clean_shutdown"], second["outcome"]) == (1, False, "restored")
    assert second["shutdown"].startswith("its process ended by itself")
    (item,) = [one for one in second["items"] if one["item"] == "main"]
    assert (item["source"], item["candidate"], item["verdict_before"]) == ("snapshot", "app/1", "corrupt")
    assert second["lost"][0].startswith("main: what was written after ")
    status = (judged.root / "runtime-resume" / "app.json").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_gid == judged.state.stat().st_gid


def test_the_history_knows_how_it_went(judged: House) -> None:
    """Whether it was healthy is known only after it was told; the copy in the state directory has it."""
    judged.start()
    judged.snapshot()
    for _ in range(2):
        kill(judged)
        judged.restore()
    history = load_history(str(judged.state_dir), "app")
    assert history.restart_count == 2
    assert [one["healthy"] for one in history.reports] == [True, True, True]
    assert history.unclean == 2
    assert not [name for name in os.listdir(judged.state_dir / "resume") if name.startswith(".tmp")]


def test_a_service_that_runs_on_is_told_nothing(judged: House) -> None:
    """Nothing came back, so nothing is counted."""
    judged.start()
    result = judged.restore()
    assert result.to_json()["resume"] is None
    assert load_history(str(judged.state_dir), "app").restart_count == 0


def test_a_stop_by_recoverd_is_a_clean_one(judged: House) -> None:
    """A restore that stops the service, and one that finds it stopped."""
    judged.start()
    judged.snapshot()
    judged.state.write_bytes(b"torn")
    assert judged.restore().healthy
    assert told(judged)["clean_shutdown"] is True


def test_at_boot_it_is_there_before_services_start(judged: House) -> None:
    """With how the machine went down: noted by the scheduler, or not."""
    judged.start()
    judged.snapshot()
    kill(judged)
    result, _ = boot(judged.context)
    assert result.services[0].outcome == "untouched"
    assert (told(judged)["why"], told(judged)["restart_count"]) == ("boot", 1)
    assert load_history(str(judged.state_dir), "app").restart_count == 1


def test_a_boot_is_one_return(judged: House) -> None:
    """The second phase goes on with what the first has restored: one report, counted once, that says how it went."""
    judged.start()
    judged.snapshot()
    kill(judged)
    judged.state.write_bytes(b"torn")
    boot(judged.context)
    first = told(judged)
    confirm(judged.context)
    history = load_history(str(judged.state_dir), "app")
    assert (history.restart_count, len(history.reports)) == (1, 2)
    assert (told(judged)["restart_count"], history.reports[-1]["healthy"]) == (1, True)
    second = told(judged)
    assert (second["clean_shutdown"], second["shutdown"]) == (first["clean_shutdown"], first["shutdown"])
    assert (first["outcome"], second["outcome"]) == ("restored", "restored")
    assert second["lost"] == first["lost"] != []
    (before,), (now,) = ([one for one in each["items"] if one["item"] == "main"] for each in (first, second))
    assert (now["source"], now["candidate"], now["quarantine"]) == ("snapshot", "app/1", before["quarantine"])
    assert now["age_seconds"] >= before["age_seconds"], "of a later time"
    kill(judged)
    judged.restore()
    assert load_history(str(judged.state_dir), "app").restart_count == 2


def test_what_is_down_on_purpose_is_told_nothing(judged: House) -> None:
    judged.start()
    driver = driver_of(judged.context, judged.service)
    assert driver is not None
    driver.stop(by_operator=True)
    judged.restore()
    boot(judged.context)
    assert load_history(str(judged.state_dir), "app").restart_count == 0


def test_a_dry_run_tells_nothing(judged: House) -> None:
    judged.snapshot()
    judged.state.write_bytes(b"torn")
    judged.restore(dry_run=True)
    assert not (judged.root / "runtime-resume").exists()
    assert not (judged.state_dir / "resume").exists()


def test_a_report_that_cannot_be_written_keeps_nothing_from_coming_back(judged: House) -> None:
    (judged.root / "runtime-resume").write_text("in the way")
    judged.snapshot()
    (judged.state_dir / "resume").write_text("in the way")
    judged.state.write_bytes(b"torn")
    result = judged.restore()
    assert (result.outcome, result.healthy) == ("restored", True)


def test_the_scheduler_notes_who_ended_before_it(judged: House) -> None:
    """What still runs when it is told to stop has not ended in order, as far as anybody knows."""
    from recoverd.operations.lifetimes import load

    judged.start()
    begin(judged.context)
    found = load(str(judged.state_dir))
    assert found is not None
    assert not found.ended
    end(judged.context)
    found = load(str(judged.state_dir))
    assert found is not None
    assert (found.ended, dict(found.down)) == (True, {"app": False})
    kill(judged)
    end(judged.context)
    found = load(str(judged.state_dir))
    assert found is not None
    assert dict(found.down) == {"app": True}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot_id": 1}', '{"boot_id": "x", "ended": true, "down": 3}'])
def test_a_damaged_note_says_nothing(house: House, text: str) -> None:
    from recoverd.operations.lifetimes import load

    house.state_dir.mkdir(exist_ok=True)
    Path(house.state_dir / "lifetime.json").write_text(text)
    assert load(str(house.state_dir)) is None


def test_state_only_is_told_what_was_written(house: House) -> None:
    """Nobody knows when it starts; what was restored is told all the same."""
    house.snapshot()
    assert house.restore().to_json()["resume"] is None
    house.state.write_bytes(b"torn")
    (result,) = restore(house.context, RestoreRequest()).services
    assert result.resume is not None
    assert told(house)["items"][0]["candidate"] == "app/1"


def test_check_and_status_tell_it(judged: House) -> None:
    """How often, how the last run ended, and what was done."""
    from recoverd.operations.lifecycle import status

    assert "resume" not in {one.name for one in judged.check().results}
    judged.start()
    judged.snapshot()
    kill(judged)
    judged.state.write_bytes(b"torn")
    judged.restore()
    (found,) = [one for one in judged.check().results if one.name == "resume"]
    assert found.message.endswith("after an unclean shutdown, #1: restored")
    assert {name: figure.value for name, figure in found.figures.items()} == {
        "restart_count": 1,
        "unclean_shutdowns": 1,
        "reports": 2,
    }
    (seen,) = status(judged.context, ()).to_json()["services"]
    assert (seen["restart_count"], seen["clean_shutdown"]) == (1, False)


def test_a_shutdown_does_not_wait_for_who_does_not_answer(judged: House) -> None:
    """Nothing is noted of it; whoever answers in time is noted."""
    from recoverd.operations.lifetimes import load

    slow = Run(RunKind.CONTROL, start=("true",), stop=("true",), status=("sleep", "8"))
    judged.start()
    kill(judged)
    config = judged.context.config
    services = {**config.services, "slow": replace(judged.service, name="slow", run=slow)}
    judged.context.config = replace(config, services=services)
    end(judged.context, within_s=2.0)
    found = load(str(judged.state_dir))
    assert found is not None
    assert dict(found.down) == {"app": True}


def test_what_a_killed_restore_left_half_told_goes(judged: House) -> None:
    """In the memory that services are told in nothing piles up, boot after boot."""
    judged.start()
    told_in = judged.root / "runtime-resume"
    left = told_in / ".tmp-00000000-0000-0000-0000-000000000000-1-1-0123456789abcdef"
    left.write_bytes(b"half")
    kill(judged)
    judged.restore()
    assert [one.name for one in told_in.iterdir()] == ["app.json"]
