"""The `systemd` driver: a unit of the system's manager, or of the user's when recoverd runs as a plain user."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence

from recoverd.config.model import Run
from recoverd.errors import ServiceError
from recoverd.services.driver import Claim, How, Ledger, ServiceStatus, Started, Stopped, Wanted, free_to_start
from recoverd.services.exclusion import exclusively
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.services.systemctl import Systemctl, UnitState
from recoverd.services.unit_endings import Ending, WentDown, from_journal, from_times, run_of
from recoverd.services.unit_words import decide_wanted, depends_on_its_end, describe, why_failed
from recoverd.system import locks
from recoverd.system.clock import boot_id, monotonic_s, now_ns
from recoverd.system.processes import ProcessIdentity, identify
from recoverd.values import replace

_LOCK_WAIT_S = 300.0
_JOURNAL_LAGS_S = 1.0
_STARTABLE = (".service", ".socket", ".timer", ".path", ".mount", ".automount", ".swap", ".target")
_UP = frozenset({"active", "reloading", "refreshing"})
_CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")


class SystemdDriver:
    """Driver of a service with `run.systemd`. Its contract is that of `driver.Driver`; besides:

    - Units that start this one (sockets, timers, paths: TriggeredBy=) are stopped before it, and started with it again:
      sockets before it, since a socket is refused while its service runs, the others after it. Which ones is durable
      before the first is stopped.
    - So is what systemd stops along with it (RequiredBy=, BoundBy=, ConsistsOf= and their kin), to be started after it;
      `claim` tells of each whether that may be, and holds it meanwhile.
    - A unit that is inactive is never stopped, since that would cancel a start which is queued for it, unless its
      operator wants it down.
    - One whose socket, timer or path waits for work runs, as far as recoverd is concerned.
    - Whether it is wanted says `unit_words.decide_wanted`.
    """

    def __init__(
        self,
        name: str,
        run: Run,
        ledger: Ledger,
        *,
        log_dir: str,
        systemctl: Systemctl | None = None,
        claim: Claim = free_to_start,
    ) -> None:
        assert run.unit is not None
        self._name = name
        self._unit = run.unit
        self._ledger = ledger
        self._log_dir = log_dir
        self._claim = claim
        self._systemctl = systemctl if systemctl is not None else Systemctl(user=os.geteuid() != 0)

    def start(self) -> Started:
        with self._exclusively():
            record, state = self._record(), self._show()
            self._refuse(state)
            if state.active in _UP and any(one.down for one in self._usable(record.triggers)):
                # a stop was begun and never finished; a socket would be refused while its service runs
                along = self._stopped_along([state], record.triggers)
                known = tuple(dict.fromkeys((*record.dependants, *along)))
                record = replace(record, phase=Phase.STOPPED, wanted="running", dependants=known)
                self._ledger.save(record.to_json())
                self._stop_one(state)
                state = self._show()
            if state.active in _UP:
                self._bring_back(record.dependants)
                self._save_running(record, state)
                return Started(already=True, identity=_identity(state))
            waiting = self._waiting(state)
            if waiting and state.kind == "oneshot" and not record.triggers:
                self._save_running(record, state)
                return Started(already=True, identity=None)
            # where the unit itself was down when its triggers were stopped, they are what is to come back
            itself = not record.triggers or record.phase in {Phase.STOPPED, Phase.STARTING}
            ended_alone = record.phase is Phase.RUNNING and state.active == "failed"
            record = replace(
                record,
                wanted="running",
                phase=Phase.STARTING if itself else record.phase,
                starts=record.starts + itself,
                restarts=record.restarts + ended_alone,
                error="",
            )
            self._ledger.save(record.to_json())
            try:
                state = self._bring_up(record, state, itself=itself)
                self._bring_back(record.dependants)
            except ServiceError as error:
                self._ledger.save(replace(record, phase=Phase.FAILED, error=error.message).to_json())
                raise
            self._save_running(record, state)
            return Started(already=False, identity=_identity(state))

    def stop(self, *, by_operator: bool = False) -> Stopped:
        with self._exclusively():
            record, state = self._record(), self._show()
            triggers = self._waiting(state)
            known = tuple(dict.fromkeys((*record.triggers, *(one.unit for one in triggers))))
            changed = replace(record, triggers=known, wanted="stopped" if by_operator else record.wanted)
            if not by_operator:
                along = self._stopped_along([state, *triggers], known)
                changed = replace(changed, dependants=tuple(dict.fromkeys((*record.dependants, *along))))
            was_up = not state.down
            if was_up:
                # durable before it is stopped: else a crash right after would look as if its operator had stopped it
                wanted: Wanted = "stopped" if by_operator else "running"
                changed = replace(changed, phase=Phase.STOPPED, wanted=wanted, last_stop_ns=now_ns())
            if changed != record:
                self._ledger.save(changed.to_json())
            began = monotonic_s()
            for trigger in triggers:
                self._stop_one(trigger)
            if triggers:
                state = self._show()  # one of them may have started it just before
            if state.down and not (by_operator and state.queued):
                self._nothing_remains(state)
                return Stopped(was_running=bool(triggers), how="term" if triggers else "not running", seconds=0.0)
            self._stop_one(state)
            after = self._show()
            self._nothing_remains(after)
            how: How = "kill" if after.result in {"timeout", "watchdog"} else "term"
            now = now_ns()
            clean = now if how == "term" else changed.last_clean_stop_ns
            self._ledger.save(replace(changed, last_stop_ns=now, last_clean_stop_ns=clean).to_json())
            return Stopped(was_running=was_up or bool(triggers), how=how, seconds=monotonic_s() - began)

    def status(self) -> ServiceStatus:
        record, state = self._record(), self._show()
        waits_for = [one.unit for one in self._waiting(state)] if state.active == "inactive" else []
        since_ns = _wall_ns(state.main_started_us if state.main_pid else state.entered_us)
        waits, this_boot = bool(waits_for), boot_id()
        asks = depends_on_its_end(state, record, waits=waits, this_boot=this_boot)
        ending = self._ending(state) if asks else Ending(at_us=state.left_us) if state.left_us else None
        on_purpose = ending is not None and self._on_purpose(ending, (self._unit,))
        return ServiceStatus(
            running=not state.down or bool(waits_for),
            identity=_identity(state),
            since_ns=since_ns if not state.down else None,
            wanted=decide_wanted(state, record, waits=waits, ending=ending, on_purpose=on_purpose),
            restarts=record.restarts + state.restarts,
            detail=describe(
                state,
                waits_for=waits_for,
                since_ns=since_ns,
                ending=ending,
                ended_ns=_wall_ns(ending.at_us) if ending is not None else None,
            ),
            settled=state.active not in {"activating", "deactivating"} and not (state.down and state.queued),
            supervised=True,
        )

    def log(self, lines: int, *, follow: bool = False) -> Iterator[str]:
        self._refuse_unknown(self._show())
        return self._systemctl.journal(self._unit, lines, follow=follow)

    def complaint(self) -> str:
        try:
            return self._systemctl.last_words(self._show())
        except ServiceError:
            return ""

    def _bring_up(self, record: ProcessRecord, state: UnitState, *, itself: bool) -> UnitState:
        """Start the unit and what triggers it; the state after. Raises ServiceError."""
        triggers = self._usable(record.triggers)
        sockets = [one for one in triggers if one.unit.endswith(".socket")]
        for one in [*sockets, *([state] if itself else []), *(each for each in triggers if each not in sockets)]:
            self._systemctl.reset_failed(one.unit)
            why = self._systemctl.start(one)
            if one is not state:
                if why is not None:
                    raise self._failure(f"{one.unit}, which starts it, can't be started: {why}")
                continue
            after = self._show()
            if after.down:
                raise self._not_up(after, why)
            if why is not None:
                raise self._failure(f"{self._unit}: {why}", "it may still come up; `recoverd status` tells")
        return self._show()

    def _bring_back(self, units: Sequence[str]) -> None:
        """Start what went down with the unit. One that does not come up is no failure of this one, and is told."""
        for one in self._usable(units):
            if not one.down:
                continue
            with self._claim(one.unit) as free:
                why = self._start_again(one) if free else None
            if why is not None:
                logging.getLogger("recoverd.services").error(
                    "%s was stopped together with %s, and can't be started again: %s", one.unit, self._unit, why
                )

    def _start_again(self, state: UnitState) -> str | None:
        """Why it can't be, else None."""
        try:
            self._systemctl.reset_failed(state.unit)
            if state.unit.endswith(".target"):
                return self._systemctl.start_alone(state)
            return self._systemctl.start(state)
        except ServiceError as error:
            return error.message

    def _stopped_along(self, stopped: Sequence[UnitState], known: Sequence[str]) -> list[str]:
        """What is up and goes down with these, nearest first; not those of `known`, which are seen to anyway."""
        found: dict[str, None] = {}
        seen = {one.unit for one in stopped} | set(known)
        front = [one for one in stopped if not one.down]
        while front:
            names = [name for name in dict.fromkeys(name for one in front for name in one.stops) if name not in seen]
            seen |= set(names)
            front = [one for one in self._show_all(names) if not one.down]
            found |= dict.fromkeys(one.unit for one in front if one.unit.endswith(_STARTABLE))
        return list(found)

    def _ending(self, state: UnitState) -> Ending:
        """How the unit went down: by the journal, which may lag a little; where that is silent, by the unit's times."""
        deadline = monotonic_s() + _JOURNAL_LAGS_S
        while True:
            lines = self._systemctl.job_lines([state.unit, *state.needs])
            ending = from_journal(state, lines)
            if ending is not None:
                return ending
            if not run_of(state, lines) or monotonic_s() > deadline:
                return from_times(state, self._show_all(state.needs))
            time.sleep(0.02)

    def _on_purpose(self, ending: Ending, seen: tuple[str, ...]) -> bool:
        """Whether somebody wanted the unit down, itself or by one that it went down with and that is still down."""
        if ending.how is not WentDown.ALONG:
            return ending.how is WentDown.TOLD
        others = [one for one in self._show_all(ending.others) if one.unit not in seen and one.down and not one.queued]
        return any(one.masked or self._on_purpose(self._ending(one), (*seen, one.unit)) for one in others)

    def _not_up(self, state: UnitState, why: str | None) -> ServiceError:
        if state.active == "inactive":
            # systemd forgets at once how it came to that, but for the journal
            told = self._systemctl.last_told(self._unit)
            if why is None:
                why = "it is down again: it ended at once, with success, or a Condition…= of it does not hold"
            return self._failure(f"{self._unit}: {why}" + (f"; the journal says: {told}" if told else ""))
        said = self._systemctl.last_words(state)
        return self._failure(f"{self._unit}: {why_failed(state)}" + (f"; it said: {said}" if said else ""))

    def _failure(self, why: str, hint: str | None = None) -> ServiceError:
        return ServiceError(f"{self._name} can't be started: {why}", hint=hint or self._look())

    def _look(self) -> str:
        return f"`systemctl status {self._unit}` shows what systemd knows, `recoverd logs {self._name}` what it said"

    def _refuse(self, state: UnitState) -> None:
        """Raises ServiceError for a unit that can't be started at all."""
        self._refuse_unknown(state)
        if state.masked:
            raise self._failure(
                f"{self._unit} is masked, so it is down on purpose", f"to allow it again: systemctl unmask {self._unit}"
            )
        if state.load != "loaded":
            why = state.load_error or state.load
            raise self._failure(f"{self._unit} can't be loaded: {why}", f"systemd-analyze verify {self._unit}")

    def _refuse_unknown(self, state: UnitState) -> None:
        if state.load == "not-found":
            near = self._systemctl.similar(self._unit)
            raise ServiceError(
                f"{self._name}: systemd knows no unit {self._unit}",
                hint=f"did you mean {near}?" if near else "install it, or correct run.systemd",
            )

    def _stop_one(self, state: UnitState) -> None:
        why = self._systemctl.stop(state)
        if why is not None:
            raise ServiceError(f"{self._name} can't be stopped: {state.unit}: {why}", hint=self._look())

    def _nothing_remains(self, state: UnitState) -> None:
        """Raises ServiceError while a process of the unit lives on, as KillMode=process and =none let it."""
        if not state.down:
            raise ServiceError(f"{self._name} can't be stopped: {self._unit} is {state.active}", hint=self._look())
        deadline = monotonic_s() + 1.0
        while left := _processes_in(state.control_group):
            if monotonic_s() > deadline:
                raise ServiceError(
                    f"{self._name} can't be stopped: process {left[0]} of {self._unit} lives on",
                    hint=f"end it, or take KillMode= out of {self._unit}: it could write over what is restored",
                )
            time.sleep(0.02)

    def _waiting(self, state: UnitState) -> list[UnitState]:
        """The units that are active and would start this one."""
        return [one for one in self._show_all(state.triggered_by) if not one.down]

    def _usable(self, triggers: Sequence[str]) -> list[UnitState]:
        """Those that can be started: none that was removed or masked meanwhile."""
        return [one for one in self._show_all(triggers) if one.load == "loaded" and not one.masked]

    def _show(self) -> UnitState:
        return self._systemctl.show([self._unit])[0]

    def _show_all(self, units: Sequence[str]) -> list[UnitState]:
        return self._systemctl.show(units) if units else []

    def _save_running(self, record: ProcessRecord, state: UnitState) -> None:
        identity = _identity(state)
        phase = Phase.RUNNING if not state.down else record.phase
        fresh = identity != record.identity or phase is not record.phase
        now = replace(
            record,
            wanted="running",
            phase=phase,
            identity=identity,
            triggers=(),
            dependants=(),
            error="",
            started_ns=(_wall_ns(state.main_started_us) or now_ns()) if fresh else record.started_ns,
        )
        if now != record:
            self._ledger.save(now.to_json())

    def _exclusively(self) -> locks.FileLock:
        return exclusively(self._name, self._log_dir, wait_s=_LOCK_WAIT_S)

    def _record(self) -> ProcessRecord:
        return ProcessRecord.from_json(self._ledger.load())


def _identity(state: UnitState) -> ProcessIdentity | None:
    return identify(state.main_pid) if state.main_pid else None


def _wall_ns(monotonic_us: int) -> int | None:
    """The wall clock time of a moment on the monotonic clock; None for 0, which is never."""
    return now_ns() - time.monotonic_ns() + monotonic_us * 1000 if monotonic_us else None


def _processes_in(control_group: str) -> list[int]:
    if not control_group:
        return []
    for base in _CGROUPS:
        try:
            with open(f"{base}{control_group}/cgroup.procs", encoding="ascii") as file:
                return [int(line) for line in file.read().split()]
        except OSError:
            continue
    return []
