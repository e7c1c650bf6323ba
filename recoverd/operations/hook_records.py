"""What hooks could not be told, kept for `check`: a file for each that does not work, gone once it does.

Any process may write it, one after the other or at the same time: what two count at once is counted once.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from recoverd.events.hooks import Rule
from recoverd.health.facts import HookFacts
from recoverd.system import clock, durable

_DIRECTORY = "hooks"
_LOG = logging.getLogger("recoverd.operations")


class HookRecords:
    """Those below one state directory. One that can't be written is not: the log has the failure itself anyway."""

    def __init__(self, state_dir: str) -> None:
        self._directory = os.path.join(state_dir, _DIRECTORY)

    def works(self, rule: Rule) -> None:
        """It was told of an event."""
        with suppress(OSError):
            os.unlink(self._path(rule))

    def failed(self, rule: Rule, event: str, why: str, untold: int) -> None:
        """It was not told of so many events more; `event` is the last of them."""
        now = clock.rfc3339(clock.now_ns())
        before = self._load(rule)
        record = {
            "hook": rule.name,
            "since": before.get("since", now),
            "last": now,
            "event": event,
            "why": why,
            "untold": before.get("untold", 0) + untold,
        }
        try:
            with suppress(FileExistsError):
                os.mkdir(self._directory, 0o700)
            durable.replace_path(self._path(rule), json.dumps(record).encode("ascii"))
        except OSError as error:
            _LOG.debug("that hook %s failed can't be kept: %s", rule.name, error)

    def keep(self, rules: Collection[Rule]) -> None:
        """Forget hooks that are not declared any more."""
        names = {self._name(rule) for rule in rules}
        with suppress(OSError):
            for name in os.listdir(self._directory):
                if name not in names and (not name.startswith(".") or durable.is_leftover(name)):
                    os.unlink(os.path.join(self._directory, name))

    def facts(self, rules: Collection[Rule]) -> tuple[HookFacts, ...]:
        """Those of declared hooks that do not work, in the order of the configuration."""
        return tuple(fact for rule in rules if (fact := _fact(rule, self._load(rule))) is not None)

    def _load(self, rule: Rule) -> dict[str, Any]:
        """Empty where there is none, or something else."""
        try:
            with durable.open_own(self._path(rule)) as file:
                record = json.loads(file.read())
            return record if _fact(rule, record) is not None else {}
        except (OSError, ValueError):
            return {}

    def _path(self, rule: Rule) -> str:
        return os.path.join(self._directory, self._name(rule))

    @staticmethod
    def _name(rule: Rule) -> str:
        return f"{rule.key[:32]}.json"


def _fact(rule: Rule, record: Any) -> HookFacts | None:
    try:
        since_ns, last_ns = clock.parse_rfc3339(record["since"]), clock.parse_rfc3339(record["last"])
        return HookFacts(rule.name, since_ns, last_ns, str(record["event"]), str(record["why"]), int(record["untold"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
