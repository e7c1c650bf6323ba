"""A set of paths changes places as one, and undo takes it back."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import StateError
from recoverd.recovery.quarantine import list_quarantine, undo

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount or to give files away")


def test_a_restore_of_all_kinds(bench: Any) -> None:
    """A file, a document, a missing document with its directories, a removal and a whole directory in one go; what
    was replaced is in quarantine with the evidence."""
    (bench.live / "docs").mkdir()
    (bench.live / "docs" / "a").write_bytes(b"bad")
    (bench.live / "docs" / "gone").write_bytes(b"extra")
    (bench.live / "all").mkdir()
    (bench.live / "all" / "old").write_bytes(b"old")
    parents = (bench.entry("docs", {}), bench.entry("sub", {}, mode=0o701))
    applied = bench.restore(
        bench.of("file", b"new"),
        bench.of("docs", b"good", "a"),
        bench.of("docs", b"deep", "sub/x", parents=parents),
        bench.of("docs", None, "gone"),
        bench.of("docs", None, "never-there"),
        bench.of("all", {"new": b"new"}, whole=True),
    )
    assert bench.live_state() == {
        "all": None,
        "all/new": b"new",
        "docs": None,
        "docs/a": b"good",
        "docs/sub": None,
        "docs/sub/x": b"deep",
        "file": b"new",
    }
    sub = (bench.live / "docs" / "sub").stat()
    assert (stat.S_IMODE(sub.st_mode), sub.st_mtime_ns) == (0o701, 1_700_000_000_123_456_789)
    kinds = [(step.kind, step.relative, step.old is not None) for step in applied.steps]
    assert kinds == [
        ("create", "", False),
        ("exchange", "a", True),
        ("create", "sub", False),
        ("remove", "gone", True),
        ("exchange", "", True),
    ]
    (kept,) = list_quarantine(bench.state_dir, "svc")
    assert kept.path == applied.quarantine
    assert kept.evidence["evidence"] == {"why": "corrupt"}
    assert Path(applied.steps[1].old).read_bytes() == b"bad"
    assert Path(applied.steps[4].old, "old").read_bytes() == b"old"
    assert ":" not in kept.id
    assert bench.left() == []


def test_nothing_to_do(bench: Any) -> None:
    """A removal of what is not there makes no quarantine and no intent."""
    assert bench.restore(bench.of("x", None)).steps == ()
    assert list_quarantine(bench.state_dir, "svc") == []
    assert bench.left() == []


def test_file_by_file_leaves_the_rest_alone(bench: Any) -> None:
    """Without `whole`, files that the snapshot lacks stay, missing subdirectories come as one; kinds may change."""
    for name in ("d/sub", "d/was-dir"):
        (bench.live / name).mkdir(parents=True)
    (bench.live / "d" / "sub" / "mine").write_bytes(b"mine")
    (bench.live / "d" / "was-file").write_bytes(b"file")
    value = {"sub": {"x": b"x"}, "new": {"y": b"y"}, "was-dir": b"now a file", "was-file": {"z": b"z"}}
    bench.restore(bench.of("d", value))
    assert bench.live_state(bench.live / "d") == {
        "new": None,
        "new/y": b"y",
        "sub": None,
        "sub/mine": b"mine",
        "sub/x": b"x",
        "was-dir": b"now a file",
        "was-file": None,
        "was-file/z": b"z",
    }


def test_undo_and_its_undo(bench: Any) -> None:
    """Promise 4: undo puts back what was replaced, the undone side goes to quarantine, and back again."""
    (bench.live / "d").mkdir()
    (bench.live / "d" / "a").write_bytes(b"bad")
    (bench.live / "d" / "extra").write_bytes(b"extra")
    before = bench.live_state()
    bench.restore(bench.of("d", b"good", "a"), bench.of("d", None, "extra"), bench.of("d", b"n", "sub/new"))
    after = bench.live_state()
    for expected in (before, after, before):
        applied = undo("svc", None, state_dir=bench.state_dir)
        assert bench.live_state() == expected
        (only,) = list_quarantine(bench.state_dir, "svc")
        assert only.path == applied.quarantine
        assert only.evidence["kind"] == "undo"
    assert bench.left() == []


def test_undo_of_what_was_changed_since(bench: Any) -> None:
    """What the service wrote after the restore is not lost by an undo: it goes to quarantine."""
    (bench.live / "f").write_bytes(b"bad")
    first = bench.restore(bench.of("f", b"good"), bench.of("made", b"made"))
    (bench.live / "f").unlink()
    (bench.live / "made").write_bytes(b"grown")
    undo("svc", first.id, state_dir=bench.state_dir)
    assert bench.live_state() == {"f": b"bad"}
    (kept,) = list_quarantine(bench.state_dir, "svc")
    assert b"grown" in {one.read_bytes() for one in Path(kept.path).iterdir()}


def test_undo_chooses(bench: Any) -> None:
    """The newest by default, one by name or id; none, unknown and damaged ones are explained."""
    with pytest.raises(StateError, match="nothing to undo"):
        undo("svc", None, state_dir=bench.state_dir)
    (bench.live / "f").write_bytes(b"0")
    first = bench.restore(bench.of("f", b"1"))
    second = bench.restore(bench.of("f", b"2"))
    assert [one.id.endswith(("Z-" + first.id, "Z-" + second.id)) for one in list_quarantine(bench.state_dir, "svc")]
    with pytest.raises(StateError, match="no quarantine nope") as caught:
        undo("svc", "nope", state_dir=bench.state_dir)
    assert first.id in str(caught.value.hint)
    undo("svc", os.path.basename(first.quarantine), state_dir=bench.state_dir)
    assert (bench.live / "f").read_bytes() == b"0"
    damaged = Path(bench.state_dir, "quarantine", "svc", "20200101T000000Z-x")
    damaged.mkdir()
    (Path(bench.state_dir) / "quarantine" / "svc" / "stray").write_bytes(b"")
    assert list_quarantine(bench.state_dir, "svc")[0].evidence == {}
    (damaged / "evidence.json").write_text(json.dumps({"time": "1", "sequence": 99, "places": [], "steps": [{}]}))
    with pytest.raises(StateError, match="damaged"):
        undo("svc", None, state_dir=bench.state_dir)


def test_undo_when_the_ground_is_gone(bench: Any) -> None:
    """The directory that held a document was deleted since: said, with what to do; quarantine stays as it is."""
    (bench.live / "d").mkdir()
    (bench.live / "d" / "a").write_bytes(b"bad")
    bench.restore(bench.of("d", b"good", "a"))
    (bench.live / "d" / "a").unlink()
    (bench.live / "d").rmdir()
    with pytest.raises(StateError) as caught:
        undo("svc", None, state_dir=bench.state_dir)
    assert caught.value.hint is not None
    (bench.live / "d").mkdir()
    undo("svc", None, state_dir=bench.state_dir)
    assert bench.live_state() == {"d": None, "d/a": b"bad"}


def test_undo_of_nothing_left(bench: Any) -> None:
    """Somebody deleted both sides: nothing to put back is an error, not a success."""
    bench.restore(bench.of("f", b"1"))
    (bench.live / "f").unlink()
    with pytest.raises(StateError, match="nothing to undo in"):
        undo("svc", None, state_dir=bench.state_dir)
