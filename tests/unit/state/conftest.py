"""Schemas for the tests of this room."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Place, SchemaSource
from recoverd.config.schema_files import examine

MakeSource = Callable[..., SchemaSource]


@pytest.fixture
def schema_source() -> MakeSource:
    """schema_source(document, path=None, directories=()) -> SchemaSource, with the files that it refers to"""

    def read(path: str) -> Any:
        return json.loads(Path(path).read_text()) if os.path.exists(path) else None

    def make(document: Any, path: str | None = None, directories: tuple[str, ...] = ()) -> SchemaSource:
        _, files = examine(document, path, directories, read)
        return SchemaSource(document, path, directories, Place("recoverd.yaml", 7, 3), files)

    return make
