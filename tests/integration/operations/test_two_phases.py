"""The two phases of a boot: the first repairs, blocks and does not wait for ever; the second proves and falls back."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Health, Run, RunKind, Validation
from recoverd.operations import blocking
from recoverd.operations.boot import boot, late_services
from recoverd.operations.confirm import confirm

House = Any  # of conftest.py, which test files can't import
POISONED = """
import json, sys, time
if json.load(open(sys.argv[1])).get("poison"):
    sys.exit(3)
time.sleep(600)
"""


def flag(house: House) -> Path:
    return Path(blocking.flag_path(house.context.runtime_dir, "app"))


CONTROL = """
runs() { grep -q '^State:.[^ZX]' "/proc/$(cat pid)/status"; } # nobody may have waited for one that has ended
case $1 in
start) setsid "$2" service.py "$3" >/dev/null 2>&1 & echo $! >pid ;;
stop) kill -KILL "$(cat pid)"; while runs; do sleep 0.02; done ;;
status) runs ;;
esac
"""
both_kinds = pytest.mark.parametrize("kind", [RunKind.COMMAND, RunKind.CONTROL], ids=["command", "control"])


def with_process(house: House, kind: RunKind = RunKind.COMMAND) -> None:
    """A process that ends at once on state with `poison` in it; recoverd's own, or one that commands start and stop."""
    script = house.root / "service.py"
    script.write_text(POISONED)
    (house.root / "control.sh").write_text(f"cd {house.root}\n{CONTROL}")
    run = Run(RunKind.COMMAND, command=(sys.executable, str(script), str(house.state)), cwd=str(house.root))
    if kind is RunKind.CONTROL:
        control = ("sh", f"{house.root}/control.sh")
        start = (*control, "start", sys.executable, str(house.state))
        run = Run(RunKind.CONTROL, start=start, stop=(*control, "stop"), status=(*control, "status"))
    house.change(run=run, health=Health(within_s=5, stable_for_s=0.4))


@both_kinds
def test_the_first_phase_repairs_and_starts_nothing(house: House, kind: RunKind) -> None:
    """Files are restored; no process is started; whether that works is left open, durably, until `confirm`."""
    with_process(house, kind)
    good = house.write(1)
    house.snapshot()
    house.state.write_bytes(b"")
    result, ended = boot(house.context)
    assert ended and result.exit_status == 0
    assert [one.outcome for one in result.services] == ["restored"]
    assert house.state.read_bytes() == good and not house.running()
    assert house.context.repository().record("app").last_restore["candidate"] == "app/1"
    assert house.list()[-1].marks.proven_ns is None
    second = confirm(house.context).services[0]
    assert (second.outcome, second.healthy, second.exit_status) == ("restored", True, 0)
    assert house.running() and not house.context.repository().record("app").last_restore
    assert any(one.marks.proven_ns for one in house.list())


def finished(house: House) -> list[Any]:
    """What hooks are told of the ends of restores, oldest first; all of it once."""
    found = [one for one in house.events if one.name in {"restore.finished", "restore.failed"}]
    house.events.clear()
    return found


def test_hooks_hear_of_the_proof(house: House) -> None:
    """Promise 10: the first phase says that it is restored and not yet whether it is healthy, the second that it is
    proven, once. What failed its proof is told as a restore of the older one."""
    with_process(house)
    house.write(1)
    house.snapshot()
    house.state.write_bytes(b"")
    boot(house.context)
    (told,) = finished(house)
    assert (told.name, told.figures["candidate"], told.figures["healthy"]) == ("restore.finished", "app/1", None)
    house.reopen()
    confirm(house.context)
    (told,) = finished(house)
    assert (told.name, told.figures["candidate"], told.figures["healthy"]) == ("restore.finished", "app/1", True)
    assert told.message.startswith("app/1 is proven: healthy for ")
    assert (told.service, told.figures["items"], told.figures["attempts"]) == ("app", 1, 1)
    confirm(house.context)
    assert finished(house) == []


def test_hooks_hear_of_what_works_in_the_end(house: House) -> None:
    """What the first phase told of fails its proof: the second tells of the older one, on which it is healthy."""
    with_process(house)
    house.write(1)
    house.snapshot()
    house.write(2, poison=True)
    house.snapshot()
    house.state.write_bytes(b"")
    boot(house.context)
    confirm(house.context)
    first, second = finished(house)
    assert (first.figures["candidate"], first.figures["healthy"]) == ("app/2", None)
    assert (second.name, second.figures["candidate"], second.figures["healthy"]) == ("restore.finished", "app/1", True)


