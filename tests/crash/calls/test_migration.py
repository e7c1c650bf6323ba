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
    """Live state of version 1 with a history, put back for each point. `updates`: how often it was migrated before,
    and the old version of the service came back."""

    def __init__(self, base: Path, warm: Warm, updates: int = 0) -> None:
        self.base, self._warm = base / "here", warm
        self._template, self._config = base / "template", base / "app.yaml"
        self._config.write_text(CONFIG.format(base=self.base))
        tasks = self.base / "live" / "tasks"
        tasks.mkdir(parents=True)
        self._write(tasks, 0)
        assert self.run("snapshot").status == 0
        for update in range(updates):
            assert self.run("migrate").status == 0
            self._write(tasks, update + 1)
        self.old, self._before = self.state(), len(self.quarantined())
        shutil.copytree(self.base, self._template)

    def _write(self, tasks: Path, update: int) -> None:
        (self.base / "live" / "state.json").write_text(json.dumps({"version": "1", "stats": {"n": update}}))
        for number in range(3):
            (tasks / f"t{number}.json").write_text(json.dumps({"v": 1, "number": number}))

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

    def is_replaced(self) -> bool:
        """Whether what was there is in quarantine now."""
        return len(self.quarantined()) > self._before

    def pinned(self) -> list[int]:
        """The snapshots from before migrations that are pinned, oldest first."""
        listed = json.loads(self.run("list", "app").out)["snapshots"]
        assert all(one["reason"] == "pre-migration" for one in listed if one["pinned"])
        return sorted(one["sequence"] for one in listed if one["pinned"])


@pytest.mark.parametrize(("command", "updates"), [("migrate", 0), ("restore", 0), ("migrate", 3)])
def test_killed_anywhere_it_is_wholly_old_or_wholly_new(
    tmp_path: Path, warm: Warm, torture: Torture, command: str, updates: int
) -> None:
    """Promise 5, and "else everything stays as it was": for a migration that is asked for, for one of a restore, and
    for one that unpins what an earlier one had pinned: the first and the newest are pinned at every instant."""
    place = Place(tmp_path, warm, updates)
    pinned = place.pinned()
    usual = place.run(command, root=str(place.base))
    assert (usual.status, place.versions()) == (0, {"2"}), usual
    new, outcomes = place.state(), Counter[str]()
    kept = place.pinned()
    assert kept == [*pinned[:1], kept[-1]], (pinned, kept)
    assert kept[-1] not in pinned
    for at in torture.sample(range(1, len(usual.calls) + 1), 5):
        place.again()
        told = place.run(command, root=str(place.base), at=at, fault="kill")
        assert told.status == -signal.SIGKILL, told
        finish_intent("app", str(place.base / "made" / "state"))
        state = {name: data for name, data in place.state().items() if not name.startswith(".recoverd-")}
        assert state in (place.old, new), (at, told.hit, state)
        is_new = state == new
        outcomes["new" if is_new else "old"] += 1
        assert place.is_replaced() == is_new, (at, told.hit)
        left = place.pinned()
        assert set(left) >= set(kept if is_new else pinned[:1]), (at, told.hit)
        assert set(left) <= {*pinned, kept[-1]}, (at, told.hit)
        following = place.run("restore")
        assert (following.status, place.state()) == (0, new), (at, told.hit, following)
        assert len(place.pinned()) <= 3, (at, told.hit)
        assert place.run("undo").status == 0
        assert place.state() == place.old, (at, told.hit)
    found = ", ".join(f"{count} wholly {what}" for what, count in sorted(outcomes.items()))
    what = f"{command} that migrates{', and unpins' if updates else ''}"
    torture.tell(outcomes.total(), f"points of a {what}", found)
