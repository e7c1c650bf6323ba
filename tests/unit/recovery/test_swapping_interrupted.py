"""A restore whose process died, or whose disk failed, in the middle of its swaps."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import StateError
from recoverd.recovery import intents
from recoverd.recovery.quarantine import list_quarantine, undo
from recoverd.recovery.swapping import finish_intent
from recoverd.system import swap

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount or to give files away")


def test_an_interrupted_restore_goes_on(bench: Any) -> None:
    """The next run of any kind finishes it first; until then it is listed, and nothing new is begun."""
    (bench.live / "a").write_bytes(b"old")
    bench.interrupt(bench.of("a", b"A"), bench.of("b", b"B"))
    assert bench.live_state() == {"a": b"A"}
    (seen,) = intents.open_intents(bench.state_dir)
    assert (seen.service, seen.steps, seen.problem) == ("svc", 2, "")
    for attempt in (lambda: bench.restore(bench.of("c", b"C")), lambda: undo("svc", None, state_dir=bench.state_dir)):
        with pytest.raises(StateError, match="unfinished"):
            attempt()
    finished = finish_intent("svc", bench.state_dir)
    assert finished is not None
    assert (finished.outcome, len(finished.paths)) == ("forward", 2)
    assert finished.quarantine == list_quarantine(bench.state_dir, "svc")[0].path
    assert bench.live_state() == {"a": b"A", "b": b"B"}
    assert intents.open_intents(bench.state_dir) == []
    assert finish_intent("svc", bench.state_dir) is None
    assert bench.left() == []


def test_a_lost_staging_is_taken_back(bench: Any) -> None:
    """A staged object is gone: what was done of the others is undone, so that all is old."""
    (bench.live / "a").write_bytes(b"old")
    (bench.live / "x").write_bytes(b"extra")
    bench.interrupt(bench.of("a", b"A"), bench.of("m", b"M"), bench.of("x", None), bench.of("b", b"B"), times=3)
    assert bench.live_state() == {"a": b"A", "m": b"M"}
    (home,) = Path(bench.state_dir, "staging").iterdir()
    (home / "00004").unlink()
    finished = finish_intent("svc", bench.state_dir)
    assert finished is not None
    assert (finished.outcome, finished.quarantine) == ("back", "")
    assert bench.live_state() == {"a": b"old", "x": b"extra"}
    assert list_quarantine(bench.state_dir, "svc") == []
    assert bench.left() == []


def test_what_somebody_else_wrote_stops_it(bench: Any) -> None:
    """Neither the staged nor the replaced object: stop and report, touch nothing; once it is out of the way, go on."""
    (bench.live / "a").write_bytes(b"old")
    (bench.live / "b").write_bytes(b"old")
    bench.interrupt(bench.of("a", b"A"), bench.of("b", b"B"))
    (bench.live / "b2").write_bytes(b"somebody's")
    os.rename(bench.live / "b2", bench.live / "b")
    before = bench.live_state()
    for _ in range(2):
        with pytest.raises(StateError, match="somebody else wrote") as caught:
            finish_intent("svc", bench.state_dir)
        assert str(bench.live / "b") in str(caught.value)
        assert caught.value.hint is not None
        assert bench.live_state() == before
    (bench.live / "b").unlink()
    assert finish_intent("svc", bench.state_dir) is not None
    assert bench.live_state() == {"a": b"A", "b": b"B"}


def test_a_quarantine_that_somebody_deleted(bench: Any) -> None:
    """All was swapped, then the place with the replaced objects went: new state stays, and the record."""
    bench.interrupt(bench.of("a", b"A"), after="sync", times=0)
    (home,) = Path(bench.state_dir, "staging").iterdir()
    subprocess.run(["rm", "-r", home], check=True)
    finished = finish_intent("svc", bench.state_dir)
    assert finished is not None
    assert finished.outcome == "forward"
    assert list_quarantine(bench.state_dir, "svc")[0].evidence["id"] == finished.id


def test_replaced_objects_that_are_gone_can_not_be_taken_back(bench: Any) -> None:
    """Half done, and the whole place is gone: neither way is left, which is reported and not guessed at."""
    (bench.live / "a").write_bytes(b"old")
    bench.interrupt(bench.of("a", b"A"), bench.of("b", b"B"))
    (home,) = Path(bench.state_dir, "staging").iterdir()
    subprocess.run(["rm", "-r", home], check=True)
    with pytest.raises(StateError):
        finish_intent("svc", bench.state_dir)
    assert bench.live_state() == {"a": b"A"}


def test_a_damaged_intent_is_not_guessed_at(bench: Any) -> None:
    """An intent that can't be read is reported with what to do, listed with its problem, and stagings are kept."""
    bench.interrupt(bench.of("a", b"A"), bench.of("b", b"B"))
    path = Path(intents.intent_path(bench.state_dir, "svc"))
    for damage in (b"", b"\0" * 100, path.read_bytes()[:50], b'{"format": 9}', b"[]"):
        path.write_bytes(damage)
        with pytest.raises(StateError, match="can't be read"):
            finish_intent("svc", bench.state_dir)
        (seen,) = intents.open_intents(bench.state_dir)
        assert seen.problem
        assert finish_intent("other", bench.state_dir) is None
        assert os.listdir(Path(bench.state_dir, "staging"))


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_an_error_in_the_middle_is_taken_back_at_once(bench: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Promise 5 without a crash: the second swap fails, the first is undone, staging and intent are gone."""
    (bench.live / "a").write_bytes(b"old")
    (bench.live / "b").write_bytes(b"old")
    real = swap._renameat2()
    calls: list[int] = []

    def failing(*args: Any) -> int:
        calls.append(1)
        return number if len(calls) == 2 else real(*args)

    monkeypatch.setattr(swap, "_renameat2", lambda: failing)
    with pytest.raises(StateError, match="everything is as it was"):
        bench.restore(bench.of("a", b"A"), bench.of("b", b"B"))
    assert bench.live_state() == {"a": b"old", "b": b"old"}
    assert bench.left() == []
    assert list_quarantine(bench.state_dir, "svc") == []


def test_an_error_that_can_not_be_taken_back_keeps_the_intent(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fails for good in the middle: the intent and all objects stay, the next run finishes."""
    (bench.live / "a").write_bytes(b"old")
    (bench.live / "b").write_bytes(b"old")
    real = swap._renameat2()
    calls: list[int] = []

    def failing(*args: Any) -> int:
        calls.append(1)
        return errno.EIO if len(calls) >= 2 else real(*args)

    monkeypatch.setattr(swap, "_renameat2", lambda: failing)
    with pytest.raises(StateError, match="could not be taken back") as caught:
        bench.restore(bench.of("a", b"A"), bench.of("b", b"B"))
    assert caught.value.hint is not None
    assert len(intents.open_intents(bench.state_dir)) == 1
    monkeypatch.undo()
    assert finish_intent("svc", bench.state_dir) is not None
    assert bench.live_state() == {"a": b"A", "b": b"B"}
    assert bench.left() == []


def test_a_quarantine_that_can_not_be_made_keeps_the_intent(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is swapped in when the last rename fails: that is said as it is, and finished later."""
    real = os.rename

    def failing(src: Any, dst: Any, **more: Any) -> None:
        if "/quarantine/" in str(dst):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(src, dst, **more)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(StateError, match="did not come to its end"):
        bench.restore(bench.of("a", b"A"))
    with pytest.raises(StateError, match="could not be finished: Input/output error"):
        finish_intent("svc", bench.state_dir)
    monkeypatch.undo()
    assert finish_intent("svc", bench.state_dir) is not None
    assert bench.live_state() == {"a": b"A"}
    assert len(list_quarantine(bench.state_dir, "svc")) == 1


def test_what_was_replaced_stays_when_the_end_can_not_be_made_durable(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk error after the last rename: the quarantine is there by then, and is not taken for a staging to remove."""

    def failing(_: int) -> None:
        if not os.path.lexists(intents.intent_path(bench.state_dir, "svc")):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    (bench.live / "a").write_bytes(b"old")
    monkeypatch.setattr("recoverd.recovery.intents.fsync_directory", failing)
    with pytest.raises(StateError, match="did not come to its end"):
        bench.restore(bench.of("a", b"A"))
    monkeypatch.undo()
    assert finish_intent("svc", bench.state_dir) is None
    assert bench.live_state() == {"a": b"A"}
    undo("svc", None, state_dir=bench.state_dir)
    assert bench.live_state() == {"a": b"old"}


def test_no_room_for_the_evidence_changes_nothing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that needs room is written before the first swap: a full disk can't stop a transaction half way."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("recoverd.recovery.swapping.write_file", full)
    (bench.live / "a").write_bytes(b"old")
    with pytest.raises(StateError, match="No space left"):
        bench.restore(bench.of("a", b"A"))
    assert bench.live_state() == {"a": b"old"}
    assert bench.left() == []
