"""`watch` and `limits` of a service: their defaults, and what they take."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoverd.config.keeping import Limits, Watch
from recoverd.config.loading import load
from recoverd.config.model import Service
from recoverd.errors import ConfigError

RUN = "    run: {command: [/bin/true]}\n"


def loaded(tmp_path: Path, text: str) -> Service:
    path = tmp_path / "a.yaml"
    path.write_text(f"version: 1\nstate_dir: {tmp_path}/state\nservices:\n  a:\n{RUN}{text}")
    path.chmod(0o600)
    return load([str(path)], environ={}, euid=0, home=str(tmp_path), strict=True).config.services["a"]


def test_defaults(tmp_path: Path) -> None:
    """config.md: every 10 s, pauses of 1 s to 5 min, given up after 5; without the keys nothing is."""
    plain = loaded(tmp_path, "")
    assert plain.watch is None
    assert not plain.limits.are_set
    assert loaded(tmp_path, "    watch: {}\n").watch == Watch(10.0, "on-failure", 1.0, 300.0, 5)


def test_all_that_is_given(tmp_path: Path) -> None:
    text = "    watch: {every: 1m, restart: always, backoff: {first: 2s, most: 1h}, give_up_after: 9}\n"
    found = loaded(tmp_path, text + "    limits: {memory: 512MB, tasks: 64}\n")
    assert found.watch == Watch(60.0, "always", 2.0, 3600.0, 9)
    assert found.limits == Limits(512_000_000, 64)
    assert loaded(tmp_path, "    watch: {backoff: {first: 10m}}\n").watch == Watch(
        backoff_first_s=600.0, backoff_most_s=600.0
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("watch: {every: 0s}", "6:20: services.a.watch.every"),
        ("watch: {restart: sometimes}", "6:22: services.a.watch.restart"),
        ("watch: {backoff: {first: 2s, most: 1s}}", "6:40: services.a.watch.backoff.most"),
        ("watch: {give_up_after: 0}", "6:28: services.a.watch.give_up_after"),
        ("watch: {evry: 1s}", "6:13: services.a.watch.evry"),
        ("limits: {memory: 64}", "6:22: services.a.limits.memory"),
        ("limits: {tasks: 0}", "6:21: services.a.limits.tasks"),
        ("limits: {cpu: 1}", "6:14: services.a.limits.cpu"),
    ],
)
def test_what_makes_no_sense_is_a_problem_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, f"    {text}\n")
    (problem,) = refused.value.problems
    assert place in str(problem)
