"""How often it is noted that watched services have not changed."""

from __future__ import annotations

from typing import Any

import pytest

from recoverd.config.model import (
    Autosave,
    CheckThresholds,
    Config,
    ItemKind,
    OnChange,
    Place,
    RepositoryConfig,
    Service,
    StateItem,
)
from recoverd.events.stream import Events
from recoverd.health.facts import WATCHED_S, ServiceFacts
from recoverd.health.limits import ages
from recoverd.operations.context import Context
from recoverd.scheduler.changes import CONFIRM_EVERY_S, confirm_every_s, on_change
from recoverd.scheduler.quiet import LOOK_EVERY_S


def service(name: str, max_age_s: float | None = None, **more: Any) -> Service:
    given: dict[str, Any] = {
        "state": {"m": StateItem("m", ItemKind.FILE, "/x")},
        "autosave": Autosave(on_change=OnChange()),
        "check": CheckThresholds(max_age_s),
    }
    return Service(name, Place("f", 1, 1), **(given | more))


@pytest.mark.parametrize(
    ("ages_s", "every_s"), [((), 30), ((None,), 30), ((3600.0, None), 30), ((20.0, 60.0), 5), ((2.0,), 0.5)]
)
def test_several_times_within_the_shortest_age(ages_s: tuple[float | None, ...], every_s: float) -> None:
    """An idle service is never stale by `check.max_age` while it is watched."""
    services = {str(number): service(str(number), age_s) for number, age_s in enumerate(ages_s)}
    services["other"] = service("other", 0.1, autosave=Autosave(every_s=1.0))
    context = Context(Config("/s", RepositoryConfig("/r"), services), Events([]), "/run/x")
    assert confirm_every_s(context) == every_s


def test_the_limit_that_is_derived_leaves_room() -> None:
    """Without `max_age` three words of the scheduler may be missing, whether it watches or looks."""
    limits = ages(ServiceFacts("s", on_change=True))
    assert limits.warn_s is not None
    assert limits.warn_s >= 3 * max(CONFIRM_EVERY_S, LOOK_EVERY_S, WATCHED_S)


def test_who_is_watched() -> None:
    """Enabled services with state that are saved on change."""
    watched = service("a")
    others = [service("b", enabled=False), service("c", state={}), service("d", autosave=Autosave(every_s=1.0))]
    assert on_change([watched, *others]) == [watched]
