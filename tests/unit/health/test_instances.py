"""The check of what a document lists: the worst of it counts, nothing of it is left out, and a hint says what to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.health.facts import InstancesFacts
from recoverd.health.instances import instances
from recoverd.health.results import Status

DEAD = (("app@a", "process 12 ended by itself"),)
pairs = st.lists(st.tuples(st.text("abc", min_size=1), st.just("why")), max_size=5, unique_by=lambda one: one[0])
facts = st.builds(
    InstancesFacts,
    listed=st.integers(0, 30),
    running=st.integers(0, 30),
    stopped=st.integers(0, 3),
    dead=pairs.map(tuple),
    given_up=pairs.map(tuple),
    refused=pairs.map(tuple),
    unlisted=st.lists(st.text("abc", min_size=1), max_size=5, unique=True).map(tuple),
    error=st.sampled_from([None, "it is corrupt"]),
    has_changed=st.booleans(),
    is_watched=st.booleans(),
)


@given(facts)
def test_nothing_wrong_is_ok_and_everything_wrong_is_told(known: InstancesFacts) -> None:
    """Promise 10: text, status and figures come from the same facts."""
    found = instances("app", known)
    wrong = (known.dead, known.given_up, known.refused, known.unlisted, known.error)
    assert (found.status is Status.OK) is not any(wrong)
    assert found.hint is not None or found.status is Status.OK
    critical = known.given_up or known.error or (known.dead and not known.is_watched)
    assert (found.status is Status.CRITICAL) is bool(critical)
    for several in (known.dead, known.given_up, known.refused):
        assert all(name in found.message for name, _ in several[:3])
        assert len(several) <= 3 or "more" in found.message
    assert all(name in found.message for name in known.unlisted[:3])
    assert found.figures["dead"].value == len(known.dead)
    assert found.figures["given_up"].value == len(known.given_up)


def test_what_is_about_to_come_back_is_no_alarm() -> None:
    watched = instances("app", InstancesFacts(listed=2, running=1, dead=DEAD, is_watched=True))
    assert (watched.status, watched.hint) == (Status.WARNING, "`recoverd run` is bringing them back")
    alone = instances("app", InstancesFacts(listed=2, running=1, dead=DEAD))
    assert (alone.status, alone.hint) == (Status.CRITICAL, "`recoverd restore app` brings back what is listed")
    assert alone.message == ("2 listed, 1 running; should be running and is not: app@a (process 12 ended by itself)")


@pytest.mark.parametrize(
    ("known", "status", "words"),
    [
        (InstancesFacts(is_compared=False), Status.WARNING, "nobody has compared yet"),
        (InstancesFacts(listed=3, running=2, stopped=1), Status.OK, "3 listed, 2 running, 1 stopped on purpose"),
        (InstancesFacts(has_changed=True), Status.OK, "the document has changed since"),
        (InstancesFacts(given_up=DEAD, unlisted=("app@b",)), Status.CRITICAL, "running without being listed: app@b"),
    ],
)
def test_in_words(known: InstancesFacts, status: Status, words: str) -> None:
    found = instances("app", known)
    assert found.status is status
    assert words in found.message
