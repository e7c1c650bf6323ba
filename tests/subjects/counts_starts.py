#!/usr/bin/python3
"""A service with state: counts its starts in the file it is given, and refuses to start on what it can't read or
does not like. For machines that have nothing but Python."""

import json
import os
import pathlib
import signal
import sys
import time

path = pathlib.Path(sys.argv[1])
state = json.loads(path.read_text())
if state.get("poison") or os.path.exists("/run/never-healthy"):
    sys.exit(3)


def write() -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(state))
    beside.replace(path)


def stop(*_: object) -> None:
    state["stopped"] = True
    write()
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
state["starts"] = state.get("starts", 0) + 1
state.pop("stopped", None)
write()
while True:
    time.sleep(60)
