"""Tables: aligned, stable, whole through a pipe, fitting on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.cli.text import fit, table, width

ROWS = [["svc/1", "ok", "12"], ["a-longer-service/42", "partial", "3"]]
HEADER = ["SNAPSHOT", "VERDICT", "FILES"]


def test_a_pipe_gets_whole_aligned_lines() -> None:
    """cli.md: through a pipe it is plain and stable."""
    assert table(ROWS, HEADER, align="<<>") == [
        "SNAPSHOT             VERDICT  FILES",
        "svc/1                ok          12",
        "a-longer-service/42  partial      3",
    ]


def test_a_narrow_terminal_shortens_the_widest_column() -> None:
    """A line never wraps as long as its columns can be shortened."""
    lines = table(ROWS, HEADER, align="<<>", columns=28)
    assert lines == [
        "SNAPSHOT      VERDICT  FILES",
        "svc/1         ok          12",
        "a-longer-se…  partial      3",
    ]


def test_columns_keep_something_to_read() -> None:
    """However narrow, a column keeps eight letters."""
    lines = table([["x" * 50, "y" * 50]], ["A", "B"], columns=5)
    assert lines[1] == "xxxxxxx…  yyyyyyy…"


def test_wide_letters_count_twice() -> None:
    """Names in Chinese or with combining accents do not push columns apart."""
    assert width("漢字") == 4
    assert width("e\u0301") == 1
    lines = table([["漢字", "a"], ["abcd", "b"], ["e\u0301", "c"]], ["N", "X"])
    assert [width(line.rpartition("  ")[0] + "  ") for line in lines[1:3]] == [6, 6]
    assert fit("漢字漢字", 5) == "漢字…"


def test_hostile_cells() -> None:
    """Promise 12: a planted name breaks no line of a table and sends no escape."""
    (line,) = table([["a\nb\x1b[31m\t"]], ["NAME"])[1:]
    assert line == r"a\nb\x1b[31m\t"


def test_an_empty_table_is_its_header_and_a_crooked_one_a_mistake() -> None:
    """Scripts find the header always."""
    assert table([], HEADER) == ["SNAPSHOT  VERDICT  FILES"]
    assert table([], ["A"], header_style="bold") == ["\x1b[1mA\x1b[0m"]
    with pytest.raises(ValueError, match="3 cells"):
        table([["a"]], HEADER)


CELL = st.text(alphabet=st.characters(), max_size=30)


@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=6), st.integers(28, 120))
def test_whatever_the_cells_every_line_fits_and_is_one_line(rows: list[tuple[str, str, str]], columns: int) -> None:
    """Promise 12 and a terminal that never wraps."""
    lines = table(rows, ["A", "B", "C"], columns=columns)
    assert len(lines) == len(rows) + 1
    assert all(width(line) <= columns and "\t" not in line and "\x1b" not in line for line in lines)
