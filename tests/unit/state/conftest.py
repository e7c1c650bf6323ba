"""Schemas for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recoverd.config.model import Place, SchemaSource

MakeSource = Callable[..., SchemaSource]


@pytest.fixture
def schema_source() -> MakeSource:
    """schema_source(document, path=None, directories=()) -> SchemaSource"""

    def make(document: Any, path: str | None = None, directories: tuple[str, ...] = ()) -> SchemaSource:
        return SchemaSource(document, path, directories, Place("recoverd.yaml", 7, 3))

    return make
