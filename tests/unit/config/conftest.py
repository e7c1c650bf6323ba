"""Files of a configuration, written and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.loading import Loaded, load
from recoverd.errors import ConfigError

PLAIN_USER = 1000  # for whom nobody asks who owns the files


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Mapping[str, str | bytes]], Path]:
    """Writes files below a directory; returns it."""

    def write(files: Mapping[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return write


@pytest.fixture
def load_text(write: Callable[[Mapping[str, str | bytes]], Path], tmp_path: Path) -> Callable[..., Loaded]:
    """Loads one file, recoverd.yaml, with the given text; state_dir is given by the environment."""

    def load_text(text: str | bytes, **options: Any) -> Loaded:
        write({"recoverd.yaml": text})
        options.setdefault("environ", {"STATE_DIRECTORY": "/var/lib/recoverd"})
        return load([str(tmp_path / "recoverd.yaml")], **{"euid": PLAIN_USER, "home": "/home/me", **options})

    return load_text


@pytest.fixture
def problems(load_text: Callable[..., Loaded], tmp_path: Path) -> Callable[..., list[str]]:
    """The lines that a broken file gives, without the directory of the test; none for a good one."""

    def problems(text: str | bytes, **options: Any) -> list[str]:
        try:
            load_text(text, **options)
        except ConfigError as error:
            return [
                str(problem).replace(f"{tmp_path}/", "").removeprefix("recoverd.yaml:") for problem in error.problems
            ]
        return []

    return problems
