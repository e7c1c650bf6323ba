"""A dump that is not whole is no snapshot; what is whole is stored as it came."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import Any

from recoverd.config.model import Guards
from recoverd.operations.diff import DiffRequest, diff
from recoverd.operations.drill import DrillRequest, drill
from recoverd.operations.export import ExportRequest, export
from recoverd.operations.extract import ExtractRequest, extract


def test_the_dump_is_stored_as_it_came(dumped: Any) -> None:
    """Promise 8: `restore --to` and `export` give the file that the service's own tool wrote."""
    directory = dumped.root / "out"
    directory.mkdir()
    extract(dumped.context, ExtractRequest(str(directory), services=("db",)))
    assert (directory / "db" / "database" / "database").read_bytes() == dumped.rows.read_bytes()
    out = io.BytesIO()
    export(dumped.context, ExportRequest("db/1"), out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        member = archive.extractfile("db/database/database")
        assert member is not None and member.read() == dumped.rows.read_bytes()


def test_an_unchanged_dump_makes_no_snapshot(dumped: Any) -> None:
    """Promise 11: the same bytes again are a confirmation."""
    assert dumped.snapshot().outcome == "unchanged"


def test_every_size_comes_back(dumped: Any) -> None:
    """Promise 7: blocks are cut and joined without a byte too few or too many, holes among them."""
    for size in (0, 1, (1 << 20) - 5, (1 << 20) - 4, (3 << 20) + 77):
        data = bytes(size // 2) + b"x" * (size - size // 2) + b"\nEND\n"
        dumped.rows.write_bytes(data)
        made = dumped.snapshot()
        assert made.outcome == "saved" and made.verdict == "ok", made
        dumped.write("damaged\nEND\n")
        result = dumped.restore(snapshot=made.id)
        assert result.outcome == "restored", result
        assert dumped.rows.read_bytes() == data


def test_one_changed_block_costs_one_block(dumped: Any) -> None:
    """Promise 11: of a large dump only what changed is stored."""
    import os

    data = bytearray(os.urandom(8 << 20) + b"\nEND\n")
    dumped.rows.write_bytes(data)
    dumped.snapshot()
    data[5 << 20] ^= 1
    dumped.rows.write_bytes(data)
    made = dumped.snapshot()
    assert made.outcome == "saved"
    assert made.new_bytes < (1 << 20) + 65536


def test_a_dump_that_is_not_whole_is_no_snapshot(dumped: Any) -> None:
    """Promise 2: the capture has failed, in the tool's own last words, and the known-good dump stays what it was."""
    dumped.write(ROWS_LATER)
    for mode, words in (
        ("dies", "exited with status 1: server closed the connection"),
        ("killed", "was ended by SIGKILL"),
        ("says-nothing", "is empty"),
    ):
        dumped.mode("save", mode)
        made = dumped.snapshot()
        assert made.outcome == "failed" and words in (made.error or ""), made
        assert made.id is None
        assert dumped.context.repository().sequences("db") == [1]
    dumped.mode("save", None)
    dumped.reopen()
    again = dumped.snapshot()
    assert again.outcome == "saved" and again.verdict == "ok"


ROWS_LATER = "another row\nEND\n"


def test_one_that_hangs_is_ended_at_its_deadline(dumped: Any) -> None:
    dumped.declare(dump={"timeout_s": 1.0})
    dumped.mode("save", "hangs")
    made = dumped.snapshot()
    assert made.outcome == "failed" and "did not end within 1 s" in (made.error or "")


def test_one_beyond_max_bytes_is_none(dumped: Any) -> None:
    """An endless dump fills neither memory nor disk."""
    dumped.declare(dump={"max_bytes": 3 << 20})
    dumped.mode("save", "endless")
    before = sum(path.stat().st_size for path in dumped.state_dir.rglob("*") if path.is_file())
    made = dumped.snapshot()
    assert made.outcome == "failed" and "max_bytes" in (made.error or "")
    after = sum(path.stat().st_size for path in dumped.state_dir.rglob("*") if path.is_file())
    assert after - before < 1 << 20


def test_the_files_are_saved_although_the_dump_failed(dumped: Any) -> None:
    """One failed part does not keep the rest from being saved, and the good dump is carried forward."""
    dumped.settings.write_text('{"counter": 2}')
    dumped.mode("save", "dies")
    made = dumped.snapshot()
    assert made.outcome == "saved" and made.verdict == "partial" and "server closed" in (made.error or "")
    snapshots = dumped.context.repository().snapshots("db")
    assert snapshots[-1].items["database"].good == snapshots[0].items["database"].good
    assert snapshots[-1].items["database"].verdict == "unreadable"
    assert dumped.snapshot().outcome == "failed"  # nothing else has changed: no second snapshot of the same
    assert len(dumped.context.repository().sequences("db")) == 2


def test_a_label_makes_no_snapshot_of_a_dump_that_failed(dumped: Any) -> None:
    """Who asks for a snapshot before an upgrade must not get the old dump under the new label."""
    dumped.mode("save", "dies")
    made = dumped.snapshot(label="before the upgrade")
    assert made.outcome == "failed" and made.id is None


def test_its_own_tool_judges_the_captured_copy(dumped: Any) -> None:
    """Promise 2: what the tool refuses is evidence, and does not push the good dump out."""
    dumped.write("row 1\nrow 2\n")
    made = dumped.snapshot()
    assert made.outcome == "invalid", made
    snapshots = dumped.context.repository().snapshots("db")
    assert snapshots[-1].items["database"].good == snapshots[0].items["database"].good
    assert dumped.verdict() == "corrupt"


def test_guards_and_magic_hold_for_dumps(dumped: Any) -> None:
    dumped.write("row 1\nEND\n")
    for keys, verdict in (
        ({"guards": Guards(max_shrink=0.5)}, "reset"),
        ({"guards": Guards(min_bytes=1000)}, "reset"),
        ({"guards": None, "magic": b"PGDMP".hex()}, "corrupt"),
    ):
        dumped.declare(**keys)
        assert dumped.verdict() == verdict


def test_assessing_says_whether_the_tool_works(dumped: Any) -> None:
    """An assessment is a capture that stores nothing: ok, or unreadable with the tool's words."""
    assert dumped.verdict() == "ok"
    packs = sorted(dumped.state_dir.rglob("*.zst"))
    dumped.mode("save", "dies")
    assert dumped.verdict() == "unreadable"
    assert sorted(dumped.state_dir.rglob("*.zst")) == packs
    assert dumped.calls("load") == 0


def test_a_fresh_service_with_nothing_to_dump_is_new(dumped: Any) -> None:
    """Without a known-good version an empty dump is no damage, but it is no snapshot either."""
    dumped.declare(name="fresh")
    state = dict(dumped.service.state)
    state["fresh"] = state.pop("database")
    dumped.change(state=state)
    dumped.mode("save", "says-nothing")
    made = dumped.snapshot()
    assert made.error is not None and "is empty" in made.error
    assert dumped.restore().exit_status == 0


def test_diff_tells_what_changed_in_the_database(dumped: Any) -> None:
    dumped.write(ROWS_LATER)
    (change,) = diff(dumped.context, DiffRequest("db/1")).changes
    assert (change.item, change.change, change.differs) == ("database", "changed", ("content",))
    dumped.snapshot()
    (change,) = diff(dumped.context, DiffRequest("db/1", "db/2")).changes
    assert change.item == "database"


def test_a_drill_validates_the_dump_and_calls_no_tool_of_the_service(dumped: Any) -> None:
    """A rehearsal touches nothing live: the dump is brought back as a file, checked and judged."""
    calls = dumped.calls("save"), dumped.calls("load")
    result = drill(dumped.context, DrillRequest()).services[0]
    assert result.passed, result
    assert {one.item for one in result.items} == {"settings", "database"}
    assert (dumped.calls("save"), dumped.calls("load")) == calls
    dumped.declare(magic=b"PGDMP".hex())
    assert not drill(dumped.context, DrillRequest()).services[0].passed


def test_a_dump_alone_can_be_drilled_and_given_to_a_command(dumped: Any) -> None:
    from recoverd.config.model import Drill

    dumped.change(
        state={"database": dumped.service.state["database"]},
        drill=Drill(command=("grep", "-q", "^END", "{directory}/dumps/database")),
    )
    result = drill(dumped.context, DrillRequest()).services[0]
    assert result.passed and result.healthy, result


def test_the_record_says_that_it_is_a_dump(dumped: Any) -> None:
    record = json.loads((dumped.state_dir / "repository/snapshots/db/000000000001.json").read_text())
    item = record["items"]["database"]
    assert (item["kind"], item["path"], item["files"], item["bytes"]) == (
        "dump",
        "",
        1,
        str(len(dumped.rows.read_bytes())),
    )


def test_at_a_shutdown_the_server_is_down_already(dumped: Any) -> None:
    """What stops before recoverd does can't be dumped any more: that fails no capture, and its last dump stays good."""
    dumped.settings.write_text('{"counter": 3}')
    dumped.stop()
    made = dumped.snapshot(reason="shutdown")
    assert (made.outcome, made.verdict, made.error) == ("saved", "ok", None)
    first, second = dumped.context.repository().snapshots("db")
    assert second.items["database"] == first.items["database"]


def test_at_a_shutdown_what_still_runs_is_dumped(dumped: Any) -> None:
    dumped.write(ROWS_LATER)
    assert dumped.snapshot(reason="shutdown").outcome == "saved"
    first, second = dumped.context.repository().snapshots("db")
    assert second.items["database"].good != first.items["database"].good


def test_a_changed_file_makes_no_new_dump(dumped: Any) -> None:
    """`on_change` captures come often, and a dump may be large: dumps follow `every` and `cron`."""
    from recoverd.recovery.partial import Hints, ServiceHints

    dumped.settings.write_text('{"counter": 3}')
    dumped.write(ROWS_LATER)
    calls = dumped.calls("save")
    made = dumped.snapshot(hints={"db": ServiceHints(1, {"settings": Hints(frozenset({""}))})})
    assert made.outcome == "saved" and made.verdict == "ok", made
    assert dumped.calls("save") == calls
    assert dumped.snapshot().outcome == "saved"
    assert dumped.calls("save") == calls + 1


def test_files_and_dump_agree_where_the_service_is_held_still(dumped: Any) -> None:
    """`consistency`: what is dumped before the capture belongs to the same stand-still, and to one that has ended."""
    from recoverd.config.model import Consistency

    def noted(word: str) -> tuple[str, ...]:
        return ("/bin/sh", "-c", f"echo {word} >> {dumped.base}/calls")

    (dumped.base / "calls").unlink()
    dumped.change(consistency=Consistency(before=(noted("before"),), after=(noted("after"),)))
    dumped.write(ROWS_LATER)
    assert dumped.snapshot().outcome == "saved"
    assert (dumped.base / "calls").read_text().split() == ["before", "save", "after"]
    dumped.change(consistency=Consistency(before=(noted("before"), ("false",)), after=(noted("after"),)))
    assert dumped.snapshot().outcome == "failed"
    assert (dumped.base / "calls").read_text().split()[3:] == ["before", "after"]


def test_while_the_repository_is_locked_the_dump_is_taken_and_waits_for_it(dumped: Any) -> None:
    """What was dumped is not thrown away because somebody writes at that moment; where that goes on, it is."""
    import threading

    from recoverd.errors import LockHeld

    dumped.write(ROWS_LATER)
    repository, calls = dumped.context.repository(), dumped.calls("save")
    held = repository.writer(wait_s=0.0, what="a test")
    with held:
        dumped.context.wait_s = 0.1
        try:
            made = dumped.snapshot()
        except LockHeld:
            made = None
        assert made is None and dumped.calls("save") == calls + 1
        dumped.context.wait_s = 60.0
        results: list[Any] = []
        waiting = threading.Thread(target=lambda: results.append(dumped.snapshot()))
        waiting.start()
        while dumped.calls("save") < calls + 2:
            assert waiting.is_alive()
            time.sleep(0.01)
    waiting.join()
    assert results[0].outcome == "saved" and dumped.calls("save") == calls + 2
