"""`for_each`: the scheduler saves a new match without being told of it, and forgets one that is gone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import World

CONFIG = """\
state_dir: {root}/state
services:
  ctl:
    for_each: {{glob: "{root}/home/*/.ctl"}}
    state: {{main: {{file: "{{match}}/main.json", format: json}}}}
    autosave: {{every: 300ms}}
    retention: {{last: 5}}
"""


def test_a_new_match_is_saved_by_itself(world: World) -> None:
    root = world.directory
    world.script = Path(__file__).with_name("matching_child.py")
    world.write("recoverd.yaml", CONFIG.format(root=root))

    def project(name: str) -> None:
        (root / "home" / name / ".ctl").mkdir(parents=True)
        (root / "home" / name / ".ctl" / "main.json").write_text("{}")

    def saved(name: str) -> bool:
        return any((root / "state" / "repository" / "snapshots" / f"ctl-{name}").glob("*.json"))

    project("one")
    run = world.start()
    run.until(lambda: saved("one"), "the first match")
    project("two")
    run.until(lambda: saved("two"), "the second")
    (root / "home" / "one" / ".ctl" / "main.json").unlink()
    (root / "home" / "one" / ".ctl").rmdir()
    run.until(lambda: run.log().count("configuration loaded again") == 2, "the reload after one has gone")
    assert run.stop() == 0
