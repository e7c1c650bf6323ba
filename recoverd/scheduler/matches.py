"""Whether the patterns of `for_each` fit other paths by now: looked at at a slow interval, and told once."""

from __future__ import annotations

from collections.abc import Mapping

from recoverd.config import matching
from recoverd.system import clock


class Matches:
    """What the patterns of the loaded configuration fit. Of each change one reload comes, also if that fails."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_s = clock.monotonic_s() + every_s
        self._told: Mapping[str, tuple[str, ...] | str] | None = None

    def changed(self, loaded: Mapping[str, tuple[str, ...]], *, euid: int) -> bool:
        """Whether the configuration is to be loaded again. Looks at the disk once in `every_s` seconds only."""
        now_s = clock.monotonic_s()
        if not loaded or now_s < self._next_s:
            return False
        self._next_s = now_s + self._every_s
        seen = {pattern: _found(pattern, euid) for pattern in loaded}
        if seen == {pattern: tuple(known) for pattern, known in loaded.items()}:
            self._told = None
            return False
        if seen == self._told:
            return False
        self._told = seen
        return True


def _found(pattern: str, euid: int) -> tuple[str, ...] | str:
    try:
        return matching.find(pattern, euid=euid)
    except ValueError as error:
        return str(error)
