"""Survey: one look at the live state of a service, which captures and assessments share.

A survey looks at every state item by directory descriptors, reads what may have changed, judges it, and hands
the bytes to a store: the repository's writer when a snapshot is made, or a `Scratch` that keeps only trees
when state is merely assessed. So an assessment is a capture that stores nothing, and the two can't disagree.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from recoverd.config.model import EMPTY, Service
from recoverd.recovery.comparing import Accepted
from recoverd.recovery.dump_looks import ASK, DumpLook
from recoverd.recovery.item_survey import MOST_PROBLEMS, ItemSurvey, ServiceSurvey, absent, damaged, item_key
from recoverd.recovery.kinds import kind_of
from recoverd.recovery.looking import Look
from recoverd.recovery.partial import Hints
from recoverd.recovery.stat_rows import encode
from recoverd.recovery.stores import Memo, Store
from recoverd.repository.records import ItemRecord, Snapshot
from recoverd.repository.trees import EMPTY_TREE
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Verdict
from recoverd.system.answering import silent
from recoverd.system.mounts import mount_points
from recoverd.system.walk import UntrustedLink

_LOG = logging.getLogger("recoverd.recovery")


def survey_service(
    service: Service,
    judges: Mapping[str, Judge],
    *,
    store: Store,
    before: Mapping[str, ItemRecord],
    memo: Memo | None,
    now_ns: int,
    full_read: bool = False,
    accepted: Mapping[str, Mapping[str, str]] = EMPTY,
    hints: Mapping[str, Hints] | None = None,
    io_timeout_s: float | None = None,
    dumps: DumpLook = ASK,
    at_rest: bool = False,
) -> ServiceSurvey:
    """Look at every state item of `service`. `before`: its `newest_records`; `now_ns`: the start of this look.
    `accepted`: item -> document -> content that its operator called good. `hints`: item -> what of it may have changed
    since `before`; None: anything may have. What lies on a file system that does not answer within `io_timeout_s` is
    unreadable. `dumps`: whether dump items are asked for one. `at_rest`: a restore has just brought this state in.

    Never raises for what is on disk: that is what verdicts are for. Raises RepositoryError when the
    repository can't take what is put, DamagedObject when it can't give what is in `before`.
    """
    items = {}
    paths = [item.path for item in service.state.values() if item.path]
    dead = silent(paths, within_s=io_timeout_s) if io_timeout_s is not None and paths else frozenset()
    for name, item in service.state.items():
        look = Look(
            service.name,
            item,
            judges[name],
            store,
            before.get(name),
            memo,
            now_ns,
            full_read,
            Accepted(accepted.get(name, EMPTY), service.restore.verdicts.get(Verdict.RESET) == "accept"),
            None if hints is None else hints.get(name, Hints()),
            dumps,
            at_rest,
        )
        items[name] = found = _survey(look, io_timeout_s if item.path in dead else None)
        _LOG.debug(
            "%s: %s is %s: %d files, %d bytes, %d damaged; %d directories listed, %d as the newest snapshot has them",
            service.name,
            name,
            found.verdict.value,
            found.files,
            found.size_bytes,
            len(found.findings),
            found.listed,
            len(found.as_known),
        )
        for finding in found.findings[:MOST_PROBLEMS]:
            _LOG.debug("%s: %s: %s is %s", service.name, name, finding.document or item.path, finding.verdict.value)
    return ServiceSurvey(service.name, items)


def save_rows(survey: ServiceSurvey, memo: Memo, parent: Snapshot | None) -> None:
    """Save what changed in the stat cache after a capture. `parent`: the snapshot that its trees are part of.

    A mere touch makes no snapshot, so the trees of some directories may not be stored: their rows are not saved,
    and the older ones still lead to trees that are there.
    """
    for name, item in survey.items.items():
        if item.rows is None or parent is None or name not in parent.items:
            continue
        kept = parent.items[name]
        stored = item.root == kept.root and item.good == kept.good
        rows = {
            below: encode(row) if row is not None else None
            for below, row in item.rows.items()
            if stored or row is None or below in item.as_known
        }
        if rows:
            memo.save_stat_cache(item_key(survey.service, name), rows)


def _survey(look: Look, dead_s: float | None) -> ItemSurvey:
    """What one item comes to; `dead_s`: its file system has not answered for so long."""
    item, before = look.item, look.before
    outline = ItemSurvey(
        item=item.name,
        kind=item.kind,
        path=item.path,
        verdict=Verdict.OK,
        problems=(),
        findings=(),
        root=EMPTY_TREE,
        good=before.good if before is not None else None,
        files=0,
        size_bytes=0,
        judge=look.judge.id,
        mount=before.mount if before is not None else None,
    )
    if dead_s is not None:
        return damaged(outline, Verdict.UNREADABLE, f"its file system does not answer within {dead_s:g} s")
    found = _looked(look, outline)
    if outline.mount is None or found.files or before is None or not before.files:
        return found
    if outline.mount in mount_points():
        return found
    # what should be there is elsewhere, and not lost
    return damaged(outline, Verdict.UNREADABLE, f"the file system at {outline.mount} is not mounted")


def _looked(look: Look, outline: ItemSurvey) -> ItemSurvey:
    try:
        return kind_of(look.item.kind).look(look, outline)
    except FileNotFoundError:
        return absent(look.item, outline)
    except UntrustedLink as error:
        return damaged(outline, Verdict.UNREADABLE, error.message)
    except OSError as error:
        return damaged(outline, Verdict.UNREADABLE, f"can't be read: {error.strerror or error}")
