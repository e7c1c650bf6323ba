"""Secrets are references: fetched when needed, never stored, never printed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recoverd.config.model import Secret
from recoverd.config.secrets import resolve
from recoverd.errors import ConfigError


def refused(secret: Secret, environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(secret, environ)
    (problem,) = caught.value.problems
    assert "hunter2" not in str(problem)
    return problem.sentence


def private(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)
    return path


def test_from_the_environment() -> None:
    assert resolve(Secret("env", "TOKEN"), {"TOKEN": "hunter2"}) == "hunter2"
    assert refused(Secret("env", "TOKEN"), {}) == "the environment variable TOKEN is not set"
    assert refused(Secret("env", "TOKEN"), {"TOKEN": ""}) == "the environment variable TOKEN is empty"


@pytest.mark.parametrize("content", ["hunter2", "hunter2\n", "hunter2\r\n"])
def test_from_a_file(content: str, tmp_path: Path) -> None:
    """A newline at the end is the editor's, not the secret's."""
    assert resolve(Secret("file", str(private(tmp_path / "s", content))), {}) == "hunter2"


def test_only_one_newline_is_taken_off(tmp_path: Path) -> None:
    assert resolve(Secret("file", str(private(tmp_path / "s", " a \n\n"))), {}) == " a \n"


def test_from_a_credential(tmp_path: Path) -> None:
    """systemd.exec(5): a file of that name in $CREDENTIALS_DIRECTORY, nothing outside of it."""
    private(tmp_path / "s3-id", "hunter2")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert resolve(Secret("credential", "s3-id"), environ) == "hunter2"
    assert "no such file" in refused(Secret("credential", "none"), environ)
    assert refused(Secret("credential", "../x"), environ) == "'../x' is not the name of a credential"
    assert refused(Secret("credential", ".."), environ) == "'..' is not the name of a credential"
    assert "systemd passed none" in refused(Secret("credential", "s3-id"), {})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        (b"\xff", "is no text"),
        ("a\0b", "is no text"),
        ("a" * 2**20 + "b", "is no text"),
    ],
)
def test_files_that_hold_no_secret(content: str | bytes, why: str, tmp_path: Path) -> None:
    assert why in refused(Secret("file", str(private(tmp_path / "s", content))), {})


def test_what_is_no_file(tmp_path: Path) -> None:
    """Nothing hangs on a FIFO."""
    os.mkfifo(tmp_path / "fifo")
    assert "is no regular file" in refused(Secret("file", str(tmp_path / "fifo")), {})
    assert "is no regular file" in refused(Secret("file", str(tmp_path)), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="the rule is for root")
def test_a_file_that_everybody_can_read_is_no_secret(tmp_path: Path) -> None:
    path = private(tmp_path / "s", "hunter2")
    path.chmod(0o644)
    assert "can be read by everybody" in refused(Secret("file", str(path)), {})
