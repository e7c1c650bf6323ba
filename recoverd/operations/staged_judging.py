"""Judging what was staged, by the rules of today, before it replaces anything."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator

from recoverd.config.model import Service
from recoverd.operations.context import Context
from recoverd.recovery.choices import Choice
from recoverd.recovery.item_survey import item_key
from recoverd.recovery.kinds import kind_of
from recoverd.recovery.plan import Target
from recoverd.recovery.staging import Staging
from recoverd.recovery.stat_rows import encode
from recoverd.recovery.validating import validate
from recoverd.recovery.written import QUIET_NS, rows_of
from recoverd.state.verdicts import Verdict

_BLOCK_BYTES = 1 << 20


def problems(
    context: Context, service: Service, staged: Staging, choice: Choice, changed: Collection[str] = ()
) -> dict[Target, str]:
    """What is wrong with the staged documents, a sentence for each.

    A verdict on the very bytes (their hashes were checked when they were staged) by the very same rules stands. What
    was emptied passes where the service's policy accepts that. `changed`: items that are not what they were taken from.
    """
    passes = {Verdict.OK}
    if service.restore.verdicts.get(Verdict.RESET) == "accept":
        passes.add(Verdict.RESET)
    found: dict[Target, str] = {}
    judges = context.judges(service)
    settled = _settled(context, service, choice).difference(changed)
    for replacement, document, fd in staged.files(lambda one: one.item not in settled):
        item = service.state[replacement.item]
        judgement = kind_of(item.kind).judge_staged(judges[item.name], document, fd)
        validation = item.validate
        if validation is not None and judgement.verdict in passes:
            name = (document or replacement.target).rpartition("/")[2]
            invalid = validate(validation, name, _blocks(fd), uid=os.fstat(fd).st_uid)
            if invalid is not None:
                found.setdefault((replacement.item, replacement.relative), invalid.sentence)
        if judgement.verdict not in passes:
            what = judgement.problems[0].problem if judgement.problems else judgement.verdict.value
            found.setdefault((replacement.item, replacement.relative), what)
    return found


def _blocks(fd: int) -> Iterator[bytes]:
    at = 0
    while block := os.pread(fd, _BLOCK_BYTES, at):
        yield block
        at += len(block)


def _settled(context: Context, service: Service, choice: Choice) -> set[str]:
    """Items that come from snapshots in which all of their documents were ok, by what judges today."""
    judges = context.judges(service)
    snapshots = {one.sequence: one for one in context.repository().snapshots(service.name)}
    doubtful = set()
    for part in choice.parts:
        if part.sequence not in snapshots:  # it comes from another origin
            doubtful.add(part.item)
            continue
        record = snapshots[part.sequence].items[part.item]
        item = service.state[part.item]
        settled = record.verdict == Verdict.OK and record.root == record.good and record.judge == judges[item.name].id
        if not settled or item.validate is not None:  # what a command says is never remembered
            doubtful.add(part.item)
    return {part.item for part in choice.parts} - doubtful


def rows(context: Context, service: Service, staged: Staging, before_ns: int) -> dict[str, dict[str, bytes]]:
    """What was staged, judged and found ok as stat caches by key of the item, for the look after the swap, which begins
    when this returns, not before `before_ns`.

    Items whose documents are more than judged by their bytes have none: they are looked at in full. Waits for the clock
    of the file system to tick, some milliseconds at most: to read all of them again takes longer.
    """
    found = {}
    newest_ns = max((one.newest_ctime_ns for each in staged.written.values() for one in each.values()), default=0)
    wait_ns = newest_ns + QUIET_NS - before_ns
    if 0 < wait_ns <= QUIET_NS:
        time.sleep(wait_ns / 1e9)
        before_ns += wait_ns
    for name, written in staged.written.items():
        item, judge = service.state[name], context.judges(service)[name]
        if item.validate is None and item.guards is None:
            made = rows_of(written, judge=judge.id, unchecked=judge.unchecked, before_ns=before_ns)
            found[item_key(service.name, name)] = {below: encode(row) for below, row in made}
    return found
