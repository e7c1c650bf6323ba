"""Bytes that nobody here can parse: all that can be said is whether there is anything in them."""

from __future__ import annotations

from recoverd.state.formats.text import blank
from recoverd.state.verdicts import Problem


class OpaqueReader:
    """Takes a file block by block and keeps nothing of it."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._nuls_only = True

    def feed(self, block: bytes) -> None:
        self.size_bytes += len(block)
        if self._nuls_only:
            self._nuls_only = block.count(0) == len(block)

    def finish(self) -> tuple[tuple[Problem, ...], bool]:
        """(notes, blank): zero bytes or only NUL bytes may be right, so it is a note that says what was found."""
        if not self._nuls_only:
            return (), False
        sentence = blank(b"") if not self.size_bytes else None
        return (Problem("", sentence or f"holds only NUL bytes ({self.size_bytes} of them)"),), True
