"""How the last run of a service ended: what recoverd did itself, and what the scheduler noted when it had to stop."""

from __future__ import annotations

import pytest

from recoverd.operations.lifetimes import Lifetime, last_shutdown
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.system.processes import ProcessIdentity

OLD, NOW = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
RAN_BEFORE = ProcessRecord(phase=Phase.RUNNING, identity=ProcessIdentity(OLD, 7, 7))
RAN_NOW = ProcessRecord(phase=Phase.RUNNING, identity=ProcessIdentity(NOW, 7, 7))
STOPPED = ProcessRecord(phase=Phase.STOPPED, last_stop_ns=5, last_clean_stop_ns=5)
KILLED = ProcessRecord(phase=Phase.STOPPED, last_stop_ns=5, last_clean_stop_ns=4)
CRASHED, ENDED, UP = Lifetime(OLD, False), Lifetime(OLD, True, {"app": True}), Lifetime(OLD, True, {"app": False})


@pytest.mark.parametrize(
    ("record", "lifetime", "is_own", "clean", "words"),
    [
        (STOPPED, None, True, True, "stopped at"),
        (STOPPED, CRASHED, False, True, "stopped at"),  # it had ended before the machine went down
        (KILLED, ENDED, True, False, "killed at"),
        (RAN_BEFORE, CRASHED, False, False, "the machine went down without warning"),
        (RAN_BEFORE, ENDED, False, True, "the machine was shut down in order"),
        (RAN_BEFORE, UP, False, None, "nobody saw"),  # the scheduler was stopped long before
        (RAN_BEFORE, None, False, None, "nobody saw"),
        (RAN_BEFORE, None, True, False, "ended with a former boot"),
        (RAN_BEFORE, Lifetime(NOW, False), True, False, "ended with a former boot"),
        (RAN_NOW, None, True, False, "ended by itself"),
        (RAN_NOW, CRASHED, False, None, "nobody saw"),
        (ProcessRecord(phase=Phase.FAILED), CRASHED, True, None, "its last start failed"),
        (ProcessRecord(), CRASHED, True, False, "the machine went down without warning"),
        (ProcessRecord(), None, True, None, "nobody saw"),
    ],
)
def test_how_it_ended(
    record: ProcessRecord, lifetime: Lifetime | None, is_own: bool, clean: bool | None, words: str
) -> None:
    found = last_shutdown(record, lifetime, "app", NOW, is_own=is_own)
    assert (found.clean, words in found.how) == (clean, True), found
