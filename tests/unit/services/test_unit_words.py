"""What a unit's state means: whether it is wanted, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.services.driver import Wanted
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.services.systemctl import UnitState, parse_span, parse_units
from recoverd.services.unit_endings import Ending, WentDown
from recoverd.services.unit_words import decide_wanted, depends_on_its_end, describe
from recoverd.system.processes import ProcessIdentity

UNIT = UnitState("a.service", file="enabled")
OURS = ProcessRecord(wanted="running", phase=Phase.RUNNING, identity=ProcessIdentity("now", 7, 70))
NOBODY = ProcessRecord()


BEFORE = replace(OURS, identity=ProcessIdentity("before", 7, 70))
TOLD, ITSELF, UNKNOWN = Ending(WentDown.TOLD), Ending(WentDown.ITSELF), Ending()
ALONG = Ending(WentDown.ALONG, ("b.service",))
FAILED = replace(UNIT, active="failed", left_us=5)


def wanted(state: UnitState, record: ProcessRecord, ending: Ending = UNKNOWN, *, waits: bool = False) -> Wanted:
    """As the driver asks: for the ending only where that counts. What went along is down with something on purpose."""
    asks = depends_on_its_end(state, record, waits=waits, this_boot="now")
    on_purpose = asks and ending.how in {WentDown.TOLD, WentDown.ALONG}
    return decide_wanted(state, record, waits=waits, ending=ending if asks else None, on_purpose=on_purpose)


@pytest.mark.parametrize(
    ("state", "record", "expected"),
    [
        # at boot, before anything was started
        (UNIT, NOBODY, "running"),
        (UNIT, BEFORE, "running"),
        (replace(UNIT, file="disabled"), BEFORE, "stopped"),
        (replace(UNIT, file="disabled"), NOBODY, "stopped"),
        (replace(UNIT, file="disabled", queued=True), NOBODY, "running"),
        (replace(UNIT, file="static"), NOBODY, "unknown"),
        (replace(UNIT, file="static"), replace(OURS, identity=None), "running"),
        (replace(UNIT, file="enabled-runtime"), NOBODY, "running"),
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
def test_wanted_without_asking_how_it_ended(state: UnitState, record: ProcessRecord, expected: Wanted) -> None:
    """recovery.md: what was stopped or masked on purpose is not started; everything else that should run is."""
    assert {wanted(state, record, ending) for ending in (TOLD, ITSELF, ALONG, UNKNOWN)} == {expected}


ONESHOT = replace(UNIT, kind="oneshot", left_us=5)


@pytest.mark.parametrize(
    ("state", "record", "ending", "expected"),
    [
        (replace(UNIT, left_us=5), OURS, TOLD, "stopped"),
        (replace(UNIT, left_us=5), NOBODY, TOLD, "stopped"),
        (replace(UNIT, file="static"), OURS, TOLD, "stopped"),  # systemd has forgotten it, recoverd has not
        (FAILED, OURS, TOLD, "stopped"),  # its process did not end well
        (replace(UNIT, left_us=5), OURS, ALONG, "stopped"),  # and what it went along with is down on purpose
        (replace(UNIT, left_us=5), NOBODY, ITSELF, "running"),
        (replace(UNIT, left_us=5), NOBODY, UNKNOWN, "running"),
        (replace(UNIT, file="static"), OURS, UNKNOWN, "running"),
        (FAILED, OURS, ITSELF, "running"),
        (FAILED, NOBODY, ITSELF, "running"),
        (replace(FAILED, file="disabled"), OURS, ITSELF, "running"),
        (replace(FAILED, file="disabled"), NOBODY, ITSELF, "unknown"),
        (ONESHOT, OURS, ITSELF, "stopped"),  # it is done
        (ONESHOT, OURS, UNKNOWN, "stopped"),
        (replace(ONESHOT, stays_when_done=True), OURS, UNKNOWN, "running"),
        (replace(ONESHOT, active="failed"), OURS, ITSELF, "running"),
    ],
)
def test_wanted_by_how_it_ended(state: UnitState, record: ProcessRecord, ending: Ending, expected: Wanted) -> None:
    """Down on purpose needs evidence that somebody had it stopped; what can't be told is missed."""
    assert wanted(state, record, ending) == expected


def test_what_went_along_with_something_that_is_up_again_is_wanted() -> None:
    state = replace(ONESHOT, stays_when_done=True)
    for one in (state, replace(UNIT, left_us=5), replace(FAILED)):
        assert decide_wanted(one, OURS, waits=False, ending=ALONG, on_purpose=False) == "running"


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
        assert wanted(one, told, ITSELF, waits=waits) == "stopped"


@given(
    state=STATES, ended=st.sampled_from([None, 10**18]), ending=st.sampled_from([None, TOLD, ITSELF, ALONG, UNKNOWN])
)
def test_every_state_has_words(state: UnitState, ended: int | None, ending: Ending | None) -> None:
    """A clause, in one line, for whatever systemd may say."""
    text = describe(state, waits_for=(), since_ns=ended, ending=ending, ended_ns=ended)
    assert text.isprintable()
    assert text
    assert not text.endswith(".")


def test_words() -> None:
    def said(ending: Ending | None = None, **keys: object) -> str:
        state = replace(UNIT, **keys)  # type: ignore[arg-type]
        return describe(state, waits_for=(), since_ns=None, ending=ending, ended_ns=None)

    assert said(active="failed", result="exit-code", exit_code=1, exit_status=3) == "its process exited with status 3"
    assert said(active="failed", result="exit-code", exit_code=1, exit_status=203) == "its program can't be executed"
    assert said(active="failed", result="core-dump", exit_code=3, exit_status=11) == "its process was ended by SIGSEGV"
    assert said(active="failed", result="start-limit-hit") == "it was started too often in a short time"
    assert said(active="activating", sub="auto-restart", exit_code=1, exit_status=1) == (
        "its process exited with status 1, and systemd starts it again"
    )
    assert said(load="not-found") == "systemd knows no unit a.service"
    assert said(TOLD) == "it was stopped"
    assert said(TOLD, active="failed", exit_code=1, exit_status=3) == (
        "it was stopped, and its process exited with status 3"
    )
    assert said(ALONG) == "it went down with b.service"
    assert said(ITSELF) == "it ended by itself"
    assert said(UNKNOWN) == "it was stopped, or ended by itself"
    assert said() == "it was not started since the machine came up"


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
