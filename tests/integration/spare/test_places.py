"""Two places as one: where a capture goes, what readers see, what check says, and who may be trusted."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Retention
from recoverd.errors import RepositoryError
from recoverd.health.results import Status
from recoverd.operations.assess import AssessRequest, assess
from recoverd.operations.clear import ClearRequest, clear
from recoverd.operations.diff import DiffRequest, diff
from recoverd.operations.init import init
from recoverd.operations.listing import show, show_file
from recoverd.operations.pin import PinRequest, pin
from recoverd.operations.verify import VerifyRequest, verify
from recoverd.repository.two_places import STEP

ROOT = os.geteuid() == 0


def lose(home: Any) -> Path:
    """The repository's directory is gone; what is returned can be moved back."""
    away = home.root / "away"
    shutil.move(home.first, away)
    return Path(away)


def freeze(home: Any) -> None:
    """The first place can be read and, also by root, not be written: nobody gets its lock."""
    (home.first / "lock").unlink()
    (home.first / "lock").symlink_to("nowhere")


def thaw(home: Any) -> None:
    (home.first / "lock").unlink()


def find(home: Any, away: Path) -> None:
    shutil.move(away, home.first)


def test_while_the_first_can_be_written_the_spare_only_stands_by(home: Any) -> None:
    """It is ready, private, and holds nothing; `check` warns only because it is on the same file system here."""
    assert home.capture(1) == "app/1"
    assert home.snapshot().outcome == "unchanged"
    assert home.held_by(home.spare) == {}
    assert stat.S_IMODE(home.spare.stat().st_mode) == 0o700
    assert home.spare.stat().st_uid == os.geteuid()
    result = home.check()["spare"]
    assert (result.status, "lies on the file system of the repository" in result.message) == (Status.WARNING, True)


def test_numbers_go_on_where_they_are_known_and_leap_where_they_are_not(home: Any) -> None:
    """product.md: SERVICE/SEQUENCE names one snapshot for ever. One that can't be listed may hold any number."""
    assert [home.capture(1), home.capture(2)] == ["app/1", "app/2"]
    away = lose(home)
    first = home.capture(3)
    assert first == f"app/{STEP + 1}"
    assert home.capture(4) == f"app/{STEP + 2}", "one leap for one loss"
    find(home, away)
    assert home.capture(5) == f"app/{STEP + 3}"
    lose(home)
    home.reopen()
    assert home.capture(6) == f"app/{2 * STEP + 1}", "the first went on meanwhile, nobody knows how far"


def test_what_is_unchanged_since_the_spare_makes_no_second_snapshot(home: Any) -> None:
    """The parent is the newest of both places, also for the stat cache and the hints of those who watch."""
    home.capture(1)
    away = lose(home)
    home.capture(2)
    assert home.snapshot().outcome == "unchanged"
    home.reopen()
    assert home.snapshot(reason="shutdown", full_read=True).outcome == "unchanged"
    find(home, away)
    home.reopen()
    assert home.snapshot().outcome == "unchanged"
    assert len(home.ids()) == 2


def test_every_reader_sees_both(home: Any) -> None:
    """list, show, diff, assess and restore work over one row of snapshots, wherever each of them is."""
    old = home.capture(1)
    away = lose(home)
    new = home.capture(2)
    find(home, away)
    home.reopen()
    assert home.ids() == [new, old]
    assert {one.path for one in show(home.context, new).files} == {one.path for one in show(home.context, old).files}
    for name, data in ((old, b'{"n": 1}'), (new, b'{"n": 2}')):
        read: list[bytes] = []
        show_file(home.context, name, "main", read.append)
        assert b"".join(read) == data
    changed = diff(home.context, DiffRequest(old, new))
    assert [(one.item, one.path) for one in changed.changes] == [("main", "")]
    home.state.write_bytes(b"")
    assert assess(home.context, AssessRequest()).services[0].verdict.value == "corrupt"
    assert home.restore().outcome == "restored"
    assert home.state.read_bytes() == b'{"n": 2}', "the newest known-good is in the spare"
    assert home.restore(snapshot=old).outcome == "restored"
    assert home.state.read_bytes() == b'{"n": 1}'


