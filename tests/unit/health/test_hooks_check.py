"""What `check` says of hooks: those that could not be told are named, with the reason, until they work again."""

from __future__ import annotations

from recoverd.health.facts import HookFacts
from recoverd.health.hooks_check import hooks
from recoverd.health.results import Status

DAY_NS = 86400 * 10**9
NOW_NS = 1_700_000_000 * 10**9


def failing(name: str = "hooks[0] (tell)", *, days: float = 0.5, untold: int = 3) -> HookFacts:
    return HookFacts(name, NOW_NS - round(days * DAY_NS), NOW_NS - round(days * DAY_NS), "disk.low", "it hangs", untold)


def test_hooks_that_work() -> None:
    assert (hooks(2, (), NOW_NS).status, hooks(2, (), NOW_NS).message) == (Status.OK, "2 hooks are told of events")


def test_what_fails_is_named_with_its_reason() -> None:
    found = hooks(3, (failing(), failing("services.a.hooks[1] (the webhook at x)", untold=1)), NOW_NS)
    assert found.status is Status.WARNING
    assert found.message.startswith("hooks[0] (tell) was not told of 3 events since 2023-11-14T10:13:20")
    assert ", last disk.low: it hangs; services.a.hooks[1] (the webhook at x) was not told of 1 event" in found.message
    assert found.hint is not None
    assert {name: one.value for name, one in found.figures.items()} == {"hooks": 3, "failing": 2, "untold": 4}


def test_many_are_counted() -> None:
    message = hooks(9, tuple(failing(f"hooks[{number}] (tell)") for number in range(9)), NOW_NS).message
    assert message.endswith("; and 6 more hooks")
    assert "hooks[2]" in message
    assert "hooks[3]" not in message


def test_what_is_long_past_is_no_alarm() -> None:
    """An event of a rare kind may never come again: after a week a failure counts no more."""
    assert hooks(1, (failing(days=6.9),), NOW_NS).status is Status.WARNING
    assert hooks(1, (failing(days=7.1),), NOW_NS).status is Status.OK
    assert hooks(1, (failing(days=-3),), NOW_NS).status is Status.WARNING  # the clock was set back
