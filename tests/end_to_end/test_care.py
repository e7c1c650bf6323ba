"""The commands that take care of snapshots and of autosave, through the real `recoverd`."""

from __future__ import annotations

import io
import json
import os
import pty
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import World


def test_pins_are_listed(saved: World) -> None:
    assert saved.run("pin", "notes/1").fine().out == "notes/1: pinned\n"
    assert saved.json("list")["snapshots"][0]["pinned"] is True
    assert "pinned" in saved.run("list").fine().out
    assert saved.run("unpin", "notes/good").fine().out == "notes/1: unpinned\n"
    assert saved.json("unpin", "notes/1")["snapshots"] == [
        {"id": "notes/1", "pinned": False, "changed": False, "label": None}
    ]
    saved.run("pin", "notes/9").refused(64, "no snapshot 9")
    saved.run("pin").refused(64, "SNAPSHOT", "missing")


def test_a_diff_as_text_and_as_a_patch(saved: World) -> None:
    saved.write(2, **{"a/b": [1]})
    (saved.tasks / "t0.json").unlink()
    out = saved.run("diff", "notes/1").fine().out
    assert out.splitlines() == [
        "notes/1 -> live state: 2 changes",
        "~ main           content (14 B -> 26 B)",
        "    ~ /counter  2",
        "    + /a~1b     [1]",
        "- tasks/t0.json  9 B",
    ]
    changes = saved.json("diff", "notes/1")["changes"]
    assert changes[0]["patch"] == [
        {"op": "replace", "path": "/counter", "value": 2},
        {"op": "add", "path": "/a~1b", "value": [1]},
    ]
    saved.run("snapshot").fine()
    assert saved.run("diff", "notes/2").fine().out == "notes/2 and live state are the same\n"
    assert saved.run("diff", "notes/1", "notes/2").fine().out.splitlines()[1:] == out.splitlines()[1:]


def test_long_diffs_are_bounded(saved: World) -> None:
    saved.write(1, **{f"k{number}": number for number in range(50)})
    out = saved.run("diff", "notes/1").fine().out
    assert len(out.splitlines()) == 2 + 20 + 1
    assert "and 30 more; --verbose shows them" in out
    assert len(saved.run("diff", "notes/1", "-v").fine().out.splitlines()) == 2 + 50


def test_an_archive_to_a_file_and_through_a_pipe(saved: World, tmp_path: Path) -> None:
    target = tmp_path / "notes.tar"
    assert saved.run("export", "notes/good", str(target)).fine().out.startswith("notes/1: 4 files, ")
    saved.run("export", "notes/1", str(target)).refused(64, "exists already")
    saved.run("--json", "export", "notes/1").refused(64, "--json needs a FILE")
    done = saved.spawn("export", "notes/1", stdout=-1)
    data, _ = done.communicate(timeout=30)
    assert data == target.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "notes/main/state.json" in tar.getnames()
    assert saved.json("export", "notes/1", str(tmp_path / "b.tar"))["bytes"] == len(data)


def test_a_reader_that_has_had_enough(saved: World) -> None:
    """`recoverd export … | head -c 1`: no traceback, no exit status 0."""
    big = saved.tasks / "big.json"
    big.write_text(json.dumps(["x" * 1000] * 5000))
    saved.run("snapshot").fine()
    child = saved.spawn("export", "notes/2", stdout=-1, stderr=-1)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.read(1)
    child.stdout.close()
    assert child.wait(30) == 1
    assert b"Traceback" not in child.stderr.read()


def test_copies_are_imported(saved: World, tmp_path: Path) -> None:
    old, bad = tmp_path / "state-2026-01-01.json", tmp_path / "state-2026-01-02.json"
    old.write_text('{"counter": 7}')
    bad.write_text('{"counter": -7}')
    out = saved.run("import", "notes", str(old)).fine().out
    assert "saved as notes/2: main, 1 file, 14 B" in out
    assert "of 2026-01-01T00:00:00.000Z, by its name" in out
    assert saved.run("import", "notes", str(bad)).fine(1).out.count("invalid") == 1
    assert saved.json("import", "notes", str(old))["imports"][0]["outcome"] == "unchanged"
    saved.run("import", "notes", str(tmp_path / "absent")).refused(64, "can't be imported")
    saved.run("restore", "--snapshot", "notes/2").fine()
    assert json.loads(saved.main.read_text()) == {"counter": 7}


