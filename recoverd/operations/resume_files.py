"""Where resume reports lie, and what is in their histories."""

from __future__ import annotations

import os

from recoverd.recovery.resume import History, decode_history
from recoverd.system.durable import open_own

VARIABLE = "RECOVERD_RESUME"  # in the environment of what recoverd starts: the path of the report


def report_path(runtime_dir: str, service: str) -> str:
    """The newest report, for the service to read; in memory."""
    return os.path.join(f"{runtime_dir}-resume", f"{service}.json")


def history_path(state_dir: str, service: str) -> str:
    return os.path.join(state_dir, "resume", f"{service}.json")


def load_history(state_dir: str, service: str) -> History:
    """An empty one where there is none, or it can't be read."""
    try:
        with open_own(history_path(state_dir, service)) as file:
            return decode_history(file.read())
    except OSError:
        return History()
