"""Hooks: whoever is to be told of an event is, and nobody waits for it.

Each hook has a line of its own: what it is to be told waits there, in order and bounded, for a thread that lives only
as long as there is something to tell. So a hook that hangs holds up neither the job nor any other hook. What could not
be delivered is logged, once for each time that a hook stops working.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from recoverd.config.hook_model import Hook
from recoverd.events.stopping import Stop
from recoverd.events.stream import Event
from recoverd.events.text import plural
from recoverd.system.clock import monotonic_s
from recoverd.values import dataclass

MOST_WAITING = 200  # events, for one hook
PAUSES_S = (1.0, 5.0)  # before the second and the third try
LONGEST_PAUSE_S = 60.0  # whatever a webhook asks for
_REAPED_WITHIN_S = 2.0  # a thread whose command was killed, or whose connection was closed
_LOG = logging.getLogger("recoverd.events")

Document = Mapping[str, Any]
"""An event as hooks get it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one try. `why` is None when the hook was told; `again`: another try may help."""

    why: str | None = None
    again: bool = True
    after_s: float = 0.0  # not before


Deliver = Callable[[Document, float, Stop], Told]
"""Tells one event within so many seconds, or until it is asked to stop. Raises nothing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A hook as it was declared. `name` is for sentences."""

    hook: Hook
    service: str | None  # whose events only; None: all
    name: str
    deliver: Deliver

    @property
    def key(self) -> str:
        """Tells the same hook in another process, without saying anything of it."""
        import hashlib

        return hashlib.sha256(repr((self.service, self.hook)).encode("utf-8", "surrogateescape")).hexdigest()

    def wants(self, event: Event) -> bool:
        """Also the processes that a document of the service lists are the service's."""
        mine = self.service is None or (event.service or "").partition("@")[0] == self.service
        return mine and self.hook.wants(event.name.value)


@dataclass(frozen=True, slots=True)
class Untold:
    """An event that a hook was not told of, by the key of the hook."""

    key: str
    document: Document


class Memory(Protocol):
    """Keeps for others which hooks do not work. Raises nothing."""

    def works(self, rule: Rule) -> None:
        """It was told of an event."""

    def failed(self, rule: Rule, event: str, why: str, untold: int) -> None:
        """It was not told of so many events more; `event` is the last of them, in a word or two."""


