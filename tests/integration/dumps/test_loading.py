"""Dumps are loaded last, only when they are needed, over a dump of what was there, and what was there comes back."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from recoverd.config.model import Health, Probe, ProbeKind
from recoverd.errors import StateError
from recoverd.operations import pending_loads
from recoverd.operations.extract import ExtractRequest, extract

GOOD = "first\nEND\n"
LATER = "second\nEND\n"
BAD = "half a ro"  # without its end: its tool refuses it


def in_quarantine(dumped: Any) -> list[str]:
    return [(path / "database").read_text() for path in dumped.quarantines]


# --- never without need


def test_good_state_is_never_loaded_over(dumped: Any) -> None:
    """Promise 1: a database that is ok is left alone, whatever the snapshots hold."""
    dumped.write(LATER)
    for way in ("restore", "confirm", "boot and confirm"):
        if way == "boot and confirm":
            dumped.stop()
            assert dumped.boot().outcome == "untouched"
        result = dumped.restore() if way == "restore" else dumped.confirm()
        assert result.outcome == "untouched" and result.exit_status == 0, result
        assert dumped.rows.read_text() == LATER
        assert dumped.calls("load") == 0
        assert not dumped.quarantines and not (dumped.state_dir / "quarantine" / "db").exists()


def test_before_services_start_nobody_is_asked(dumped: Any) -> None:
    """The first phase of a boot runs no tool of a service that is down."""
    dumped.stop()
    calls = dumped.calls("save")
    assert dumped.boot().exit_status == 0
    assert dumped.calls("save") == calls and dumped.calls("load") == 0


def test_a_reset_is_told_and_left_alone(dumped: Any, guards: Any) -> None:
    """The default policies hold for dumps: what a guard calls emptied is not rolled back unasked."""
    dumped.declare(guards=guards(max_shrink=0.5))
    dumped.write(LATER)
    result = dumped.restore()
    assert result.outcome == "untouched"
    assert any("reset" in reason for reason in result.reasons)
    assert dumped.calls("load") == 0


def test_what_can_not_be_dumped_is_not_loaded_over(dumped: Any) -> None:
    """Promise 4: without a dump of what is there nothing is loaded; the tool's last words are told."""
    dumped.mode("save", "dies")
    for result in (dumped.restore(), dumped.confirm(), dumped.restore(snapshot="db/1")):
        assert result.outcome == "failed" and result.exit_status == 1
        assert any("server closed the connection" in reason for reason in result.reasons), result.reasons
    assert dumped.calls("load") == 0


# --- damaged


@pytest.mark.parametrize("way", ["restore", "confirm"])
def test_damaged_state_is_loaded_from_the_known_good_dump(dumped: Any, way: str) -> None:
    """What its own tool refuses goes to quarantine, the known-good dump is loaded, and an undo takes it back."""
    good = dumped.rows.read_text()
    dumped.write(BAD)
    result = dumped.restore() if way == "restore" else dumped.confirm()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert result.healthy
    (item,) = [one for one in result.items if one.item == "database"]
    assert (item.verdict_before, item.source, item.candidate) == ("corrupt", "snapshot", "db/1")
    assert item.quarantine == str(dumped.quarantines[0])
    assert dumped.rows.read_text() == good
    assert in_quarantine(dumped) == [BAD]
    undone = dumped.undo()
    assert dumped.rows.read_text() == BAD
    assert undone.verdict == "corrupt" and undone.accepted == 1
    assert in_quarantine(dumped) == [BAD, good]
    # what an operator has put back is left alone by the next boot
    dumped.reopen()
    assert dumped.confirm().outcome == "untouched"
    assert dumped.rows.read_text() == BAD


def test_an_undo_can_be_undone(dumped: Any) -> None:
    good = dumped.rows.read_text()
    dumped.write(BAD)
    dumped.restore()
    dumped.undo()
    dumped.undo()
    assert dumped.rows.read_text() == good


def test_an_empty_database_is_brought_back(dumped: Any) -> None:
    """A tool that succeeds and writes nothing says that nothing is there: that is what quarantine keeps."""
    good = dumped.rows.read_text()
    dumped.write("")
    result = dumped.restore()
    assert result.outcome == "restored", result
    assert dumped.rows.read_text() == good
    assert in_quarantine(dumped) == [""]
    dumped.undo()
    assert dumped.rows.read_text() == ""


