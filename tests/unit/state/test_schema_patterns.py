"""Patterns: what is called bounded really is, so no document can hang a boot from inside the process."""

from __future__ import annotations

import re
import time

import pytest

from recoverd.state.schema_patterns import Work, work_of


@pytest.mark.parametrize(
    ("pattern", "work"),
    [
        ("", Work(1, 1)),
        ("^abc$", Work()),
        (r"\Aabc", Work()),
        ("abc", Work(1, 1)),
        ("^[a-z]+$", Work(1, 1)),
        ("^task_[a-z0-9]*$", Work(1, 1)),
        ("[a-z]+$", Work(1, 2)),
        (r"^\d{4}-\d\d-\d\dT.*Z$", Work(1, 1)),
        (r"^[^@]+@[^@]+\.[^@]+$", Work(1, 3)),
        ("^(?:ab)+$", Work(1, 1)),
        ("^a{2,5}$", Work(4, 0)),
        ("^a{2,500}$", Work(1, 1)),
        ("^(a|b)$", Work(1, 0)),
        ("^(?:ax?|by?)$", Work(4, 0)),
        ("^(?:x[ab]?)?$", Work(3, 0)),
        ("^(?:x[ab]?){3}$", Work(8, 0)),
        ("^(?=a+)b", Work(1, 1)),
        ("^(?!a)b", Work(1, 0)),
        ("^(?>a+)b", Work(1, 1)),
        ("^a++b", Work(1, 1)),
        ("^a+?b", Work(1, 1)),
    ],
)
def test_bounds(pattern: str, work: Work) -> None:
    assert work_of(pattern) == work


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a+)+$",
        "^(a|aa)+$",
        "(a*)*",
        "^(a|b|ab)*c",
        "(.*a){20}",
        r"^(a)\1$",
        "^" + "a?" * 30 + "a" * 30,
        "(x+x+)+y",
        "^(?:a?){30}a{30}$",
        "^(a)?(?(1)b|c)$",
        "^([a-z]+-)*x",
    ],
)
def test_without_bound(pattern: str) -> None:
    assert work_of(pattern) is None


def test_a_broken_pattern_is_told() -> None:
    with pytest.raises(re.error):
        work_of("([")


@pytest.mark.parametrize("pattern", ["^[a-z]+$", "a+b", "^a*a*b", "^(?:ax?|by?)$", "^a{2,50}a{2,50}b", "a{0,90}b"])
def test_matching_takes_no_more_than_the_bound_says(pattern: str) -> None:
    """Real matching on the worst subject, against a generous time per step (1 µs; measured: about 0.01)."""
    work = work_of(pattern)
    assert work is not None
    subject = "a" * 400
    began = time.process_time()
    re.search(pattern, subject)
    assert time.process_time() - began < work.steps(len(subject)) * 1e-6 + 0.05


def test_steps_grow_with_the_length() -> None:
    assert Work(2, 3).steps(10) == 2000
    assert Work(2, 3).steps(0) == 2
