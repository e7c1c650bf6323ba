"""Units that systemd stopped along with a service's, and that are started again with it: only where that is safe."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from recoverd.config.model import Service
from recoverd.errors import LockHeld
from recoverd.operations import blocking
from recoverd.operations.context import Context

_LOG = logging.getLogger("recoverd.operations")


@contextmanager
def claimed(context: Context, unit: str) -> Iterator[bool]:
    """Whether a unit may be started as it is, held under the locks of the services that it runs.

    A unit that no service is declared for may. Of a declared one the state must be fit: started on damaged state, many
    a service overwrites it with an empty one. What is being restored right now is started by its own restore.
    """
    from recoverd.operations.units import services_of_unit

    with ExitStack() as held:
        yield all(_is_fit(context, service, held) for service in services_of_unit(context.config, unit))


def _is_fit(context: Context, service: Service, held: ExitStack) -> bool:
    from recoverd.operations.assess import look
    from recoverd.recovery import intents
    from recoverd.recovery.plan import Action, damages

    name, repository = service.name, context.repository()
    try:
        held.enter_context(repository.service_lock(name, wait_s=0.0, what=f"service {name}"))
    except LockHeld:
        return False
    record = repository.record(name)
    if record.process.get("wanted") == "stopped":
        return False
    fit = record.blocked is None and intents.load(context.state_dir, name) is None
    if fit and blocking.reason(context.runtime_dir, name) is None:
        with context.state_changes, repository.reader() as reader:
            survey, _ = look(context, service, reader)
        fit = all(one.action is Action.LEAVE for one in damages(service, survey, record.accepted))
    if not fit:
        _LOG.error("%s stays down until it is restored: recoverd restore %s", name, name)
    return fit