@both_kinds
def test_what_does_not_work_gives_way_to_the_older_one(house: House, kind: RunKind) -> None:
    """Proof fails on what the first phase wrote: it is rejected, and the next older one works."""
    with_process(house, kind)
    good = house.write(1)
    house.snapshot()
    house.write(2, poison=True)
    house.snapshot()
    house.state.write_bytes(b"")
    boot(house.context)
    assert b"poison" in house.state.read_bytes()
    house.reopen()  # nothing of this is kept in memory
    second = confirm(house.context).services[0]
    assert (second.outcome, second.healthy) == ("restored", True)
    assert [attempt.result for attempt in second.attempts] == ["rejected", "restored"]
    assert house.state.read_bytes() == good


@both_kinds
def test_when_nothing_works_the_original_comes_back_and_nothing_is_held_against_the_copies(
    house: House, kind: RunKind
) -> None:
    """The cause is elsewhere: live state is as it was found, rejections are withdrawn, the exit status is 1."""
    with_process(house, kind)
    house.write(1, poison=True)
    house.snapshot()
    house.state.write_bytes(b"{")
    boot(house.context)
    second = confirm(house.context)
    assert second.exit_status == 1
    assert house.state.read_bytes() == b"{"
    assert not any(one.marks.rejected for one in house.list())


@both_kinds
def test_good_state_is_never_rolled_back_by_confirm(house: House, kind: RunKind) -> None:
    """An unhealthy service on state that nobody restored: reported, and left alone."""
    with_process(house, kind)
    house.write(1)
    house.snapshot()
    live = house.write(2, poison=True)
    boot(house.context)
    second = confirm(house.context)
    assert second.exit_status == 1 and second.services[0].outcome == "untouched"
    assert house.state.read_bytes() == live


def test_a_blocked_service_gets_a_flag_that_a_restore_takes_away(house: House) -> None:
    """Systemd looks at the flag; it says why."""
    house.write(1)
    house.snapshot()
    house.state.write_bytes(b"")
    kept = house.service
    house.change(restore=replace(kept.restore, verdicts={"corrupt": "block"}))
    result, _ = boot(house.context)
    assert result.services[0].outcome == "blocked"
    assert "corrupt" in json.loads(flag(house).read_text())["why"]
    house.change(restore=kept.restore)
    assert house.restore().outcome == "restored"
    assert not flag(house).exists()


@pytest.mark.parametrize("policy", ["start", "block"])
def test_what_is_not_assessed_in_time(house: House, policy: str) -> None:
    """boot_late: it starts as it is, or not at all; either way `confirm` goes on with it."""
    house.write(1)
    house.snapshot()
    hangs = house.root / "hangs"
    command = ("sh", "-c", 'while [ -e "$1" ]; do sleep 0.02; done', "sh", str(hangs), "{path}")
    main = replace(house.service.state["main"], validate=Validation(command, timeout_s=60))
    house.change(state={**house.service.state, "main": main})
    context = house.context
    context.config = replace(context.config, boot_timeout_s=0.3, boot_late=policy)
    hangs.touch()
    result, ended = boot(context)
    assert not ended and result.exit_status == 1
    assert "not assessed within 0.3 s" in result.services[0].reasons[0]
    assert flag(house).exists() is (policy == "block")
    assert late_services(context.runtime_dir) == {"app"}
    hangs.unlink()
    for worker in threading.enumerate():
        if worker.name == "boot":
            worker.join()
    assert confirm(context).exit_status == 0
    assert late_services(context.runtime_dir) == frozenset() and not flag(house).exists()


@both_kinds
def test_a_running_service_is_left_alone_by_the_first_phase(house: House, kind: RunKind) -> None:
    """It starts and stops nothing: damage under a running service is told, and left to `confirm`."""
    with_process(house, kind)
    house.write(1)
    house.snapshot()
    house.start()
    house.state.write_bytes(b"")
    result, _ = boot(house.context)
    assert result.exit_status == 1 and house.running() and house.state.read_bytes() == b""
    assert confirm(house.context).exit_status == 0
    assert house.running() and json.loads(house.state.read_bytes())["counter"] == 1


def test_what_waits_for_a_blocked_service_is_freed_with_it(tmp_path: Path) -> None:
    """Flags of dependants name their cause, however long the chain."""
    runtime = str(tmp_path / "run")
    blocking.block(runtime, "a", "damaged")
    blocking.block(runtime, "b", "after a", because="a")
    blocking.block(runtime, "c", "after b", because="b")
    blocking.block(runtime, "d", "damaged too")
    blocking.unblock(runtime, "a")
    left = [name for name in "abcd" if blocking.reason(runtime, name) is not None]
    assert left == ["d"]
