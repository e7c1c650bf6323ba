"""New matches of `for_each` are found by the scheduler: once told, not again and again."""

from __future__ import annotations

import os
from pathlib import Path

from recoverd.config import matching
from recoverd.scheduler.matches import Matches


def test_each_change_is_told_once(tmp_path: Path) -> None:
    """Also when the reload that follows fails, so that the old configuration stays."""
    euid, pattern = os.geteuid(), f"{tmp_path}/*/state"
    (tmp_path / "a" / "state").mkdir(parents=True)
    loaded = {pattern: matching.find(pattern, euid=euid)}
    matches = Matches(0.0)
    assert not matches.changed(loaded, euid=euid)
    (tmp_path / "b" / "state").mkdir(parents=True)
    assert matches.changed(loaded, euid=euid)
    assert not matches.changed(loaded, euid=euid)  # the reload failed
    (tmp_path / "a" / "state").rmdir()
    assert matches.changed(loaded, euid=euid)
    now = {pattern: matching.find(pattern, euid=euid)}
    assert not matches.changed(now, euid=euid)
    (tmp_path / "a" / "state").mkdir()
    assert matches.changed(now, euid=euid)


def test_the_disk_is_looked_at_rarely(tmp_path: Path) -> None:
    matches = Matches(3600.0)
    assert not matches.changed({f"{tmp_path}/*": ("/gone",)}, euid=os.geteuid())
    assert not Matches(0.0).changed({}, euid=os.geteuid())
