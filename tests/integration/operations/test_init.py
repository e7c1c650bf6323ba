"""`init`: a configuration that loads, every commented line of it too, and a repository; nothing is overwritten."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from recoverd.config.loading import load
from recoverd.errors import ConfigError, UsageError
from recoverd.operations.init import TEMPLATE, init


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"STATE_DIRECTORY": str(tmp_path / "rd"), "RUNTIME_DIRECTORY": str(tmp_path / "run")}


def test_a_first_time(tmp_path: Path, environ: dict[str, str]) -> None:
    """Written and created once; the second time both stay as they are, to the byte."""
    path = tmp_path / "conf" / "recoverd.yaml"
    result = init([f"{path.parent}/"], environ=environ)
    assert result.to_json() == {
        "configuration": {"path": str(path), "written": True},
        "repository": {"path": str(tmp_path / "rd" / "repository"), "created": True},
    }
    assert path.stat().st_mode & 0o022 == 0  # or root would not load it
    before = (path.read_bytes(), path.stat().st_ino)
    again = init([str(path)], environ=environ)
    assert (again.written, again.created) == (False, False)
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_nothing_is_overwritten(tmp_path: Path, environ: dict[str, str]) -> None:
    """Not even what can't be used, nor what a link leads to."""
    path = tmp_path / "recoverd.yaml"
    path.write_text("version: [")
    with pytest.raises(ConfigError):
        init([str(path)], environ=environ)
    assert path.read_text() == "version: ["
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError):
        init([str(path)], environ=environ)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(UsageError, match="one file"):
        init([str(path), "other"], environ=environ)


def test_where_a_plain_user_s_goes(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """$XDG_CONFIG_HOME/recoverd: where recoverd looks."""
    if os.geteuid() == 0:
        pytest.skip("root's goes to /etc")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert init(None, environ=environ | {"XDG_CONFIG_HOME": str(tmp_path / "x")}).configuration == str(
        tmp_path / "x" / "recoverd" / "recoverd.yaml"
    )


def test_what_is_commented_out_is_right_too(tmp_path: Path, environ: dict[str, str]) -> None:
    """An operator who takes a # away gets a configuration that loads."""
    text = re.sub(r"(?m)^( *)# (?=[a-z_]+:|  )", r"\1", TEMPLATE)
    assert text.count("services:") == 1
    path = tmp_path / "recoverd.yaml"
    path.write_text(text)
    path.chmod(0o600)
    config = load([str(path)], environ=environ, euid=os.geteuid(), home="/root").config
    assert config.services["notes"].autosave.cron == "0 4 * * *"
    assert config.services["notes"].autosave.every_s == 30
