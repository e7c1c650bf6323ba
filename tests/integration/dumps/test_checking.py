"""`check` tells how a dump item is: its age and size, that it fails, and what is still to be loaded."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from recoverd.config.model import Autosave
from recoverd.health.results import Result
from recoverd.operations.check import CheckRequest, check


def dump_check(dumped: Any) -> Result:
    found: list[Result] = [one for one in check(dumped.context, CheckRequest()).results if one.name == "dump/database"]
    assert len(found) == 1
    return found[0]


def test_a_dump_that_fails_is_not_hidden_by_files_that_are_saved(dumped: Any) -> None:
    """A service whose file changes each minute, and whose database can't be dumped for hours: WARNING, then CRITICAL,
    whatever is saved in between, until a dump is whole again."""
    dumped.change(autosave=Autosave(every_s=3600.0))
    assert dump_check(dumped).status.name == "OK"
    dumped.mode("save", "dies")
    statuses = []
    for number in range(4):
        dumped.snapshot()
        dumped.settings.write_text(f'{{"counter": {number + 10}}}')
        assert dumped.snapshot(ask_dumps=False).outcome == "saved"
        found = dump_check(dumped)
        statuses.append(found.status.name)
        assert "server closed the connection" in found.message
        assert found.figures["failures"].value == number + 1
    assert statuses == ["WARNING", "WARNING", "CRITICAL", "CRITICAL"]
    dumped.mode("save", None)
    dumped.snapshot()
    assert dump_check(dumped).status.name == "OK"


def test_what_its_tool_refuses_is_no_good_dump(dumped: Any) -> None:
    dumped.write("without its end\n")
    dumped.snapshot()
    found = dump_check(dumped)
    assert found.status.name == "WARNING" and "failed in a row" in found.message


def test_a_slow_dump_that_changes_nothing_is_young(dumped: Any) -> None:
    """The same bytes again are a fresh dump: what counts is that the server was asked."""
    before = dump_check(dumped).figures["age_seconds"].value
    dumped.snapshot()
    assert dump_check(dumped).figures["age_seconds"].value <= before + 60
    assert len(dumped.context.repository().catalog.runs("db", "dump/database", 9)) == 2


def test_without_a_history_the_snapshots_tell(dumped: Any) -> None:
    """The catalog is derived: where it was lost, the dump is as old as the snapshot that has brought it."""
    for path in dumped.state_dir.glob("catalog.sqlite*"):
        os.unlink(path)
    dumped.reopen()
    found = dump_check(dumped)
    assert found.status.name == "OK" and "dumped" in found.message


def test_what_waits_to_be_loaded_is_told(dumped: Any) -> None:
    dumped.write("second\nEND\n")
    dumped.snapshot()
    dumped.stop()
    dumped.restore(snapshot="db/1", start=False)
    found = dump_check(dumped)
    assert found.status.name == "WARNING" and found.message == "db/1 is still to be loaded, once the service runs"


def test_a_service_that_is_new_has_no_dump_yet(dumped: Any) -> None:
    dumped.change(name="fresh")
    config = replace(dumped.context.config, services={"fresh": dumped.service})
    found = check(replace(dumped.context, config=config), CheckRequest()).results
    (one,) = [one for one in found if one.name == "dump/database"]
    assert one.status.name == "WARNING" and one.message == "no dump yet"
