"""The resume report as files: the newest for the service to read, and a history of the last ones."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from recoverd.config.model import RunKind, Service
from recoverd.errors import RecoverdError
from recoverd.operations import lifetimes
from recoverd.operations.context import Context
from recoverd.operations.processes import driver_of
from recoverd.operations.restore_results import ItemOutcome, RestoreRequest
from recoverd.operations.resume_files import history_path, load_history, report_path
from recoverd.recovery.resume import History, ResumeReport, Shutdown, encode_history, followed
from recoverd.services.process_record import ProcessRecord
from recoverd.system import clock, durable
from recoverd.system.walk import UntrustedLink, open_parent
from recoverd.values import replace

if TYPE_CHECKING:
    from recoverd.recovery.in_flight import Found

FAILURE = "failure"  # why a restore happens: the unit has failed
_log = logging.getLogger("recoverd.operations")


def announce(
    context: Context,
    service: Service,
    request: RestoreRequest,
    outcome: str,
    items: Sequence[ItemOutcome],
    *,
    written: bool,
) -> ResumeReport | None:
    """Tell a service that is about to start how it comes back; None when it runs already, or is to stay down.

    `written`: its state was changed. What goes wrong here keeps the service from nothing.
    """
    repository = context.repository()
    history = load_history(context.state_dir, service.name)
    record = ProcessRecord.from_json(repository.record(service.name).process)
    if not written and not _is_about_to_start(context, service, record, boot=request.boot):
        return None
    is_first = history.is_empty and not repository.sequences(service.name) and not record.starts
    is_own = service.run is not None and service.run.kind is RunKind.COMMAND
    lifetime, this_boot = lifetimes.load(context.state_dir), clock.boot_id()
    shutdown = lifetimes.last_shutdown(record, lifetime, service.name, this_boot, is_own=is_own)
    if request.why == FAILURE and shutdown.clean is None:
        shutdown = Shutdown(False, "its unit has failed")
    first_phase = _first_phase(history, request, this_boot)
    if first_phase is not None:
        shutdown = Shutdown(first_phase["clean_shutdown"], first_phase["shutdown"])
    now_ns = clock.now_ns()
    told: Sequence[Mapping[str, Any]] = [item.to_json() for item in items]
    if first_phase is not None and not written:
        outcome, told = first_phase["outcome"], _older(first_phase, now_ns)
    report = ResumeReport(
        service.name,
        now_ns,
        request.why,
        this_boot,
        history.restart_count if first_phase is not None else 0 if is_first else history.restart_count + 1,
        shutdown,
        outcome,
        told,
        path=report_path(context.runtime_dir, service.name),
        in_flight=_in_flight(context, service, now_ns),
        again=first_phase is not None,
    )
    path = report.path
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        data = json.dumps(report.to_json(), ensure_ascii=True, indent=2).encode("ascii") + b"\n"
        _write_for(service, path, data)
    except OSError as error:
        _log.warning("%s can't be told how it comes back: %s", service.name, error)
    return report


def _first_phase(history: History, request: RestoreRequest, this_boot: str) -> Mapping[str, Any] | None:
    """The report of this boot's first phase, where the second goes on with it: both are one return."""
    newest = history.reports[-1] if history.reports else {}
    told = (newest.get("why"), newest.get("boot_id"), newest.get("healthy"))
    return newest if request.why == "confirm" and told == ("boot", this_boot, None) else None


def _older(report: Mapping[str, Any], now_ns: int) -> list[Mapping[str, Any]]:
    """What a report says of its items, said at `now_ns`: what was restored is older by now, and as much is lost."""
    since_ms = now_ns // 1_000_000 - clock.parse_rfc3339(report["time"]) // 1_000_000
    ages = [item["age_seconds"] for item in report["items"]]
    return [
        {**item, "age_seconds": None if age_s is None else (round(age_s * 1000) + since_ms) / 1000}
        for item, age_s in zip(report["items"], ages, strict=True)
    ]


def _in_flight(context: Context, service: Service, now_ns: int) -> Found | None:
    """What its documents say was in flight; None where it declares no queries."""
    if not service.in_flight:
        return None
    from recoverd.recovery.in_flight_documents import look  # late: few services ask

    return look(service, now_ns=now_ns, io_timeout_s=context.config.io_timeout_s)


def _is_about_to_start(context: Context, service: Service, record: ProcessRecord, *, boot: bool) -> bool:
    """Before services start, all do that nobody wants down; later, those that do not run."""
    if boot or service.run is None:
        return boot and record.wanted != "stopped"
    driver = driver_of(context, service)
    try:
        status = driver.status() if driver is not None else None
    except RecoverdError:
        return True
    return status is not None and not status.running and status.wanted != "stopped"


def remember(context: Context, reports: Iterable[tuple[ResumeReport, bool | None]]) -> None:
    """Add reports, and whether their service was healthy, to the histories: all of them with one sync. Best effort.

    What one that was killed has left half written goes, whether or not there is anything to add.
    """
    directory = os.path.join(context.state_dir, "resume")
    pending: list[tuple[str, str]] = []
    try:
        for report, healthy in reports:
            history = followed(load_history(context.state_dir, report.service), replace(report, healthy=healthy))
            durable.make_directories(directory)
            temporary = os.path.join(directory, durable.temporary_name())
            with open(temporary, "wb", opener=_private) as file:
                file.write(encode_history(history))
            pending.append((temporary, history_path(context.state_dir, report.service)))
        if pending:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                durable.syncfs(fd)
                for temporary, path in pending:
                    os.replace(temporary, path)
                durable.fsync_directory(fd)
            finally:
                os.close(fd)
        for one in (directory, os.path.dirname(report_path(context.runtime_dir, ""))):
            _sweep(one)
    except OSError as error:
        _log.warning("how services came back can't be kept: %s", error)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, 0o600)


def _sweep(directory: str) -> None:
    """Remove what processes that are gone have left half written."""
    if not os.path.isdir(directory):
        return
    for name in os.listdir(directory):
        if durable.is_leftover(name):
            os.unlink(os.path.join(directory, name))


def _write_for(service: Service, path: str, data: bytes) -> None:
    """In memory, readable for the group of the service."""
    temporary = os.path.join(os.path.dirname(path), durable.temporary_name())
    try:
        with open(temporary, "wb", opener=_private) as file:
            file.write(data)
            gid = _group_of(service)
            if gid is not None:
                try:
                    os.fchown(file.fileno(), -1, gid)
                except PermissionError:
                    pass  # a plain user's own service reads it as that user
            os.fchmod(file.fileno(), 0o640)
        os.replace(temporary, path)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _group_of(service: Service) -> int | None:
    """The group it runs with: declared, else that of its state; None where nothing is there yet."""
    if service.run is not None and service.run.kind is RunKind.COMMAND and (service.run.user or service.run.group):
        from recoverd.services.environment import find_account

        try:
            return find_account(service.run).gid
        except RecoverdError:
            return None  # its start will say so
    for item in service.state.values():
        if not item.path:
            continue  # a dump lies nowhere
        try:
            fd, name = open_parent(item.path)
        except (OSError, UntrustedLink):
            continue
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False).st_gid
        except OSError:
            continue
        finally:
            os.close(fd)
    return None
