"""A service's own children that its state names: noted when it is captured, ended before it is started again.

A pid in a document proves nothing: it may be stale, and the document may be written by somebody who wants a foreign
process ended. So a process is noted only if it is old enough to have been there when the document was written, belongs
to whoever writes that, and is not older than the service. What is noted is boot id, pid and start time: later exactly
that process is ended, or nobody.
"""

from __future__ import annotations

import logging
import os
import time

from recoverd.config.model import Run, RunKind, Service
from recoverd.errors import RecoverdError, ServiceError
from recoverd.operations.context import Context
from recoverd.recovery.listed import pids
from recoverd.recovery.live_documents import LiveDocument, read_live
from recoverd.services import process_tree
from recoverd.services.environment import find_account
from recoverd.services.process_record import ProcessRecord
from recoverd.system import clock, processes
from recoverd.system.processes import ProcessIdentity
from recoverd.values import replace

_SLACK_S = 0.05  # times of processes and of files come in ticks of 10 ms
_LOG = logging.getLogger("recoverd.operations")


def note(context: Context, service: Service) -> None:
    """Note who the children are that the document names now. One that can't be used leaves what was noted before."""
    if service.processes is None:
        return
    item = service.state[service.processes.item]
    repository = context.repository()
    try:
        document = read_live(item, context.judges(service)[item.name], io_timeout_s=context.config.io_timeout_s)
        before = repository.record(service.name)
        main = ProcessRecord.from_json(before.process).identity
        found = () if document is None else _children(service, document, main, _identities(before.children))
        children = tuple(one.to_json() for one in found)
        if children != tuple(before.children):
            repository.update_record(service.name, lambda record: replace(record, children=children))
    except (RecoverdError, OSError) as error:
        _LOG.debug("the children of %s are not known: %s", service.name, error)


def _children(
    service: Service, document: LiveDocument, main: ProcessIdentity | None, before: list[ProcessIdentity]
) -> list[ProcessIdentity]:
    """Those of the named processes that are what the document means."""
    assert service.processes is not None
    run, uid = service.run, document.uid
    if run is not None and run.kind is RunKind.COMMAND and run.user is not None:
        uid = find_account(run).uid
    first_ticks = main.start_ticks if main is not None and processes.is_alive(main) else 0
    spared, found = {os.getpid(), *_ancestors()}, []
    for pid in pids(service.processes, document.value):
        one = processes.identify(pid)
        if one is None or one == main or pid in spared:
            continue
        if one in before or (
            one.start_ticks >= first_ticks and _uid(pid) == uid and _was_there(one, document.mtime_ns)
        ):
            found.append(one)
    return found


def _was_there(one: ProcessIdentity, mtime_ns: int) -> bool:
    """Whether the process had begun when the document was written: ages are compared, so a set clock misleads nobody
    for long."""
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - one.start_ticks / os.sysconf("SC_CLK_TCK")
    return age_s >= (clock.now_ns() - mtime_ns) / 1e9 - _SLACK_S


def _uid(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def _ancestors() -> list[int]:
    """The processes that recoverd runs below: a service may have called it."""
    found, pid = [], os.getppid()
    while pid > 1 and pid not in found:
        found.append(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return found


def end_survivors(context: Context, service: Service) -> tuple[int, ...]:
    """End, with all that descends from them, the noted children of a former run of a service that does not run now;
    the pids of those that still lived. Raises ServiceError when one can't be ended."""
    if service.processes is None:
        return ()
    run = service.run if service.run is not None else Run(RunKind.COMMAND)
    ended = []
    for one in _identities(context.repository(create=True).record(service.name).children):
        try:
            gone = process_tree.end_tree(one, "", timeout_s=run.stop_timeout_s)
        except ServiceError as error:
            raise ServiceError(
                f"{service.name}: what is left of its former run can't be ended: {error.message}", hint=error.hint
            ) from error
        if gone.main:
            ended.append(one.pid)
    return tuple(ended)


def told(ended: tuple[int, ...]) -> str:
    """Which survivors were ended, as a clause; "" for none."""
    if not ended:
        return ""
    word = "process" if len(ended) == 1 else "processes"
    return f"of its former run {word} {', '.join(map(str, ended))} had to be ended"


def _identities(children: object) -> list[ProcessIdentity]:
    """Those that make sense: a damaged record ends nobody."""
    found = []
    for one in children if isinstance(children, list | tuple) else ():
        try:
            identity = ProcessIdentity.from_json(one)
        except ValueError:
            continue
        if identity.pid > 1:
            found.append(identity)
    return found
