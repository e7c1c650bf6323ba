"""Processes that a test's own process has started."""

from __future__ import annotations

from contextlib import suppress

import psutil


def children_that_run(module: str) -> list[psutil.Process]:
    """Those that run a module of recoverd; one that has ended and was not waited for runs nothing."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # zombies too
            if module in child.cmdline():
                found.append(child)
    return found
