"""`watch` of the processes that one service's document lists: each is a service of its own to `keeping`.

The document is read again when it may have changed. What it lists anew is started, what it lists and has died is
brought back, and what it lists no longer is left to itself: a document that a confused service has emptied must not end
anybody's work. While it can't be believed, those stay wanted that it listed last, and when one of them dies the
document is restored along with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from recoverd.config.keeping import Watch
from recoverd.config.model import Config, Service
from recoverd.errors import LockHeld
from recoverd.operations import instances, listed_notes
from recoverd.operations.context import Context
from recoverd.operations.instances import Listing
from recoverd.operations.listed_notes import Noted, document_mark
from recoverd.scheduler import remembering
from recoverd.scheduler.keeping import Act, Decision, History, Look, Seen, decide
from recoverd.system import clock
from recoverd.values import dataclass, field, replace

_LOG = logging.getLogger("recoverd.scheduler")

Revive = Callable[[Sequence[str]], int]
"""Brings processes of one service back; the exit status of `recoverd restore`."""


def listing_services(config: Config) -> dict[str, Watch]:
    """The services whose documents list processes that are to be watched."""
    return {
        name: one.watch
        for name, one in config.services.items()
        if one.enabled and one.watch is not None and one.instances is not None
    }


@dataclass(slots=True)
class ListedKeeper:
    """What is known of the processes of one service from look to look. Only one thread at a time has to do with it.

    `is_missed` tells of another service whether it is wanted and down, `may_act` whether anything is still to be done.
    """

    revive: Revive
    is_missed: Callable[[str], bool]
    may_act: Callable[[], bool]
    histories: dict[str, History] = field(default_factory=dict)
    listed: dict[str, Service] = field(default_factory=dict)  # by the document when it was believed last
    unlisted: dict[str, Service] = field(default_factory=dict)  # run without being listed any more
    found: Listing | None = None
    mark: str = ""  # of the document as it was read; "" while it may have changed unnoticed
    read_mark: str = ""
    noted: Noted | None = None
    told: str | None = None  # the problem of the document that the log has
    has_looked: bool = False

    def configuration_changed(self) -> None:
        """The document is to be read with other eyes. Called by another thread, which costs one reading at most."""
        self.mark = ""

    def tend(self, context: Context, service: Service, watch: Watch) -> float:
        """Look, decide, act; in how many seconds to look again. Raises RecoverdError, OSError."""
        is_first = not self.has_looked
        new = self._look_at_document(context, service)
        is_stopped = instances.is_stopped(context, service)
        wait_s, tries = watch.every_s, dict[str, tuple[Service, Decision]]()
        for name, one in self.listed.items():
            before = self.histories.get(name) or remembering.remembered(context, name)
            is_new = name in new and not (is_first and before.gave_up)  # by a former scheduler
            look = self._look(context, one, is_stopped=is_stopped, is_new=is_new, gave_up=before.gave_up)
            decision = decide(watch, service.health.within_s, before, look)
            if decision.act is not Act.NOTHING and not self.may_act():
                return watch.every_s
            wait_s = min(wait_s, decision.again_s)
            remembering.settle(context, one, before, decision, running=look.seen is Seen.UP)
            self.histories[name] = decision.history
            if decision.act in {Act.BRING_BACK, Act.START}:
                tries[name] = (one, decision)
        self._note(context, service)
        return min(wait_s, self._bring_back(tries, watch)) if tries else wait_s

    def _look_at_document(self, context: Context, service: Service) -> set[str]:
        """Read it if it may have changed; the names that it lists and did not list before."""
        assert service.instances is not None
        mark, is_quiet = document_mark(service, io_timeout_s=context.config.io_timeout_s)
        depends_on_time = any(isinstance(wanted, dict) for wanted in service.instances.where.values())
        if self.found is not None and self.found.error is None and mark == self.mark and not depends_on_time:
            return set()
        self.mark, self.read_mark = (mark if is_quiet else ""), mark
        found = self.found = instances.listing(context, service)
        if found.error is not None:
            if self.told != found.error:
                _LOG.warning("which processes %s lists is not known: %s", service.name, found.error)
                self.told = found.error
            if not self.has_looked:
                self._take_over(context, service)
            return set()
        self.told = None
        before, self.listed = self.listed, {one.name: one for one in found.services}
        if not self.has_looked:
            before = {one.name: one for one in instances.known(context, service)}
        for name in self.listed.keys() & self.unlisted.keys():
            del self.unlisted[name]
        self.unlisted |= {name: one for name, one in before.items() if name not in self.listed}
        self.histories = {name: known for name, known in self.histories.items() if name in self.listed}
        self.has_looked = True
        return self.listed.keys() - before.keys()

    def _take_over(self, context: Context, service: Service) -> None:
        """The document can't be believed, and this scheduler has never seen it whole: somebody else may have."""
        noted = listed_notes.load(context, service.name)
        names = noted.listed if noted is not None else ()
        self.listed = {one.name: one for one in instances.known(context, service) if one.name in names}

    def _look(self, context: Context, one: Service, *, is_stopped: bool, is_new: bool, gave_up: bool) -> Look:
        status = instances.status_of(context, one)
        return Look(
            at_s=clock.monotonic_s(),
            seen=Seen.UP if status.running else Seen.DOWN,
            wanted=not is_stopped and status.wanted != "stopped",
            detail=status.detail,
            waits_for=next((other for other in one.after if self.is_missed(other)), None),
            anew=gave_up and remembering.is_anew(context, one),
            is_new=is_new,
        )

    def _bring_back(self, tries: dict[str, tuple[Service, Decision]], watch: Watch) -> float:
        """All that died are brought back by one call; what it came to, the next look tells."""
        status = self.revive(tuple(tries))
        if status == LockHeld.exit_status:
            for name, (_, decision) in tries.items():
                _LOG.info("%s is brought back later: another recoverd is at it", name)
                self.histories[name] = replace(decision.history, failures=decision.history.failures - 1)
        return watch.every_s if status in {0, 3} else min(watch.every_s, watch.backoff_first_s)

    def _note(self, context: Context, service: Service) -> None:
        assert self.found is not None
        for name in [one.name for one in self.unlisted.values() if not instances.status_of(context, one).running]:
            del self.unlisted[name]
        noted = Noted.of(self.found, tuple(self.unlisted), self.read_mark)
        if self.found.error is not None:
            noted = replace(noted, listed=tuple(self.listed))
        if noted != self.noted:
            listed_notes.save(context, service.name, noted)
            self.noted = noted
