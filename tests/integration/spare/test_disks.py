"""Real disks that fail: a capture lands in the spare, a restore takes from there, and all of it comes home."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from recoverd.health.results import Status

Disks = Callable[..., Any]


def _lands_and_comes_home(
    home: Any, broken: Callable[[], None], mended: Callable[[], None], *, restores: bool = True
) -> None:
    """Two snapshots in the first place; one while it is broken; after that all three are in the first place.

    `restores`: the state directory, in which a restore writes what it is about to do, can still be written.
    """
    before = [home.capture(1), home.capture(2)]
    broken()
    home.write(3)
    done = home.snapshot()
    assert (done.outcome, done.spare) == ("saved", str(home.spare)), done
    assert done.because
    assert done.id not in before
    assert set(home.held_by(home.spare)) == {done.sequence}
    assert home.check()["spare"].status is Status.WARNING
    if restores:
        home.state.write_bytes(b"")
        restored = home.restore()
        assert (restored.outcome, home.state.read_bytes()) == ("restored", b'{"n": 3}'), restored
    mended()
    last = home.capture(4)
    assert home.ids() == [last, done.id, *reversed(before)]
    assert set(home.held_by(home.first)) == {int(one.split("/")[1]) for one in home.ids()}
    assert home.held_by(home.spare) == {}
    assert not list((home.spare / "packs").rglob("*.zst")), "it was emptied"
    assert home.state_of(done.sequence) == 3


@pytest.mark.parametrize("all_of_it", [False, True], ids=["repository", "and state directory"])
def test_full(disk: Disks, house_on: Callable[..., Any], all_of_it: bool) -> None:
    """ENOSPC, where pruning frees nothing: the capture must land somewhere (repository.md, Commit)."""
    one = disk("disk")
    home = house_on(one, all_of_it=all_of_it)

    def fill() -> None:
        for reserve in one.path.rglob("*reserve*"):
            reserve.unlink()
        one.fill()

    _lands_and_comes_home(home, fill, one.free, restores=not all_of_it)


@pytest.mark.parametrize("all_of_it", [False, True], ids=["repository", "and state directory"])
def test_read_only(disk: Disks, house_on: Callable[..., Any], all_of_it: bool) -> None:
    """EROFS: what ext4 does to itself when it finds an error. What it holds is still read."""
    one = disk("disk")
    home = house_on(one, all_of_it=all_of_it)

    def freeze() -> None:
        home.context.repository().close()  # an open catalog keeps mount(8) from it; an error of the disk does not ask
        one.read_only()

    _lands_and_comes_home(home, freeze, lambda: one.read_only(on=False), restores=not all_of_it)


def test_it_fails(disk: Disks, house_on: Callable[..., Any]) -> None:
    """EIO for whatever is touched: nothing of the first place is known, and no number is given twice."""
    one = disk("disk")
    home = house_on(one)

    def mend() -> None:
        one.unmount()
        one.mount()

    _lands_and_comes_home(home, one.fail, mend)


def test_unmounted(disk: Disks, house_on: Callable[..., Any]) -> None:
    """An empty mount point is not taken for a fresh start: nothing is written into it."""
    one = disk("disk")
    home = house_on(one)
    _lands_and_comes_home(home, one.unmount, one.mount)


def test_unmounted_with_the_state_directory(disk: Disks, house_on: Callable[..., Any]) -> None:
    """Also when all that recoverd knew went with it: the spare knows that there was a first place."""
    one = disk("disk")
    home = house_on(one, all_of_it=True)
    assert home.capture(1) == "app/1"
    one.unmount()
    home.reopen()
    home.write(2)
    done = home.snapshot(reason="shutdown")
    assert done.spare == str(home.spare)
    assert done.id != "app/1"
    assert not (home.first / "format.json").exists()
    one.mount()
    home.reopen()
    home.prune()
    assert set(home.held_by(home.first)) == {1, done.sequence}


def test_hanging(disk: Disks, house_on: Callable[..., Any], hang: Callable[..., Any]) -> None:
    """A dead mount answers nobody: within `io_timeout` the capture goes on with the spare."""
    one = disk("disk")
    home = house_on(one)
    home.io_timeout_s = 3.0
    assert home.capture(1) == "app/1"
    dead = hang(one.path)
    home.reopen()
    home.write(2)
    done = home.snapshot()
    assert (done.outcome, done.spare) == ("saved", str(home.spare))
    assert "does not answer" in (done.because or "")
    assert home.check()["repository"].status is Status.CRITICAL
    dead.end()


def test_both_fail(disk: Disks, house_on: Callable[..., Any]) -> None:
    """Nothing is written anywhere, and the error names both reasons."""
    one, other = disk("disk"), disk("other")
    home = house_on(one)
    home.spare = other.path / "spare"
    assert home.capture(1) == "app/1"
    one.read_only()
    other.read_only()
    home.write(2)
    done = home.snapshot()
    assert done.outcome == "failed"
    assert "nor can the spare" in (done.error or "")
    assert home.ids() == ["app/1"]
    assert home.check()["spare"].status is Status.CRITICAL


def test_the_spare_fills(disk: Disks, house_on: Callable[..., Any]) -> None:
    """A full spare is pruned by the same retention, and the capture is tried again."""
    one, other = disk("disk"), disk("other", megabytes=4)
    home = house_on(one)
    home.spare = other.path / "spare"
    home.capture(0)
    one.read_only()
    for n in range(20):
        (home.tasks / "blob.json").write_text('"' + os.urandom(200_000).hex() + '"')  # 20 of them take 4 MB
        assert home.capture(n), n
    held = home.held_by(home.spare)
    assert len(held) <= 10
    assert home.state_of(max(held)) == 19
