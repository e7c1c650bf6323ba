"""The conversation store whole: config/conf.d/conversation-store.yaml as it is shipped, a hundred real files in three
encodings, written by a real program that tears them when it is killed.

Only where the store is is said beside the sample; everything is asked of the real command line.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recoverd.recovery.stat_rows import pack_stat

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "subjects" / "conversation_store.py"
COUNT = 100


@dataclass
class Shelf:
    """A machine with the store: the sample in its place, and a hundred conversations."""

    world: Any

    base = property(lambda self: self.world.root / "helixcode")
    conversations = property(lambda self: self.base / "conversations")
    env = property(lambda self: self.world.env | {"HELIX_STORE": str(self.base)})

    def install(self) -> None:
        (self.world.conf / "conf.d" / "notes.yaml").unlink()
        shutil.copytree(ROOT / "config" / "schemas", self.world.conf / "schemas", copy_function=shutil.copyfile)
        shutil.copyfile(
            ROOT / "config" / "conf.d" / "conversation-store.yaml",
            self.world.conf / "conf.d" / "conversation-store.yaml",
        )

    def fill(self, *options: str) -> None:
        command = [sys.executable, str(PROGRAM), "--base", str(self.base), "--fill", str(COUNT), "--once", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def contents(self) -> Mapping[str, bytes]:
        return {str(path.relative_to(self.base)): path.read_bytes() for path in self.base.rglob("*.json")}

    def conversation(self, number: int) -> Path:
        path: Path = self.conversations / f"conv-{number:03d}.json"
        return path

    def run(self, *words: str) -> Any:
        time.sleep(0.03)  # what was just written counts as still being written for 20 ms
        return self.world.run(*words, env=self.env)

    def json(self, *words: str) -> Any:
        return self.run("--json", *words).json

    def snapshots(self) -> list[Any]:
        return list(self.json("list")["snapshots"])

    def told(self, done: Any) -> dict[str, Any]:
        """The events that a command logged, by name; the last of each."""
        lines = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
        return {line["event"]: line for line in lines if "event" in line}

    def log_as_json(self) -> None:
        conf = self.world.conf / "recoverd.yaml"
        conf.write_text(conf.read_text() + "log: {format: json}\n")


@pytest.fixture
def shelf(world: Any) -> Shelf:
    made = Shelf(world)
    made.install()
    made.fill()
    return made


def encoding(data: bytes) -> str:
    if data[:2] == b"\x1f\x8b":
        return "gzip"
    return "indented" if b"\n" in data else "compact"


def damage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def test_a_hundred_files_in_three_encodings(shelf: Shelf) -> None:
    """Mixed in one directory, each judged by what it is; saves, loads and errors are events with items, bytes and time;
    one corrupt file of each encoding is replaced alone, in its encoding; all of them come back from nothing. What is
    cleared goes to quarantine, from which `undo` brings it back; snapshots that are cleared are gone."""
    shelf.log_as_json()
    whole = shelf.contents()
    found = [encoding(data) for name, data in whole.items() if name.startswith("conversations/")]
    assert {kind: found.count(kind) for kind in found} == {"indented": 34, "compact": 33, "gzip": 33}
    size = sum(map(len, whole.values()))

    for command, event in (("snapshot", "snapshot.saved"), ("restore", "state.loaded")):
        told = shelf.told(shelf.run("-v", "--debug", "events", command).fine())[event]
        assert (told["path"], told["format"]) == (str(shelf.base), "json")
        figures = told["figures"]
        assert (figures["items"], figures["files"], figures["size_bytes"]) == (3, COUNT + 2, size)
        assert figures["seconds"] > 0

    torn = [shelf.conversation(number) for number in (30, 31, 32)]
    assert [encoding(path.read_bytes()) for path in torn] == ["indented", "compact", "gzip"]
    for path in torn:
        damage(path)
    others = {path: pack_stat(path.stat()) for path in shelf.conversations.iterdir() if path not in torn}
    done = shelf.run("-v", "snapshot").fine(1)
    error = shelf.told(done)["state.corrupt"]
    assert (error["service"], error["item"]) == ("conversations", "conversations")
    assert (error["path"], error["format"]) == (str(shelf.conversations), "json")
    assert error["message"].split(":")[0].split(" ")[0] in {path.name for path in torn}
    assert shelf.told(done)["snapshot.invalid"]["figures"]["files"] == COUNT + 2

    result = shelf.json("restore")["services"][0]
    assert (result["outcome"], [one["document"] for one in result["items"] if one["source"] == "snapshot"]) == (
        "restored",
        [path.name for path in torn],
    )
    assert shelf.contents() == whole
    assert {path: pack_stat(path.stat()) for path in others} == others, "no other file was touched"

    shutil.rmtree(shelf.base)
    shelf.run("restore").fine()
    assert shelf.contents() == whole

    shelf.run("clear", "conversations", "--live", "--yes").fine()
    assert shelf.contents() == {}
    shelf.run("undo").fine()
    assert shelf.contents() == whole
    shelf.run("clear", "conversations", "--snapshots", "--yes").fine()
    assert shelf.snapshots() == []


def test_killed_in_the_middle_of_a_save(shelf: Shelf) -> None:
    """Its file is torn, and by itself the store skips it, and has lost it; recoverd brings that one back."""
    shelf.run("snapshot").fine()
    command = [sys.executable, str(PROGRAM), "--base", str(shelf.base), "--every", "0", "--slow-write", "8"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        torn: list[Path] = []

        def tears() -> bool:
            """Whether it stands still with half a file."""
            os.kill(child.pid, signal.SIGSTOP)
            shelf.world.wait_for(lambda: stands_still(child.pid), "the store to stand still")
            torn[:] = [path for path in shelf.conversations.iterdir() if not is_whole(path)]
            if not torn:
                os.kill(child.pid, signal.SIGCONT)
            return bool(torn)

        shelf.world.wait_for(tears, "half a file")
        child.kill()
    done = shelf.json("restore")["services"][0]
    assert (done["outcome"], {one["document"] for one in done["items"] if one["source"] == "snapshot"}) == (
        "restored",
        {path.name for path in torn},
    )
    assert len(torn) == 1
    assert all(is_whole(path) for path in shelf.conversations.iterdir())


def stands_still(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def is_whole(path: Path) -> bool:
    data = path.read_bytes()
    try:
        json.loads(gzip.decompress(data) if encoding(data) == "gzip" else data)
    except (ValueError, EOFError, OSError):
        return False
    return True


def test_pause_and_resume(shelf: Shelf) -> None:
    """Autosave is switched at run time: while it is off nothing is due, whatever changes; switched on, it saves what
    was missed at once."""
    assert shelf.json("pause")["services"][0]["paused"] is True
    assert shelf.json("snapshot", "--due")["snapshots"] == []
    assert shelf.json("resume")["services"][0]["paused"] is False
    (saved,) = shelf.json("snapshot", "--due")["snapshots"]
    assert (saved["outcome"], saved["files"]) == ("saved", COUNT + 2)


def test_snapshots_and_restores_at_the_same_time(shelf: Shelf) -> None:
    """While files are saved and damaged: everyone waits for the other, nobody fails, and all is whole in the end."""
    shelf.run("snapshot").fine()
    over = threading.Event()

    def disturb() -> None:
        """The store saves one file after the other, each by a rename."""
        number = 0
        while not over.wait(0.002):
            path = shelf.conversation(number % 50)
            document = json.loads(gzip.decompress(data) if encoding(data := path.read_bytes()) == "gzip" else data)
            path.with_name(f".{path.name}").write_text(json.dumps(document | {"title": f"change {number}"}))
            path.with_name(f".{path.name}").rename(path)
            number += 1

    writer = threading.Thread(target=disturb)
    damage(shelf.conversation(77))
    kinds = ("snapshot", "restore") * 2
    children = [
        shelf.world.spawn("--wait", "60s", "--json", kind, env=shelf.env, stdout=subprocess.PIPE) for kind in kinds
    ]
    writer.start()
    try:
        statuses = [(kind, child.wait(120)) for kind, child in zip(kinds, children, strict=True)]
    finally:
        over.set()
        writer.join()
    assert all(status == 0 for kind, status in statuses if kind == "restore"), statuses
    assert all(status in {0, 1, 3} for kind, status in statuses), statuses
    results = [json.loads(child.stdout.read())["services"][0] for child in children[1::2]]
    assert sorted(one["outcome"] for one in results) == ["restored", "untouched"]
    assert shelf.json("assess")["services"][0]["verdict"] == "ok"
    assert shelf.json("verify")["damage"] == []


def test_one_of_each_day(shelf: Shelf) -> None:
    """Forty daily copies, as programs make them, become snapshots: retention keeps one of each of thirty days."""
    days = [f"2026-{month:02d}-{day:02d}" for month in (9, 10) for day in range(1, 21)]
    for number, day in enumerate(days):
        copy = shelf.world.root / "copies" / day / "sessions"
        copy.mkdir(parents=True)
        document = json.loads((shelf.base / "sessions" / "sess-s1.json").read_bytes()) | {"name": f"session {number}"}
        (copy / "sess-s1.json").write_text(json.dumps(document))
    copies = [str(shelf.world.root / "copies" / day / "sessions") for day in days]
    imported = shelf.json("import", "conversations", *copies)["imports"]
    assert [one["outcome"] for one in imported] == ["saved"] * len(days)
    shelf.run("prune").fine()
    daily = [one for one in shelf.snapshots() if "daily" in one["kept_by"]]
    assert sorted(one["time"][:10] for one in daily) == days[-30:]
