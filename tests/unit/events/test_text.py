"""Words for people: sizes, durations, ages, and names that cannot drive a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.events.text import duration, paint, plural, printable, relative_time, size, without_passwords

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1023, "1.0 KiB"),
        (1024, "1.0 KiB"),
        (35_328, "34.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (150 * 1024, "150 KiB"),
        (102_348, "99.9 KiB"),
        (102_391, "100 KiB"),
        (20 * 1024**3, "20.0 GiB"),
        (2**70, "1024 EiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes(size_bytes: int, said: str) -> None:
    """A size has three digits and its unit, at every border between units."""
    assert size(size_bytes) == said


@given(st.integers(min_value=0, max_value=2**60))
def test_no_size_shows_four_digits(size_bytes: int) -> None:
    """Rounding never shows "1024 KiB" or "1000 B"."""
    assert float(size(size_bytes).split()[0]) < 1000


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1, "1 s"),
        (3.44, "3.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (5400, "1 h 30 min"),
        (3605, "1 h"),
        (90_000, "1 d 1 h"),
        (-5, "-5 s"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    """A duration has at most two neighbouring units and never "60 s"."""
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "just now"), (-3, "3 s ago"), (-200, "3 min ago"), (7300, "in 2 h"), (-90_000, "1 d ago"), (1, "in 1 s")],
)
def test_ages(seconds: int, said: str) -> None:
    """An age says in which direction it lies."""
    now_ns = 1_800_000_000 * SECOND
    assert relative_time(now_ns + seconds * SECOND, now_ns) == said


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b31m", r"\x9b31m"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("evil\u202etxt.exe", r"evil\u202etxt.exe"),
        ("line\u2028sep", r"line\u2028sep"),
        ("café ✓ 漢字", "café ✓ 漢字"),
        ("", ""),
    ],
)
def test_hostile_names(hostile: str, shown: str) -> None:
    """Promise 12: a name planted in a service's directory reaches no terminal as a control sequence."""
    assert printable(hostile) == shown


@given(st.text(alphabet=st.characters()))
def test_whatever_the_text_it_is_safe(text: str) -> None:
    """Promise 12: nothing that controls, hides or can't be encoded is left."""
    shown = printable(text)
    shown.encode("utf-8")
    assert not any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for letter in shown)


def test_passwords_in_urls_are_masked() -> None:
    """config.md: secrets are masked in everything that is printed."""
    assert without_passwords("GET http://me:s3cret@host:80/x failed") == "GET http://***@host:80/x failed"
    assert without_passwords("tell a@example.org at http://host/a@b") == "tell a@example.org at http://host/a@b"


def test_plural_and_styles() -> None:
    """One file, two files; a style that does not exist is a mistake."""
    assert (plural(1, "file"), plural(0, "file"), plural(2, "file")) == ("1 file", "0 files", "2 files")
    assert paint("x", "red") == "\x1b[31mx\x1b[0m"
    with pytest.raises(KeyError):
        paint("x", "sparkling")
