"""`restore.scope: service` with a dump: files and database come from one and the same snapshot, or neither does."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from typing import Any

import pytest

from recoverd.config.model import Health, Probe, ProbeKind, Restore
from recoverd.operations import pending_loads, unproven

SECOND, THIRD = "second\nEND\n", "third\nEND\n"
BAD = "half a ro"  # without its end: its tool refuses it


def settings(dumped: Any) -> int:
    counter: int = json.loads(dumped.settings.read_text())["counter"]
    return counter


def both(dumped: Any, number: int, rows: str) -> None:
    dumped.write(rows)
    dumped.settings.write_text(json.dumps({"counter": number}))


def healthy_unless(dumped: Any, shell: str) -> None:
    """Its probe fails as long as this succeeds in the server's directory."""
    probe = Probe(ProbeKind.COMMAND, command=("/bin/sh", "-c", f"cd {dumped.base} && test -s pid && ! {{ {shell}; }}"))
    dumped.change(health=Health(within_s=1.0, stable_for_s=0.0, probes=(probe,)))


def state(dumped: Any) -> tuple[int, str]:
    return settings(dumped), dumped.rows.read_text()


def left_nothing(dumped: Any) -> None:
    repository = dumped.context.repository()
    assert not pending_loads.load(repository, "db") and unproven.load(repository, "db") is None
    base = dumped.state_dir / "quarantine" / "db"
    assert not base.exists() or not [path for path in base.iterdir() if path.name.startswith(".")]


def test_good_state_is_left_alone(whole: Any) -> None:
    """Promise 1, whatever the scope."""
    both(whole, 4, "fourth\nEND\n")
    for result in (whole.restore(), whole.confirm()):
        assert result.outcome == "untouched" and result.exit_status == 0, result
        assert {one.item: one.source for one in result.items} == {"settings": "live", "database": "live"}
    assert state(whole) == (4, "fourth\nEND\n") and whole.calls("load") == 0


def test_a_damaged_file_brings_the_dump_of_the_same_snapshot(whole: Any) -> None:
    """recovery.md: `scope: service` restores all items from one and the same snapshot; an undo takes all of it back."""
    whole.write("fourth\nEND\n")
    whole.settings.write_text("")
    result = whole.restore()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert {one.item: (one.source, one.candidate) for one in result.items} == {
        "settings": ("snapshot", "db/3"),
        "database": ("snapshot", "db/3"),
    }
    assert state(whole) == (3, THIRD)
    left_nothing(whole)
    assert whole.context.repository().marks("db", 3).is_proven
    whole.undo()
    assert whole.settings.read_text() == "" and whole.rows.read_text() == "fourth\nEND\n"


def test_a_damaged_dump_brings_the_files_of_the_same_snapshot(whole: Any) -> None:
    """The files are valid, and yet go to quarantine: they belong to another state of the database."""
    both(whole, 4, BAD)
    result = whole.confirm()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert state(whole) == (3, THIRD)
    left_nothing(whole)
    whole.undo()
    assert state(whole) == (4, BAD)


def test_files_that_are_the_same_are_not_swapped(whole: Any) -> None:
    whole.write(BAD)
    pid = (whole.base / "pid").read_text()
    result = whole.restore()
    assert result.outcome == "restored", result
    assert state(whole) == (3, THIRD)
    assert (whole.base / "pid").read_text() == pid  # nothing was stopped for it
    left_nothing(whole)


def test_only_snapshots_in_which_all_was_ok_are_candidates(whole: Any) -> None:
    """A snapshot whose dump failed holds files of another time than the dump that it carries forward."""
    whole.mode("save", "dies")
    whole.settings.write_text('{"counter": 4}')
    assert whole.snapshot().verdict == "partial"
    whole.mode("save", None)
    whole.settings.write_text("")
    result = whole.restore()
    assert result.outcome == "restored", result
    assert state(whole) == (3, THIRD)


