"""Tables: aligned, stable, whole through a pipe, fitting on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.cli import text
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


@given(st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=200), st.integers(10, 60))
def test_wrapping_loses_no_word(line: str, columns: int) -> None:
    """Lines break at spaces only; a long word, which may be a path to copy, stays whole."""
    lines = text.wrapped(line, columns)
    assert "".join(lines).replace(" ", "") == line.replace(" ", "")
    assert all(len(one) <= columns or " " not in one.strip() for one in lines)
    assert text.wrapped(line, None) == [line]


def test_what_goes_on_is_set_in_and_styles_take_no_room() -> None:
    """A hint reads as one paragraph below its result, coloured or not."""
    assert text.wrapped("    hint: one two three", 14) == ["    hint: one", "      two", "      three"]
    painted = text.paint("    hint: one two three", "hint")
    assert text.wrapped(painted, 14) == ["    \x1b[36mhint: one", "      two", "      three\x1b[0m"]
    assert text.wrapped(painted, 40) == [painted]


def test_a_narrow_table_leaves_out_what_can_be_spared() -> None:
    """The least needed column first, and only as many as must be."""
    rows = [["svc/1", "2026-11-21T09:30:00Z", "ok", "12.5 KiB"]]
    header = ["SNAPSHOT", "TIME", "VERDICT", "SIZE"]
    spare = ("SIZE", "TIME")
    assert text.table(rows, header, columns=60, spare=spare)[0].split() == header
    assert text.table(rows, header, columns=32, spare=spare)[0].split() == ["SNAPSHOT", "TIME", "VERDICT"]
    assert text.table(rows, header, columns=20, spare=spare)[0].split() == ["SNAPSHOT", "VERDICT"]
    assert text.table(rows, header, spare=spare)[0].split() == header


def test_a_cell_is_styled_without_moving_its_neighbours() -> None:
    """Colours add no width."""
    rows = [["a/1", "invalid", "x"], ["a/2", "ok", "y"]]
    plain = text.table(rows, ["ID", "VERDICT", "Z"])
    painted = text.table(rows, ["ID", "VERDICT", "Z"], styles=lambda _, cell: "red" if cell == "invalid" else None)
    assert painted[1] == plain[1].replace("invalid", "\x1b[31minvalid\x1b[0m")
    assert painted[2] == plain[2]
