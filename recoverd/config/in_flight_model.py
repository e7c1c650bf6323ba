"""The part of the model that is about what was in flight: queries over a service's documents."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from recoverd.values import dataclass, field


@dataclass(frozen=True, slots=True)
class InFlight:
    """One query of the resume report: entries of a document that fit, and what is told of each."""

    item: str
    select: str  # JSON pointer of a list, of a mapping whose values count, or of one object; "" is the document
    where: Mapping[str, Any] = field(
        default_factory=lambda: MappingProxyType({})
    )  # field -> value, list of values or {within: 1h}
    show: tuple[str, ...] = ()  # fields that are told, by name or as a JSON pointer below the entry
    exists: str | None = None  # the field of which is told whether it is there
    called: str | None = None  # the key `as`: what an entry is called; fields are filled in
    message: str | None = None
    notify: str | None = None  # a warning

    @property
    def is_warning(self) -> bool:
        """Whether it only warns: what it finds is nothing to be resumed."""
        return self.notify is not None and self.called is None and self.message is None
