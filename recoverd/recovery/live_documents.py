"""The document of a file item as it lies there now, parsed; only what is valid is believed."""

from __future__ import annotations

import os
from typing import Any

from recoverd.config.model import Format, StateItem
from recoverd.errors import StateError
from recoverd.state.formats import detection, reading
from recoverd.state.formats.text import Limits, Unjudgeable
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Verdict
from recoverd.system.answering import silent
from recoverd.system.reading import read_stable
from recoverd.system.walk import open_parent
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class LiveDocument:
    """`uid`: who can say what is in it: the owner of its directory, or of the file where that is root's."""

    value: Any
    uid: int
    mtime_ns: int


def read_live(item: StateItem, judge: Judge, *, io_timeout_s: float) -> LiveDocument | None:
    """The document; None where there is none.

    Raises StateError when it is not valid, changes while it is read, can't be read in time or has several names (a hard
    link could have been planted, and says nothing of whose it is).
    """
    if silent([item.path], within_s=io_timeout_s):
        raise StateError(f"{item.path} does not answer")
    try:
        directory, name = open_parent(item.path)
        try:
            owner = os.fstat(directory).st_uid
            read = read_stable(directory, name, most_bytes=Limits().size_bytes)
        finally:
            os.close(directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{item.path} can't be read: {error.strerror or error}") from error
    if read.torn:
        raise StateError(f"{item.path} is being written all the time")
    if read.stat.st_nlink > 1:
        raise StateError(f"{item.path} has several names (hard links), so nobody knows whose it is")
    judged = judge.judge("", read.data)
    if judged.verdict is not Verdict.OK:
        why = f": {judged.problems[0]}" if judged.problems else ""
        raise StateError(
            f"{item.path} is {judged.verdict.value}{why}", hint="`recoverd restore` brings back what is not ok"
        )
    kind = item.format
    if kind is Format.AUTO:
        kind = detection.format_of(read.data, item.path, structured=item.schema is not None)
    try:
        values = () if kind is Format.OPAQUE else reading.read(read.data, kind, allow=item.allow).values
    except Unjudgeable as error:
        raise StateError(f"{item.path} {error}") from error
    if len(values) != 1:
        raise StateError(f"{item.path} is not one document with a list in it")
    return LiveDocument(values[0], owner or read.stat.st_uid, read.stat.st_mtime_ns)
