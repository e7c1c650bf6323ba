"""Promise 12: a file that is huge and holds next to nothing keeps nobody waiting, and comes back as it was."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Format, ItemKind, StateItem

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

TERABYTES = 4 << 40


def sparse(house: House, size: int) -> None:
    """A directory of opaque files, one of them of so many bytes."""
    path = house.root / "state" / "images"
    path.mkdir()
    item = StateItem("images", ItemKind.DIRECTORY, str(path), Format.OPAQUE)
    house.change(state={"images": item})
    try:
        with (path / "disk.img").open("wb") as file:
            file.write(b"head")
            file.seek(size // 2)
            file.write(b"middle")
            file.truncate(size)
    except OSError:
        pytest.skip("the file system has no files that large")
    if (path / "disk.img").stat().st_blocks * 512 > 1 << 20:
        pytest.skip("the file system has no holes")


def test_it_is_captured_and_restored(house: House) -> None:
    """Only its data are read, stored and written; reading the zeros would take many minutes."""
    sparse(house, TERABYTES)
    made = house.snapshot()
    assert (made.outcome, made.size_bytes) == ("saved", TERABYTES)
    path = house.root / "state" / "images" / "disk.img"
    path.unlink()
    assert house.restore(snapshot="app/1").outcome == "restored"
    status = path.stat()
    assert status.st_size == TERABYTES
    assert status.st_blocks * 512 < 1 << 20
    with path.open("rb") as file:
        assert file.read(5) == b"head\0"
        file.seek(TERABYTES // 2)
        assert file.read(7) == b"middle\0"


def test_what_is_beyond_any_use_is_unreadable(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of its blocks alone would fill the memory: said, and nothing is restored for it."""
    from recoverd.recovery import documents

    monkeypatch.setattr(documents, "_MOST_BYTES", 1 << 30)
    sparse(house, 2 << 30)
    (survey,) = house.assess().services
    assert survey.verdict == "unreadable"
    assert os.strerror(27) in survey.items["images"].problems[0].problem
