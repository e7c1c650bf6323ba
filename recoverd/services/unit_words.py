"""What a unit's state means for recoverd, and what is said of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.services.commands import ending
from recoverd.services.driver import Wanted
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.services.systemctl import UnitState
from recoverd.services.unit_endings import Ending, WentDown
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


def depends_on_its_end(state: UnitState, record: ProcessRecord, *, waits: bool, this_boot: str) -> bool:
    """Whether only the way in which the unit went down tells if it is meant to run; that takes asking."""
    if _told(state, record) is not None or waits or state.queued or not state.down:
        return False
    was_up = record.phase is Phase.RUNNING and record.identity is not None and record.identity.boot_id == this_boot
    return state.left_us > 0 or was_up


def decide_wanted(
    state: UnitState, record: ProcessRecord, *, waits: bool, ending: Ending | None, on_purpose: bool
) -> Wanted:
    """Whether the unit is meant to run: what was stopped, disabled or masked on purpose is not.

    In this order: masked is stopped; what recoverd was told to stop is stopped; what recoverd itself stopped, for a
    restore, or began to start, is to run; a unit that waits for a trigger (`waits`) or has a job queued is to run, and
    so is one that is up, if it is enabled or recoverd started it. One that ran in this boot (`ending` says how that
    ended) and was stopped on purpose, itself or with one that it needs (`on_purpose`), is stopped; a oneshot unit that
    ended is done; any other is to run if it is enabled or recoverd started it. One that did not run in this boot yet is
    to run if it is enabled, and not if it is disabled; of all others only recoverd's own record tells.
    """
    told = _told(state, record)
    if told is not None:
        return told
    if waits or state.queued:
        return "running"
    if state.down and ending is not None:
        if on_purpose:
            return "stopped"
        succeeded = state.active == "inactive" and ending.how is not WentDown.ALONG
        if succeeded and state.kind == "oneshot" and not state.stays_when_done:
            return "stopped"
    elif state.active == "inactive" and state.file == "disabled":
        return "stopped"
    return "running" if state.file.startswith("enabled") else record.wanted


def _told(state: UnitState, record: ProcessRecord) -> Wanted | None:
    """What is certain by systemd's configuration and recoverd's own record."""
    if state.masked or record.wanted == "stopped":
        return "stopped"
    if record.triggers or (record.wanted == "running" and record.phase in {Phase.STOPPED, Phase.STARTING}):
        return "running"
    return None


def describe(
    state: UnitState,
    *,
    waits_for: Sequence[str],
    since_ns: int | None,
    ending: Ending | None,
    ended_ns: int | None,
) -> str:
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
    if state.active == "inactive":
        if state.load == "not-found":
            return f"systemd knows no unit {state.unit}"
        if state.masked:
            return f"{state.unit} is masked"
        if waits_for:
            return f"it waits for {', '.join(waits_for)}"
        if state.queued:
            return "its start is queued"
    failed = why_failed(state) if state.active == "failed" else ""
    if ending is None and not failed:
        if state.file == "disabled":
            return f"{state.unit} is not enabled, and was not started"
        return "it was not started since the machine came up"
    at = f" at {rfc3339(ended_ns)}" if ended_ns is not None else ""
    how = ending.how if ending is not None else WentDown.UNKNOWN
    if how is WentDown.TOLD:
        return f"it was stopped{at}" + (f", and {failed}" if failed else "")
    if how is WentDown.ALONG and ending is not None:
        return f"it went down with {', '.join(ending.others)}{at}" + (f", and {failed}" if failed else "")
    if failed:
        return failed
    return f"it ended by itself{at}" if how is WentDown.ITSELF else f"it was stopped, or ended by itself{at}"


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
