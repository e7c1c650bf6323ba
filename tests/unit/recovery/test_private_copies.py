"""Promise 12: what others leave where private copies are made hinders nobody."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from recoverd.config.model import Validation
from recoverd.recovery.places import empty
from recoverd.recovery.private_copies import PrivateCopy, may_enter
from recoverd.recovery.validating import validate
from recoverd.system.durable import temporary_name
from tests.doors import open_the_way

LEFT = "recoverd-copy.tmp-00000000-0000-0000-0000-000000000000-1-1-0123456789abcdef"
NOBODY = 65534


def test_what_another_user_has_left_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed recoverd of somebody else, or a directory planted under such a name, in a directory for all."""
    if os.geteuid() != 0:
        pytest.skip("only root can leave something that is not this user's")
    open_the_way(tmp_path)
    base = tmp_path / "tmp"
    base.mkdir()
    base.chmod(0o1777)
    (base / LEFT).mkdir(0o700)
    (base / LEFT / "copy").write_bytes(b"mine")
    monkeypatch.setenv("TMPDIR", str(base))
    temporary_name()  # what the child needs is loaded here: this Python may lie where it can't read
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with PrivateCopy(NOBODY, NOBODY, 10) as private:
                status = 0 if os.path.exists(private.path) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sorted(os.listdir(base)) == [LEFT]


def test_what_a_killed_one_has_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LEFT).mkdir()
    (tmp_path / LEFT / "copy").write_bytes(b"old")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with PrivateCopy(os.geteuid(), os.getegid(), 10) as private:
        assert os.path.dirname(private.path) != str(tmp_path / LEFT)
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


def test_what_is_nested_without_end_is_nobodys_concern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may plant such a thing where copies are made, and the owner of a copy in its own directory."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    planted = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with PrivateCopy(os.geteuid(), os.getegid(), 10) as private:
        own = os.open(os.path.dirname(private.path), os.O_RDONLY | os.O_DIRECTORY)
        for here, name in ((planted, LEFT), (own, "d")):
            for _ in range(1500):
                os.mkdir(name, dir_fd=here)
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here, name = below, "d"  # noqa: PLW2901
            os.close(here)
        Path(f"{private.path}-journal").touch()
        with PrivateCopy(os.geteuid(), os.getegid(), 10):
            pass
    left = [name for name in os.listdir(tmp_path) if name != LEFT]
    assert [os.listdir(tmp_path / name) for name in left] == [["d"]]
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    empty(fd)
    os.close(fd)


def test_a_place_that_is_for_root_alone_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pam_tmpdir sets such a TMPDIR. Who can't reach the copy would call good state damaged."""
    if os.geteuid() != 0:
        pytest.skip("only root judges as somebody else")
    private = tmp_path / "private"
    private.mkdir(0o700)
    monkeypatch.setenv("TMPDIR", str(private))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with PrivateCopy(NOBODY, NOBODY, 10) as copy:
        assert may_enter(os.path.dirname(copy.path), NOBODY)
    can_read = Validation(("test", "-r", "{path}"))
    assert validate(can_read, "a.json", [b"{}"], uid=NOBODY) is None
    with PrivateCopy(0, 0, 10) as copy:
        assert copy.path.startswith(str(private))


def test_the_room_of_a_copy_is_free_when_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured next, room for another copy or for the repository, must not count it any more."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with PrivateCopy(os.geteuid(), os.getegid(), 40 << 20) as copy:
        os.truncate(copy.fd, 40 << 20)
        fd = copy.fd
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
