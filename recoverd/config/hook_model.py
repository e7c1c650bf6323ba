"""The part of the model that is about who is told of events."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from recoverd.values import dataclass, field

if TYPE_CHECKING:
    from recoverd.config.model import Secret

EVERY = "*"  # in `when`: all events


@dataclass(frozen=True, slots=True)
class Hook:
    """One command or one webhook, and the events that it is told of."""

    when: tuple[str, ...]
    command: tuple[str, ...] = ()  # empty: a webhook
    webhook: str | Secret | None = None
    headers: Mapping[str, str | Secret] = field(default_factory=lambda: MappingProxyType({}))
    body: str | None = None  # None: the event as JSON
    timeout_s: float = 10.0

    def wants(self, event: str) -> bool:
        """Whether the hook is to be told of events of this name."""
        return EVERY in self.when or event in self.when

    @property
    def content_type(self) -> str | None:
        """What the headers say the body is, in lower case; None where they do not."""
        value = next((value for name, value in self.headers.items() if name.lower() == "content-type"), None)
        return value.lower() if isinstance(value, str) else None
