"""Tables, and the words for sizes, durations and ages that all commands use."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from recoverd.events.text import duration, paint, plural, printable, relative_time, size

__all__ = ["duration", "fit", "paint", "plural", "printable", "relative_time", "size", "table", "width", "wrapped"]

_GAP = "  "
_NARROWEST = 8  # a shortened column keeps at least so many letters, whatever the terminal
_COMFORTABLE = 10  # rather than shorten a column below this, a spare one is left out
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_START = re.compile(r"((?:\x1b\[[0-9;]*m)*)( *)")


def width(text: str) -> int:
    """Columns that printable text takes on a terminal: wide letters two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def wrapped(line: str, columns: int | None) -> list[str]:
    """`line` as lines of at most `columns` columns, broken at spaces, each further one set in by two more.

    Styles count for nothing. A word that is too long stays whole: it may be a path that somebody wants to copy.
    """
    if columns is None or width(_STYLE.sub("", line)) <= columns:
        return [line]
    start = _START.match(line)
    assert start is not None, "it matches the empty text too"
    style, indent = start.groups()
    lines, current = [], ""
    for word in line[start.end() :].split(" "):
        longer = f"{current} {word}" if current else indent + style + word
        if current and width(_STYLE.sub("", longer)) > columns:
            lines.append(current)
            longer = f"{indent}  {word}"
        current = longer
    return [*lines, current]


def fit(text: str, columns: int, dots: str = "…") -> str:
    """`text`, shortened with `dots` (one letter) where it takes more than `columns` columns."""
    if width(text) <= columns:
        return text
    taken, used = [], 1  # the dots take one
    for letter in text:
        used += width(letter)
        if used > columns:
            break
        taken.append(letter)
    return "".join(taken) + dots


def table(
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    *,
    align: str = "",
    columns: int | None = None,
    header_style: str | None = None,
    spare: Sequence[str] = (),
    dots: str = "…",
    styles: Callable[[str, str], str | None] | None = None,
) -> list[str]:
    """Lines of a table: cells made printable, columns aligned by spaces, no spaces at the end of a line.

    `align` has a letter for each column, `<` or `>`; what is missing is `<`. With `columns` the widest column
    is shortened again and again until a line fits; without, nothing is ever shortened. ValueError when a row has
    another number of cells than the header. Where even that is too wide, columns named in `spare` are left out, the
    first one first. `styles` names the style of a cell, given its column's header and its words.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if any(len(row) != len(header) for row in cells):
        raise ValueError(f"each row needs {len(header)} cells")
    everything = [list(header), *cells]
    widths = [max(width(row[index]) for row in everything) for index in range(len(header))]
    sides = align.ljust(len(header), "<")
    if columns is not None:
        shown = _kept(header, widths, spare, columns)
        everything = [[row[index] for index in shown] for row in everything]
        widths, sides = [widths[index] for index in shown], "".join(sides[index] for index in shown)
        _narrow(widths, columns)
    lines = []
    for number, row in enumerate(everything):
        shown_row = []
        for index, cell in enumerate(row):
            words = fit(cell, widths[index], dots)
            padded = _pad(words, widths[index], sides[index])
            style = styles(everything[0][index], cell) if styles is not None and number and words else None
            shown_row.append(padded.replace(words, paint(words, style), 1) if style else padded)
        line = _GAP.join(shown_row).rstrip()
        lines.append(paint(line, header_style) if number == 0 and header_style else line)
    return lines


def _kept(header: Sequence[str], widths: Sequence[int], spare: Sequence[str], columns: int) -> list[int]:
    """The columns to show: all, less as many of `spare` as the line is too wide for even when it is shortened."""
    shown = list(range(len(header)))
    for name in spare:
        if sum(min(widths[index], _COMFORTABLE) + len(_GAP) for index in shown) - len(_GAP) <= columns:
            break
        shown = [index for index in shown if header[index] != name]
    return shown


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
