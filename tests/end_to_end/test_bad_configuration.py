"""Configuration that can't be used: one clear sentence, a hint, the status of recoverd(8), nothing lost or created."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

BROKEN = {
    "malformed": ("services:\n  notes: [unclosed\n", "notes.yaml:2:", ""),
    "unknown key": ("services:\n  notes:\n    stat: {}\n", "stat", "did you mean"),
    "wrong type": ("services:\n  notes:\n    state: {main: {file: [1]}}\n", "notes.yaml:3:", ""),
    "wrong duration": ("services:\n  notes: {autosave: {every: soon}}\n", "soon", "30s"),
    "duplicate key": ("services:\n  notes: {}\n  notes: {}\n", "notes.yaml:3:", "notes.yaml:2"),
    "tag": ("services: !!python/object:os.system {}\n", "notes.yaml:1:", ""),
    "no schema": ("services:\n  n:\n    root: /x\n    state: {m: {file: f, schema: no.json}}\n", "no.json", ""),
    "fallback": (
        "services:\n  n: {root: /x, state: {m: {file: f}}, restore: {fallback: [replicas]}}\n",
        "fallback",
        "not supported yet",
    ),
    "replicas": ("replicas: {offsite: {url: 's3://x'}}\n", "replicas", "not supported yet"),
    "systemd": (
        "services:\n  n: {root: /x, run: {systemd: a.socket}, state: {m: {file: f}}}\n",
        "systemd",
        "is a socket",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_told_with_its_place(world: Any, case: str) -> None:
    """config.md: all problems as `file:line:column: place: sentence`, exit status 78."""
    text, word, other = BROKEN[case]
    path = world.declare(text)
    done = world.run("snapshot").refused(78, str(path), word, other)
    assert done.err.splitlines()[0].startswith(f"{path}:")
    assert not world.state_dir.exists()
    assert not (world.root / "run").exists() or not any((world.root / "run").iterdir())


def test_a_check_of_a_broken_configuration(world: Any) -> None:
    """cli.md: `check` alone has statuses 0 to 3; 78 means nothing to monitoring systems."""
    path = world.declare("services:\n  notes: {stat: {}}\n")
    alone = world.run("check", "--json").fine(2).json
    assert alone["status"] == "CRITICAL"
    assert any("notes" in (one["service"] or "") for one in alone["results"])
    path.unlink()
    (world.conf / "recoverd.yaml").write_text("state_dri: /x\n")
    alone = world.run("check", "--json").refused(3, "state_dri").json
    assert (alone["status"], alone["results"]) == ("UNKNOWN", [])


def test_all_problems_at_once(world: Any) -> None:
    """config.md: **all** problems are reported at once."""
    world.declare("services:\n  a: {stat: {}, helth: {}}\n", "a")
    world.declare("services:\n  b: {autosave: {every: soon}}\n", "b")
    done = world.run("list").refused(78, "stat", "helth", "soon", "the configuration has 3 problems")
    assert len(done.err.splitlines()) == 5
    problems = world.run("list", "--json").json["error"]["problems"]
    assert [(one["file"], one["line"]) for one in problems] == [
        (str(world.conf / "conf.d" / "a.yaml"), 2),
        (str(world.conf / "conf.d" / "a.yaml"), 2),
        (str(world.conf / "conf.d" / "b.yaml"), 2),
    ]


def test_one_broken_drop_in_does_not_take_the_others_down(saved: Any) -> None:
    """config.md: at boot its services are reported as failed, the rest are recovered."""
    saved.declare("services:\n  other: {stat: {}}\n", "other")
    saved.main.write_bytes(b"")
    done = saved.run("--json", "restore").fine(1)
    outcomes = {one["service"]: one["outcome"] for one in done.json["services"]}
    assert outcomes == {"notes": "restored", "other": "failed"}
    assert saved.main.read_text() == '{"counter": 1}'
    checked = saved.run("check").fine(2)
    assert "other" in checked.out
    assert "`recoverd config validate`" in checked.out


@pytest.mark.parametrize("command", ["list", "restore", "run"])
def test_a_configuration_path_that_is_not_there(world: Any, command: str) -> None:
    """`--config PATH` replaces the search; what is not there is no empty configuration."""
    done = world.run("--config", str(world.root / "nope"), command, config=False).refused(78, "nope", "does not exist")
    assert done.out == ""
    assert world.run("--config", str(world.root / "nope"), "check", config=False).refused(3, "nope").out == ""


def test_a_file_that_cannot_be_read(world: Any) -> None:
    """A configuration that exists but does not open is not the same as none."""
    path = world.conf / "conf.d" / "notes.yaml"
    path.unlink()
    path.mkdir()
    world.run("list").refused(78, str(path))
    path.rmdir()
    os.mkfifo(path)
    world.run("list", timeout_s=10).refused(78, str(path))
    path.unlink()
    path.write_bytes(b"services: \xff\xfe\n")
    world.run("list").refused(78, str(path), "UTF-8")


@pytest.mark.skipif(os.geteuid() != 0, reason="a plain user trusts his own files whatever their mode")
def test_root_refuses_a_file_that_others_can_write(world: Any) -> None:
    """config.md: when recoverd runs as root, such a configuration file is refused."""
    path = world.conf / "conf.d" / "notes.yaml"
    path.chmod(0o666)
    world.run("list").refused(78, str(path), "can be written by everybody")
    done = world.run("restore").fine(1)
    assert done.err == ""
    assert "failed" in done.out
    assert "`recoverd config validate`" in done.out


def test_no_configuration_at_all(world: Any) -> None:
    """Nothing declared: commands that would look at nothing do not say that all is well, and create nothing."""
    empty = world.root / "empty"
    empty.mkdir()
    (empty / "recoverd.yaml").write_text(f"state_dir: {world.root / 'nothing'}\n")

    def run(*words: str) -> Any:
        return world.run("--config", str(empty), *words, config=False)

    for command in ("restore", "snapshot", "assess", "start", "status", "confirm"):
        refused = run(command).refused(64, "no service is declared", "config paths")
        assert "`recoverd init`" in refused.err
    assert "`recoverd init`" in run("logs", "notes").refused(64, "there is no service 'notes'", "config paths").err
    listed = run("list").fine().out
    assert listed.startswith("there are no snapshots, and no service is declared") and "`recoverd init`" in listed
    assert "no service is declared" in run("units").fine().err
    checked = run("check").fine(1)
    assert "no service is declared" in checked.out
    assert run("config", "validate").fine().out.endswith("1 file, 0 services: no problems\n")
    assert not (world.root / "nothing").exists()


def test_reading_commands_create_nothing(world: Any, files: Any) -> None:
    """Looking is no reason to write into the state directory."""
    for command in ("list", "assess", "check --live", "restore --dry-run"):
        world.run(*command.split())
        assert not world.state_dir.exists(), command
    assert world.run("undo").status == 64
    assert not world.state_dir.exists()


def test_an_unset_variable_is_named(world: Any) -> None:
    """config.md: `${NAME}` from the environment, with an error when unset."""
    world.declare("services:\n  n: {root: '${NOT_SET_ANYWHERE}', state: {m: {file: f}}}\n")
    world.run("list").refused(78, "NOT_SET_ANYWHERE", "notes.yaml:2:")


def test_two_files_that_declare_one_service(world: Any, tmp_path: Path) -> None:
    """config.md: an error that names both places."""
    world.declare((world.conf / "conf.d" / "notes.yaml").read_text(), "again")
    done = world.run("list").refused(78, "again.yaml", "notes.yaml")
    assert str(tmp_path) in done.err