def test_a_load_that_fails_takes_the_files_back_and_the_next_whole_is_tried(whole: Any) -> None:
    """All or nothing: never the files of one snapshot beside the dump of another."""
    both(whole, 4, "fourth\nEND\n")
    whole.settings.write_text("")
    whole.mode("load", "fails-once")
    result = whole.restore()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert [(one.candidate, one.result) for one in result.attempts] == [("db/3", "rejected"), ("db/2", "restored")]
    assert "half of it is in" in result.attempts[0].why
    assert state(whole) == (2, SECOND)
    left_nothing(whole)


def test_where_no_load_works_all_is_as_it_was(whole: Any) -> None:
    """Promise 5: the original files and rows are back, the rejections are withdrawn, exit status 1."""
    whole.write("fourth\nEND\n")
    whole.settings.write_text('{"counter": "four"}')
    whole.mode("load", "only fourth")
    result = whole.restore()
    assert result.outcome == "failed" and result.exit_status == 1, result
    assert whole.settings.read_text() == '{"counter": "four"}' and whole.rows.read_text() == "fourth\nEND\n"
    assert [one.result for one in result.attempts] == ["rejected"] * 3
    repository = whole.context.repository()
    assert not any(marks.rejected for marks in repository.all_marks("db").values())
    left_nothing(whole)
    whole.mode("load", None)
    assert whole.restore().outcome == "restored"
    assert state(whole) == (3, THIRD)


def test_what_could_not_be_loaded_back_is_so_before_anything_else(whole: Any) -> None:
    """A loader that works for nothing: where the rows lie is told and noted, and the next one begins with them."""
    both(whole, 4, BAD)
    whole.mode("load", "only nothing")
    result = whole.restore()
    assert result.outcome == "failed" and result.exit_status == 1, result
    assert "nor could what was in database before" in str(result.attempts), result
    assert state(whole) == (4, BAD)
    again = whole.confirm()
    assert again.exit_status == 1 and any("could not be loaded back" in one for one in again.reasons), again
    whole.mode("load", None)
    result = whole.confirm()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert any("what was in database before was loaded back" in one for one in result.reasons)
    assert state(whole) == (3, THIRD)
    left_nothing(whole)


def test_where_it_is_not_healthy_on_one_whole_the_next_one_is_tried(whole: Any) -> None:
    """The A/B of product.md, for files and database together."""
    healthy_unless(whole, "grep -q third rows")
    whole.write(BAD)
    result = whole.restore()
    assert result.outcome == "restored" and result.exit_status == 0 and result.healthy, result
    assert state(whole) == (2, SECOND)
    assert whole.context.repository().marks("db", 3).rejected
    left_nothing(whole)


def test_a_service_that_is_only_healthy_on_the_whole(whole: Any) -> None:
    """Files of one time beside a database of another may well be what a probe fails on: it is asked at the end."""
    healthy_unless(whole, 'grep -q "\\"counter\\": 3" ../settings.json && ! grep -q third rows')
    whole.write("fourth\nEND\n")
    whole.settings.write_text("")
    result = whole.restore()
    assert result.outcome == "restored" and result.healthy and result.exit_status == 0, result
    assert state(whole) == (3, THIRD)


def test_a_damaged_candidate_is_passed_over_before_anything_is_touched(whole: Any) -> None:
    """Promise 7: the dump of a candidate is read and judged before its files are swapped in."""
    from recoverd.config.model import Validation

    whole.declare(validate=Validation(("/bin/sh", "-c", '! grep -q third "$0" && grep -q "^END" "$0"', "{path}")))
    whole.write(BAD)
    result = whole.restore()
    assert result.outcome == "restored", result
    assert [(one.candidate, one.result) for one in result.attempts] == [("db/3", "invalid"), ("db/2", "restored")]
    assert state(whole) == (2, SECOND) and whole.calls("load") == 1


