"""Promises 4 and 5 wherever state lies: on several file systems, with mounts below a directory, where there is no room.

recovery.md, transaction: directories are swapped whole only if nothing is mounted below; names that the item does not
cover are never touched; free space is looked at before anything is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Format, ItemKind, StateItem
from recoverd.recovery.stat_rows import pack_stat

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

Mount = Callable[[Path], None]
LARGE = b"x" * 300_000


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a fresh file system of 512 KiB on a directory, which is made."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    mounted: list[Path] = []

    def attach(place: Path) -> None:
        place.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "none", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(place)

    yield attach
    for place in reversed(mounted):
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def spread(house: House, mount: Mount) -> House:
    """A file; a directory with a file system mounted below it; a directory that is a mount of its own."""
    mounted = house.root / "mounted"
    mount(house.root / "state" / "data" / "deep" / "inner")
    mount(mounted)
    path = {"main": house.state, "data": house.root / "state" / "data", "mounted": mounted}
    house.change(
        state={
            "main": house.service.state["main"],
            **{
                name: StateItem(name, ItemKind.DIRECTORY, str(path[name]), Format.OPAQUE, None)
                for name in ("data", "mounted")
            },
        }
    )
    write(house, b"first")
    house.snapshot()
    write(house, b"second")
    house.snapshot()
    return house


def write(house: House, data: bytes) -> None:
    house.write(len(data))
    for name in NAMES:
        path = house.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


NAMES = ("state/data/outer", "state/data/deep/middle", "state/data/deep/inner/below", "mounted/a", "mounted/sub/b")


def contents(house: House) -> dict[str, bytes]:
    return {name: (house.root / name).read_bytes() for name in NAMES} | {"main": house.state.read_bytes()}


def is_mounted(house: House) -> bool:
    return all((house.root / name).is_mount() for name in ("state/data/deep/inner", "mounted"))


def test_damage_on_all_of_them_is_one_restore(spread: House) -> None:
    """Each file is swapped on its own file system; what is mounted stays so; undo brings all of the damage back."""
    good = contents(spread)
    spread.state.write_bytes(b"")
    for name in NAMES:
        (spread.root / name).write_bytes(b"\0" * 6)
    bad = contents(spread)
    assert spread.restore().outcome == "restored"
    assert contents(spread) == good
    assert is_mounted(spread)
    spread.undo()
    assert contents(spread) == bad
    spread.undo()
    assert contents(spread) == good
    assert is_mounted(spread)


@pytest.mark.parametrize(
    "directory", ["state/data", "state/data/deep", "state/data/deep/inner", "mounted", "mounted/sub"]
)
def test_a_directory_with_a_mount_below_is_not_swapped_as_a_whole(spread: House, directory: str) -> None:
    """Asked for an old snapshot, directories come back with their own mode, as a whole: not with what is mounted."""
    os.chmod(spread.root / directory, 0o700)
    before = contents(spread)
    result = spread.restore(snapshot="app/1")
    assert result.outcome == "restored", result
    assert contents(spread) == {name: b"first" if name != "main" else spread.write(5) for name in before}
    assert is_mounted(spread)
    spread.undo()
    assert contents(spread) == before
    assert is_mounted(spread)


def test_without_room_on_one_of_them_none_is_touched(spread: House) -> None:
    """Found out before anything is changed, and said with how much is missing; with room it all comes back."""
    large = spread.root / "mounted" / "a"
    large.write_bytes(b"x" * 300_000)
    spread.snapshot()
    good = contents(spread)
    large.write_bytes(b"\0" * 300_000)
    spread.state.write_bytes(b"")
    bad = contents(spread)
    result = spread.restore()
    assert (result.outcome, result.exit_status) == ("failed", 1)
    assert "there is no room to restore" in result.reasons[0]
    assert "nothing was changed" in (result.hint or "")
    assert contents(spread) == bad
    assert not list((spread.state_dir / "staging").iterdir())
    assert not list((spread.root / "mounted").glob(".recoverd-*"))
    large.write_bytes(b"\0")
    assert spread.restore().outcome == "restored"
    assert contents(spread) == good


def test_what_is_gone_with_its_directories_comes_back_beside_what_is_there(spread: House) -> None:
    """Nothing is left of a directory but what is mounted; no name that is still there is touched."""
    os.unlink(spread.state)
    for name in ("state/data/outer", "mounted/sub/b"):
        (spread.root / name).unlink()
    (spread.root / "mounted" / "sub").rmdir()
    (spread.root / "mounted" / "a").write_bytes(b"newer, and good")
    before = pack_stat((spread.root / "mounted" / "a").stat())
    result = spread.restore(only="mounted/sub/b", snapshot="app/1")
    assert result.outcome == "restored", result
    assert (spread.root / "mounted" / "sub" / "b").read_bytes() == b"first"
    assert spread.restore().outcome == "restored"  # the missing file
    assert pack_stat((spread.root / "mounted" / "a").stat()) == before  # which leaves out that it was read
    assert not (spread.root / "state" / "data" / "outer").exists()  # services delete documents: that is no damage
    assert is_mounted(spread)


def _behind_a_link(house: House, link: Path, lies: Path) -> Path:
    """A directory item whose path is a link of ours, as systemd's DynamicUser= makes one; where it really lies."""
    lies.mkdir(parents=True, exist_ok=True)
    for directory in {link.parent, lies.parent, house.root}:
        directory.chmod(0o755)
    link.symlink_to(os.path.relpath(lies, link.parent))
    (lies / "sub").mkdir()
    (lies / "one").write_text("one")
    (lies / "sub" / "two").write_text("two")
    house.change(state={"data": StateItem("data", ItemKind.DIRECTORY, str(link), Format.OPAQUE, None)})
    return lies


@pytest.mark.parametrize("elsewhere", [False, True], ids=["on the same file system", "on another one"])
def test_a_link_to_where_state_lies_is_no_state(house: House, request: pytest.FixtureRequest, elsewhere: bool) -> None:
    """What replaces the directory goes where it lies, also where it is lost; the link stays, and undo finds it."""
    link, disk = house.root / "state" / "link", house.root / "disk"
    if elsewhere:
        request.getfixturevalue("mount")(disk)
    lies = _behind_a_link(house, link, disk / "private" / "link")
    house.snapshot()
    lies.chmod(0o700)
    (lies / "extra").write_text("extra")
    assert house.restore(snapshot="app/1").outcome == "restored"
    assert link.is_symlink()
    assert sorted(os.listdir(lies)) == ["one", "sub"]
    assert lies.stat().st_mode & 0o777 == 0o755
    house.undo()
    assert (lies / "extra").read_text() == "extra"
    assert link.is_symlink()
    shutil.rmtree(lies)
    assert house.verdict() == "missing"
    assert house.restore().outcome == "restored"
    assert link.is_symlink()
    assert (lies / "sub" / "two").read_text() == "two"
    house.undo()
    assert link.is_symlink()
    assert not lies.exists()


def test_a_link_that_somebody_could_have_planted_is_not_followed(house: House) -> None:
    """Promise 12: nothing is written where it leads, also when a snapshot is asked for."""
    if os.geteuid() != 0:
        pytest.skip("only root has directories of others")
    tasks, victim = house.tasks, house.root / "victim"
    house.snapshot()
    shutil.rmtree(tasks)
    victim.mkdir()
    tasks.symlink_to(victim)
    os.chown(tasks.parent, 65534, 65534)
    result = house.restore(snapshot="app/1")
    assert (result.outcome, result.exit_status) == ("blocked", 1)
    assert "could have been planted" in result.reasons[0]
    assert os.listdir(victim) == []
