"""`restore --from DIRECTORY`: what lies there becomes an imported snapshot, which is then restored like any other."""

from __future__ import annotations

import os

from recoverd.config.model import ItemKind, Service
from recoverd.errors import StateError, UsageError
from recoverd.operations.context import Context
from recoverd.operations.import_ import Copy, draft, survey_copy
from recoverd.operations.what_changed import snapshot_verdict
from recoverd.recovery.dump_looks import name_of
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.repository.records import Snapshot, SnapshotVerdict
from recoverd.system import clock


def import_directory(context: Context, service: Service, directory: str) -> Snapshot:
    """One snapshot of all state items of a service that are found in a directory, as `restore --to` writes them.

    Of each item DIRECTORY/SERVICE/ITEM/NAME is looked for, then DIRECTORY/ITEM/NAME and DIRECTORY/NAME, NAME being the
    last part of the item's path. Raises UsageError when none is there, StateError when anything in them is damaged,
    LockHeld, RepositoryError.
    """
    now_ns = clock.now_ns()
    copies = []
    for name, item in service.state.items():
        last = name_of(item)
        places = (os.path.join(service.name, name, last), os.path.join(name, last), last)
        for path in (os.path.join(os.path.abspath(directory), place) for place in places):
            is_there = os.path.isdir(path) if item.kind is ItemKind.DIRECTORY else os.path.isfile(path)
            if is_there and not os.path.islink(path):
                copies.append(Copy(path, item, now_ns, "asked"))
                break
    if not copies:
        raise UsageError(
            f"nothing in {directory} is a copy of the state of {service.name}",
            hint=f"looked for, as `recoverd restore --to` writes them: {', '.join(_looked_for(service))}",
        )
    repository = context.repository(create=True)
    with (
        repository.service_lock(service.name, wait_s=context.wait_s, what=f"service {service.name}"),
        context.state_changes,
        repository.writer(wait_s=context.wait_s, what="the repository") as writer,
    ):
        surveys = {copy.item.name: survey_copy(context, repository, writer, service, copy) for copy in copies}
        verdict = snapshot_verdict(ServiceSurvey(service.name, surveys), good_changed=True)
        if verdict is not SnapshotVerdict.OK:  # what was asked for is all of it
            where, problem = next((name, one) for name, found in surveys.items() for one in found.problems)
            raise StateError(
                f"what {directory} holds is not valid state of {service.name}: {where}: {problem}",
                hint="correct it, or take it out of the directory; nothing was changed",
            )
        (made,) = writer.commit([draft(service.name, surveys, verdict, now_ns, label=f"from {directory}")])
    return made


def _looked_for(service: Service) -> list[str]:
    return [os.path.join(name, name_of(item)) for name, item in service.state.items()]