def test_a_boot_restores_the_files_and_confirm_the_dump(whole: Any) -> None:
    """The first phase asks nobody; what belongs to its files is noted durably, and loaded before they are proven."""
    whole.write("fourth\nEND\n")
    whole.settings.write_text("")
    whole.stop()
    first = whole.boot()
    assert first.outcome == "restored" and first.exit_status == 0, first
    assert any("still to be loaded" in reason and "db/3" in reason for reason in first.reasons), first.reasons
    assert state(whole) == (3, "fourth\nEND\n") and whole.calls("load") == 0
    whole.reopen()
    result = whole.confirm()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert state(whole) == (3, THIRD)
    left_nothing(whole)
    whole.undo()  # also of what the first phase has replaced
    assert whole.settings.read_text() == "" and whole.rows.read_text() == "fourth\nEND\n"


def test_after_a_boot_a_load_that_fails_takes_the_files_back_too(whole: Any) -> None:
    whole.write("fourth\nEND\n")
    whole.settings.write_text("")
    whole.stop()
    whole.boot()
    whole.mode("load", "fails-once")
    whole.reopen()
    result = whole.confirm()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert state(whole) == (2, SECOND)
    left_nothing(whole)


def test_what_is_watched_meanwhile_does_not_prove_half_of_it(whole: Any) -> None:
    """Between the two phases the scheduler sees a healthy service; the whole is proven once all of it is there."""
    from recoverd.operations.proving import settle

    whole.write("fourth\nEND\n")
    whole.settings.write_text("")
    whole.stop()
    whole.boot()
    settle(whole.context, whole.service)
    assert unproven.load(whole.context.repository(), "db") is not None
    whole.confirm()
    assert state(whole) == (3, THIRD)


def test_a_named_snapshot_comes_as_a_whole_or_not_at_all(whole: Any) -> None:
    """An explicit restore: both of db/1; where its load fails, both as they were."""
    whole.mode("load", "only third")
    result = whole.restore(snapshot="db/1")
    assert result.outcome == "failed" and result.exit_status == 1, result
    assert state(whole) == (3, THIRD)
    whole.mode("load", None)
    result = whole.restore(snapshot="db/1")
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert state(whole) == (1, whole.first)
    left_nothing(whole)
    again = whole.restore(snapshot="db/1")
    assert again.outcome == "untouched" and again.exit_status == 0, again
    whole.undo()
    assert state(whole) == (3, THIRD)


def test_without_a_start_the_dump_follows_with_confirm(whole: Any) -> None:
    whole.stop()
    result = whole.restore(snapshot="db/1", start=False)
    assert any("still to be loaded" in reason for reason in result.reasons), result
    assert state(whole) == (1, THIRD)
    whole.reopen()
    result = whole.confirm()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert state(whole) == (1, whole.first)
    left_nothing(whole)
    whole.undo()
    assert state(whole) == (3, THIRD)


def test_an_undo_withdraws_what_was_to_follow(whole: Any) -> None:
    whole.stop()
    whole.restore(snapshot="db/1", start=False)
    whole.undo()
    assert state(whole) == (3, THIRD)
    whole.confirm()
    assert state(whole) == (3, THIRD) and whole.calls("load") == 0


def test_what_can_not_be_dumped_is_not_loaded_over(whole: Any) -> None:
    """Promise 4: the files come back where they were when there is no dump of what is there."""
    whole.settings.write_text("")
    whole.mode("save", "dies")
    result = whole.restore()
    assert result.outcome == "failed" and result.exit_status == 1, result
    assert "server closed the connection" in str(result.reasons) + str(result.attempts)
    assert whole.settings.read_text() == "" and whole.calls("load") == 0


@pytest.mark.parametrize("way", ["restore", "boot"])
def test_killed_in_the_middle_of_a_load_it_comes_to_one_whole(whole: Any, way: str) -> None:
    """Promise 5: kill -9 of recoverd and the loader between files and dump; the next one loads what belongs to them."""
    whole.declare(validate=None)  # so that half of a load looks as good as anything
    whole.write("fourth\nEND\n")
    whole.settings.write_text("")
    whole.mode("load", "waits")
    child = os.fork()
    if child == 0:
        whole.reopen()
        try:
            whole.restore()
        finally:
            os._exit(0)
    loading = whole.base / "loading"
    whole.until(lambda: loading.exists() and loading.read_text().endswith("\n"), "the loader")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.kill(int(loading.read_text()), signal.SIGKILL)
    whole.mode("load", None)
    whole.reopen()
    assert state(whole) == (3, THIRD[:10])
    if way == "boot":
        whole.stop()
        whole.boot()
        whole.reopen()
    result = whole.restore() if way == "restore" else whole.confirm()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert state(whole) == (3, THIRD)
    assert (whole.quarantines[0] / "database").read_text() == "fourth\nEND\n"
    left_nothing(whole)


