"""`recoverd assess`: the verdict on live state. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from recoverd.config.model import EMPTY, Service
from recoverd.errors import DamagedObject
from recoverd.operations.context import Context
from recoverd.recovery.dump_looks import ASK, DumpLook
from recoverd.recovery.item_survey import ItemSurvey, ServiceSurvey, newest_records
from recoverd.recovery.scratch import Scratch
from recoverd.recovery.stores import Memo
from recoverd.recovery.survey import survey_service
from recoverd.repository.objects import Reader
from recoverd.state.verdicts import Verdict
from recoverd.system import clock
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class AssessRequest:
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AssessResult:
    services: tuple[ServiceSurvey, ...]

    @property
    def exit_status(self) -> int:
        """0 when every verdict is ok or new."""
        return 0 if all(one.verdict in {Verdict.OK, Verdict.NEW} for one in self.services) else 1

    def to_json(self) -> dict[str, Any]:
        return {
            "services": [
                {
                    "service": one.service,
                    "verdict": one.verdict.value,
                    "items": [_item(item) for item in one.items.values()],
                }
                for one in self.services
            ]
        }


def _item(item: ItemSurvey) -> dict[str, Any]:
    return {
        "item": item.item,
        "verdict": item.verdict.value,
        "problems": [{"place": p.place, "problem": p.problem} for p in item.problems],
        "notes": [{"place": p.place, "problem": p.problem} for p in item.notes],
        "path": item.path,
        "files": item.files,
        "bytes": item.size_bytes,
        "unchecked": item.unchecked,
        "older": {document: one.version for document, one in item.older.items()},
        "damaged": {f.document: f.verdict.value for f in item.findings},
    }


def assess(context: Context, request: AssessRequest) -> AssessResult:
    """Look at the live state of services. Raises UsageError, RepositoryError."""
    services = [service for service in context.select(request.services) if service.state]
    repository = context.repository_if_any()
    with ExitStack() as stack:
        reader = stack.enter_context(repository.reader()) if repository is not None else None
        return AssessResult(tuple(look(context, service, reader)[0] for service in services))


class _ReadOnly:
    """The catalog's memory, without adding to it: an assessment writes nothing. `rows` come before what it holds."""

    def __init__(self, memo: Memo, rows: Mapping[str, Mapping[str, bytes]]) -> None:
        self._memo = memo
        self._rows = rows

    def memo(self, judge: str, hashes: Sequence[str]) -> dict[str, bytes]:
        return self._memo.memo(judge, hashes)

    def remember(self, judge: str, verdicts: Mapping[str, bytes]) -> None:
        pass

    def stat_cache(self, item_key: str, directories: Collection[str] | None = None) -> dict[str, bytes]:
        if item_key in self._rows:
            return dict(self._rows[item_key])
        return self._memo.stat_cache(item_key, directories)

    def save_stat_cache(self, item_key: str, rows: Mapping[str, bytes | None]) -> None:
        pass


def look(
    context: Context,
    service: Service,
    reader: Reader | None,
    *,
    full_read: bool = False,
    rows: Mapping[str, Mapping[str, bytes]] = EMPTY,
    dumps: DumpLook = ASK,
    at_rest: bool = False,
) -> tuple[ServiceSurvey, Scratch]:
    """The survey of live state, and the trees of what it found. `rows`: by key of an item, a stat cache that is newer
    than the catalog's. `at_rest`: a restore has just brought this state in."""
    repository = context.repository_if_any() if reader is not None else None
    snapshots = repository.snapshots(service.name) if repository is not None else []
    for count in range(len(snapshots), -1, -1):
        scratch = Scratch(reader)
        try:
            survey = survey_service(
                service,
                context.judges(service),
                store=scratch,
                before=newest_records(service, snapshots[:count]),
                memo=_ReadOnly(repository.catalog, rows) if repository is not None else None,
                now_ns=clock.now_ns(),
                full_read=full_read,
                accepted=repository.record(service.name).accepted if repository is not None else EMPTY,
                io_timeout_s=context.config.io_timeout_s,
                dumps=dumps,
                at_rest=at_rest,
            )
            return survey, scratch
        except DamagedObject as error:
            context.tell_damage(service.name, error.message)
    raise AssertionError("without records no tree is read")