def test_a_snapshot_of_another_time(saved: World) -> None:
    saved.run("snapshot", "--time", "2026-01-01").fine()
    one = saved.json("list")["snapshots"][0]
    assert (one["id"], one["time"], one["reason"]) == ("notes/2", "2026-01-01T00:00:00.000Z", "import")
    saved.run("snapshot", "--time", "tomorrow").refused(64, "--time", "is no time")


def test_damage_is_accepted(saved: World) -> None:
    saved.main.write_text("{")
    out = saved.run("accept", "notes").fine().out
    assert out.splitlines() == [
        "notes: accepted as notes/2, which is pinned",
        "  main is corrupt: left alone as long as it does not change",
    ]
    assert saved.json("restore")["services"][0]["outcome"] == "untouched"
    saved.run("accept", "note").refused(64, "did you mean notes")


def test_pause_and_resume(saved: World) -> None:
    saved.declare((saved.conf / "conf.d" / "notes.yaml").read_text() + '    autosave: {cron: "* * * * *"}\n')
    assert saved.run("pause").fine().out == "notes: autosave is paused\n"
    assert saved.run("snapshot", "--due").fine().out == "nothing is due\n"
    assert "paused" in saved.run("check").fine(1).out
    assert saved.json("resume", "notes")["services"][0]["paused"] is False
    saved.run("pause", "nobody").refused(64, "nobody")


def test_clear_asks_or_is_told(saved: World) -> None:
    """In a pipe it refuses without --yes and changes nothing."""
    saved.run("clear", "notes", "--all").refused(64, "no terminal", "--yes")
    saved.run("clear", "notes").refused(64, "what is to be cleared")
    saved.run("clear", "notes", "--live", "--snapshots", "--yes").refused(64)
    assert saved.main.exists()
    out = saved.run("clear", "notes", "--live", "--yes").fine().out
    assert out.startswith("notes: 4 live files moved to quarantine\n")
    assert not saved.main.exists()
    saved.run("undo").fine()
    assert saved.main.exists()
    assert saved.json("clear", "notes", "--snapshots", "--yes")["removed"] == [{"id": "notes/1"}]
    assert saved.json("list")["snapshots"] == []


@pytest.mark.parametrize(("answer", "cleared"), [(b"yes\n", True), (b"no\n", False), (b"\n", False)])
def test_clear_asks_on_a_terminal(saved: World, answer: bytes, cleared: bool) -> None:
    parent, child = pty.openpty()
    try:
        process = saved.spawn("clear", "notes", "--snapshots", stdin=child, stdout=child, stderr=child)
        os.close(child)
        said = b""
        while b"Type yes: " not in said:
            said += os.read(parent, 1000)
        assert b"remove 1 snapshot for ever?" in said
        os.write(parent, answer)
        status = process.wait(30)
    finally:
        os.close(parent)
    assert status == (0 if cleared else 1)
    assert bool(saved.json("list")["snapshots"]) is not cleared


def test_init_starts_from_nothing(world: World, tmp_path: Path) -> None:
    conf = tmp_path / "fresh" / "recoverd.yaml"
    env = world.env | {"STATE_DIRECTORY": str(tmp_path / "fresh-state")}
    done = world.run("--config", str(conf), "init", config=False, env=env).fine()
    assert f"{conf}: written" in done.out
    again = world.run("--config", str(conf), "init", config=False, env=env).fine()
    assert "was left as it is" in again.out
    assert "is a repository already" in again.out
    world.run("--config", str(conf), "config", "validate", config=False, env=env).fine()


def test_check_as_a_plugin(saved: World) -> None:
    """The first line and the exit status are all that a monitoring system needs; also of what can't be checked."""
    done = saved.run("check", "--format", "nagios").fine()
    assert done.out.startswith("OK - ")
    assert " | " in done.out.splitlines()[0]
    saved.main.write_text("")
    done = saved.run("check", "--format", "nagios").fine(2)
    assert done.out.startswith("CRITICAL - ")
    saved.run("--json", "check", "--format", "nagios")
    (saved.conf / "recoverd.yaml").write_text("version: [")
    done = saved.run("check", "--format", "nagios")
    assert done.status == 3
    assert done.out.startswith("UNKNOWN - ")


def test_a_command_leaves_the_catalog_whole(saved: World) -> None:
    """What SQLite keeps beside the file is taken into it at the end: a copy in memory, on a full disk, has no more."""
    for words in (["check"], ["snapshot"], ["pin", "notes/1"], ["restore", "--dry-run"], ["list"]):
        saved.run(*words)
        catalogs = [path.name for path in saved.root.rglob("catalog*")]
        assert catalogs == ["catalog.sqlite"], words
