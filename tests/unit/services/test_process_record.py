"""The record of a process is on disk for years: whatever is found there must be read."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.system.processes import ProcessIdentity

COUNTS = st.integers(0, 2**63)
RECORDS = st.builds(
    ProcessRecord,
    wanted=st.sampled_from(["running", "stopped", "unknown"]),
    phase=st.sampled_from(Phase),
    identity=st.none() | st.builds(ProcessIdentity, st.text(), st.integers(1, 2**22), COUNTS),
    token=st.text(),
    command=st.lists(st.text()).map(tuple),
    started_ns=COUNTS,
    starts=COUNTS,
    restarts=COUNTS,
    last_stop_ns=COUNTS,
    last_clean_stop_ns=COUNTS,
    error=st.text(),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(RECORDS)
def test_round_trip(record: ProcessRecord) -> None:
    """What is written is read back, through real JSON; and 64-bit values are strings there (jq 1.6 rounds numbers)."""
    text = json.dumps(record.to_json())
    assert ProcessRecord.from_json(json.loads(text)) == record
    for name, value in record.to_json().items():
        assert not name.endswith("_ns") or isinstance(value, str)


@given(st.dictionaries(st.sampled_from([*ProcessRecord().to_json(), "from the future"]), JSON))
def test_never_raises(value: dict[str, Any]) -> None:
    """A damaged, older or newer record never keeps a service from starting, and gives a record that can be written."""
    record = ProcessRecord.from_json(value)
    assert ProcessRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_odd_identities_are_nobody() -> None:
    """Pid 0 and negative ones mean groups of processes to kill(2); they must never come out of a record."""
    for pid in (0, -1, "x", None, [1]):
        value = {"identity": {"boot_id": "b", "pid": pid, "start_ticks": "1"}}
        assert ProcessRecord.from_json(value).identity is None


def test_clean_end() -> None:
    """A run ended cleanly when recoverd stopped it and nothing had to be killed."""
    assert ProcessRecord(phase=Phase.STOPPED, last_stop_ns=5, last_clean_stop_ns=5).ended_cleanly
    assert not ProcessRecord(phase=Phase.STOPPED, last_stop_ns=6, last_clean_stop_ns=5).ended_cleanly
    assert not ProcessRecord(phase=Phase.RUNNING, last_stop_ns=5, last_clean_stop_ns=5).ended_cleanly
