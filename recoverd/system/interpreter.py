"""How a module of recoverd is run as a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess


def start_module(module: str, *words: str, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Run a module, with pipes to its standard input and from its standard output. Raises OSError."""
    import subprocess

    return subprocess.Popen(
        command_of(module, *words),
        # Just where this process finds its modules, however it was started.
        env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(_module_paths())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=pass_fds,
    )


def command_of(module: str, *words: str) -> list[str]:
    """Its command line: without what `site` would do, which takes longer than the rest of a start."""
    return [sys.executable, "-S", "-m", module, *words]


def _module_paths() -> list[str]:
    own = os.path.abspath(__file__).rsplit(os.sep, 3)[0]  # an editable installation may be found by a hook of `site`
    return [own, *map(os.path.abspath, sys.path)]
