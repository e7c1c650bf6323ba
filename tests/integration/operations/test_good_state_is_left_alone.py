"""Promise 1: good state is never rolled back, whatever the snapshots hold and whatever a probe says."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Health, Probe, ProbeKind

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def _stamp(house: House) -> tuple[int, int, int, bytes]:
    status = os.stat(house.state)
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, house.state.read_bytes()


def test_a_restore_touches_nothing_when_all_is_ok(house: House) -> None:
    """Not even the inode or the times change."""
    house.write(1)
    house.snapshot()
    house.write(2)
    before, everything = _stamp(house), house.contents()
    for dry_run in (True, False):
        result = house.restore(dry_run=dry_run)
        assert (result.outcome, result.exit_status) == ("untouched", 0)
    assert _stamp(house) == before
    assert house.contents() == everything
    assert not list((house.state_dir / "quarantine").glob("*/*"))


@pytest.mark.parametrize("clock_s", [-10 * 365 * 86400, 0, 10 * 365 * 86400])
def test_neither_older_nor_newer_snapshots_matter(house: House, monkeypatch: pytest.MonkeyPatch, clock_s: int) -> None:
    """Snapshots from the past and from the future (a clock that was wrong) do not make live state wrong."""
    from recoverd.system import clock

    house.write(1)
    house.snapshot()
    real = clock.now_ns
    with monkeypatch.context() as wrong:
        wrong.setattr(clock, "now_ns", lambda: real() + clock_s * 10**9)
        house.write(2)
        house.snapshot()
    house.write(3)
    before = _stamp(house)
    assert house.restore().outcome == "untouched"
    assert _stamp(house) == before


def test_a_failing_probe_does_not_roll_back(judged: House) -> None:
    """The service is not healthy on valid state: that is reported, exit status 1, and the state stays."""
    judged.write(1)
    judged.snapshot()
    judged.write(5000)  # valid, and the service is ill on it
    before = _stamp(judged)
    result = judged.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("untouched", False, 1)
    assert _stamp(judged) == before
    assert any(event.name == "service.unhealthy" for event in judged.events)


def test_a_service_that_can_not_start_does_not_roll_back(judged: House) -> None:
    judged.snapshot()
    run = judged.service.run
    assert run is not None
    judged.change(run=replace(run, command=("/nonexistent/program",)))
    before = _stamp(judged)
    result = judged.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("untouched", False, 1)
    assert any("/nonexistent/program" in reason for reason in result.reasons)
    assert _stamp(judged) == before


def test_a_probe_of_a_service_without_process_does_not_roll_back(house: House) -> None:
    house.change(health=Health(within_s=0.3, stable_for_s=0.1, probes=(Probe(ProbeKind.TCP, "127.0.0.1:1"),)))
    house.snapshot()
    house.write(7)
    before = _stamp(house)
    result = house.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("untouched", False, 1)
    assert _stamp(house) == before


def test_state_that_became_ok_when_the_service_stopped_is_left_alone(house: House) -> None:
    """A flush at exit repairs the state: the staged snapshot is discarded, the newer state stays."""
    from recoverd.config.model import Run, RunKind

    house.write(1)
    house.snapshot()
    script = house.root / "flush.py"
    script.write_text(
        "import signal, sys, time\n"
        "def stop(*_):\n"
        f'    open({str(house.state)!r}, \'w\').write(\'{{"version": "1", "counter": 99}}\')\n'
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        f"open({str(house.root / 'up')!r}, 'w').close()\n"
        "while True: time.sleep(0.05)\n"
    )
    house.change(
        run=Run(RunKind.COMMAND, command=("/usr/bin/env", "python3", str(script))),
        health=Health(
            within_s=5,
            stable_for_s=0.1,
            probes=(Probe(ProbeKind.COMMAND, command=("test", "-e", str(house.root / "up"))),),
        ),
    )
    assert house.restore().healthy
    house.state.write_bytes(b"")
    result = house.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("untouched", True, 0)
    assert b"99" in house.state.read_bytes()
    assert not list((house.state_dir / "quarantine").glob("*/*"))
    assert not list((house.state_dir / "staging").glob("*"))


def test_an_item_that_is_not_damaged_is_not_touched_when_another_is_restored(house: House) -> None:
    house.write(1)
    house.snapshot()
    house.write_task("task-007", description="newer than the snapshot")
    house.state.write_bytes(b"\0" * 40)
    before = {name: data for name, data in house.contents().items() if name != "state.json"}
    result = house.restore()
    assert result.outcome == "restored"
    assert {name: data for name, data in house.contents().items() if name != "state.json"} == before
