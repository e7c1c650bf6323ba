"""`restore --dry-run` of a dump: the candidate is judged, the server is not asked, nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recoverd.config.model import Restore, Validation

LATER, BAD = "second\nEND\n", "half a ro"


def dry(dumped: Any, **request: Any) -> Any:
    """A dry run, which must touch and ask nothing."""
    before = dumped.rows.read_bytes(), dumped.calls("save"), dumped.calls("load"), names_in(dumped.state_dir)
    result = dumped.restore(dry_run=True, **request)
    after = dumped.rows.read_bytes(), dumped.calls("save"), dumped.calls("load"), names_in(dumped.state_dir)
    assert before == after
    return result


def names_in(directory: Path) -> set[str]:
    return {str(path) for path in directory.rglob("*") if not path.name.endswith((".lock", "-wal", "-shm"))}


def source_of(result: Any) -> tuple[str, str | None]:
    (item,) = [one for one in result.items if one.item == "database"]
    return item.source, item.candidate


def test_what_was_asked_for_is_judged(dumped: Any) -> None:
    """Whether the live one would be replaced is told as of the newest dump."""
    dumped.write(LATER)
    dumped.snapshot()
    result = dry(dumped, snapshot="db/1")
    assert result.outcome == "restored" and result.exit_status == 0
    assert source_of(result) == ("snapshot", "db/1")
    assert any("whole and valid" in reason for reason in result.reasons), result.reasons
    same = dry(dumped, snapshot="db/2")
    assert same.outcome == "untouched" and source_of(same) == ("live", None)
    assert any("changed since" in reason for reason in same.reasons), same


def test_unasked_it_tells_what_the_newest_dump_said(dumped: Any) -> None:
    dumped.write(LATER)
    dumped.snapshot()
    left = dry(dumped)
    assert left.outcome == "untouched" and left.exit_status == 0 and source_of(left) == ("live", None)
    assert any("if it is damaged now, db/2 would be loaded" in reason for reason in left.reasons), left.reasons
    dumped.write(BAD)
    dumped.snapshot()
    damaged = dry(dumped)
    assert damaged.outcome == "restored" and source_of(damaged) == ("snapshot", "db/2")


def test_what_still_waits_is_told(dumped: Any) -> None:
    dumped.write(LATER)
    dumped.snapshot()
    dumped.stop()
    dumped.restore(snapshot="db/1", start=False)
    assert source_of(dry(dumped)) == ("snapshot", "db/1")


def test_a_candidate_that_can_not_be_loaded_is_found(dumped: Any) -> None:
    """Promises 7 and 2: damaged, or not valid by the rules of today; the exit status is that of the real one."""
    dumped.write(LATER)
    dumped.snapshot()
    dumped.declare(validate=Validation(("/bin/sh", "-c", '! grep -q second "$0"', "{path}")))
    result = dry(dumped, snapshot="db/2")
    assert result.outcome == "failed" and result.exit_status == 1, result
    assert [(one.candidate, one.result) for one in result.attempts] == [("db/2", "invalid")]
    dumped.rows.write_bytes(os.urandom(3 << 20) + b"\nEND\n")
    dumped.snapshot()
    newest = max(dumped.state_dir.rglob("*.tar.zst"), key=lambda path: path.stat().st_size)
    content = bytearray(newest.read_bytes())
    content[len(content) * 3 // 4] ^= 0xFF
    newest.chmod(0o600)
    newest.write_bytes(content)
    dumped.reopen()
    result = dry(dumped, snapshot="db/3")
    assert result.outcome == "failed" and [one.result for one in result.attempts] == ["damaged"], result


def test_a_server_that_does_not_answer_is_told(dumped: Any) -> None:
    dumped.mode("save", "dies")
    dumped.snapshot()
    result = dry(dumped)
    assert any("could not be dumped last: can't be dumped" in reason for reason in result.reasons), result.reasons


def test_the_whole_service_is_told(dumped: Any) -> None:
    """`scope: service`: the dump of the very snapshot whose files would be restored."""
    dumped.write(LATER)
    dumped.snapshot()
    dumped.write(BAD)
    dumped.snapshot()
    dumped.change(restore=Restore(scope="service"))
    dumped.settings.write_text("")
    result = dry(dumped)
    assert {one.item: one.candidate for one in result.items} == {"settings": "db/2", "database": "db/2"}
    dumped.declare(validate=Validation(("/bin/sh", "-c", '! grep -q second "$0"', "{path}")))
    older = dry(dumped)
    assert [(one.candidate, one.result) for one in older.attempts] == [("db/2", "invalid")]
    assert {one.item: one.candidate for one in older.items} == {"settings": "db/1", "database": "db/1"}
    named = dry(dumped, snapshot="db/2")
    assert named.outcome in {"blocked", "failed"} and named.exit_status == 1, named
    assert dumped.settings.read_text() == ""


def test_before_the_first_snapshot_there_is_nothing_to_judge(dumped: Any) -> None:
    dumped.change(name="fresh")
    result = dry(dumped)
    assert result.outcome == "untouched" and source_of(result) == ("live", None)
