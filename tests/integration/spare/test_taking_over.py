"""What the spare holds comes home: by content, with all that is known of it, once, whenever the process is killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.operations.pin import PinRequest, pin
from recoverd.repository.both import BothWriter
from recoverd.repository.records import ItemRecord, SnapshotDraft, SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.repository.taking_over import take_over
from recoverd.repository.trees import Entry
from recoverd.repository.two_places import same_capture

CALLS = ("open", "write", "fsync", "rename", "unlink", "mkdir", "replace")


def lose(home: Any) -> Path:
    away = home.root / "away"
    shutil.move(home.first, away)
    return Path(away)


def test_all_that_is_known_comes_along(home: Any) -> None:
    """Time, reason, label, tags, verdict, parent and marks; only what it added is counted anew."""
    home.capture(1)
    away = lose(home)
    one = home.capture(2, reason="shutdown", label="before the storm", tags=("keep",))
    home.state.write_bytes(b"{")
    (home.tasks / "1.json").write_text('{"id": "new"}')
    two = home.snapshot().id
    assert two is not None
    pin(home.context, PinRequest((one,), True))
    there = home.held_by(home.spare)
    shutil.move(away, home.first)
    home.reopen()
    assert home.prune().notes == (f"taken over from the spare: {one}, {two}",)
    here = home.held_by(home.first)
    for sequence, snapshot in there.items():
        assert same_capture(snapshot, here[sequence])
        assert (here[sequence].parent, here[sequence].imported) == (snapshot.parent, False)
    assert {one.verdict.value for one in there.values()} == {"ok", "partial"}
    assert home.marks_in(home.first)[int(one.split("/")[1])].pinned
    assert home.held_by(home.spare) == {}


def test_a_number_that_was_given_twice(home: Any) -> None:
    """The first went on while the spare was away: the spare's snapshot gets another number, and is never the newest."""
    home.capture(1)
    (home.first / "lock").unlink()
    (home.first / "lock").symlink_to("nowhere")
    assert home.capture(2) == "app/2"
    (home.first / "lock").unlink()
    unplugged = home.root / "unplugged"
    shutil.move(home.spare, unplugged)
    home.reopen()
    assert home.capture(3) == "app/2"
    shutil.rmtree(home.spare)
    shutil.move(unplugged, home.spare)
    home.reopen()
    assert home.ids() == ["app/2", "app/1"]
    assert home.state_of(2) == 3
    assert "another number" in home.context.repository().unreadable_records("app")[2]
    home.prune()
    held = home.held_by(home.first)
    assert set(held) == {1, 2, 3}
    assert (home.state_of(2), home.state_of(3)) == (3, 2)
    assert held[3].imported
    assert home.held_by(home.spare) == {}
    home.state.write_bytes(b"")
    home.restore()
    assert home.state.read_bytes() == b'{"n": 3}'


def test_what_is_damaged_stays_and_the_rest_comes(home: Any) -> None:
    """A pack of the spare that lost its bytes takes no other snapshot with it, and is not thrown away."""
    home.capture(1)
    away = lose(home)
    home.capture(2)
    damaged = set((home.spare / "packs").rglob("*.zst"))
    shutil.move(away, home.first)
    home.reopen()
    for pack in damaged:
        pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])
    before = home.ids()
    home.capture(3)
    assert set(before) < set(home.ids()), "what is damaged is still listed"
    assert len(home.held_by(home.first)) == 2
    assert list((home.spare / "snapshots" / "app").glob("*.json"))


