"""Results for a terminal: at most 100 columns, colour only where it is wanted."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TextIO

from benchmarks.goals import Outcome, outcomes
from benchmarks.results import Results, Row

WIDTH = 100
_NAME, _BAR = 35, 11
_BLOCKS = " ▏▎▍▌▋▊▉█"
_STYLES = {"bold": "1", "dim": "2", "good": "32", "bad": "31", "bar": "36"}


def wants_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def text(results: Results, *, colour: bool = False) -> str:
    """The whole run."""
    lines = list(_heading(results, colour))
    for plan, title in results.plans.items():
        rows = [row for row in results.rows if row.plan == plan]
        if rows:
            lines += ["", _styled(title, "bold", colour), *_plan(results, rows, colour)]
    lines += _goals(results, colour)
    lines += ["", *_notes(results)]
    return "\n".join(lines) + "\n"


def _heading(results: Results, colour: bool) -> Iterator[str]:
    yield _styled(f"recoverd {results.versions.get('recoverd', '')} beside other tools", "bold", colour)
    machine = ", ".join(words.replace(" ", "\0") for words in words_of(results))  # lines break between them only
    yield from (_styled(line.replace("\0", " "), "dim", colour) for line in textwrap.wrap(machine, WIDTH))


def words_of(results: Results) -> list[str]:
    """The machine and the versions, as one would say it."""
    machine = results.machine
    said = [machine["processor"], f"{machine['cores']} cores", f"{machine['memory']} of memory"]
    said += [f"Linux {machine['kernel']}", machine["file system"], f"load before {machine['load before']}"]
    return said + [f"{tool} {version}" for tool, version in results.versions.items() if tool != "recoverd"]


def _plan(results: Results, rows: list[Row], colour: bool) -> Iterator[str]:
    head = f"{'':{_NAME + _BAR}}{'seconds':>9}{'/restic':>9}{'/cp -a':>8}{'memory':>11}{'written':>10}{'syncs':>7}"
    yield _styled(head, "dim", colour)
    for phase, group in groupby(sorted(rows, key=lambda row: _order(rows, row.phase)), key=lambda row: row.phase):
        here = list(group)
        slowest = max(row.seconds for row in here)
        yield f"{phase} {'─' * (WIDTH - len(phase) - 3)}"
        for row in sorted(here, key=lambda row: row.seconds):
            name = f"  {row.tool:{_NAME - 2}}"
            bar = _styled(f"{blocks(row.seconds / slowest, _BAR - 1):{_BAR}}", "bar", colour)
            figures = (
                f"{seconds(row.seconds):>9}{ratio(results, row, 'restic'):>9}{ratio(results, row, 'cp -a'):>8}"
                f"{memory(results, row):>11}{size(row.written_bytes):>10}{count(row.syncs):>7}"
            )
            ours = row.tool.startswith("recoverd")
            yield (_styled(name, "bold", colour) if ours else name) + bar + figures


def _order(rows: list[Row], phase: str) -> int:
    return [row.phase for row in rows].index(phase)


def _goals(results: Results, colour: bool) -> Iterator[str]:
    found = outcomes(results)
    if found:
        yield from ("", _styled("what recoverd holds itself to", "bold", colour))
    for one in found:
        mark = _styled("met   ", "good", colour) if one.met else _styled("missed", "bad", colour)
        yield f"  {mark}  {f'{one.goal.plan}: {one.goal.tool}, {one.goal.phase}':54}{goal_words(one)}"


def goal_words(one: Outcome) -> str:
    """What was asked for and what it was."""
    if one.goal.peer is None:
        return f"{one.value * 1000:.0f} ms, at most {one.goal.most * 1000:.0f} ms"
    return f"{one.value:.2f} of {one.goal.peer}, at most {one.goal.most:g}"


def notes(results: Results) -> list[str]:
    """What one has to know to read the figures."""
    said = [
        f"Medians of {results.rounds} rounds; the tools take turns in each, and a round before them warms up."
        if results.rounds > 1
        else "One round: good for a look, not for a comparison.",
        "memory: the largest resident set of one process. written: bytes that reached the device until a sync "
        "afterwards, which is not timed. syncs: calls that wait for the disk (fsync and its kin).",
    ]
    if not results.settled:
        said.append("Files were younger than a minute, so that recoverd read all of them again, each time.")
    said += [f"{tool} is left out: {why}" for tool, why in results.missing.items()]
    return said


def _notes(results: Results) -> Iterator[str]:
    for note in notes(results):
        yield from textwrap.wrap(note, WIDTH)


# -- figures -------------------------------------------------------------------------------------------------


def seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 0.01 else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def ratio(results: Results, row: Row, peer: str) -> str:
    value = results.ratio(row, peer)
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def memory(results: Results, row: Row) -> str:
    """Less than a command that does nothing can't be told apart from it."""
    floor = results.floor_bytes
    return f"< {size(floor)}" if row.peak_bytes < floor * 1.1 else size(row.peak_bytes)


def size(value: float | None) -> str:
    if not value:
        return "" if value is None else "0"
    if value < 1 << 20:
        return f"{value / 1024:.0f} KiB"
    mib = value / (1 << 20)
    return f"{mib:.1f} MiB" if mib < 100 else f"{mib:.0f} MiB"


def count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def blocks(share: float, width: int) -> str:
    """A bar of `share` of `width` columns, to an eighth of a column."""
    eighths = max(1, round(share * width * 8))
    return _BLOCKS[8] * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")


def _styled(words: str, style: str, colour: bool) -> str:
    return f"\x1b[{_STYLES[style]}m{words}\x1b[0m" if colour else words
