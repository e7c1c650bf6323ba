"""`salvage: tail`: how much of a damaged file of JSON lines can be kept, from its beginning. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.config.model import Format, StateItem
from recoverd.state.judging import Judge, build_judge
from recoverd.state.verdicts import Verdict
from recoverd.values import replace


def line_judge(item: StateItem) -> Judge:
    """The judge of one line of an item's documents."""
    return build_judge(replace(item, format=Format.JSON_LINES, guards=None, magic="", validate=None, name_field=None))


def whole_lines(judge: Judge, blocks: Iterable[bytes], *, most_bytes: int) -> int:
    """The bytes from the beginning up to and with the last line before the first damaged or torn one.

    A line counts when it ends in a newline and is ok by itself; empty lines count with what follows them. Lines
    longer than `most_bytes` end it.
    """
    kept = at = 0
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            at += len(line) + 1
            if not line.strip(b" \t\r"):
                continue
            if judge.judge("", line).verdict is not Verdict.OK:
                return kept
            kept = at
        if len(rest) > most_bytes:
            return kept
    return kept