def test_of_two_dumps_both_come_or_neither(whole: Any) -> None:
    """One that was loaded before the other one failed is loaded back too."""

    from recoverd.config.dump_model import Dump

    other = whole.root / "other"
    other.write_text("one\n")
    loads = f"cat > {other}; ! grep -q one {other}"
    item = replace(
        whole.service.state["database"],
        name="another",
        validate=None,
        dump=Dump(("cat", str(other)), ("/bin/sh", "-c", loads)),
    )
    whole.change(state={**whole.service.state, "another": item})
    both(whole, 4, "fourth\nEND\n")
    assert whole.snapshot().verdict == "ok"
    other.write_text("two\n")
    both(whole, 5, BAD)
    whole.change(restore=Restore(scope="service", attempts=1))
    result = whole.restore()
    assert result.outcome == "failed" and result.exit_status == 1, result
    assert state(whole) == (5, BAD) and other.read_text() == "two\n", result
    assert whole.calls("load") == 2
    left_nothing(whole)


def test_an_undo_of_the_files_is_one_of_the_dump_too(whole: Any) -> None:
    """What was replaced together comes back together, whichever of the two is named."""
    whole.write("fourth\nEND\n")
    whole.settings.write_text("")
    result = whole.restore()
    (files,) = {one.quarantine for one in result.items if one.item == "settings"}
    whole.undo(os.path.basename(files))
    assert whole.settings.read_text() == "" and whole.rows.read_text() == "fourth\nEND\n"


def test_who_falls_back_from_good_state_takes_the_dump_along(whole: Any) -> None:
    """`restore.unhealthy: fall-back`: an older proven whole, or what was there."""
    for sequence in (1, 2):
        whole.context.repository().set_marks("db", sequence, lambda marks: replace(marks, proven_ns=1))
    healthy_unless(whole, "grep -q third rows")
    whole.change(restore=Restore(scope="service", unhealthy="fall-back"))
    result = whole.restore()
    assert result.outcome == "restored" and result.healthy, result
    assert state(whole) == (2, SECOND)
    left_nothing(whole)


def test_killed_at_any_time_it_comes_to_one_whole(whole: Any, torture: Any) -> None:
    """Promise 5: kill -9 of recoverd anywhere in a restore; whoever comes next leaves one whole, and a note of none."""
    began = time.monotonic()
    both(whole, 4, BAD)
    assert whole.restore().exit_status == 0
    took_s = time.monotonic() - began
    draw = torture.random
    for turn in range(60 if torture.full else 2):
        both(whole, 4, "fourth\nEND\n" if turn % 2 else BAD)
        if turn % 2:
            whole.settings.write_text('{"counter": "four"}')
        child = os.fork()
        if child == 0:
            whole.reopen()
            try:
                whole.restore()
            finally:
                os._exit(0)
        time.sleep(draw.uniform(0.0, took_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        whole.reopen()
        if turn % 4 >= 2:
            whole.stop()
            whole.boot()
            whole.reopen()
        result = whole.confirm() if turn % 3 else whole.restore()
        assert result.exit_status == 0, (turn, result)
        # two starts that never came to a proof use a candidate up, and the next older whole is taken
        assert state(whole) in {(3, THIRD), (2, SECOND)}, (turn, result)
        for sequence in (1, 2, 3):
            whole.context.repository().set_marks("db", sequence, lambda marks: replace(marks, rejected={}))
        left_nothing(whole)
