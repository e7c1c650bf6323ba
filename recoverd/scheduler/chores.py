"""What the scheduler does at times of its own, beside autosave: care of the repository and of logs.

In the timetable a chore stands among the services, under a name that no service can have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from recoverd.config.model import Autosave, Config
from recoverd.errors import LockHeld, RecoverdError
from recoverd.operations.context import Context
from recoverd.operations.log_bounds import bound_logs, has_logs
from recoverd.operations.prune import PruneRequest
from recoverd.operations.prune import prune as prune_repository
from recoverd.operations.tidying import tidy_if_any

PREFIX = "chore "
PRUNE = f"{PREFIX}prune"
LOGS = f"{PREFIX}logs"
TIDY = f"{PREFIX}tidy"
Chores = Mapping[str, Callable[[Context], bool]]
"""By name what to do; False when another recoverd is at work, and it should be tried again soon."""
_LOGS_EVERY_S = 60.0
_TIDY_EVERY_S = 3600.0
_MOST_NEW_PACKS = 8  # that one prune writes: captures wait meanwhile, and the next prune goes on
_LOG = logging.getLogger("recoverd.scheduler")


def schedules(config: Config) -> dict[str, Autosave]:
    """When each declared chore is due."""
    found = {} if config.prune_cron is None else {PRUNE: Autosave(cron=config.prune_cron)}
    found |= {LOGS: Autosave(every_s=_LOGS_EVERY_S)} if has_logs(config) else {}
    lists = any(service.instances is not None for service in config.services.values())
    return found | ({TIDY: Autosave(every_s=_TIDY_EVERY_S)} if lists else {})


def prune(context: Context) -> bool:
    """`prune.cron`: retention and bounds of all services. Whatever goes wrong is told, and the next time comes."""
    try:
        if context.repository_if_any() is None:
            return True
        result = prune_repository(context, PruneRequest(most_new_packs=_MOST_NEW_PACKS))
    except LockHeld as error:
        _LOG.info("prune waits: %s", error.message)
        return False
    except (RecoverdError, OSError) as error:
        context.events.emit("prune.failed", message=str(error), path=context.config.repository.path)
        return True
    for note in result.notes:
        _LOG.info("prune: %s", note)
    return True


def bound(context: Context) -> bool:
    """Keep the logs of services within bounds."""
    bound_logs(context.config)
    return True


def tidy(context: Context) -> bool:
    """Forget processes that documents listed once, and that are over."""
    tidy_if_any(context)
    return True


CHORES: Chores = {PRUNE: prune, LOGS: bound, TIDY: tidy}
