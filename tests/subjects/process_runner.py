"""A local process runner: keeps its services, and the pids of their processes, in one state.json.

process_runner.py --state FILE [--add NAME]... It starts what the state says is running, each in its project's path,
notes every start at once, and adds the named services first. It writes in place, so that `kill -9` tears the file, and
refuses to start on damaged state.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHILD = "import os, time; print('{name} is process', os.getpid(), 'in', os.getcwd(), flush=True); time.sleep(1000)"


def save(path: Path, state: Any) -> None:
    with path.open("w") as file:
        for letter in json.dumps(state, indent=1):
            file.write(letter)
            file.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--add", action="append", default=[])
    options = parser.parse_args()
    path: Path = options.state
    state = json.loads(path.read_bytes()) if path.exists() else {"services": []}
    known = {one["name"]: one for one in state["services"]}
    for name in options.add:
        fresh = {"name": name, "config": {}, "path": str(path.parent), "pid": None, "port": 0, "status": "running"}
        known.setdefault(name, fresh)
    state["services"] = list(known.values())
    children = []
    for one in state["services"]:
        if one["status"] == "running":
            # of its own session and environment: it outlives the runner
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD.format(name=one["name"])], cwd=one["path"], env={}, start_new_session=True
            )
            children.append(child)
            one["pid"] = child.pid
            save(path, state)
    print("ready", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            time.sleep(1000)
    finally:
        for child in children:
            child.terminate()
            child.wait()
        for one in state["services"]:
            one["pid"] = None
        save(path, state)


if __name__ == "__main__":
    main()
