"""What writers leave beside a document: the temporary file of the last write, a copy from before, dated backups.

Only names that a pattern asks for, only regular files, only below the document's own directory, reached by descriptor.
What is found is judged like the document itself; its time is the one in its name, else that of its last change.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC

from recoverd.config.model import Format, StateItem
from recoverd.recovery.dated_names import time_in_name
from recoverd.recovery.entries import file_entry
from recoverd.recovery.gathered import Gathered
from recoverd.recovery.validating import validate
from recoverd.repository.trees import BLOCK_SIZE, Entry
from recoverd.state.judging import Judge
from recoverd.state.signs import shrunk
from recoverd.state.verdicts import Judgement, Verdict
from recoverd.system.reading import open_regular
from recoverd.system.walk import open_declared_directory, open_directory_at, open_parent
from recoverd.values import dataclass, replace

USUAL = ("{name}.tmp*", "{name}.new", "{name}.bak", "{name}.backup", "{name}~", ".{name}.tmp*", ".{name}.backup")
MOST = 50  # of one document, newest first
_MOST_NAMES = 20_000  # that are looked at in one directory


@dataclass(frozen=True, slots=True)
class Sibling:
    """A valid one: its content is held by a `Gathered` under the document's own name."""

    name: str  # below the document's directory
    time_ns: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    directory: int
    last: str
    status: os.stat_result
    time_ns: int


def find_siblings(
    item: StateItem,
    document: str,
    judge: Judge,
    gathered: Gathered,
    *,
    like: Entry | None,
    now_ns: int,
    notes: list[str],
) -> list[Sibling]:
    """The valid siblings of a document ("" for a file item), newest first.

    `like`: the document's known-good version, whose owner and mode a sibling gets, and against which guards compare;
    without one they are those of the sibling itself. What was found and is not valid is told in `notes`.
    """
    name = (document or item.path).rpartition("/")[2]
    with ExitStack() as stack:
        try:
            directory = _directory(item, document)
        except OSError:
            return []
        stack.callback(os.close, directory)
        found = sorted(_look(item, directory, name, stack, now_ns), key=lambda one: one.time_ns, reverse=True)
        valid = []
        for one in found[:MOST]:
            why, sibling = _judged(item, document, judge, gathered, one, like, name)
            if sibling is not None:
                valid.append(sibling)
            elif why:
                notes.append(f"{one.name} beside {name} is no candidate: it {why}")
        return valid


def may_be_taken(item: StateItem, judgement: Judgement) -> bool:
    """Whether a sibling that is ok so far is known to be whole.

    Half of an opaque file, of a YAML document or of JSON lines may be as ok as all of it; where nothing else is
    declared that could tell, only siblings that were asked for by name are taken.
    """
    if item.siblings is not None or not judgement.unchecked:
        return True
    return item.format in {Format.JSON, Format.TOML} or judgement.detected in {Format.JSON, Format.TOML}


def _directory(item: StateItem, document: str) -> int:
    """The directory that a document lies in. Raises OSError."""
    if not document:
        return open_parent(item.path)[0]
    here = open_declared_directory(item.path)
    for part in document.split("/")[:-1]:
        below = open_directory_at(here, part)
        os.close(here)
        here = below
    return here


def _look(item: StateItem, directory: int, name: str, stack: ExitStack, now_ns: int) -> Iterator[_Found]:
    seen = {name}
    for pattern in USUAL if item.siblings is None else item.siblings:
        parts = [_filled(part, name) for part in pattern.split("/")]
        for path, parent, last in _matching(directory, parts, "", stack):
            if path in seen:
                continue
            seen.add(path)
            with suppress(OSError):
                status = os.stat(last, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    time_ns = time_in_name(last, UTC, now_ns) or min(status.st_mtime_ns, now_ns)
                    yield _Found(path, parent, last, status, time_ns)


def _filled(part: str, name: str) -> str:
    """One component of a pattern, with the document's name taken literally."""
    stem = name.rpartition(".")[0] or name
    return part.replace("{name}", _literal(name)).replace("{stem}", _literal(stem))


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _matching(directory: int, parts: Sequence[str], above: str, stack: ExitStack) -> Iterator[tuple[str, int, str]]:
    """(path, open directory, last name) of everything that the components lead to."""
    first, *rest = parts
    try:
        names = sorted(os.listdir(directory))[:_MOST_NAMES]
    except OSError:
        return
    for name in fnmatch.filter(names, first):
        path = f"{above}/{name}" if above else name
        if not rest:
            yield path, directory, name
            continue
        with suppress(OSError):  # no directory, or one that can't be entered
            below = open_directory_at(directory, name)
            stack.callback(os.close, below)
            yield from _matching(below, rest, path, stack)


def _judged(
    item: StateItem, document: str, judge: Judge, gathered: Gathered, one: _Found, like: Entry | None, name: str
) -> tuple[str, Sibling | None]:
    """Why it is none (a clause; "" where that goes without saying), or the sibling."""
    try:
        fd = open_regular(one.directory, one.last)
    except OSError as error:
        return f"can't be read: {error.strerror or error}", None
    try:
        examination = judge.begin(document)
        size = 0
        while block := os.pread(fd, BLOCK_SIZE, size):
            examination.feed(block)
            size += len(block)
        judgement = judge.named(document, examination.finish())
        if judgement.verdict is Verdict.OK and not judgement.blank:
            why = _refused(item, judgement, fd, size, like, name, one.status.st_uid)
        else:
            why = judgement.problems[0].problem if judgement.problems else "holds nothing"
        if why is not None:
            return why, None
        entry = gathered.put_file(_dressed(one.status, like, name), fd, size)
        fd = -1
    except EOFError:
        return "is being written", None
    except OSError as error:
        return f"can't be read: {error.strerror or error}", None
    finally:
        if fd >= 0:
            os.close(fd)
    return "", Sibling(one.name, one.time_ns, entry)


def _refused(
    item: StateItem, judgement: Judgement, fd: int, size: int, like: Entry | None, name: str, uid: int
) -> str | None:
    if not may_be_taken(item, judgement):
        return "is not known to be whole: declare a schema, or name it under `siblings`"
    if item.guards is not None and like is not None and (sentence := shrunk(item.guards, like.size, size)):
        return sentence
    if item.validate is None:
        return None
    blocks = (os.pread(fd, BLOCK_SIZE, at) for at in range(0, size, BLOCK_SIZE))
    invalid = validate(item.validate, name, blocks, uid=uid)
    return invalid.sentence if invalid is not None else None


def _dressed(status: os.stat_result, like: Entry | None, name: str) -> Entry:
    """Owner, mode and attributes of the document itself, where they are known; the time is the sibling's."""
    if like is None or like.type != "file":
        return file_entry(name, status, "", 0, (), None)
    return replace(like, name=name, mtime_ns=status.st_mtime_ns, hard_link=None)
