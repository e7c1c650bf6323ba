from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import DamagedObject, StateError
from recoverd.recovery import staging as rooms
from recoverd.recovery.leftovers import clean_leftovers
from recoverd.recovery.replacement import Replacement


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, another one than the state directory's."""
    point = tmp_path / "small"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(point)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield point
    subprocess.run(["umount", "-l", point], check=True)


def test_staged_documents_can_be_judged_before_anything_changes(bench: Any) -> None:
    """Every staged file is handed out with its document name; live state is not touched; discard leaves nothing."""
    (bench.live / "docs").mkdir()
    with bench.stage(
        bench.of("config", b"c"),
        bench.of("docs", b"d", "deep/d.json"),
        bench.of("docs", None, "gone.json"),
        bench.of("more", {"x": b"x", "y": {"z": b"z"}}, whole=True),
    ) as staging:
        found = {(one.item, name): os.read(fd, 100) for one, name, fd in staging.files()}
        home = Path(staging.places[0].path)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert found == {
        ("config", ""): b"c",
        ("docs", "deep/d.json"): b"d",
        ("more", "x"): b"x",
        ("more", "y/z"): b"z",
    }
    assert not home.exists()
    assert os.listdir(bench.live) == ["docs"]
    assert os.listdir(bench.live / "docs") == []
    staging.discard()
    assert bench.left() == []


@pytest.mark.parametrize("at_most_bytes", [None, 0, 10 << 20])
def test_no_room_is_found_out_first(bench: Any, small: Path, at_most_bytes: int | None) -> None:
    """Free space is checked before the first byte is written; the error says how much is missing and where. An upper
    bound, even a wrong one, saves the sum only where there is far more room."""
    big = bench.entry("big", b"")
    big = replace(big, size=10 << 20)
    with pytest.raises(StateError) as caught:
        bench.stage(Replacement("big", str(small / "big"), "", big), at_most_bytes=at_most_bytes)
    assert 6 << 10 < int(re.findall(r"(\d+) KiB more", str(caught.value))[0]) < 8 << 10
    assert str(small / "big") in str(caught.value)
    assert os.listdir(small) == []
    assert bench.left() == []


def test_a_disk_that_fills_while_staging(bench: Any, small: Path) -> None:
    """ENOSPC in the middle (a sparse file whose data nobody could foresee): a clear error, nothing left behind."""
    block = os.urandom(1 << 20)
    blocks = bench.source.put_blocks([bench.source.put(block)] * 6, 1 << 20, 6 << 20)
    big = replace(bench.entry("big", b""), hash=None, blocks=blocks, block_size=1 << 20, size=6 << 20, sparse=True)
    with pytest.raises(StateError, match="No space left"):
        bench.stage(Replacement("big", str(small / "big"), "", big))
    assert os.listdir(small) == []
    assert bench.left() == []


def test_damage_in_the_repository_ends_the_staging(bench: Any) -> None:
    """Promise 7: an object that is gone or damaged is never restored, and nothing is left behind."""
    entry = replace(bench.entry("f", b"x"), hash="0" * 64)
    with pytest.raises(DamagedObject):
        bench.stage(Replacement("f", str(bench.live / "f"), "", entry))
    assert bench.left() == []


def test_on_another_file_system_the_place_is_beside_the_item(bench: Any, small: Path) -> None:
    """A rename can't leave its mount: one private directory there, on the record before it is made."""
    (small / "d").mkdir()
    staging = bench.stage(
        Replacement("a", str(small / "d" / "a"), "", bench.entry("a", b"1")),
        Replacement("b", str(small / "d" / "b"), "", bench.entry("b", b"2")),
        bench.of("c", b"3"),
    )
    (beside,) = os.listdir(small / "d")
    assert beside == f".recoverd-{staging.id}"
    assert stat.S_IMODE((small / "d" / beside).stat().st_mode) == 0o700
    record = json.loads((Path(staging.places[0].path) / "staging.json").read_bytes())
    assert [place["path"] for place in record["places"]] == [str(small / "d" / beside)]
    staging.discard()
    assert os.listdir(small / "d") == []


def test_replacements_that_overlap_are_a_mistake(bench: Any) -> None:
    """One path can't be replaced twice in one transaction."""
    with pytest.raises(ValueError, match="overlap"):
        bench.stage(bench.of("d", {}), bench.of("d", b"", "x"))
    bench.stage(bench.of("d", b"", "a-b/x"), bench.of("d", b"", "a/x"), bench.of("d", b"", "a.x")).discard()


def test_unreachable_paths_are_state_errors(bench: Any) -> None:
    """A file where a directory should be above the declared path: explained, not a traceback."""
    (bench.live / "file").write_bytes(b"")
    with pytest.raises(StateError):
        bench.stage(Replacement("x", str(bench.live / "file" / "x"), "", bench.entry("x", b"")))
    assert bench.left() == []


def leave_behind(bench: Any, target: Path, monkeypatch: pytest.MonkeyPatch, at: str = "") -> str:
    """A staging whose process died; `at` names the function before which it did."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if at:
                monkeypatch.setattr(rooms, at, lambda *_: os._exit(0))
            staging = bench.stage(Replacement("a", str(target), "", bench.entry("a", b"1")))
            os.write(write, staging.id.encode())
        finally:
            os._exit(0)
    os.close(write)
    told = os.read(read, 100).decode()
    os.close(read)
    os.waitpid(pid, 0)
    return told


@pytest.mark.parametrize("at", ["", "create_at", "opened", "_record", "_check_room", "syncfs", "write_file"])
def test_what_dead_processes_left_is_removed(bench: Any, small: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """A staging killed anywhere is cleaned up by the next restore, also beside the target; a live one is not."""
    bench.entry("a", b"1")
    leave_behind(bench, small / "a", monkeypatch, at)
    living = bench.stage(Replacement("b", str(small / "b"), "", bench.entry("b", b"2")))
    clean_leftovers("svc", bench.state_dir)
    assert bench.left() == [living.id]
    assert os.listdir(small) == [f".recoverd-{living.id}"]
    living.discard()
    assert bench.left() == []


def test_leftovers_of_other_services_and_strangers_stay(
    bench: Any, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleaning is done under one service's lock: others' stagings are not its business. What took the place of a
    recorded directory is not deleted either."""
    told = leave_behind(bench, small / "a", monkeypatch)
    clean_leftovers("other", bench.state_dir)
    assert bench.left() == [told]
    os.rename(small / f".recoverd-{told}", small / "moved")
    (small / f".recoverd-{told}").mkdir()
    (small / f".recoverd-{told}" / "mine").write_bytes(b"")
    clean_leftovers("svc", bench.state_dir)
    assert (small / f".recoverd-{told}" / "mine").exists()
    assert bench.left() == []