def test_it_waits_for_room(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that has just room again for a capture is not filled by all that waits in the spare."""
    home.capture(1)
    away = lose(home)
    home.capture(2)
    shutil.move(away, home.first)
    home.reopen()
    monkeypatch.setattr("recoverd.operations.spare._free_bytes", lambda path: 100)
    home.capture(3)
    assert len(home.held_by(home.spare)) == 1
    monkeypatch.undo()
    home.capture(4)
    assert home.held_by(home.spare) == {}
    assert len(home.held_by(home.first)) == 4


def _deadly(name: str, at: int, count: list[int]) -> Callable[..., Any]:
    """A call that kills its process before the `at`th of all calls; 0: never, only counts."""
    real = getattr(os, name)

    def call(*args: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    return call


def _in_child(home: Any, at: int, work: Callable[[], object]) -> int:
    """How many calls it made, or -1 when it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status, count, tell = 1, [0], os.write
        try:
            home.reopen()
            for name in CALLS:
                setattr(os, name, _deadly(name, at, count))
            work()
            status = 0
        finally:
            tell(writing, b"%d" % count[0])
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        told = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return -1
    assert os.waitstatus_to_exitcode(status) == 0
    return int(told)


def test_killed_at_every_call(home: Any, torture: Any) -> None:
    """Promise 6: a process that is killed while it takes over loses nothing and doubles nothing, and the next one
    finishes: each snapshot is seen once at any time, and restores bit for bit."""
    home.capture(1)
    away = lose(home)
    made = [home.capture(2), home.capture(3)]
    pin(home.context, PinRequest((made[0],), True))
    shutil.move(away, home.first)
    home.reopen()
    home.context.repository().close()
    wanted = home.ids()
    states = {sequence: home.state_of(sequence) for sequence in (1, *(int(one.split("/")[1]) for one in made))}
    home.context.repository().close()
    saved = home.root / "saved"
    for place in (home.state_dir, home.spare):
        shutil.copytree(place, saved / place.name, symlinks=True)

    def again() -> None:
        for place in (home.state_dir, home.spare):
            shutil.rmtree(place)
            shutil.copytree(saved / place.name, place, symlinks=True)
        home.reopen()

    def work() -> None:
        take_over(home.context.repository(), wait_s=5)

    total = _in_child(home, 0, work)
    assert total > 50
    assert home.held_by(home.spare) == {}
    points = torture.sample(range(1, total + 1), 6)
    killed = 0
    for at in points:
        again()
        killed += _in_child(home, at, work) == -1
        home.reopen()
        assert home.ids() == wanted, at
        assert {sequence: home.state_of(sequence) for sequence in states} == states, at
        assert home.context.repository().marks("app", int(made[0].split("/")[1])).pinned, at
        home.held_by(home.first)
        home.held_by(home.spare)
        home.prune()
        assert home.ids() == wanted, at
        assert {f"app/{sequence}" for sequence in home.held_by(home.first)} == set(wanted), at
        assert home.held_by(home.spare) == {}, at
        assert not list((home.spare / "packs").rglob("*.zst")), at
        assert not [name for place in (home.first, home.spare) for name in _temporary(place)], at
        home.context.repository().close()
    assert killed >= len(points) * 0.8, "the calls of one run and the next are the same but for a few"
    torture.tell(killed, "kills while the spare's snapshots are taken over", "nothing lost, nothing doubled")


def _temporary(place: Path) -> list[str]:
    return [str(path) for path in place.rglob(".tmp-*")]


def test_a_capture_in_the_spare_killed_at_every_call(home: Any, torture: Any) -> None:
    """The same while a capture goes to the spare, from its creation on: it is there as a whole or not at all."""
    home.capture(1)
    home.context.repository().close()
    shutil.rmtree(home.spare)
    lose(home)
    saved = home.root / "saved"
    shutil.copytree(home.state_dir, saved, symlinks=True)
    home.write(2)

    def again() -> None:
        shutil.rmtree(home.state_dir)
        shutil.rmtree(home.spare, ignore_errors=True)
        shutil.copytree(saved, home.state_dir, symlinks=True)
        home.reopen()

    def work() -> None:
        assert home.snapshot().outcome == "saved"

    total = _in_child(home, 0, work)
    assert total > 30
    points = torture.sample(range(1, total + 1), 6)
    killed = 0
    for at in points:
        again()
        killed += _in_child(home, at, work) == -1
        home.reopen()
        done = home.snapshot()
        assert done.outcome in {"saved", "unchanged"}, (at, done)
        held = home.held_by(home.spare)
        assert [home.state_of(sequence) for sequence in held] == [2], at
        assert not _temporary(home.spare), at
        home.context.repository().close()
    assert killed >= len(points) * 0.8
    torture.tell(killed, "kills of a capture that goes to the spare", "there as a whole or not at all")


def test_reopening_finds_the_first_again(home: Any) -> None:
    """One process goes through all of it: `recoverd run` does not open its repository anew for each capture."""
    home.capture(1)
    context = home.context
    away = lose(home)
    assert home.snapshot(label="a").spare is not None
    shutil.move(away, home.first)
    assert home.snapshot(label="b").spare is None
    assert home.context is context
    assert isinstance(context.repository(), Repository)
    assert len(home.held_by(home.first)) == 3


def test_of_a_large_file_only_what_changed_is_copied(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: lists that both places have are passed over, also where the file has grown to one more level."""
    content = bytearray(os.urandom(1024 * 16))

    def save() -> None:
        repository = home.context.repository(create=True)
        with repository.writer(wait_s=5, what="a test") as writer:
            blocks = writer.put_all([bytes(content[at : at + 16]) for at in range(0, len(content), 16)])
            listed = writer.put_blocks(blocks, 16, len(content))
            entry = Entry("f", "file", 0o600, 0, 0, "", "", len(content), 1, blocks=listed, block_size=16)
            item = ItemRecord("file", "/f", root := writer.put_tree([entry]), root, 1, len(content), "ok")
            writer.commit([SnapshotDraft("app", time.time_ns(), "boot", "host", SnapshotVerdict.OK, {"main": item})])

    save()
    away = lose(home)
    home.reopen()
    content[5000] ^= 1
    content += os.urandom(3 * 16)
    save()
    shutil.move(away, home.first)
    home.reopen()
    looked_up: set[str] = set()
    missing = BothWriter._missing

    def looks(self: BothWriter, hashes: Any) -> list[str]:
        looked_up.update(hashes)
        return missing(self, hashes)

    monkeypatch.setattr(BothWriter, "_missing", looks)
    assert len(home.prune().notes) == 1
    monkeypatch.undo()
    assert len(looked_up) == 4, "one block that changed, and three that came"
    held = home.held_by(home.first)
    assert len(held) == 2
    assert home.held_by(home.spare) == {}
