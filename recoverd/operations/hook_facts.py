"""What `check` is told of hooks."""

from __future__ import annotations

from recoverd.health.facts import HookFacts
from recoverd.operations.context import Context


def hook_facts(context: Context) -> tuple[int, tuple[HookFacts, ...]]:
    """How many are declared, and those of them that do not work."""
    if context.hooks is None:
        return 0, ()
    from recoverd.operations.hook_records import HookRecords  # late: few declare hooks

    return len(context.hooks.rules), HookRecords(context.state_dir).facts(context.hooks.rules)
