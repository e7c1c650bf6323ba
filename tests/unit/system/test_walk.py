from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.system import walk

STRANGER = 12_345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs files of another user")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose every ancestor is real: /tmp is world-writable, so links in it are not trusted."""
    import shutil
    import tempfile

    path = Path(os.path.realpath(tempfile.mkdtemp()))
    yield path
    shutil.rmtree(path)


def read_through(path: Path) -> bytes:
    parent, name = walk.open_parent(str(path))
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            return os.read(fd, 100)
        finally:
            os.close(fd)
    finally:
        os.close(parent)


def test_plain_paths(place: Path) -> None:
    """The parent is opened for real: it can be listed and synced, and the name is the last one."""
    (place / "a" / "b").mkdir(parents=True)
    parent, name = walk.open_parent(f"{place}/a/./b//state.json")
    assert name == "state.json"
    assert os.path.samestat(os.fstat(parent), os.stat(place / "a" / "b"))
    os.fsync(parent)
    os.close(parent)
    fd = walk.open_declared_directory(str(place / "a"))
    assert os.listdir(fd) == ["b"]
    os.close(fd)
    root, name = walk.open_parent("/etc")
    assert (os.listdir(root), name) == (os.listdir("/"), "etc")
    os.close(root)


@pytest.mark.parametrize("path", ["", "/", "relative/x", "/a/../b", "/a\0b", "//"])
def test_paths_that_name_no_file(path: str) -> None:
    """Only absolute, plain paths are walked: `..` behind a link would lead elsewhere."""
    with pytest.raises(ValueError):
        walk.open_parent(path)


def test_absent_and_odd_parents(place: Path) -> None:
    """Absence is FileNotFoundError with the declared path in it, a file in the way NotADirectoryError."""
    with pytest.raises(FileNotFoundError, match="/no/where"):
        walk.open_parent(str(place / "no" / "where"))
    (place / "file").touch()
    with pytest.raises(NotADirectoryError):
        walk.open_parent(str(place / "file" / "x"))
    os.mkfifo(place / "fifo")
    with pytest.raises(NotADirectoryError):
        walk.open_declared_directory(str(place / "fifo"))


def test_trusted_links_above_are_followed(place: Path) -> None:
    """DynamicUser= makes /var/lib/X a link to private/X: relative and absolute links of a trusted owner work."""
    (place / "private" / "x").mkdir(parents=True)
    (place / "private" / "x" / "f").write_bytes(b"state")
    (place / "x").symlink_to("private/x")
    (place / "absolute").symlink_to(place / "x")
    (place / "private" / "up").symlink_to("../x")
    for link in ("x", "absolute", "private/up"):
        assert read_through(place / link / "f") == b"state"
        fd = walk.open_declared_directory(str(place / link))
        assert os.listdir(fd) == ["f"]
        os.close(fd)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_links_in_directories_of_many_are_not_followed(place: Path, mode: int) -> None:
    """Promise 12: where others can write, a link proves nothing, whoever seems to own it."""
    (place / "real").mkdir()
    (place / "link").symlink_to("real")
    place.chmod(mode)
    with pytest.raises(walk.UntrustedLink) as caught:
        walk.open_parent(str(place / "link" / "f"))
    assert caught.value.hint is not None
    with pytest.raises(walk.UntrustedLink):
        walk.open_declared_directory(str(place / "link"))


@as_root
@pytest.mark.parametrize("owned", ["link", "directory"])
def test_links_of_service_users_are_not_followed(place: Path, owned: str) -> None:
    """Promise 12: a link planted in a middle component by the service user does not lead recoverd away."""
    home = place / "home"
    (home / "data").mkdir(parents=True)
    (home / "link").symlink_to("/etc")
    os.chown(home if owned == "directory" else home / "link", STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(walk.UntrustedLink):
        walk.open_parent(str(home / "link" / "passwd"))
    parent, _ = walk.open_parent(str(home / "data" / "f"))  # plain directories need no trust
    os.close(parent)


def test_link_loops_end(place: Path) -> None:
    """A loop of links is ELOOP, not a hang."""
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        walk.open_parent(str(place / "a" / "x"))


def test_missing_parents_are_made(place: Path) -> None:
    """With `create`, what is missing is made; a restore of a removed directory needs it."""
    parent, name = walk.open_parent(str(place / "a" / "b" / "f"), create=True)
    os.close(parent)
    assert name == "f"
    assert stat.S_IMODE((place / "a" / "b").stat().st_mode) & 0o700 == 0o700
    parent, _ = walk.open_parent(str(place / "a" / "b" / "f"), create=True)
    os.close(parent)


def test_below_the_declared_path_no_link_is_ever_followed(place: Path) -> None:
    """open_directory_at refuses a link even of root's making."""
    (place / "real").mkdir()
    (place / "link").symlink_to("real")
    fd = os.open(place, os.O_RDONLY)
    with pytest.raises(OSError):
        walk.open_directory_at(fd, "link")
    below = walk.open_directory_at(fd, "real")
    os.close(below)
    assert stat.S_ISLNK(walk.lstat_at(fd, "link").st_mode)
    os.close(fd)


@as_root
def test_a_directory_swapped_for_a_link_under_us(place: Path) -> None:
    """A service user who keeps swapping a middle directory with a link to elsewhere never gets recoverd there."""
    (place / "home" / "data").mkdir(parents=True)
    (place / "home" / "data" / "f").write_bytes(b"inside")
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "f").write_bytes(b"outside")
    (place / "home" / "bait").symlink_to(place / "elsewhere")
    os.chown(place / "home", STRANGER, STRANGER)
    os.chown(place / "home" / "bait", STRANGER, STRANGER, follow_symlinks=False)
    from recoverd.system.swap import exchange

    home = os.open(place / "home", os.O_RDONLY)
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            exchange(home, "data", home, "bait")

    thread = threading.Thread(target=flip)
    thread.start()
    seen = []
    try:
        for _ in range(500):
            try:
                seen.append(read_through(place / "home" / "data" / "f"))
            except (walk.UntrustedLink, OSError):
                seen.append(b"refused")
    finally:
        stop.set()
        thread.join()
        os.close(home)
    assert b"outside" not in seen


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every directory")
def test_a_directory_that_can_only_be_entered(place: Path) -> None:
    """Mode 0711: a plain user can't list it, but its declared file is reached."""
    (place / "x").mkdir()
    (place / "x" / "f").write_bytes(b"state")
    (place / "x").chmod(0o311)
    try:
        assert read_through(place / "x" / "f") == b"state"
    finally:
        (place / "x").chmod(0o700)


def test_owner_names() -> None:
    """Names where there are any, "" where the number has none."""
    assert walk.owner_names(0, 0) == ("root", "root")
    assert walk.owner_names(4_000_000, 4_000_000) == ("", "")