class Hooks:
    """All hooks of one configuration. `tell` is the sink; `close` is called once nothing more is told."""

    def __init__(self, rules: Sequence[Rule], describe: Callable[[Event], Document], memory: Memory) -> None:
        self._describe = describe
        self._lines = [_Line(rule, memory) for rule in rules]
        self._former: list[Hooks] = []

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(line.rule for line in self._lines)

    def tell(self, event: Event) -> None:
        """Put it in line for whoever wants it. Never blocks."""
        wanted = [line for line in self._lines if line.rule.wants(event)]
        if wanted:
            document = self._describe(event)
            for line in wanted:
                line.put(document)

    def hold_webhooks(self) -> None:
        """From now on webhooks wait for another process: here is no network."""
        for line in self._lines:
            line.held = not line.rule.hook.command

    def tell_again(self, untold: Sequence[Untold]) -> int:
        """What another process could not deliver, for the same hooks; how many events no hook is there for any more."""
        lines = {line.rule.key: line for line in self._lines}
        for one in untold:
            if one.key in lines:
                lines[one.key].put(one.document)
        return sum(one.key not in lines for one in untold)

    def follow(self, former: Hooks) -> None:
        """Take the place of others, after a reload: what they have still to tell is told, and waited for."""
        for line in former._lines:
            if line.is_idle:
                line.end(keep=False)
        self._former = [one for one in (*former._former, former) if not one.is_idle]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to be told."""
        return all(line.is_idle for line in self._lines) and all(one.is_idle for one in self._former)

    def patience_s(self, most_s: float) -> float:
        """How long it is worth to wait: for one try of the slowest hook that is at work."""
        every = [line.rule.hook.timeout_s for one in (*self._former, self) for line in one._lines if not line.is_idle]
        return min(max(every, default=0.0), most_s)

    def close(self, wait_s: float, *, keep: bool = False) -> list[Untold]:
        """Wait for so many seconds at most, then end what is at work. What is left over is logged, unless somebody
        else will tell it (`keep`): then it is returned.
        """
        lines = [line for one in (*self._former, self) for line in one._lines]
        deadline_s = monotonic_s() + wait_s
        for line in lines:
            line.hurry(deadline_s)
        try:
            for line in lines:
                line.wait_until_idle(max(0.0, deadline_s - monotonic_s()))
        finally:  # also after a Ctrl-C no command stays that nobody would end
            for line in lines:
                line.stop.ask()
            for line in lines:
                line.wait_until_idle(_REAPED_WITHIN_S)
        untold = []
        for line in lines:
            untold += line.end(keep=keep)
        return untold


class _Line:
    """What waits for one hook."""

    def __init__(self, rule: Rule, memory: Memory) -> None:
        self.rule = rule
        self.stop = Stop()
        self._memory = memory
        self._changed = threading.Condition()
        self._waiting: deque[Document] = deque()
        self.held = False  # what waits is for another process
        self._at_work = False
        self._untold: deque[tuple[Document, bool]] = deque(maxlen=MOST_WAITING)  # and whether that was logged
        self._deadline_s: float | None = None  # monotonic; set: it is in a hurry
        self._left_out = 0  # because too many waited
        self._lost = 0  # since it was told of one last
        self._why = ""

    @property
    def is_idle(self) -> bool:
        return not self._at_work

    def put(self, document: Document) -> None:
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                self._left_out += 1
                if self._left_out == 1:
                    _LOG.error(
                        "hook %s can't keep up: %d events wait for it, and further ones are left out",
                        self.rule.name,
                        len(self._waiting),
                    )
                return
            self._waiting.append(document)
            if not self._at_work and not self.held:
                thread = threading.Thread(target=self._work, name=f"hook {self.rule.name}", daemon=True)
                thread.start()  # raises where the system has no thread for us: then the next event tries again
                self._at_work = True

    def hurry(self, deadline_s: float) -> None:
        """From now on no pause goes beyond the deadline."""
        with self._changed:
            self._deadline_s = deadline_s
            self._changed.notify_all()

    def wait_until_idle(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work, seconds)

    def end(self, *, keep: bool) -> list[Untold]:
        """Once it was told to stop: what it was not told, for somebody else; else nothing, and that is logged."""
        with self._changed:
            waiting, untold = list(self._waiting), list(self._untold)
            self._waiting.clear()
            self._untold.clear()
        if keep:
            return [Untold(self.rule.key, one) for one in (*(one for one, _ in untold), *waiting)]
        left = [*(one for one, logged in untold if not logged), *waiting]
        if left:
            count = plural(len(left) + self._left_out, "event")
            shown = ", ".join(_short(one) for one in left[:3]) + (", …" if len(left) > 3 else "")
            why = self._why or "no time left"
            _LOG.error("hook %s was not told of %s (%s): %s", self.rule.name, count, shown, why)
            if waiting or self._left_out:  # what was tried is counted already
                self._memory.failed(self.rule, _short(left[-1]), why, len(waiting) + self._left_out)
        return []

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting or self.stop.is_asked:
                    self._at_work = False
                    self._changed.notify_all()
                    return
                document = self._waiting.popleft()
            try:
                told = self._told(document)
            except Exception as error:  # whoever tells others must go on
                _LOG.error("this is a mistake in recoverd; please report it", exc_info=error)
                told = Told(f"{type(error).__name__}", again=False)
            with self._changed:
                self._note(document, told)
            if told.why is None:
                self._memory.works(self.rule)
            else:
                self._memory.failed(self.rule, _short(document), told.why, 1)

    def _told(self, document: Document) -> Told:
        """Try until it is told, or there is no use in it. A hook that did not work last time is tried once."""
        timeout_s = self.rule.hook.timeout_s
        pauses = iter(() if self._lost else PAUSES_S)
        while True:
            told = self.rule.deliver(document, timeout_s, self.stop)
            if told.why is None or not told.again:
                return told
            pause_s = next(pauses, None)
            if pause_s is None or not self._rest(min(max(pause_s, told.after_s), LONGEST_PAUSE_S)):
                return told
            _LOG.debug("hook %s is tried again: %s", self.rule.name, told.why)

    def _rest(self, pause_s: float) -> bool:
        """Sleep; False when there is no time for it."""
        end_s = monotonic_s() + pause_s
        with self._changed:
            while (left_s := end_s - monotonic_s()) > 0:
                if self._deadline_s is not None and end_s >= self._deadline_s:
                    return False
                self._changed.wait(left_s)
        return not self.stop.is_asked

    def _note(self, document: Document, told: Told) -> None:
        name = self.rule.name
        if told.why is None:
            if self._lost or self._left_out:
                _LOG.warning("hook %s works again; events it was not told of: %d", name, self._lost + self._left_out)
            self._lost = self._left_out = 0
            return
        self._lost += 1
        self._why = told.why
        log = not told.again or (self._lost == 1 and self._deadline_s is None)
        if log:
            _LOG.error("hook %s was not told of %s: %s", name, _short(document), told.why)
        if told.again:
            self._untold.append((document, log))


def _short(document: Document) -> str:
    """An event in a word or two."""
    return " ".join(str(document[key]) for key in ("event", "service") if document.get(key))
