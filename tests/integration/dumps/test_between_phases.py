"""What was asked for while the service did not run, or was begun and not ended, is loaded by whoever comes next."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import Any

from recoverd.operations import pending_loads
from recoverd.operations.accept import AcceptRequest, accept
from recoverd.operations.confirm import confirm

LATER = "second\nEND\n"
BAD = "half a ro"  # without its end: its tool refuses it


def in_quarantine(dumped: Any) -> list[str]:
    return [(path / "database").read_text() for path in dumped.quarantines]


def test_what_was_asked_for_while_it_was_down_is_loaded_by_confirm(dumped: Any) -> None:
    """A durable note: the files are in place, the dump follows once the service runs, also after a reboot."""
    first = dumped.rows.read_text()
    dumped.write(LATER)
    dumped.settings.write_text('{"counter": 2}')
    dumped.snapshot()
    dumped.stop()
    result = dumped.restore(snapshot="db/1", start=False)
    assert any("still to be loaded from db/1" in reason for reason in result.reasons), result.reasons
    assert dumped.rows.read_text() == LATER
    dumped.reopen()
    assert dumped.boot().exit_status == 0
    dumped.reopen()
    result = dumped.confirm()
    assert result.outcome == "restored" and result.exit_status == 0, result
    assert dumped.rows.read_text() == first
    assert in_quarantine(dumped) == [LATER]
    assert not pending_loads.load(dumped.context.repository(), "db")
    calls = dumped.calls("load")
    dumped.confirm()
    assert dumped.calls("load") == calls


def test_accept_withdraws_what_is_still_to_be_loaded(dumped: Any) -> None:
    dumped.write(LATER)
    dumped.snapshot()
    dumped.stop()
    dumped.restore(snapshot="db/1", start=False)
    driver_up = dumped.context  # the service is started by its operator, who likes what is there
    from recoverd.operations.processes import driver_of

    driver = driver_of(driver_up, dumped.service)
    assert driver is not None
    driver.start()
    for _ in range(600):
        if (dumped.base / "pid").exists() and (dumped.base / "pid").read_text():
            break
        time.sleep(0.1)
    accept(dumped.context, AcceptRequest("db"))
    dumped.confirm()
    assert dumped.rows.read_text() == LATER and dumped.calls("load") == 0


def test_a_snapshot_that_is_to_be_loaded_is_not_pruned(dumped: Any) -> None:
    """Promise 3's kin: what a restore names stays until it is done."""
    from recoverd.config.model import Retention
    from recoverd.operations.prune import PruneRequest, prune

    for number in range(4):
        dumped.write(f"number {number}\nEND\n")
        dumped.snapshot()
    dumped.stop()
    dumped.restore(snapshot="db/2", start=False)
    dumped.change(retention=Retention(last=1))
    prune(dumped.context, PruneRequest())
    assert 2 in dumped.context.repository().sequences("db")
    dumped.confirm()
    assert dumped.rows.read_text() == "number 0\nEND\n"


def test_a_load_that_was_killed_is_brought_to_its_end(dumped: Any) -> None:
    """Promise 5: kill -9 of recoverd and its loader in the middle; the next confirm loads it, and nothing was lost."""
    first = dumped.rows.read_text()
    dumped.write(LATER)
    dumped.snapshot()
    dumped.declare(validate=None)  # so that half of a load looks as good as anything
    dumped.mode("load", "waits")
    child = os.fork()
    if child == 0:
        dumped.reopen()
        try:
            dumped.restore(snapshot="db/1")
        finally:
            os._exit(0)
    for _ in range(600):
        if (dumped.base / "loading").exists() and (dumped.base / "loading").read_text():
            break
        time.sleep(0.1)
    loader = int((dumped.base / "loading").read_text())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert dumped.rows.read_text() == first[:10]
    dumped.mode("load", None)
    dumped.reopen()
    assert pending_loads.load(dumped.context.repository(), "db")["database"].has_begun
    waiting = replace(dumped.context, wait_s=0.2)
    (result,) = confirm(waiting).services  # the loader has outlived recoverd: nobody loads or dumps beside it
    assert result.outcome == "failed" and any("the load of db" in reason for reason in result.reasons), result
    os.kill(loader, signal.SIGKILL)
    result = dumped.confirm()
    assert result.outcome == "restored", result
    assert dumped.rows.read_text() == first
    assert in_quarantine(dumped)[0] == LATER
    assert not [path for path in (dumped.state_dir / "quarantine" / "db").iterdir() if path.name.startswith(".")]
    assert not pending_loads.load(dumped.context.repository(), "db")
