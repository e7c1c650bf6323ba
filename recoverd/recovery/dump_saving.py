"""One run of the command that saves a dump, and of the tool that judges what it has saved."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import ExitStack

from recoverd.config.model import StateItem
from recoverd.recovery.dump_looks import Take
from recoverd.recovery.validating import Invalid, PrivateCopy
from recoverd.services import streaming
from recoverd.services.commands import Ran
from recoverd.values import dataclass

_MOST_LINES = 2
_ERROR = re.compile(r"\b(error|fatal|panic)\b", re.IGNORECASE)
_MOST_WORDS = 400


class NoDump(Exception):
    """Why what came is no dump."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A whole dump: as whom it was saved, and what the item's own tool has against it."""

    size_bytes: int
    uid: int
    invalid: Invalid | None = None


def save(item: StateItem, take: Take) -> Saved:
    """Run the item's `save` to its end, and hand to `take` what it writes, as it comes. No tool looks at it.

    Raises NoDump where there is none, ServiceError for a user that recoverd can't become, and what `take` does.
    """
    dump = item.dump
    assert dump is not None, "a dump item has its commands"
    uid = streaming.account_of(dump.user).uid
    try:
        done = streaming.read_from(dump.save, take, timeout_s=dump.timeout_s, most_bytes=dump.max_bytes, user=dump.user)
    except (OSError, ValueError) as error:
        raise NoDump(f"{dump.save[0]}: {getattr(error, 'strerror', None) or error}") from error
    if done.too_large:
        raise NoDump(f"it has more than max_bytes, {dump.max_bytes} bytes")
    if not done.whole or done.ran.status != 0:
        raise NoDump(f"{dump.save[0]} {said(done.ran)}")
    return Saved(done.size_bytes, uid)


def save_and_judge(item: StateItem, take: Take) -> Saved:
    """The same, with a private copy made on the way, where the item's own tool is to look at it."""
    with ExitStack() as stack:
        copy = None if item.validate is None else _Copy(item, stack)

        def both(data: bytes) -> None:
            if copy is not None:
                copy.take(data)
            take(data)

        saved = save(item, both)
        return saved if copy is None else Saved(saved.size_bytes, saved.uid, copy.judged(saved))


def judge(item: StateItem, saved: Saved, pieces: Iterable[bytes]) -> Saved:
    """The same dump, with what the item's own tool says of a private copy. Raises NoDump, and what `pieces` does."""
    if item.validate is None or not saved.size_bytes:
        return saved
    with ExitStack() as stack:
        copy = _Copy(item, stack)
        for piece in pieces:
            copy.take(piece)
        return Saved(saved.size_bytes, saved.uid, copy.judged(saved))


def said(ran: Ran) -> str:
    """How a command ended, with its last words: tools of databases say in two lines what is wrong, and what helps.

    Where it names an error, that and what follows: pg_restore ends with the statement, and with advice.
    """
    lines = [line for line in (line.strip() for line in ran.output.splitlines()) if line]
    first = next((at for at, line in enumerate(lines) if _ERROR.search(line)), None)
    chosen = lines[-_MOST_LINES:] if first is None else lines[first : first + _MOST_LINES]
    words = " ".join(chosen)
    words = words[-_MOST_WORDS:] if first is None else words[:_MOST_WORDS]
    shown = "".join(letter if letter.isprintable() else "?" for letter in words)
    return f"{ran.ending}: {shown}" if shown else ran.ending


class _Copy:
    """A private copy of one dump, for its tool. All of it raises NoDump where there is no place for it."""

    def __init__(self, item: StateItem, stack: ExitStack) -> None:
        assert item.dump is not None, "a dump item has its commands"
        self._validation = item.validate
        try:
            copy = PrivateCopy(item.name, streaming.account_of(item.dump.user).uid)
            self._copy = stack.enter_context(copy)
        except OSError as error:
            raise NoDump(f"there is no place for a copy of it: {error.strerror or error}") from error

    def take(self, data: bytes) -> None:
        try:
            self._copy.write(data)
        except OSError as error:
            raise NoDump(f"it can't be copied for its tool: {error.strerror or error}") from error

    def judged(self, saved: Saved) -> Invalid | None:
        assert self._validation is not None, "else there is no copy"
        return self._copy.judged(self._validation) if saved.size_bytes else None
