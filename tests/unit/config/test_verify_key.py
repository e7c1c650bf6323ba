"""The host key `verify`: its defaults, and what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoverd.config.loading import load
from recoverd.config.model import VerifyConfig
from recoverd.errors import ConfigError


def loaded(tmp_path: Path, text: str) -> VerifyConfig:
    path = tmp_path / "recoverd.yaml"
    path.write_text(f"version: 1\nstate_dir: {tmp_path}/state\n{text}")
    path.chmod(0o600)
    return load([str(path)], environ={}, euid=0, home=str(tmp_path), strict=True).config.verify


def test_a_sample_is_verified_every_day_unless_said_otherwise(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == VerifyConfig(86400.0, 0.05)
    assert loaded(tmp_path, "verify: {every: 12h, sample: 2.5%}\n") == VerifyConfig(43200.0, 0.025)
    assert loaded(tmp_path, "verify: {sample: 0%}\n").sample == 0.0


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("verify: {every: 0s}\n", "3:17: verify.every"),
        ("verify: {sample: 101%}\n", "3:18: verify.sample"),
        ("verify: {sample: 5}\n", "3:18: verify.sample"),
        ("verify: {often: 1d}\n", "3:10: verify.often"),
    ],
)
def test_what_makes_no_sense_is_a_problem_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, text)
    (problem,) = refused.value.problems
    assert place in str(problem)
