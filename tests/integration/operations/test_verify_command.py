"""`recoverd verify` on the command line: what is said, what the JSON holds, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recoverd.cli.main import main


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How to call it; one snapshot is there."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr("recoverd.operations.verify.give_way", lambda: None)  # this process is the one of all tests
    (tmp_path / "app.json").write_text('{"a": 1}')
    configuration = tmp_path / "recoverd.yaml"
    configuration.write_text(
        f"version: 1\nstate_dir: {tmp_path}/state\n"
        f"services:\n  app:\n    state:\n      main: {{file: {tmp_path}/app.json, format: json}}\n"
    )
    configuration.chmod(0o600)
    words = ["--config", str(configuration)]
    assert main([*words, "-q", "snapshot"]) == 0
    return words


def spoil(tmp_path: Path) -> None:
    (pack,) = (tmp_path / "state" / "repository" / "packs").glob("*/*")
    data = bytearray(pack.read_bytes())
    data[30] ^= 0x55
    pack.chmod(0o600)
    pack.write_bytes(data)


def test_a_whole_repository(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "verify"]) == 0
    assert "all of it is whole" in capsys.readouterr().out
    assert main([*command, "-q", "verify", "--sample", "5%"]) == 0
    assert capsys.readouterr().out == ""


def test_damage_is_named_and_the_hint_is_what_helps(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tmp_path)
    assert main([*command, "verify"]) == 1
    told = capsys.readouterr()
    assert "damaged  object" in told.out
    assert "it hurts app/1" in told.out
    assert "hint: `recoverd verify --heal`" in told.out
    assert told.err == ""  # once is enough
    assert main([*command, "--json", "verify"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert list(document)[:6] == ["recoverd", "command", "checked_bytes", "objects", "damage", "healed"]
    assert document["snapshots"] == ["app/1"]
    assert main([*command, "verify", "--heal"]) == 0
    assert "healed  object" in capsys.readouterr().out


@pytest.mark.parametrize("share", ["0%", "5", "101%", "half"])
def test_a_share_that_makes_no_sense_is_usage(
    command: list[str], share: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "verify", "--sample", share]) == 64
    assert "hint: for example --sample 5%" in capsys.readouterr().err


def test_where_nothing_was_ever_saved(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"version: 1\nstate_dir: {tmp_path}/none\n")
    other.chmod(0o600)
    assert main(["--config", str(other), "verify"]) == 1
    assert "there is no repository" in capsys.readouterr().err
    assert not (tmp_path / "none" / "repository").exists()
    assert command
