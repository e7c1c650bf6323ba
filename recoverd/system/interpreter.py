"""How a module of recoverd is started as a process of its own."""

from __future__ import annotations

import os
import sys


def command_of(module: str) -> list[str]:
    """Its command line. Without what `site` would do, which takes longer than the rest of a start."""
    return [sys.executable, "-S", "-m", module]


def environment() -> dict[str, str]:
    """Just where this process finds its modules, however it was started."""
    own = os.path.abspath(__file__).rsplit(os.sep, 3)[0]  # an editable installation may be found by a hook of `site`
    paths = [own, *map(os.path.abspath, sys.path)]
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}