def test_known_good_is_carried_forward_across_the_places(home: Any) -> None:
    """A damaged document keeps its good version, copied out of the first place: the spare is whole by itself."""
    home.capture(7)
    freeze(home)
    home.state.write_bytes(b'{"n": ')
    (home.tasks / "1.json").write_text('{"id": 1, "text": "new"}')
    done = home.snapshot()
    assert (done.verdict, done.spare) == ("partial", str(home.spare)), done
    assert home.state_of(done.sequence) == 7
    assert set(home.held_by(home.spare)) == {done.sequence}


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_permission_denied(home: Any) -> None:
    """A plain user whose repository became somebody else's in effect."""
    home.capture(1)
    for path in (home.first, home.first / "packs", home.first / "snapshots" / "app"):
        path.chmod(0o500)
    try:
        home.write(2)
        done = home.snapshot()
        assert (done.id, done.spare) == ("app/2", str(home.spare))
        assert home.check()["repository"].status is Status.CRITICAL
    finally:
        for path in (home.first, home.first / "packs", home.first / "snapshots" / "app"):
            path.chmod(0o700)
    assert home.capture(3) == "app/3"
    assert set(home.held_by(home.first)) == {1, 2, 3}


def test_a_damaged_format_file(home: Any) -> None:
    """The first place is there and unusable: nobody writes over it, and mended it goes on."""
    home.capture(1)
    path = home.first / "format.json"
    good = path.read_bytes()
    path.write_bytes(b"{")
    home.reopen()
    done = home.snapshot(label="x")
    assert done.spare == str(home.spare)
    assert "damaged" in home.check()["repository"].message
    path.write_bytes(good)
    home.reopen()
    home.prune()
    assert set(home.held_by(home.first)) == {1, done.sequence}


def test_without_either_place_nothing_is_claimed(home: Any) -> None:
    """Both gone: each command says so, and none of them says that there never was anything."""
    home.capture(1)
    lose(home)
    shutil.rmtree(home.spare)
    home.spare.write_bytes(b"in the way")
    home.reopen()
    home.write(2)
    with pytest.raises(RepositoryError, match=r"is gone; nor can the spare"):
        home.snapshot()
    with pytest.raises(RepositoryError, match="is gone"):
        home.ids()
    assert home.check()["repository"].status is Status.CRITICAL


def test_a_spare_that_others_could_have_put_there_is_not_used(home: Any) -> None:
    """Promise 12: a restore believes what is in there."""
    home.capture(1)
    home.spare.chmod(0o777)
    home.reopen()
    result = home.check()["spare"]
    assert (result.status, "others can write to it" in result.message) == (Status.WARNING, True)
    lose(home)
    home.write(2)
    with pytest.raises(RepositoryError, match="others can write to it"):
        home.snapshot()
    home.spare.chmod(0o700)
    real = home.root / "elsewhere"
    shutil.move(home.spare, real)
    home.spare.symlink_to(real)
    with pytest.raises(RepositoryError, match="nor can the spare"):
        home.snapshot()


def test_marks_of_what_the_first_holds_are_kept_while_it_can_t_be_written(home: Any) -> None:
    """A rejection or a pin that can't be noted would be tried, or deleted, again: it comes home with the rest."""
    home.capture(1)
    home.capture(2)
    repository = home.context.repository()
    marks = home.first / "marks"
    shutil.rmtree(marks)
    marks.write_bytes(b"in the way")
    pin(home.context, PinRequest(("app/1",), True))
    assert repository.marks("app", 1).pinned
    home.reopen()
    assert home.context.repository().marks("app", 1).pinned
    pin(home.context, PinRequest(("app/1",), False))
    assert not home.context.repository().marks("app", 1).pinned
    pin(home.context, PinRequest(("app/1",), True))
    marks.unlink()
    marks.mkdir()
    home.reopen()
    home.prune()
    assert home.marks_in(home.first)[1].pinned
    assert home.marks_in(home.spare) == {}


def test_what_is_remembered_of_a_service_follows(home: Any) -> None:
    """accepted, paused, blocked: the newer record counts, wherever it could be written; none is written twice."""
    home.capture(1)
    services = home.state_dir / "services"
    shutil.rmtree(services, ignore_errors=True)
    services.write_bytes(b"in the way")
    repository = home.context.repository()
    repository.update_record("app", lambda record: _with(record, paused=True))
    assert repository.record("app").paused
    services.unlink()
    home.reopen()
    repository = home.context.repository()
    assert repository.record("app").paused, "it is in the spare"
    repository.update_record("app", lambda record: _with(record, blocked="why"))
    assert json.loads((services / "app.json").read_bytes())["paused"] is True
    repository.update_record("app", lambda record: _with(record, paused=False))
    home.reopen()
    assert not home.context.repository().record("app").paused


