"""What a unit's state means: whether it is wanted, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.services.driver import Wanted
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.services.systemctl import UnitState, parse_span, parse_units
from recoverd.services.unit_words import decide_wanted, describe
from recoverd.system.processes import ProcessIdentity

UNIT = UnitState("a.service", file="enabled")
OURS = ProcessRecord(wanted="running", phase=Phase.RUNNING, identity=ProcessIdentity("now", 7, 70))
NOBODY = ProcessRecord()


@pytest.mark.parametrize(
    ("state", "record", "wanted"),
    [
        # at boot, before anything was started
        (UNIT, NOBODY, "running"),
        (UNIT, replace(OURS, identity=ProcessIdentity("before", 7, 70)), "running"),
        (replace(UNIT, file="disabled"), replace(OURS, identity=ProcessIdentity("before", 7, 70)), "stopped"),
        (replace(UNIT, file="disabled"), NOBODY, "stopped"),
        (replace(UNIT, file="disabled", queued=True), NOBODY, "running"),
        (replace(UNIT, file="static"), NOBODY, "unknown"),
        (replace(UNIT, file="static"), replace(OURS, identity=None), "running"),
        (replace(UNIT, file="enabled-runtime"), NOBODY, "running"),
        # it ran in this boot and ended with success: `systemctl stop`
        (replace(UNIT, left_us=5), OURS, "stopped"),
        (replace(UNIT, left_us=5), NOBODY, "stopped"),
        (replace(UNIT, file="static"), OURS, "stopped"),  # systemd has forgotten it, recoverd has not
        # it crashed
        (replace(UNIT, active="failed", left_us=5), OURS, "running"),
        (replace(UNIT, active="failed", left_us=5), NOBODY, "running"),
        (replace(UNIT, active="failed", left_us=5, file="disabled"), OURS, "running"),
        (replace(UNIT, active="failed", left_us=5, file="disabled"), NOBODY, "unknown"),
        # recoverd stopped it for a restore, or was about to start it, and died
        (replace(UNIT, left_us=5), replace(OURS, phase=Phase.STOPPED), "running"),
        (replace(UNIT, left_us=5), replace(OURS, phase=Phase.STARTING), "running"),
        (replace(UNIT, left_us=5), replace(NOBODY, triggers=("a.socket",)), "running"),
        # it is up
        (replace(UNIT, active="active"), NOBODY, "running"),
        (replace(UNIT, active="active", file="disabled"), NOBODY, "unknown"),
        (replace(UNIT, active="active", file="disabled"), OURS, "running"),
    ],
)
def test_wanted(state: UnitState, record: ProcessRecord, wanted: Wanted) -> None:
    """recovery.md: what was stopped or masked on purpose is not started; everything else that should run is."""
    assert decide_wanted(state, record, waits=False, this_boot="now") == wanted


STATES = st.builds(
    UnitState,
    unit=st.just("a.service"),
    load=st.sampled_from(["loaded", "masked", "not-found"]),
    active=st.sampled_from(["active", "inactive", "failed", "activating", "deactivating", "reloading"]),
    sub=st.sampled_from(["dead", "running", "auto-restart", "start-pre"]),
    file=st.sampled_from(["enabled", "disabled", "static", "masked", ""]),
    result=st.sampled_from(["success", "exit-code", "signal", "timeout", "start-limit-hit", "something-new"]),
    exit_code=st.integers(0, 3),
    exit_status=st.integers(0, 255),
    left_us=st.integers(0, 9),
    queued=st.booleans(),
)
RECORDS = st.builds(
    ProcessRecord,
    wanted=st.sampled_from(["running", "stopped", "unknown"]),
    phase=st.sampled_from(Phase),
    triggers=st.sampled_from([(), ("a.socket",)]),
)


@given(state=STATES, record=RECORDS, waits=st.booleans())
def test_nothing_outweighs_purpose(state: UnitState, record: ProcessRecord, waits: bool) -> None:
    """Masked, or stopped by `recoverd stop`: never wanted, whatever else is true."""
    for one, told in ((replace(state, load="masked"), record), (state, replace(record, wanted="stopped"))):
        assert decide_wanted(one, told, waits=waits, this_boot="now") == "stopped"


@given(state=STATES, ended=st.sampled_from([None, 10**18]))
def test_every_state_has_words(state: UnitState, ended: int | None) -> None:
    """A clause, in one line, for whatever systemd may say."""
    text = describe(state, waits_for=(), since_ns=ended, ended_ns=ended)
    assert text.isprintable()
    assert text
    assert not text.endswith(".")


def test_words() -> None:
    def said(**keys: object) -> str:
        return describe(replace(UNIT, **keys), waits_for=(), since_ns=None, ended_ns=None)  # type: ignore[arg-type]

    assert said(active="failed", result="exit-code", exit_code=1, exit_status=3) == "its process exited with status 3"
    assert said(active="failed", result="exit-code", exit_code=1, exit_status=203) == "its program can't be executed"
    assert said(active="failed", result="core-dump", exit_code=3, exit_status=11) == "its process was ended by SIGSEGV"
    assert said(active="failed", result="start-limit-hit") == "it was started too often in a short time"
    assert said(active="activating", sub="auto-restart", exit_code=1, exit_status=1) == (
        "its process exited with status 1, and systemd starts it again"
    )
    assert said(load="not-found") == "systemd knows no unit a.service"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1min 30s", 90), ("500ms", 0.5), ("1h 2min 3s", 3723), ("2d", 172_800), ("0", 0), ("infinity", float("inf"))],
)
def test_spans(text: str, seconds: float) -> None:
    """As `systemctl show` writes TimeoutStartUSec."""
    assert parse_span(text) == seconds


def test_an_answer_is_read_in_blocks() -> None:
    """One block for each unit; a value may hold `=`, keys may be missing, `Job` is empty without one."""
    first, second = parse_units(
        'Id=a.service\nLoadState=not-found\nJob=\nLoadError=org.x.NoSuchUnit "Unit a=b not found."\n'
        "\nId=b.service\nActiveState=active\nMainPID=7\nNRestarts=[not set]\nTriggeredBy=b.socket b.timer\nJob=12\n"
    )
    assert (first.load, first.load_error, first.queued) == ("not-found", "Unit a=b not found.", False)
    assert (second.main_pid, second.restarts, second.queued) == (7, 0, True)
    assert second.triggered_by == ("b.socket", "b.timer")
    assert parse_units("Failed to connect to bus: No medium found\n") == []
