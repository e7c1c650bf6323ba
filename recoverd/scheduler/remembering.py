"""What lasts of the decisions about watched processes: given up or not, and who is told."""

from __future__ import annotations

import logging

from recoverd.config.model import Service
from recoverd.errors import RecoverdError
from recoverd.operations import given_up
from recoverd.operations.context import Context
from recoverd.scheduler.keeping import Act, Decision, History

_LOG = logging.getLogger("recoverd.scheduler")


def remembered(context: Context, name: str) -> History:
    """What a former scheduler has left."""
    try:
        repository = context.repository_if_any()
        if repository is not None and given_up.why_given_up(repository.record(name)) is not None:
            return History(gave_up=True)
    except (RecoverdError, OSError) as error:
        _LOG.debug("whether %s was given up is not known: %s", name, error)
    return History()


def is_anew(context: Context, service: Service) -> bool:
    """Whether somebody has started it since it was given up, or its state has changed."""
    repository = context.repository_if_any()
    return repository is not None and given_up.is_anew(repository.record(service.name), service)


def settle(context: Context, service: Service, before: History, decision: Decision, *, running: bool) -> None:
    """Keep durably what was decided, and tell it; nothing is brought back here. Raises RepositoryError, OSError."""
    repository = context.repository_if_any()
    if before.gave_up and not decision.history.gave_up and repository is not None:
        given_up.forget(repository, service.name)
    if decision.act is Act.GIVE_UP:
        if repository is not None:
            given_up.give_up(repository, service, decision.reason, running=running)
        context.events.emit("service.gave-up", service=service.name, message=decision.reason)
    elif decision.act is Act.START:
        _LOG.info("%s is started: %s", service.name, decision.reason)
    elif decision.act is not Act.NOTHING:
        context.events.emit("service.unhealthy", service=service.name, message=decision.reason)
