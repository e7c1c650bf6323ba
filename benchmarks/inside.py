"""A long-lived process that does recoverd's operations when asked to, as the scheduler does; and a plain copy.

Each line of standard input is a request, each line of standard output an answer: `{"seconds", "status"}`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from recoverd.operations.context import Context
from recoverd.operations.opening import open_context
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest
from recoverd.operations.snapshot import SnapshotRequest, snapshot


def main() -> None:
    contexts: dict[str, Context] = {}
    for line in sys.stdin:
        action = action_of(json.loads(line), contexts)
        started = time.monotonic()
        status = action()
        seconds = time.monotonic() - started
        print(json.dumps({"seconds": seconds, "status": status}), flush=True)


def action_of(request: dict[str, Any], contexts: dict[str, Context]) -> Callable[[], int]:
    """What is asked for: it returns an exit status. The configuration is loaded already, as it is in a scheduler."""
    if "copy" in request:
        return partial(_copy, *request["copy"])
    config = request["config"]
    if config not in contexts:
        runtime = os.path.join(os.path.dirname(config), "runtime")
        contexts[config] = open_context([config], environ=os.environ | {"RUNTIME_DIRECTORY": runtime})
    return partial(_restore if request["restore"] else _save, contexts[config])


def _copy(source: str, target: str) -> int:
    shutil.copytree(source, target)
    return 0


def _save(context: Context) -> int:
    return snapshot(context, SnapshotRequest(reason="scheduled")).exit_status


def _restore(context: Context) -> int:
    return restore(context, RestoreRequest()).exit_status


if __name__ == "__main__":
    main()
