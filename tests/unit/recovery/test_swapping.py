from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import StateError
from recoverd.recovery import intents
from recoverd.recovery.board import Board
from recoverd.recovery.quarantine import list_quarantine, undo
from recoverd.recovery.replacement import Replacement
from recoverd.recovery.swapping import finish_intent
from recoverd.system import swap

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount or to give files away")


def state_of(path: Path) -> dict[str, bytes | None]:
    return {
        str(one.relative_to(path)): None if one.is_dir() else one.read_bytes()
        for one in sorted(path.rglob("*"))
        if ".recoverd-" not in str(one)
    }


def interrupt(bench: Any, *replacements: Replacement, after: str = "forward", times: int = 1) -> None:
    """A restore whose process died after so many calls of a method of Board."""
    pid = os.fork()
    if pid == 0:
        real: Callable[..., Any] = getattr(Board, after)
        left = [times]

        def dying(*args: Any) -> Any:
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return real(*args)

        setattr(Board, after, dying)
        try:
            bench.restore(*replacements)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


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
    assert state_of(bench.live) == {
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
    assert state_of(bench.live / "d") == {
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
    before = state_of(bench.live)
    bench.restore(bench.of("d", b"good", "a"), bench.of("d", None, "extra"), bench.of("d", b"n", "sub/new"))
    after = state_of(bench.live)
    for expected in (before, after, before):
        applied = undo("svc", None, state_dir=bench.state_dir)
        assert state_of(bench.live) == expected
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
    assert state_of(bench.live) == {"f": b"bad"}
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
    assert state_of(bench.live) == {"d": None, "d/a": b"bad"}


def test_undo_of_nothing_left(bench: Any) -> None:
    """Somebody deleted both sides: nothing to put back is an error, not a success."""
    bench.restore(bench.of("f", b"1"))
    (bench.live / "f").unlink()
    with pytest.raises(StateError, match="nothing to undo in"):
        undo("svc", None, state_dir=bench.state_dir)


def test_an_interrupted_restore_goes_on(bench: Any) -> None:
    """The next run of any kind finishes it first; until then it is listed, and nothing new is begun."""
    (bench.live / "a").write_bytes(b"old")
    interrupt(bench, bench.of("a", b"A"), bench.of("b", b"B"))
    assert state_of(bench.live) == {"a": b"A"}
    (seen,) = intents.open_intents(bench.state_dir)
    assert (seen.service, seen.steps, seen.problem) == ("svc", 2, "")
    for attempt in (lambda: bench.restore(bench.of("c", b"C")), lambda: undo("svc", None, state_dir=bench.state_dir)):
        with pytest.raises(StateError, match="unfinished"):
            attempt()
    finished = finish_intent("svc", bench.state_dir)
    assert finished is not None
    assert (finished.outcome, len(finished.paths)) == ("forward", 2)
    assert finished.quarantine == list_quarantine(bench.state_dir, "svc")[0].path
    assert state_of(bench.live) == {"a": b"A", "b": b"B"}
    assert intents.open_intents(bench.state_dir) == []
    assert finish_intent("svc", bench.state_dir) is None
    assert bench.left() == []


def test_a_lost_staging_is_taken_back(bench: Any) -> None:
    """A staged object is gone: what was done of the others is undone, so that all is old."""
    (bench.live / "a").write_bytes(b"old")
    (bench.live / "x").write_bytes(b"extra")
    interrupt(bench, bench.of("a", b"A"), bench.of("m", b"M"), bench.of("x", None), bench.of("b", b"B"), times=3)
    assert state_of(bench.live) == {"a": b"A", "m": b"M"}
    (home,) = Path(bench.state_dir, "staging").iterdir()
    (home / "00004").unlink()
    finished = finish_intent("svc", bench.state_dir)
    assert finished is not None
    assert (finished.outcome, finished.quarantine) == ("back", "")
    assert state_of(bench.live) == {"a": b"old", "x": b"extra"}
    assert list_quarantine(bench.state_dir, "svc") == []
    assert bench.left() == []


def test_what_somebody_else_wrote_stops_it(bench: Any) -> None:
    """Neither the staged nor the replaced object: stop and report, touch nothing; once it is out of the way, go on."""
    (bench.live / "a").write_bytes(b"old")
    (bench.live / "b").write_bytes(b"old")
    interrupt(bench, bench.of("a", b"A"), bench.of("b", b"B"))
    (bench.live / "b2").write_bytes(b"somebody's")
    os.rename(bench.live / "b2", bench.live / "b")
    before = state_of(bench.live)
    for _ in range(2):
        with pytest.raises(StateError, match="somebody else wrote") as caught:
            finish_intent("svc", bench.state_dir)
        assert str(bench.live / "b") in str(caught.value)
        assert caught.value.hint is not None
        assert state_of(bench.live) == before
    (bench.live / "b").unlink()
    assert finish_intent("svc", bench.state_dir) is not None
    assert state_of(bench.live) == {"a": b"A", "b": b"B"}


def test_a_quarantine_that_somebody_deleted(bench: Any) -> None:
    """All was swapped, then the place with the replaced objects went: new state stays, and the record."""
    interrupt(bench, bench.of("a", b"A"), after="sync", times=0)
    (home,) = Path(bench.state_dir, "staging").iterdir()
    subprocess.run(["rm", "-r", home], check=True)
    finished = finish_intent("svc", bench.state_dir)
    assert finished is not None
    assert finished.outcome == "forward"
    assert list_quarantine(bench.state_dir, "svc")[0].evidence["id"] == finished.id


def test_replaced_objects_that_are_gone_can_not_be_taken_back(bench: Any) -> None:
    """Half done, and the whole place is gone: neither way is left, which is reported and not guessed at."""
    (bench.live / "a").write_bytes(b"old")
    interrupt(bench, bench.of("a", b"A"), bench.of("b", b"B"))
    (home,) = Path(bench.state_dir, "staging").iterdir()
    subprocess.run(["rm", "-r", home], check=True)
    with pytest.raises(StateError):
        finish_intent("svc", bench.state_dir)
    assert state_of(bench.live) == {"a": b"A"}


def test_a_damaged_intent_is_not_guessed_at(bench: Any) -> None:
    """An intent that can't be read is reported with what to do, listed with its problem, and stagings are kept."""
    interrupt(bench, bench.of("a", b"A"), bench.of("b", b"B"))
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
    assert state_of(bench.live) == {"a": b"old", "b": b"old"}
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
    assert state_of(bench.live) == {"a": b"A", "b": b"B"}
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
    assert state_of(bench.live) == {"a": b"A"}
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
    assert state_of(bench.live) == {"a": b"A"}
    undo("svc", None, state_dir=bench.state_dir)
    assert state_of(bench.live) == {"a": b"old"}


def test_no_room_for_the_evidence_changes_nothing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that needs room is written before the first swap: a full disk can't stop a transaction half way."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("recoverd.recovery.swapping.write_file", full)
    (bench.live / "a").write_bytes(b"old")
    with pytest.raises(StateError, match="No space left"):
        bench.restore(bench.of("a", b"A"))
    assert state_of(bench.live) == {"a": b"old"}
    assert bench.left() == []


def test_planted_links_are_replaced_not_followed(bench: Any, tmp_path: Path) -> None:
    """Promise 12: a link in place of a document or of its directory is what gets replaced; its target is untouched."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_bytes(b"root")
    (bench.live / "d").mkdir()
    (bench.live / "d" / "passwd").symlink_to("../../etc/passwd")
    (bench.live / "d" / "sub").symlink_to("../../etc")
    os.mkfifo(bench.live / "d" / "pipe")
    bench.restore(bench.of("d", b"1", "passwd"), bench.of("d", b"2", "sub/passwd"), bench.of("d", b"3", "pipe"))
    assert state_of(tmp_path / "etc") == {"passwd": b"root"}
    assert state_of(bench.live / "d") == {"passwd": b"1", "pipe": b"3", "sub": None, "sub/passwd": b"2"}
    undo("svc", None, state_dir=bench.state_dir)
    assert (bench.live / "d" / "sub").is_symlink()


def test_directories_swapped_under_us(bench: Any, tmp_path: Path) -> None:
    """A hostile owner keeps swapping a directory on the way with a link to elsewhere: nothing is written there, and
    each restore is whole or refused."""
    (bench.live / "d" / "sub").mkdir(parents=True)
    (bench.live / "d" / "sub" / "f").write_bytes(b"old")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f").write_bytes(b"outside")
    (bench.live / "d" / "bait").symlink_to(tmp_path / "elsewhere")
    fd = os.open(bench.live / "d", os.O_RDONLY)
    stop = threading.Event()

    def flip() -> None:
        while not stop.wait(0.0005):
            swap.exchange(fd, "sub", fd, "bait")

    thread = threading.Thread(target=flip)
    thread.start()
    refused = 0
    try:
        for number in range(40):
            try:
                bench.restore(bench.of("d", b"new %d" % number, "sub/f"))
            except (StateError, OSError):
                refused += 1
            try:
                finish_intent("svc", bench.state_dir)
            except StateError:
                os.unlink(intents.intent_path(bench.state_dir, "svc"))
    finally:
        stop.set()
        thread.join()
        os.close(fd)
    assert state_of(tmp_path / "elsewhere") == {"f": b"outside"}


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., None]]:
    points: list[Path] = []

    def attach(point: Path, kind: str, options: str) -> None:
        command = ["mount", "-t", kind, "-o", options, "none", str(point)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip(f"needs the right to mount {kind}")
        points.append(point)

    yield attach
    for point in reversed(points):
        subprocess.run(["umount", "-l", point], check=True)


def test_a_mount_root_is_restored_by_its_children(bench: Any, mount: Callable[..., None]) -> None:
    """A directory item that is a mount of its own can't be renamed: its children are, and extra ones are removed."""
    (bench.live / "d").mkdir()
    mount(bench.live / "d", "tmpfs", "size=4m")
    for name in ("same", "extra"):
        (bench.live / "d" / name).write_bytes(b"bad")
    before = state_of(bench.live)
    after = {"d": None, "d/new": None, "d/new/x": b"x", "d/same": b"good"}
    bench.restore(bench.of("d", {"same": b"good", "new": {"x": b"x"}}, whole=True))
    assert state_of(bench.live) == after
    assert bench.left() == []
    for expected in (before, after):
        undo("svc", None, state_dir=bench.state_dir)
        assert state_of(bench.live) == expected
    interrupt(bench, bench.of("d", {"y": b"y"}, whole=True), times=2)
    finish_intent("svc", bench.state_dir)
    assert state_of(bench.live) == {"d": None, "d/y": b"y"}


def test_a_mount_inside_a_directory_is_refused_not_broken(bench: Any, mount: Callable[..., None]) -> None:
    """A file system mounted below the item: swapping its root is refused before anything changes."""
    (bench.live / "d" / "inner").mkdir(parents=True)
    mount(bench.live / "d" / "inner", "tmpfs", "size=4m")
    with pytest.raises(StateError, match="another file system") as caught:
        bench.restore(bench.of("d", {"inner": {"x": b""}}))
    assert caught.value.hint is not None
    assert bench.left() == []
    bench.restore(bench.of("d", b"inside", "inner/x"))  # a document in it has a place of its own there
    assert (bench.live / "d" / "inner" / "x").read_bytes() == b"inside"


def test_a_whole_directory_is_not_swapped_with_what_is_mounted_below(bench: Any, mount: Callable[..., None]) -> None:
    """A rename would take the mounted file system along, to quarantine: such a directory is swapped file by file."""
    (bench.live / "d" / "sub" / "inner").mkdir(parents=True)
    mount(bench.live / "d" / "sub" / "inner", "tmpfs", "size=4m")
    for name in ("a", "sub/b", "sub/inner/c"):
        (bench.live / "d" / name).write_bytes(b"live")
    with pytest.raises(StateError, match="another file system"):  # what it lacks there can't be taken away either
        bench.restore(bench.of("d", {"a": b"new"}, whole=True))
    bench.restore(bench.of("d", {"a": b"new", "sub": {"b": b"new"}}))
    assert (bench.live / "d" / "sub" / "inner").is_mount()
    assert state_of(bench.live / "d") == {
        "a": b"new",
        "sub": None,
        "sub/b": b"new",
        "sub/inner": None,
        "sub/inner/c": b"live",
    }
    assert bench.left() == []


def test_lower_directories_of_an_overlay(bench: Any, mount: Callable[..., None], tmp_path: Path) -> None:
    """Overlay file systems refuse to rename lower directories (EXDEV): the same is done file by file then."""
    for name in ("lower/d/sub", "upper", "work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lower" / "d" / "sub" / "a").write_bytes(b"bad")
    (tmp_path / "lower" / "d" / "b").write_bytes(b"bad")
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work,redirect_dir=off"
    mount(bench.live, "overlay", layers)
    before = state_of(bench.live)
    after = {"d": None, "d/c": b"new", "d/sub": None, "d/sub/a": b"good"}
    bench.restore(
        bench.of("d", {"sub": {"a": b"good"}, "c": b"new"}, whole=True),
        bench.of("other", b"o", "made/x"),
    )
    assert state_of(bench.live) == after | {"other": None, "other/made": None, "other/made/x": b"o"}
    undo("svc", None, state_dir=bench.state_dir)
    assert state_of(bench.live) == before


@as_root
def test_new_directories_belong_to_whom_the_old_ones_do(bench: Any) -> None:
    """A parent that no snapshot describes gets owner and mode of the directory above it, so that the service can
    use it; the place of an item that is gone altogether as well."""
    (bench.live / "d").mkdir(mode=0o2770)
    os.chmod(bench.live / "d", 0o2770)
    os.chown(bench.live / "d", 4242, 4343)
    bench.restore(bench.of("d", b"x", "sub/deep/x"))
    for name in ("d/sub", "d/sub/deep"):
        found = (bench.live / name).stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4242, 4343, 0o2770)


def test_many_directories_need_few_descriptors(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """File by file over more directories than may be open: they are entered again, and must be the same ones."""
    monkeypatch.setattr("recoverd.recovery.board._MAX_OPEN", 3)
    value = {f"d{number}": {"f": b"new"} for number in range(12)}
    for name in value:
        (bench.live / "all" / name).mkdir(parents=True)
        (bench.live / "all" / name / "f").write_bytes(b"old")
    before = state_of(bench.live)
    descriptors = len(os.listdir("/proc/self/fd"))
    bench.restore(bench.of("all", value))
    assert {data for data in state_of(bench.live).values() if data is not None} == {b"new"}
    undo("svc", None, state_dir=bench.state_dir)
    assert state_of(bench.live) == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
