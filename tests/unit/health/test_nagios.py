"""`check --format nagios` by the plugin guidelines of monitoring-plugins.org, read by a parser written from them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.health import Figure, Result, Status
from recoverd.health.nagios import failed, render

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
RANGE = rf"@?(?:(?:~|{NUMBER})?:)?(?:{NUMBER})?"
# 'label'=value[UOM];[warn];[crit];[min];[max]
PERFORMANCE = re.compile(
    rf"('(?:[^'=]|'')+'|[^\s'=]+)=({NUMBER})(s|us|ms|%|B|KB|MB|TB|c)?(?:;({RANGE}))?(?:;({RANGE}))?(?:;({NUMBER})?)?(?:;({NUMBER})?)?"
)


@dataclass
class Parsed:
    """A plugin's output as a monitoring system reads it."""

    text: str
    long_text: list[str]
    figures: dict[str, tuple[float, str, str, str]]  # label -> value, unit, warning range, critical range
    first_labels: set[str]


def parse(output: str) -> Parsed:
    """Line 1 is `text | figures`; long text follows up to the next `|`, behind which everything is figures."""
    first, *rest = output.split("\n")
    text, _, performance = first.partition("|")
    figures = _figures(performance)
    labels = set(figures)
    long_text: list[str] = []
    behind = False
    for line in rest:
        if behind:
            figures |= _figures(line)
            continue
        words, bar, performance = line.partition("|")
        long_text.append(words.rstrip())
        behind = bool(bar)
        figures |= _figures(performance)
    return Parsed(text.rstrip(), long_text, figures, labels)


def _figures(text: str) -> dict[str, tuple[float, str, str, str]]:
    found, at = {}, 0
    text = text.strip()
    while at < len(text):
        match = PERFORMANCE.match(text, at)
        assert match, f"no performance data at {text[at:]!r}"
        assert match.end() == len(text) or text[match.end()] == " ", text[match.end() :]
        label = match[1].strip("'").replace("''", "'")
        assert label not in found, f"{label} comes twice"
        found[label] = (float(match[2]), match[3] or "", match[4] or "", match[5] or "")
        at = match.end() + 1
    return found


def alerts(value: float, text: str) -> bool:
    """Whether a value is outside of a range: `10` is 0 to 10, `10:` from 10 on, `~:10` up to 10."""
    low, colon, high = text.rpartition(":")
    start = -math.inf if low == "~" else float(low or 0)
    end = float(high) if high else math.inf
    assert not colon or low, text
    return not start <= value <= end


def result(
    name: str, status: Status = OK, service: str | None = "app", message: str = "fine", **figures: Figure
) -> Result:
    return Result(name, service, status, message, hint="do this" if status is not OK else None, figures=figures)


RESULTS = [
    result("scheduler", service=None, message="running as process 7"),
    result("snapshot-age", WARNING, message="it is old", age_seconds=Figure(130.5, "s", warn=120.0, crit=360.0)),
    result("state-path/main", CRITICAL, message="/x is empty | gone\nnow", files=Figure(1), bytes=Figure(0, "B")),
    result("space", service=None, free_bytes=Figure(50, "B", warn=100, crit=20), total_bytes=Figure(999, "B")),
]  # fmt: skip


def test_the_first_line_says_it_all() -> None:
    """cli.md: status, how many of how many, the first problem, the figures with limits."""
    parsed = parse(render(RESULTS))
    assert parsed.text == r"CRITICAL - 2 of 4 checks not OK; app: /x is empty / gone\nnow"
    assert parsed.first_labels == {"app/snapshot-age/age_seconds", "space/free_bytes"}
    assert parsed.figures == {
        "app/snapshot-age/age_seconds": (130.5, "s", "120", "360"),
        "space/free_bytes": (50, "B", "100:", "20:"),
        "app/state-path/main/files": (1, "", "", ""),
        "app/state-path/main/bytes": (0, "B", "", ""),
        "space/total_bytes": (999, "B", "", ""),
    }


def test_the_long_text_has_every_problem_with_its_hint_the_worst_first() -> None:
    assert parse(render(RESULTS)).long_text == [
        r"CRITICAL app/state-path/main: /x is empty / gone\nnow",
        "  hint: do this",
        "WARNING app/snapshot-age: it is old",
        "  hint: do this",
    ]


def test_all_is_well() -> None:
    parsed = parse(render([result("a", ok=Figure(1)), result("b", limited=Figure(1, warn=2))]))
    assert parsed.text == "OK - 2 checks"
    assert parsed.figures["app/a/ok"][0] == 1
    assert render([result("a")]) == "OK - 1 check"
    assert render([]) == "UNKNOWN - nothing was checked"


@pytest.mark.parametrize(
    ("figure", "warns", "critical"),
    [
        (Figure(119.9, "s", warn=120.0, crit=360.0), False, False),
        (Figure(120.1, "s", warn=120.0, crit=360.0), True, False),
        (Figure(361.0, "s", warn=120.0, crit=360.0), True, True),
        (Figure(100, "B", warn=100, crit=20), False, False),  # room: the less the worse
        (Figure(99, "B", warn=100, crit=20), True, False),
        (Figure(19, "B", warn=100, crit=20), True, True),
        (Figure(0, warn=1, crit=3), False, False),  # failures in a row: from the limit on
        (Figure(1, warn=1, crit=3), True, False),
        (Figure(3, warn=1, crit=3), True, True),
    ],
)
def test_ranges_alert_when_the_check_does(figure: Figure, warns: bool, critical: bool) -> None:
    """A monitoring system that draws the ranges sees what the status says, on both sides of each limit."""
    ((value, _, warn, crit),) = parse(render([result("x", figure=figure)])).figures.values()
    assert alerts(value, warn) is warns
    assert alerts(value, crit) is critical


@given(
    st.lists(
        st.builds(
            Result,
            st.text(min_size=1),
            st.none() | st.text(min_size=1),
            st.sampled_from(Status),
            st.text(),
            hint=st.none() | st.text(),
        ),
        max_size=5,
    ),
    st.floats(-1e15, 1e15) | st.integers(-(10**20), 10**20),
    st.text(min_size=1),
)
def test_nothing_that_is_said_breaks_the_format(results: list[Result], value: float, name: str) -> None:
    """Names and messages from anywhere: no second `|`, no broken line, every figure read back."""
    figures = {"figure": Figure(value, "s", warn=1), name: Figure(7)}
    figure = Result("x", "app", OK, "fine", figures=figures)
    output = render([*results, figure])
    parsed = parse(output)
    assert parsed.figures["app/x/figure"][0] == pytest.approx(float(value), abs=1e-6)
    assert 7.0 in {found[0] for found in parsed.figures.values()}
    assert all("|" not in line for line in parsed.long_text)
    words = [line for line in parsed.long_text if not line.startswith("  hint:")]
    assert all(line.split(" ")[0] in {*Status, "further"} for line in words)
    ranks = [Status(line.split(" ")[0]).severity for line in words if not line.startswith("further")]
    assert all(a >= b for a, b in pairwise(ranks))


def test_what_can_not_be_checked_is_unknown() -> None:
    assert (
        failed("there is no | config\nat all", "write one")
        == "UNKNOWN - there is no / config\\nat all\nhint: write one"
    )
    assert failed("no", None) == "UNKNOWN - no"
