"""Commands around a capture: what belongs together is held still, and always let go again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Consistency


def hold(house: Any, before: str | None, after: str | None, timeout_s: float = 20.0) -> Path:
    """Declare shell commands; they say in the file that is returned when they ran."""
    log: Path = house.root / "log"
    commands = [
        None if text is None else (("/bin/sh", "-c", text.replace("LOG", str(log))),) for text in (before, after)
    ]
    house.change(consistency=Consistency(commands[0] or (), commands[1] or (), timeout_s))
    return log


def test_the_state_is_read_between_them(house: Any) -> None:
    """What `before` writes is captured, what `after` writes is not."""
    state = house.state
    put = """printf '{"version": "1", "counter": %d}' """
    log = hold(house, f"{put}7 > {state}; echo before >> LOG; sleep 0.03", f"{put}8 > {state}; echo after >> LOG")
    house.snapshot()
    assert log.read_text().split() == ["before", "after"]
    assert house.state.read_bytes().endswith(b"8}")
    house.state.write_bytes(b"")
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes().endswith(b"7}")


@pytest.mark.parametrize("text", ["echo no; exit 3", "kill -9 $$", "exec /nowhere/program"])
def test_one_before_that_fails(house: Any, text: str) -> None:
    """Nothing is captured, which is counted and told; the state is let go all the same."""
    log = hold(house, text, "echo after >> LOG")
    found = house.snapshot()
    assert (found.outcome, found.id) == ("failed", None)
    assert "the command before it" in found.error
    assert log.read_text().split() == ["after"]
    assert house.list() == []
    assert "snapshot.failed" in {event.name for event in house.events}
    hold(house, "true", "true")
    assert house.snapshot().outcome == "saved"


def test_one_after_that_fails(house: Any) -> None:
    """The snapshot is there, and that its service may still be held is an error, counted each time."""
    hold(house, None, "exit 4")
    for count in (1, 2):
        house.write(count)
        found = house.snapshot()
        assert (found.outcome, found.verdict) == ("saved", "ok")
        assert "the command after the capture" in found.error
        assert "exited with status 4" in found.error
        assert house.context.repository().record("app").failures == count
    hold(house, None, "true")
    assert house.snapshot().error is None
    assert house.context.repository().record("app").failures == 0


def test_each_has_a_deadline(house: Any) -> None:
    """A command that hangs is ended with all it started, and the next ones run."""
    log = hold(house, "sleep 1000", "echo after >> LOG", timeout_s=0.3)
    start = time.monotonic()
    found = house.snapshot()
    assert time.monotonic() - start < 100
    assert "did not end within 0.3 s" in found.error
    assert log.read_text().split() == ["after"]


def test_not_for_a_dry_run(house: Any) -> None:
    """What changes nothing holds nothing still."""
    log = hold(house, "echo before >> LOG", "echo after >> LOG")
    assert house.snapshot(dry_run=True).outcome == "saved"
    assert not log.exists()


def test_the_command_line_says_it(house: Any) -> None:
    """A failed command after the capture is exit status 1, whatever was saved."""
    from recoverd.operations.snapshot import SnapshotRequest, snapshot

    hold(house, None, "exit 4")
    assert snapshot(house.context, SnapshotRequest()).exit_status == 1
