"""Verdicts: the worst of the documents is that of the item, and of the items that of the service."""

from __future__ import annotations

from itertools import pairwise

from recoverd.state.verdicts import Problem, Verdict, worst


def test_from_harmless_to_severe() -> None:
    """What blocks outweighs what is restored, and that outweighs what is only told."""
    order = [
        Verdict.OK,
        Verdict.NEW,
        Verdict.RESET,
        Verdict.NEWER,
        Verdict.MISSING,
        Verdict.CORRUPT,
        Verdict.UNREADABLE,
    ]
    assert set(order) == set(Verdict)
    assert all(mild.severity < severe.severity for mild, severe in pairwise(order))
    for index, verdict in enumerate(order):
        assert worst(order[: index + 1]) is verdict
        assert worst(reversed(order[: index + 1])) is verdict
    assert worst([]) is Verdict.OK


def test_a_problem_reads_as_a_line() -> None:
    assert str(Problem("line 3", "is empty")) == "line 3: is empty"
    assert str(Problem("", "is empty")) == "is empty"
