"""The space reserve on a disk that is not full; tests/integration/operations/test_full_disk.py has those that are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from recoverd.errors import RepositoryError
from recoverd.repository import reserve
from recoverd.repository.layout import create_layout
from recoverd.repository.reserve import NAME, RESERVE_BYTES, Reserve, is_full


def test_it_is_really_allocated_and_comes_and_goes(tmp_path: Path) -> None:
    """A sparse file would hold no room at all."""
    one = Reserve.of(str(tmp_path), str(tmp_path / "repository"))
    assert one.missing() == (str(tmp_path),)
    one.set_up()
    status = (tmp_path / NAME).stat()
    assert (status.st_size, status.st_mode & 0o777) == (RESERVE_BYTES, 0o600)
    assert status.st_blocks * 512 >= RESERVE_BYTES
    assert one.missing() == ()
    assert not one.release_if_full()  # it is not
    assert one.release()
    assert not one.release()
    assert list(tmp_path.iterdir()) == []


def test_half_of_one_is_completed(tmp_path: Path) -> None:
    """Killed while it was set up, or truncated: what has no room of its own is none."""
    os.truncate(os.open(tmp_path / NAME, os.O_CREAT | os.O_WRONLY), RESERVE_BYTES)
    one = Reserve.of(str(tmp_path), str(tmp_path))
    assert one.missing() == (str(tmp_path),)
    one.set_up()
    assert one.missing() == ()


def test_nothing_is_followed_or_overwritten(tmp_path: Path) -> None:
    """A link of that name is not ours: nothing is allocated where it leads."""
    other = tmp_path / "other"
    other.write_bytes(b"x")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / NAME).symlink_to(other)
    one = Reserve.of(str(tmp_path / "state"), str(tmp_path / "state"))
    one.set_up()
    assert one.missing() == (str(tmp_path / "state"),)
    assert other.read_bytes() == b"x"


def test_a_nearly_full_disk_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reserve must not be what fills the disk."""
    monkeypatch.setattr(reserve, "_SMALLEST_ROOM_BYTES", 1 << 60)
    Reserve.of(str(tmp_path), str(tmp_path)).set_up()
    assert list(tmp_path.iterdir()) == []


def test_a_repository_with_one_is_a_repository(tmp_path: Path) -> None:
    """Where it lies on a file system of its own; one that is still empty can be created around it."""
    Reserve((str(tmp_path),)).set_up()
    create_layout(str(tmp_path), compression=3)
    with pytest.raises(RepositoryError, match="already"):
        create_layout(str(tmp_path), compression=3)


def test_what_counts_as_full() -> None:
    """Also when the error was wrapped into a sentence."""
    full = OSError(errno.ENOSPC, "no space")
    assert is_full(full)
    assert is_full(OSError(errno.EDQUOT, "quota"))
    for way in ("cause", "context"):
        try:
            try:
                raise full
            except OSError as error:
                raise RepositoryError("it can't be written") from (error if way == "cause" else None)
        except RepositoryError as error:
            assert is_full(error)
    assert not is_full(OSError(errno.EIO, "broken"))
    assert not is_full(RepositoryError("damaged"))
