"""A `recoverd run` with the real operations and the configuration in DIRECTORY/recoverd.yaml, impatient for matches."""

from __future__ import annotations

import os
import sys

from recoverd.operations.context import Context
from recoverd.operations.opening import open_context
from recoverd.scheduler.loop import Timings
from recoverd.scheduler.service import run


def context() -> Context:
    environ = {**os.environ, "RUNTIME_DIRECTORY": f"{sys.argv[1]}/runtime"}
    return open_context([f"{sys.argv[1]}/recoverd.yaml"], level="info", tolerant=True, environ=environ)


if __name__ == "__main__":
    timings = Timings(tick_s=0.1, matches_s=0.2)
    sys.exit(run(context, announce=lambda line: print(line, flush=True), timings=timings))
