"""A migration killed at every call that changes a disk: all documents of all items are of one version, always.

Either everything is as it was, or everything is of the current version, what was there is in quarantine, and a pinned
snapshot holds it. The next restore brings it to its end, and an undo takes it back.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recoverd.recovery.swapping import finish_intent
from tests.conftest import Torture
from tests.crash.calls.house import Warm

CONFIG = """\
version: 1
state_dir: {base}/made/state
services:
  app:
    root: {base}/live
    state:
      main:
        file: state.json
        format: json
        version: {{field: version, current: "2"}}
        schema: {{type: object, required: [metrics]}}
        migrate: [{{from: "1", to: "2", rename: {{stats: metrics}}}}]
      tasks:
        directory: tasks
        format: json
        version: {{field: v, current: 2}}
        migrate: [{{from: 1, to: 2, patch: [{{op: add, path: /logs, value: []}}]}}]
"""


class Place:
    """Live state of version 1 with a history, put back for each point."""

    def __init__(self, base: Path, warm: Warm) -> None:
        self.base, self._warm = base / "here", warm
        self._template, self._config = base / "template", base / "app.yaml"
        self._config.write_text(CONFIG.format(base=self.base))
        tasks = self.base / "live" / "tasks"
        tasks.mkdir(parents=True)
        (self.base / "live" / "state.json").write_text('{"version": "1", "stats": {"n": 3}}')
        for number in range(3):
            (tasks / f"t{number}.json").write_text(json.dumps({"v": 1, "number": number}))
        assert self.run("snapshot").status == 0
        self.old = self.state()
        shutil.copytree(self.base, self._template)

    def again(self) -> None:
        shutil.rmtree(self.base)
        shutil.copytree(self._template, self.base)

    def run(self, *words: str, **fault: Any) -> Any:
        request = {
            "words": ["--config", str(self._config), "--wait", "0ms", "--json", *words],
            "environment": {"RUNTIME_DIRECTORY": str(self.base / "made" / "run")},
        }
        return self._warm.ask(request | fault)

    def state(self) -> dict[str, bytes]:
        live = self.base / "live"
        return {str(path.relative_to(live)): path.read_bytes() for path in sorted(live.rglob("*")) if path.is_file()}

    def versions(self) -> set[str]:
        documents = [json.loads(data) for data in self.state().values()]
        return {str(one.get("version", one.get("v"))) for one in documents}

    def quarantined(self) -> list[Path]:
        return list((self.base / "made" / "state" / "quarantine").glob("app/*"))

    def pinned_before(self) -> bool:
        (listed,) = [json.loads(self.run("list", "app").out)["snapshots"]]
        return any(one["reason"] == "pre-migration" and one["pinned"] for one in listed)


@pytest.mark.parametrize("command", ["migrate", "restore"])
def test_killed_anywhere_it_is_wholly_old_or_wholly_new(
    tmp_path: Path, warm: Warm, torture: Torture, command: str
) -> None:
    """Promise 5, and "else everything stays as it was": for a migration that is asked for, and for one of a restore."""
    place = Place(tmp_path, warm)
    usual = place.run(command, root=str(place.base))
    assert (usual.status, place.versions()) == (0, {"2"}), usual
    new, outcomes = place.state(), Counter[str]()
    for at in torture.sample(range(1, len(usual.calls) + 1), 4):
        place.again()
        told = place.run(command, root=str(place.base), at=at, fault="kill")
        assert told.status == -signal.SIGKILL, told
        finish_intent("app", str(place.base / "made" / "state"))
        state = {name: data for name, data in place.state().items() if not name.startswith(".recoverd-")}
        assert state in (place.old, new), (at, told.hit, state)
        is_new = state == new
        outcomes["new" if is_new else "old"] += 1
        assert bool(place.quarantined()) == is_new, (at, told.hit)
        if is_new:
            assert place.pinned_before(), (at, told.hit)
        following = place.run("restore")
        assert (following.status, place.state()) == (0, new), (at, told.hit, following)
        assert place.pinned_before()
        assert place.run("undo").status == 0
        assert place.state() == place.old, (at, told.hit)
    found = ", ".join(f"{count} wholly {what}" for what, count in sorted(outcomes.items()))
    torture.tell(outcomes.total(), f"points of a {command} that migrates", found)
