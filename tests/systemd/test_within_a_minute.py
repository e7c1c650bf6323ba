"""The line of contrib/cron for every minute. Apart, and last, so that the minute passes meanwhile."""

from __future__ import annotations

import json
from typing import Any

Machine = Any  # of conftest.py, which test files can't import


def test_cron_saves_what_is_due(cron_machine: Machine) -> None:
    """Within a minute of a change, there is a snapshot of it with the reason `due`."""
    path = "/srv/detached/state.json"
    if json.loads(cron_machine.read(path) or "{}").get("counter") != 8:
        cron_machine.wait_for(lambda: json.loads(cron_machine.read(path) or "{}").get("starts"), "@reboot restore", 30)
        cron_machine.write(path, '{"counter": 8}')

    def saved() -> bool:
        found = json.loads(cron_machine.run(["recoverd", "--json", "list"]).fine().out)["snapshots"]
        return any(one["reason"] == "due" for one in found)

    cron_machine.wait_for(saved, "the snapshot that is due", 75)
    assert json.loads(cron_machine.run(["recoverd", "show", "detached/latest", "main"]).fine().out)["counter"] == 8
