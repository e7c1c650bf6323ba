"""Tables, and the words for sizes, durations and ages that all commands use."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from recoverd.events.text import duration, paint, plural, printable, relative_time, size

__all__ = ["duration", "fit", "paint", "plural", "printable", "relative_time", "size", "table", "width"]

_GAP = "  "
_NARROWEST = 8  # a shortened column keeps at least so many letters, whatever the terminal


def width(text: str) -> int:
    """Columns that printable text takes on a terminal: wide letters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def fit(text: str, columns: int) -> str:
    """`text`, shortened with … where it takes more than `columns` columns."""
    if width(text) <= columns:
        return text
    taken, used = [], 1  # the … takes one
    for letter in text:
        used += width(letter)
        if used > columns:
            break
        taken.append(letter)
    return "".join(taken) + "…"


def table(
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    *,
    align: str = "",
    columns: int | None = None,
    header_style: str | None = None,
) -> list[str]:
    """Lines of a table: cells made printable, columns aligned by spaces, no spaces at the end of a line.

    `align` has a letter for each column, `<` or `>`; what is missing is `<`. With `columns` the widest column
    is shortened again and again until a line fits; without, nothing is ever shortened. ValueError when a row has
    another number of cells than the header.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if any(len(row) != len(header) for row in cells):
        raise ValueError(f"each row needs {len(header)} cells")
    everything = [list(header), *cells]
    widths = [max(width(row[index]) for row in everything) for index in range(len(header))]
    if columns is not None:
        _narrow(widths, columns)
    sides = align.ljust(len(header), "<")
    lines = []
    for number, row in enumerate(everything):
        padded = [_pad(fit(cell, widths[index]), widths[index], sides[index]) for index, cell in enumerate(row)]
        line = _GAP.join(padded).rstrip()
        lines.append(paint(line, header_style) if number == 0 and header_style else line)
    return lines


def _narrow(widths: list[int], columns: int) -> None:
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - columns
    while excess > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1
        excess -= 1


def _pad(text: str, columns: int, side: str) -> str:
    space = " " * (columns - width(text))
    return space + text if side == ">" else text + space
