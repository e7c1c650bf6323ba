"""`recoverd logs`: what a service said."""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.errors import UsageError
from recoverd.operations import instances
from recoverd.operations.context import Context
from recoverd.operations.processes import looking_driver_of


def logs(context: Context, name: str, lines: int, *, follow: bool = False) -> Iterator[str]:
    """The newest lines of a service's log, oldest first; with `follow` also those that come, for ever.

    Raises UsageError for an unknown service or one without a process, ServiceError where there is no log to read.
    """
    service = instances.named(context, name, to_start=False) if "@" in name else context.select([name])[0]
    driver = looking_driver_of(context, service)
    if driver is None:
        raise UsageError(
            f"service {name} is state only: it declares no `run`, so it has no log",
            hint=f"`recoverd list {name}` shows what was saved of it",
        )
    return driver.log(lines, follow=follow)
