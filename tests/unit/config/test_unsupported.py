"""What part of the contract is not built yet is refused at its place, never ignored."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recoverd.config.unsupported import HOST, SERVICE, Unsupported

# One use of each line of the table, as the keys of a service or of recoverd.yaml.
HOST_USES = {
    "verify": "verify: {every: 1d}",
    "replicas": "replicas: {o: {url: 's3://b'}}",
    "heartbeat": "heartbeat: {url: 'https://x'}",
    "metrics": "metrics: {textfile: /x}",
}
ITEM = "state: {m: {file: /srv/x/a}}"
SERVICE_USES = {
    "restore.fallback.*": "restore: {fallback: [VALUE]}",
    "state.*.migrate": "state: {m: {file: /srv/x/a, migrate: []}}",
}


@pytest.mark.parametrize("line", HOST, ids=lambda line: line.pattern)
def test_host_wide(line: Unsupported, problems: Callable[..., list[str]]) -> None:
    (found,) = problems(HOST_USES[line.pattern])
    assert found.endswith(f"{line.pattern}: is not supported yet")
    assert found.startswith("1:")


@pytest.mark.parametrize(
    ("line", "value"),
    [(line, value) for line in SERVICE for value in line.values or ("",)],
    ids=lambda each: each.pattern if isinstance(each, Unsupported) else each,
)
def test_in_a_service(line: Unsupported, value: str, problems: Callable[..., list[str]]) -> None:
    """Exactly one problem, at the line of its use, whatever else would follow from it."""
    use = SERVICE_USES[line.pattern].replace("VALUE", value)
    text = f"services:\n  web:\n    {use}\n" + ("" if use.startswith("state") else f"    {ITEM}\n")
    (found,) = problems(text)
    words = f'"{value}" is' if value else "is"
    assert f": {words} not supported yet" in found
    assert found.startswith("3:")
    place = found.split(": ")[1].replace("services.web.", "").replace("state.m.", "state.*.").replace("[0]", ".*")
    assert place == line.pattern


@pytest.mark.parametrize("use", ["restore: {fallback: [replicas]}"])
def test_in_defaults(use: str, problems: Callable[..., list[str]]) -> None:
    """What a service can't have, all services can't have; said once, not again for each of them."""
    (found,) = problems(f"defaults: {{{use}}}\nservices:\n  a: {{{ITEM}}}\n  b: {{state: {{m: {{file: /srv/y}}}}}}\n")
    assert found.startswith("1:")
    assert "defaults." in found


def test_default_values_of_unbuilt_choices_are_fine(problems: Callable[..., list[str]]) -> None:
    """Naming what happens anyway is no use of anything unbuilt."""
    body = "restore: {exhausted: block, salvage: none, unhealthy: report, fallback: [snapshots]}"
    assert problems(f"services:\n  web:\n    {ITEM}\n    {body}\n") == []
