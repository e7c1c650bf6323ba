"""Strict reading of the JSON that recoverd itself wrote, and the one spelling in which it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from recoverd.errors import RepositoryError

T = TypeVar("T")

_LONG = re.compile(r"0|-?[1-9][0-9]{0,18}")
_REQUIRED: Any = object()


class Malformed(ValueError):
    """What stands there is not what recoverd writes."""


def canonical(document: Mapping[str, Any]) -> str:
    """Sorted keys, no blanks, ASCII: what `jq -caS .` prints. Raises ValueError for numbers that JSON lacks."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def parse(text: str | bytes) -> Fields:
    """The fields of a JSON object. Raises Malformed, also when a key comes twice."""
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is no JSON: {error}") from None
    return Fields(document)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Malformed("a key comes twice")
    return document


class Fields:
    """Takes typed fields out of a JSON object. Every method raises Malformed when the field is of another type."""

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise Malformed("an object is expected")
        self._left: dict[str, Any] = dict(document)

    def text(self, key: str, default: str = _REQUIRED) -> str:
        value = self._take(key, default)
        if type(value) is not str:
            raise Malformed(f"{key} is no text")
        return value

    def text_or_none(self, key: str) -> str | None:
        return None if self._left.get(key) is None and self._drop(key) else self.text(key)

    def flag(self, key: str, default: bool = _REQUIRED) -> bool:
        value = self._take(key, default)
        if type(value) is not bool:
            raise Malformed(f"{key} is neither true nor false")
        return value

    def whole(self, key: str, default: int = _REQUIRED) -> int:
        """A whole number from 0 to 2^53."""
        value = self._take(key, default)
        if type(value) is not int or not 0 <= value <= 2**53:
            raise Malformed(f"{key} is no whole number")
        return value

    def whole_or_none(self, key: str) -> int | None:
        return None if self._left.get(key) is None and self._drop(key) else self.whole(key)

    def long(self, key: str) -> int:
        """A 64-bit number, which is written as text."""
        value = self._take(key, _REQUIRED)
        if type(value) is not str or not _LONG.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
            raise Malformed(f"{key} is no number in text")
        return int(value)

    def long_or_none(self, key: str) -> int | None:
        return None if self._left.get(key) is None and self._drop(key) else self.long(key)

    def size(self, key: str) -> int:
        value = self.long(key)
        if value < 0:
            raise Malformed(f"{key} is negative")
        return value

    def objects(self, key: str, read: Callable[[Fields], T]) -> dict[str, T]:
        return {name: read(Fields(value)) for name, value in self.any_object(key).items()}

    def any_object(self, key: str, default: Mapping[str, Any] = _REQUIRED) -> dict[str, Any]:
        value = self._take(key, default)
        if not isinstance(value, Mapping):
            raise Malformed(f"{key} is no object")
        return dict(value)

    def texts(self, key: str, default: Mapping[str, str] = _REQUIRED) -> dict[str, str]:
        """An object whose values are all text."""
        found = self.any_object(key, default)
        if any(type(value) is not str for value in found.values()):
            raise Malformed(f"{key} holds something that is no text")
        return found

    def list_of(self, key: str, read: Callable[[Any], T], default: Sequence[Any] = _REQUIRED) -> tuple[T, ...]:
        value = self._take(key, default)
        if not isinstance(value, list):
            raise Malformed(f"{key} is no list")
        return tuple(read(element) for element in value)

    def rest(self) -> dict[str, Any]:
        """Whatever nobody has asked for yet."""
        left, self._left = self._left, {}
        return left

    def nothing_else(self) -> None:
        """Raises Malformed when fields are left that nobody asked for."""
        if self._left:
            raise Malformed(f"it has fields of a newer recoverd: {', '.join(sorted(self._left))}")

    def _take(self, key: str, default: Any) -> Any:
        value = self._left.pop(key, default)
        if value is _REQUIRED:
            raise Malformed(f"{key} is missing")
        return value

    def _drop(self, key: str) -> bool:
        self._left.pop(key, None)
        return True


def as_text(value: Any) -> str:
    if type(value) is not str:
        raise Malformed("text is expected")
    return value


def check_version(fields: Fields, key: str, understood: int, what: str) -> None:
    """Raises RepositoryError for a newer version, Malformed when there is none."""
    version = fields.whole(key)
    if version != understood:
        raise RepositoryError(
            f"{what} has version {version}, and this recoverd understands {understood}",
            hint="use the recoverd that wrote it, or a newer one",
        )
