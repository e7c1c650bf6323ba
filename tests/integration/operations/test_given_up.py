"""What tells that something has changed since a service was given up."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from recoverd.operations.given_up import forget, give_up, is_anew, state_mark, why_given_up
from recoverd.values import replace


def test_any_write_changes_the_mark_and_reading_does_not(house: Any) -> None:
    """Names, sizes and times; without content, so that it is cheap."""
    house.write(1)
    house.write_task("a")
    marks = [state_mark(house.service)]

    def changed(change: Callable[[], object]) -> bool:
        change()
        marks.append(state_mark(house.service))
        return marks[-1] != marks[-2]

    assert not changed(house.state.read_bytes)
    assert changed(lambda: house.write(123))
    assert changed(lambda: os.utime(house.state, ns=(1, 1)))
    assert changed(lambda: house.write_task("b"))
    assert changed(lambda: (house.tasks / "b.json").rename(house.tasks / "c.json"))
    assert changed((house.tasks / "c.json").unlink)
    assert changed(house.state.unlink)
    assert not changed(lambda: None)


def test_nothing_that_is_planted_is_followed(house: Any, tmp_path: Any) -> None:
    """A link is what it is, not what it leads to: a change there is none of the service's."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (house.tasks / "link.json").symlink_to(elsewhere / "x")
    (house.tasks / "sub").symlink_to(elsewhere)
    before = state_mark(house.service)
    (elsewhere / "x").write_text("x")
    assert state_mark(house.service) == before


@pytest.mark.parametrize("running", [False, True])
def test_a_start_or_a_change_of_state_is_something_new(house: Any, running: bool) -> None:
    """One that runs on, though not healthy, writes on: of it only a start counts."""
    house.write(1)
    house.snapshot()
    repository = house.context.repository()
    give_up(repository, house.service, "in vain", running=running)
    assert why_given_up(repository.record("app")) == "in vain"
    assert not is_anew(repository.record("app"), house.service)
    house.write(2222)
    assert is_anew(repository.record("app"), house.service) is not running
    give_up(repository, house.service, "again", running=running)
    repository.update_record("app", lambda record: replace(record, process={"starts": 7}))
    assert is_anew(repository.record("app"), house.service)
    assert why_given_up(repository.record("app")) is None
    forget(repository, "app")
    assert not repository.record("app").given_up