def _with(record: Any, **keys: Any) -> Any:
    from recoverd.values import replace

    return replace(record, **keys)


def test_a_week_in_the_spare_is_bounded(home: Any, with_retention: Callable[..., Any]) -> None:
    """The same retention rules there, and the newest known-good one is never the one that goes (promise 3)."""
    home = with_retention(home, Retention(last=3, keep_invalid=2))
    home.capture(0)
    lose(home)
    for n in range(1, 12):
        home.capture(n)
    assert len(home.held_by(home.spare)) == 3
    newest = home.ids()[0]
    for n in range(8):
        home.state.write_bytes(b"\0" * (n + 1))
        assert home.snapshot().verdict in {"invalid", "partial"}
    held = home.held_by(home.spare)
    assert len(held) <= 3 + 2 + 1
    assert home.state_of(max(held)) == 11
    assert int(newest.split("/")[1]) in held
    size = sum(one.stat().st_size for one in (home.spare / "packs").rglob("*.zst"))
    assert size < 100_000


def test_protection_spans_both(home: Any, with_retention: Callable[..., Any]) -> None:
    """The newest known-good one is in the first place: what the spare gets later does not push it out."""
    home = with_retention(home, Retention(last=1, keep_invalid=1))
    good = home.capture(5)
    freeze(home)
    for size in range(3):
        home.state.write_bytes(b"\0" * size)
        done = home.snapshot()
        assert (done.verdict, done.spare) == ("invalid", str(home.spare))
    assert len(home.held_by(home.spare)) == 1
    thaw(home)
    home.reopen()
    home.prune()
    assert home.held_by(home.spare) == {}
    assert good in home.ids()
    assert home.restore().outcome == "restored"
    assert home.state.read_bytes() == b'{"n": 5}'


def test_a_lost_repository_can_be_given_up(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without word from its operator the first place is not made anew; `init` makes it, and the spare's go there."""
    home.capture(1)
    away = lose(home)
    kept = home.capture(2)
    assert not home.first.exists()
    shutil.rmtree(away)
    config = home.root / "recoverd.yaml"
    config.write_text(f"state_dir: {home.state_dir}\nrepository: {{path: {home.first}, spare: {home.spare}}}\n")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(home.root / "run"))
    assert init([str(config)]).created
    home.reopen()
    last = home.capture(3)
    assert home.ids() == [last, kept]
    assert home.held_by(home.spare) == {}


def test_clear_takes_the_snapshots_of_both(home: Any) -> None:
    """`clear --snapshots` says that all are gone, so all are; and their numbers are not used again."""
    home.capture(1)
    away = lose(home)
    newest = int(home.capture(2).split("/")[1])
    find(home, away)
    home.reopen()
    clear(home.context, ClearRequest("app", snapshots=True))
    assert home.ids() == []
    home.reopen()
    assert home.capture(3) == f"app/{newest + 1}"
    home.prune()
    assert not list((home.spare / "packs").rglob("*.zst"))


def test_both_places_verify(home: Any) -> None:
    """Each is whole by itself: what lies in the other is no damage."""
    home.capture(1)
    freeze(home)
    home.capture(2)
    thaw(home)
    home.reopen()
    found = verify(home.context, VerifyRequest())
    assert (found.damage, found.exit_status) == ((), 0)
    assert found.of_packs == 2


def test_json_event_and_check_say_where_it_went(home: Any) -> None:
    """cli.md: text, JSON, exit status and events come from one result."""
    home.capture(1)
    lose(home)
    home.write(2)
    home.events.clear()
    done = home.snapshot()
    assert done.to_json()["spare"] == {"path": str(home.spare), "because": done.because}
    (event,) = (one for one in home.events if one.name.value == "snapshot.saved")
    assert event.figures["spare"] == str(home.spare)
    assert not [one for one in home.events if one.name.value == "snapshot.failed"]
    result = home.check()["spare"]
    assert result.status is Status.WARNING
    assert "holds 1 snapshot that the repository does not have" in result.message
    assert result.hint is not None
    assert home.check()["repository"].status is Status.CRITICAL


def test_what_a_killed_capture_left_in_the_spare_goes(home: Any) -> None:
    """Also where it never came to a snapshot, so that nothing of it is to come home."""
    assert home.capture(1) == "app/1"
    left = home.spare / "packs" / ".tmp-00000000-0000-0000-0000-000000000000-1-1-0123456789abcdef"
    left.write_bytes(bytes(5000))
    home.prune()
    assert not left.exists()
