"""What depends on who recoverd runs as: where it keeps what a reboot may forget, and whether lingering matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoverd.config.model import Config, Place, RepositoryConfig, Run, RunKind, Service
from recoverd.operations.lingering import lingering_of, lingers
from recoverd.operations.opening import runtime_directory

NOBODY_LOGGED_IN = 987_654_321
PLACE = Place("test.yaml", 1, 1)


@pytest.mark.parametrize(
    ("environ", "euid", "expected"),
    [
        ({}, 0, "/run/recoverd"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 0, "/run/recoverd"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/recoverd"),
        ({"RUNTIME_DIRECTORY": "/run/one:/run/two", "XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/one"),
        ({}, NOBODY_LOGGED_IN, "/state/run"),
    ],
)
def test_where_flags_and_confirmations_are(environ: dict[str, str], euid: int, expected: str) -> None:
    """Units and commands must mean the same place, or a blocked service would start."""
    assert runtime_directory(environ, euid, "/state") == expected


def config(*services: Service) -> Config:
    return Config("/state", RepositoryConfig("/state/repository"), {one.name: one for one in services})


def test_lingering_matters_to_plain_users_with_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to root, nor to who has neither services that are units nor recoverd's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    command = Service("one", PLACE, run=Run(RunKind.COMMAND, command=("/bin/true",)))
    unit = Service("two", PLACE, run=Run(RunKind.SYSTEMD, unit="two.service"))
    assert lingering_of(config(command, unit), uid=0) is None
    assert lingering_of(config(command), uid=1) is None
    assert lingering_of(config(command, unit), uid=1) is lingers()
    (tmp_path / "systemd" / "user").mkdir(parents=True)
    (tmp_path / "systemd" / "user" / "recoverd.service").write_text("")
    assert lingering_of(config(command), uid=1) is lingers()
