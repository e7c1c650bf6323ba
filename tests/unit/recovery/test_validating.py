"""What a tool leaves beside the copy that it judged is cleared away without following where it leads."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from recoverd.config.model import Validation
from recoverd.recovery.validating import validate
from recoverd.system.durable import temporary_name

NOBODY = 65534
PLANT = 'cd "$(dirname "$0")" && mkdir d && ln -s "$1" d/link && chmod 500 d'


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """Promise 12: tempfile of Pythons before 3.11.8 gives what such a link leads to another mode."""
    loaded = (
        shutil,
        subprocess,
        tempfile,
        temporary_name(),
    )  # once we are somebody else, the interpreter may be out of reach
    victim = Path(tempfile.mkdtemp()) / "victim"
    victim.parent.chmod(0o777)  # where the copy goes too
    victim.touch(mode=0o644)
    if os.geteuid() == 0:
        os.chown(victim, NOBODY, -1)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            tempfile.tempdir = str(victim.parent)
            validation = Validation(("sh", "-c", PLANT, "{path}", str(victim)))
            os._exit(0 if validate(validation, "a.json", [b"{}"], uid=os.geteuid()) is None else 1)
        finally:
            os._exit(2)
    status = os.waitpid(child, 0)[1]
    mode = victim.stat().st_mode & 0o777
    for left in victim.parent.glob("*/d"):
        left.chmod(0o700)
    shutil.rmtree(victim.parent)
    assert loaded
    assert (os.waitstatus_to_exitcode(status), oct(mode)) == (0, "0o644")


def test_what_is_nested_without_end_goes_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Promise 12: the tool runs as the user whose file it is, and what that one makes there crashes nobody."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    nest = 'cd "$(dirname "$0")"; i=0; while [ $i -lt 600 ]; do mkdir d && cd d || exit 1; i=$((i + 1)); done'
    assert validate(Validation(("sh", "-c", nest, "{path}")), "a.json", [b"{}"], uid=os.geteuid()) is None
    assert os.listdir(tmp_path) == []


def test_what_a_killed_one_has_left_goes_with_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Copies of somebody's state do not lie about for ever."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "recoverd-validate-4194304-1-01234567"
    left.mkdir()
    (left / "a.json").write_text("{}")
    (tmp_path / "recoverd-validate-of-somebody-else").mkdir()
    assert validate(Validation(("test", "-r", "{path}")), "a.json", [b"{}"], uid=os.geteuid()) is None
    assert os.listdir(tmp_path) == ["recoverd-validate-of-somebody-else"]


def test_there_is_room_for_the_name_of_a_socket() -> None:
    """A tool that starts the service's own program on a copy makes one in a directory of its own: 107 bytes at most."""
    most = len(tempfile.gettempdir()) + 50
    work = f"test ${{#TMPDIR}} -lt {most} && try=$(mktemp -d) && test ${{#try}} -lt {most + 20}"
    assert validate(Validation(("sh", "-c", work, "{path}")), "a.json", [b"{}"], uid=os.geteuid()) is None