def test_the_walk_goes_back_past_dumps_that_are_not_valid_today(dumped: Any) -> None:
    """A candidate is judged by the rules of today before a byte of it is loaded."""
    good = dumped.rows.read_text()
    dumped.declare(validate=None)
    dumped.write("no end\n")
    assert dumped.snapshot().verdict == "ok"
    from recoverd.config.model import Validation

    dumped.declare(validate=Validation(("/bin/sh", "-c", 'grep -q "^END" "$0"', "{path}")))
    result = dumped.restore()
    assert result.outcome == "restored", result
    assert [(one.candidate, one.result) for one in result.attempts] == [("db/2", "invalid"), ("db/1", "restored")]
    assert dumped.rows.read_text() == good and dumped.calls("load") == 1


def test_a_damaged_dump_is_not_loaded_at_all(dumped: Any) -> None:
    """Promise 7: every byte is checked before the first is loaded, so damage at the end loads nothing either."""
    good = dumped.rows.read_text()
    data = os.urandom(3 << 20) + b"\nEND\n"
    dumped.rows.write_bytes(data)
    assert dumped.snapshot().outcome == "saved"
    newest = max(dumped.state_dir.rglob("*.tar.zst"), key=lambda path: path.stat().st_size)
    content = bytearray(newest.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    newest.chmod(0o600)
    newest.write_bytes(content)
    dumped.reopen()
    dumped.write(BAD)
    result = dumped.restore()
    assert result.outcome == "restored", result
    assert [(one.candidate, one.result) for one in result.attempts] == [("db/2", "damaged"), ("db/1", "restored")]
    assert dumped.rows.read_text() == good and dumped.calls("load") == 1


def test_it_is_snapshotted_and_proven_afterwards(dumped: Any) -> None:
    """Promise 10: what was loaded is what the next snapshot holds, and the service was healthy on it."""
    dumped.write(BAD)
    dumped.restore()
    repository = dumped.context.repository()
    assert repository.marks("db", 1).is_proven
    assert dumped.snapshot().outcome == "unchanged"


def test_a_service_that_is_not_healthy_because_of_its_database_gets_it_back(dumped: Any) -> None:
    """A probe that asks for data fails on the very damage that a load repairs: it runs, so it can be asked."""
    good = dumped.rows.read_text()
    asks = ("/bin/sh", "-c", f"test -s {dumped.base}/pid && grep -q END {dumped.rows}")
    dumped.change(health=Health(within_s=0.5, stable_for_s=0.0, probes=(Probe(ProbeKind.COMMAND, command=asks),)))
    for way in (dumped.restore, dumped.confirm, lambda: dumped.restore(snapshot="db/1")):
        dumped.write(BAD)
        result = way()
        assert (result.outcome, result.healthy, result.exit_status) == ("restored", True, 0), result
        assert dumped.rows.read_text() == good


def test_an_undo_withdraws_what_was_to_follow(dumped: Any) -> None:
    """What was asked for with the files that an undo takes back is not loaded over the database any more."""
    dumped.write(LATER)
    dumped.settings.write_text('{"counter": 2}')
    dumped.snapshot()
    dumped.stop()
    dumped.restore(snapshot="db/1", start=False)
    dumped.undo()
    assert dumped.confirm().outcome == "untouched"
    assert dumped.rows.read_text() == LATER and dumped.calls("load") == 0


# --- asked for


def test_a_named_snapshot_is_loaded_over_good_state(dumped: Any) -> None:
    first = dumped.rows.read_text()
    dumped.write(LATER)
    dumped.settings.write_text('{"counter": 2}')
    dumped.snapshot()
    result = dumped.restore(snapshot="db/1")
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert dumped.rows.read_text() == first
    assert json.loads(dumped.settings.read_text()) == {"counter": 1}
    assert in_quarantine(dumped) == [LATER]
    dumped.undo()  # of both, as they were replaced together
    assert dumped.rows.read_text() == LATER
    assert json.loads(dumped.settings.read_text()) == {"counter": 2}


def test_only_the_dump_of_a_snapshot(dumped: Any) -> None:
    first = dumped.rows.read_text()
    dumped.write(LATER)
    dumped.settings.write_text('{"counter": 2}')
    dumped.snapshot()
    result = dumped.restore(snapshot="db/1", only="database")
    assert result.outcome == "restored", result
    assert dumped.rows.read_text() == first
    assert json.loads(dumped.settings.read_text()) == {"counter": 2}


def test_only_the_settings_leave_the_database_alone(dumped: Any) -> None:
    dumped.write(LATER)
    dumped.settings.write_text('{"counter": 2}')
    result = dumped.restore(snapshot="db/1", only="settings")
    assert result.outcome == "restored", result
    assert dumped.rows.read_text() == LATER and dumped.calls("load") == 0


def test_at_a_time(dumped: Any) -> None:
    first = dumped.rows.read_text()
    (snapshot,) = dumped.context.repository().snapshots("db")
    dumped.write(LATER)
    dumped.snapshot()
    assert dumped.restore(at_ns=snapshot.time_ns).outcome == "restored"
    assert dumped.rows.read_text() == first


def test_what_is_there_already_is_not_loaded(dumped: Any) -> None:
    """Promise 1 again: the same bytes are no reason to touch a database."""
    result = dumped.restore(snapshot="db/1")
    assert result.exit_status == 0 and dumped.calls("load") == 0
    assert any("is what db/1 holds" in reason for reason in result.reasons)


def test_from_a_directory(dumped: Any) -> None:
    """What `restore --to` has written can be edited, and loaded again."""
    directory = dumped.root / "out"
    directory.mkdir()
    extract(dumped.context, ExtractRequest(str(directory), services=("db",)))
    (directory / "db" / "database" / "database").write_text(LATER)
    result = dumped.restore(services=("db",), origin=str(directory))
    assert result.outcome == "restored", result
    assert dumped.rows.read_text() == LATER


def test_a_guard_does_not_keep_what_was_asked_for(dumped: Any, guards: Any) -> None:
    """Smaller than before is what was asked for, and is left alone from then on."""
    dumped.write(LATER)
    made = dumped.snapshot()
    dumped.write("x\n" * 5000 + "END\n")
    dumped.snapshot()
    dumped.declare(guards=guards(max_shrink=0.5))
    result = dumped.restore(snapshot=made.id)
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert dumped.rows.read_text() == LATER
    assert dumped.verdict() == "ok"


# --- loads that fail


def test_a_load_that_fails_is_no_success(dumped: Any) -> None:
    """Promise 10: exit status 1 in the loader's own words; a loader that says 0 and lost the rows is found out."""
    dumped.declare(dump={"timeout_s": 2.0})
    for mode, words in (
        ("fails", "exited with status 3: syntax error at line 3"),
        ("loses", "after it was loaded"),
        ("hangs", "did not end within"),
    ):
        dumped.write(BAD)
        dumped.mode("load", mode)
        result = dumped.restore()
        assert result.outcome == "failed" and result.exit_status == 1, result
        assert any(words in reason for reason in result.reasons), result.reasons
        assert in_quarantine(dumped)[0] == BAD


def test_after_a_failed_load_what_was_there_is_loaded_back(dumped: Any) -> None:
    """Promise 5, as far as a loader lets it: half of the new is not left lying on half of the old."""
    dumped.write(LATER)
    dumped.mode("load", "fails-once")
    result = dumped.restore(snapshot="db/1")
    assert result.outcome == "failed", result
    assert any("what was there was loaded back" in reason for reason in result.reasons)
    assert dumped.rows.read_text() == LATER
    assert not pending_loads.load(dumped.context.repository(), "db")


def test_an_undo_whose_load_fails_changes_nothing(dumped: Any) -> None:
    good = dumped.rows.read_text()
    dumped.write(BAD)
    dumped.restore()
    dumped.mode("load", "fails-once")
    with pytest.raises(StateError, match="half of it is in"):
        dumped.undo()
    assert dumped.rows.read_text() == good


def test_a_quarantined_dump_that_was_damaged_is_not_loaded(dumped: Any) -> None:
    """Promise 7 holds for quarantine too."""
    good = dumped.rows.read_text()
    dumped.write(BAD)
    dumped.restore()
    (dumped.quarantines[0] / "database").write_text("half a r0")
    loads = dumped.calls("load")
    with pytest.raises(StateError, match="not what was put there"):
        dumped.undo()
    assert dumped.calls("load") == loads and dumped.rows.read_text() == good
