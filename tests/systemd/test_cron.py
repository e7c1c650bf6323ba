"""contrib/cron with a real cron: for machines without systemd units. Its other half is in test_within_a_minute."""

from __future__ import annotations

import json
from typing import Any

Machine = Any  # of conftest.py, which test files can't import


def test_cron_restores_when_the_machine_comes_up(cron_machine: Machine) -> None:
    """@reboot does both phases: damaged state is restored, the service is started and outlives the job."""
    path = "/srv/detached/state.json"
    cron_machine.wait_for(lambda: json.loads(cron_machine.read(path) or "{}").get("starts"), "@reboot restore", 30)
    assert json.loads(cron_machine.read(path))["counter"] == 7
    cron_machine.wait_for(lambda: cron_machine.run(["pgrep", "-f", "bin/recoverd|-m recoverd"]).status == 1, "its end")
    assert cron_machine.run(["pgrep", "-f", path]).status == 0
    cron_machine.write(path, '{"counter": 8}')  # for the next minute to save
