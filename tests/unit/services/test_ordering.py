"""Start order and what is held back, as properties over random graphs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import ItemKind, Place, Service, StateItem
from recoverd.errors import ServiceError
from recoverd.services.ordering import blocked_by, sharing, start_order

NAMES = "abcdefgh"


def service(name: str, *after: str) -> Service:
    return Service(name, Place("x.yaml", 1, 1), after=after)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Service]:
    """Services without cycles: each comes only after names before it in a random order, or after unknown ones."""
    names = draw(st.permutations(NAMES))
    used = names[: draw(st.integers(0, len(names)))]
    made = {
        name: service(name, *draw(st.lists(st.sampled_from([*used[:index], "unknown"]), unique=True)))
        for index, name in enumerate(used)
    }
    return {name: made[name] for name in draw(st.permutations(used))}


@given(graphs())
def test_waves_hold_everything_once_in_order(services: dict[str, Service]) -> None:
    """Each service is in one wave, after all that it names, and in the earliest one possible."""
    waves = start_order(services)
    position = {name: index for index, wave in enumerate(waves) for name in wave}
    assert sorted(name for wave in waves for name in wave) == sorted(services)
    for name, one in services.items():
        assert position[name] == max((position[other] + 1 for other in one.after if other in services), default=0)
    assert all(wave == sorted(wave) for wave in waves)


@given(graphs(), st.sets(st.sampled_from([*NAMES, "unknown"])))
def test_blocked_is_exactly_what_reaches_a_blocked_one(services: dict[str, Service], names: set[str]) -> None:
    """Blocked are those given and those from which a path of `after` leads to one, and nothing else."""
    given_reasons = {name: f"reason of {name}" for name in names}
    reasons = blocked_by(services, given_reasons)
    reached = set(names)
    for _ in services:
        reached |= {name for name, one in services.items() if reached & set(one.after)}
    assert set(reasons) == reached
    for name, reason in reasons.items():
        if name in names:
            assert reason == given_reasons[name]
        else:
            assert any(
                reason == f"it comes after {o}, which is blocked: {reasons.get(o)}" for o in services[name].after
            )


def test_a_cycle_is_named() -> None:
    """Configuration refuses cycles; should one come through, it is an error and no endless loop."""
    services = {"a": service("a", "b"), "b": service("b", "a"), "c": service("c")}
    with pytest.raises(ServiceError, match=r"wait for each other: a, b$"):
        start_order(services)


PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(st.lists(PATHS, max_size=3), max_size=5))
def test_who_shares_state_is_who_has_a_path_in_the_others(found: list[list[str]]) -> None:
    """Both ways, also where several lie in one another; `/a/ab` does not lie in `/a/a`."""
    services = {}
    for number, paths in enumerate(found):
        state = {f"i{n}": StateItem(f"i{n}", ItemKind.FILE, path + "b" * (n % 2)) for n, path in enumerate(paths)}
        services[f"s{number}"] = Service(f"s{number}", Place("a", 1, 1), state=state)

    def meet(one: str, other: str) -> bool:
        mine = [f"{item.path}/" for item in services[one].state.values()]
        others = [f"{item.path}/" for item in services[other].state.values()]
        return any(a.startswith(b) or b.startswith(a) for a in mine for b in others)

    wanted = {one: {other for other in services if other != one and meet(one, other)} for one in services}
    assert sharing(services) == wanted
