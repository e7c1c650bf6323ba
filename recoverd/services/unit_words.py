"""What a unit's state means for recoverd, and what is said of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.services.commands import ending
from recoverd.services.driver import Wanted
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.services.systemctl import UnitState
from recoverd.system.clock import rfc3339

# Exit statuses that systemd's own child gives when it can't come to execute the program, systemd.exec(5).
_BEFORE_THE_PROGRAM = {
    200: "its working directory can't be entered",
    203: "its program can't be executed",
    216: "its group does not exist",
    217: "its user does not exist",
    226: "its name space can't be set up: a path that the unit names is missing",
    238: "its state directory can't be made",
}
_RESULTS = {
    "timeout": "it took longer than systemd allows",
    "watchdog": "it did not feed its watchdog in time",
    "start-limit-hit": "it was started too often in a short time",
    "oom-kill": "it was killed because memory ran out",
    "resources": "systemd lacked something to start it with",
    "protocol": "it did not tell systemd what its type demands",
}


def decide_wanted(state: UnitState, record: ProcessRecord, *, waits: bool, this_boot: str) -> Wanted:
    """Whether the unit is meant to run: what was stopped, disabled or masked on purpose is not.

    In this order: masked is stopped; what recoverd was told to stop is stopped; what recoverd itself stopped, for a
    restore, or began to start, is to run; a unit that is up, waits for a trigger (`waits`), failed or has a job queued
    is to run if it is enabled or recoverd started it. One that ended with success in this boot was stopped by its
    operator, or is done. One that did not run in this boot yet is to run if it is enabled, and not if it is disabled;
    of all others only recoverd's own record tells.
    """
    if state.masked or record.wanted == "stopped":
        return "stopped"
    if record.triggers or (record.wanted == "running" and record.phase in {Phase.STOPPED, Phase.STARTING}):
        return "running"
    enabled = state.file.startswith("enabled")
    if waits or state.queued:
        return "running"
    if state.active != "inactive":
        return "running" if enabled else record.wanted
    was_up = record.phase is Phase.RUNNING and record.identity is not None and record.identity.boot_id == this_boot
    if state.left_us or was_up:
        return "stopped"
    if state.file == "disabled":
        return "stopped"
    return "running" if enabled else record.wanted


def describe(state: UnitState, *, waits_for: Sequence[str], since_ns: int | None, ended_ns: int | None) -> str:
    """A clause on what the unit does now."""
    since = f" since {rfc3339(since_ns)}" if since_ns is not None else ""
    match state.active:
        case "active" | "reloading" | "refreshing":
            return f"process {state.main_pid} runs{since}" if state.main_pid else f"active ({state.sub}){since}"
        case "activating" if state.sub == "auto-restart":
            return f"its process {_ending(state)}, and systemd starts it again"
        case "activating":
            return f"systemd is starting it ({state.sub})"
        case "deactivating":
            return f"systemd is stopping it ({state.sub})"
        case "failed":
            return why_failed(state)
    if state.load == "not-found":
        return f"systemd knows no unit {state.unit}"
    if state.masked:
        return f"{state.unit} is masked"
    if waits_for:
        return f"it waits for {', '.join(waits_for)}"
    if state.queued:
        return "its start is queued"
    if ended_ns is not None:
        return f"it was stopped, or ended with success, at {rfc3339(ended_ns)}"
    if state.file == "disabled":
        return f"{state.unit} is not enabled, and was not started"
    return "it was not started since the machine came up"


def why_failed(state: UnitState) -> str:
    """A clause on why the unit is down, or did not come up."""
    if state.result in _RESULTS:
        return _RESULTS[state.result]
    if state.exit_code == 1 and state.exit_status in _BEFORE_THE_PROGRAM:
        return _BEFORE_THE_PROGRAM[state.exit_status]
    if state.exit_code:
        return f"its process {_ending(state)}"
    return f"it failed: {state.result}"


def _ending(state: UnitState) -> str:
    return ending(state.exit_status if state.exit_code == 1 else -state.exit_status)
