"""In which order services come up, and what is held back by what does not. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from recoverd.config.model import Service
from recoverd.errors import ServiceError


def start_order(services: Mapping[str, Service]) -> list[list[str]]:
    """Waves of service names: each service comes after all that it names in `after`, and those of one wave may come
    up side by side. Names that are not among `services` (the run is about some services only) order nothing.
    Stopping goes the other way round.

    Raises ServiceError for a cycle, which the configuration refuses before.
    """
    waiting = {name: {other for other in service.after if other in services} for name, service in services.items()}
    waves: list[list[str]] = []
    while waiting:
        ready = sorted(name for name, others in waiting.items() if not others)
        if not ready:
            raise ServiceError(f"these services wait for each other: {', '.join(sorted(waiting))}")
        waves.append(ready)
        for name in ready:
            del waiting[name]
        for others in waiting.values():
            others.difference_update(ready)
    return waves


def blocked_by(services: Mapping[str, Service], blocked: Mapping[str, str]) -> dict[str, str]:
    """`blocked` (service -> reason) with all that directly or indirectly comes after something in it.

    The reason of a dependant names what it waits for. `blocked` may name services that are not among `services`,
    such as those whose configuration is broken. Raises ServiceError as `start_order`.
    """
    reasons = dict(blocked)
    for wave in start_order(services):
        for name in wave:
            held = held_by(services[name], reasons)
            if name not in reasons and held is not None:
                reasons[name] = held[1]
    return reasons


def held_by(service: Service, blocked: Mapping[str, str]) -> tuple[str, str] | None:
    """The blocked service (service -> reason) that this one comes after, and the reason why it is held back then."""
    for other in service.after:
        if other in blocked:
            return other, f"it comes after {other}, which is blocked: {blocked[other]}"
    return None


def sharing(services: Mapping[str, Service]) -> dict[str, frozenset[str]]:
    """For each service those that have state in common with it: a path that is the other's too, or lies in it. They are
    not to be worked on at the same time."""
    shared: dict[str, set[str]] = {name: set() for name in services}
    around: list[tuple[str, str]] = []  # the paths in which we are, with whose they are
    for path, name in sorted(
        (f"{item.path}/", name) for name, service in services.items() for item in service.state.values() if item.path
    ):
        while around and not path.startswith(around[-1][0]):
            around.pop()
        for _, other in around:
            if other != name:
                shared[name].add(other)
                shared[other].add(name)
        around.append((path, name))
    return {name: frozenset(others) for name, others in shared.items()}
