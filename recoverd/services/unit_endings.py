"""How a unit went down: by itself, told to, or with another one. Pure.

systemd keeps no answer, but two kinds of traces. Its journal names the job that stopped a unit: jobs are numbered in
the order in which they are made, and what was asked for comes before what is stopped along with it. And the times of a
unit tell, as long as it is loaded: one that is told to stop leaves its active state before its process ends, one whose
process ends leaves it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from recoverd.services.systemctl import UnitState
from recoverd.services.unit_journal import JobLine
from recoverd.values import dataclass


class WentDown(StrEnum):
    """How the last run of a unit ended."""

    UNKNOWN = "unknown"  # it did not run in this boot, or nobody can tell
    ITSELF = "itself"  # its process ended, crashed, or did not come up
    TOLD = "told"  # somebody had it stopped
    ALONG = "along"  # systemd stopped it together with another unit


@dataclass(frozen=True, slots=True)
class Ending:
    """How a unit went down. `others`: the units that it went down with. `at_us`: when, on the monotonic clock, or 0."""

    how: WentDown = WentDown.UNKNOWN
    others: tuple[str, ...] = ()
    at_us: int = 0


def from_journal(state: UnitState, lines: Sequence[JobLine]) -> Ending | None:
    """What the manager's lines about the unit, and those that it needs, say; None while its end is not among them.

    `lines` are of this boot, oldest first.
    """
    own = run_of(state, lines)
    if not any(line.ended or line.job_type == "stop" for line in own):
        return None
    began = lines.index(own[0])
    restarts = {line.job for line in own if line.job_type == "restart"}
    stops = [line for line in own if line.job_type == "stop" and line.job not in restarts]
    if not stops:
        return Ending(WentDown.ITSELF, at_us=own[-1].at_us)
    stop = stops[0]
    # a job that stops a unit comes before those of what is stopped along with it
    others = [
        line.unit
        for line in lines[began:]
        if line.unit in state.needs and line.job_type in {"stop", "restart"} and 0 < line.job < stop.job
    ]
    # what is bound to a unit is stopped when that ends by itself, by a job of its own
    others += [line.unit for line in lines[began : lines.index(stop)] if line.unit in state.bound_to and line.ended]
    how = WentDown.ALONG if others else WentDown.TOLD
    return Ending(how, tuple(dict.fromkeys(others)), stop.at_us)


def run_of(state: UnitState, lines: Sequence[JobLine]) -> list[JobLine]:
    """The lines about the last run of the unit."""
    own = [line for line in lines if line.unit == state.unit and line.invocation]
    run = state.invocation or (own[-1].invocation if own else "")
    return [line for line in own if line.invocation == run]


def from_times(state: UnitState, needed: Sequence[UnitState]) -> Ending:
    """What the times of the unit say; `needed` are the units that it could have gone down with, as they are now."""
    ended_us, at_us = state.main_ended_us, state.left_us
    was_active = state.left_active_us >= max(state.entered_us, state.began_us, 1)
    if not at_us or not was_active or (not ended_us and not state.stays_when_done):
        return Ending(at_us=at_us)
    if not state.stays_when_done and ended_us <= state.left_active_us:
        return Ending(WentDown.ITSELF, at_us=at_us)
    if state.result in {"watchdog", "oom-kill"} or (state.result == "timeout" and state.ends_in_time):
        return Ending(WentDown.ITSELF, at_us=at_us)
    if any(one.down or one.entered_us > state.left_active_us for one in needed):
        return Ending(at_us=at_us)  # perhaps it went down with one of these
    return Ending(WentDown.TOLD, at_us=at_us)
