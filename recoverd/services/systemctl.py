"""Talking to systemd through `systemctl` and `journalctl`: what a unit is doing, and telling it to do something else.

The names and values of properties are those of org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from recoverd.errors import ServiceError
from recoverd.services.commands import run_command
from recoverd.services.unit_journal import FIELDS, JobLine, parse_lines
from recoverd.values import dataclass

BOOTED = "/run/systemd/system"  # there exactly when systemd is the init, sd_booted(3)
_ANSWERS_WITHIN_S = 10.0
_ANSWER_BYTES = 1 << 20
_LEEWAY_S = 30.0  # a job waits for those it is ordered after, besides its unit's own time
_LONGEST_JOB_S = 900.0  # where a unit may take for ever
_PROPERTIES = (
    "Id,LoadState,LoadError,ActiveState,SubState,UnitFileState,Result,Type,MainPID,InvocationID,"
    "ExecMainStartTimestampMonotonic,ExecMainCode,ExecMainStatus,ActiveEnterTimestampMonotonic,"
    "InactiveEnterTimestampMonotonic,NRestarts,TriggeredBy,Job,"
    "TimeoutStartUSec,TimeoutStopUSec,ControlGroup,"
    "InactiveExitTimestampMonotonic,ActiveExitTimestampMonotonic,ExecMainExitTimestampMonotonic,"
    "RemainAfterExit,RuntimeMaxUSec,"
    "Requires,Requisite,PartOf,BindsTo,StopPropagatedFrom,"
    "RequiredBy,RequisiteOf,ConsistsOf,BoundBy,PropagatesStopTo"
)
_BOUND_TO = ("BindsTo", "StopPropagatedFrom")
# stopping one of these stops the unit too, and stopping the unit stops one of those, systemd.unit(5)
_STOPPED_WITH = ("Requires", "Requisite", "PartOf", *_BOUND_TO)
_STOPS = ("RequiredBy", "RequisiteOf", "ConsistsOf", "BoundBy", "PropagatesStopTo")
_NEVER_STOPPED = (".slice", "sysinit.target", "basic.target")  # by default every service requires some of these
_JOURNAL_LINES = 1000  # the newest, about a unit and those that it needs
_JOURNAL_BYTES = 1 << 20
_NOT_EXECUTED = "641257651c1b4ec9a8624d7a40a9e1e7"  # SD_MESSAGE_SPAWN_FAILED of sd-messages(3)
_SPAN_S = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
    "month": 2_629_800.0,
    "y": 31_557_600.0,
}


_NOTHING: Mapping[str, UnitState] = MappingProxyType({})
_ASKED: ContextVar[Mapping[str, UnitState]] = ContextVar("asked", default=_NOTHING)
# units, and the lines about them
_READ: ContextVar[tuple[frozenset[str], Sequence[JobLine]]] = ContextVar("read", default=(frozenset(), ()))


@dataclass(frozen=True, slots=True)
class UnitState:
    """What systemd says of one unit. Times are microseconds of the monotonic clock, 0 is never in this boot."""

    unit: str
    load: str = "loaded"  # LoadState: loaded | not-found | masked | bad-setting | error
    load_error: str = ""
    active: str = "inactive"  # ActiveState: active | reloading | inactive | failed | activating | deactivating | …
    sub: str = "dead"
    file: str = ""  # UnitFileState: enabled | disabled | static | masked | …
    result: str = "success"
    kind: str = "simple"  # Type
    main_pid: int = 0
    invocation: str = ""
    main_started_us: int = 0
    exit_code: int = 0  # si_code of the main process's end: 1 exited, 2 killed, 3 dumped core; 0 it did not end
    exit_status: int = 0  # its status, or the signal's number
    entered_us: int = 0  # when it last became active
    left_us: int = 0  # when it last became inactive
    restarts: int = 0  # by systemd, since it was last started by anybody else
    triggered_by: tuple[str, ...] = ()
    queued: bool = False  # a job waits for it
    start_within_s: float = 90.0
    stop_within_s: float = 90.0
    control_group: str = ""
    began_us: int = 0  # when it was last begun to start
    left_active_us: int = 0  # when it was last active, or began to stop
    main_ended_us: int = 0  # when its main process last ended
    stays_when_done: bool = False  # RemainAfterExit: it is active without a process, until somebody stops it
    ends_in_time: bool = False  # RuntimeMaxSec: systemd itself stops it after a while
    needs: tuple[str, ...] = ()  # units that take it down with them
    bound_to: tuple[str, ...] = ()  # those of them that do so also when they end by themselves
    stops: tuple[str, ...] = ()  # units that it takes down with it

    @property
    def masked(self) -> bool:
        return self.load == "masked" or self.file.startswith("masked")

    @property
    def down(self) -> bool:
        return self.active in {"inactive", "failed"}


def parse_units(text: str) -> list[UnitState]:
    """The answer of `systemctl show`: blocks of KEY=VALUE lines, one for each unit."""
    units = []
    for block in text.strip("\n").split("\n\n"):
        found = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if "Id" in found:
            units.append(_unit(found))
    return units


def _unit(found: Mapping[str, str]) -> UnitState:
    def number(key: str) -> int:
        text = found.get(key, "")
        return int(text) if text.isdecimal() else 0

    def units(keys: Sequence[str]) -> tuple[str, ...]:
        names = dict.fromkeys(name for key in keys for name in found.get(key, "").split())
        return tuple(name for name in names if not name.endswith(_NEVER_STOPPED))

    return UnitState(
        unit=found["Id"],
        load=found.get("LoadState", ""),
        load_error=found.get("LoadError", "").partition(" ")[2].strip('"'),
        active=found.get("ActiveState", ""),
        sub=found.get("SubState", ""),
        file=found.get("UnitFileState", ""),
        result=found.get("Result", "success"),
        kind=found.get("Type", ""),
        main_pid=number("MainPID"),
        invocation=found.get("InvocationID", ""),
        main_started_us=number("ExecMainStartTimestampMonotonic"),
        exit_code=number("ExecMainCode"),
        exit_status=number("ExecMainStatus"),
        entered_us=number("ActiveEnterTimestampMonotonic"),
        left_us=number("InactiveEnterTimestampMonotonic"),
        restarts=number("NRestarts"),
        triggered_by=tuple(found.get("TriggeredBy", "").split()),
        queued=number("Job") > 0,
        start_within_s=parse_span(found.get("TimeoutStartUSec", "")),
        stop_within_s=parse_span(found.get("TimeoutStopUSec", "")),
        control_group=found.get("ControlGroup", ""),
        began_us=number("InactiveExitTimestampMonotonic"),
        left_active_us=number("ActiveExitTimestampMonotonic"),
        main_ended_us=number("ExecMainExitTimestampMonotonic"),
        stays_when_done=found.get("RemainAfterExit") == "yes",
        ends_in_time=found.get("RuntimeMaxUSec", "infinity") != "infinity",
        needs=units(_STOPPED_WITH),
        bound_to=units(_BOUND_TO),
        stops=units(_STOPS),
    )


def parse_span(text: str) -> float:
    """Seconds of a time span as systemd writes it, such as "1min 30s"; what is no span, as "infinity", has no end."""
    words = text.split()
    parts = [re.fullmatch(r"([0-9.]+)([a-z]+)", word) for word in words]
    if not words or not all(part is not None and part[2] in _SPAN_S for part in parts):
        return 0.0 if text == "0" else float("inf")
    return sum(float(part[1]) * _SPAN_S[part[2]] for part in parts if part is not None)


class Systemctl:
    """The system's manager, or with `user` the one of the user that recoverd runs as. Holds no state."""

    def __init__(self, *, user: bool) -> None:
        self._user = user

    def show(self, units: Sequence[str]) -> list[UnitState]:
        """The state of units, in this order; one that does not exist has the load state `not-found`.

        Raises ServiceError when systemd is not the init or does not answer.
        """
        known = _ASKED.get()
        if all(unit in known for unit in units):
            return [known[unit] for unit in units]
        status, said = self._call(["show", "--property", _PROPERTIES, "--", *units], _ANSWERS_WITHIN_S)
        found = parse_units(said)
        if status != 0 or len(found) != len(units):
            raise self._failure(said, f"systemd says nothing of {', '.join(units)}")
        return found

    def start(self, state: UnitState) -> str | None:
        """Start a unit and wait until it is up; why not, else None. Raises ServiceError when it may not be told to."""
        return self._job("start", state.unit, state.start_within_s)

    def start_alone(self, state: UnitState) -> str | None:
        """The same for a target that was up: without starting all that it wants, and somebody may have stopped."""
        return self._job("start", state.unit, state.start_within_s, "--job-mode=ignore-dependencies")

    def stop(self, state: UnitState) -> str | None:
        """Stop a unit and wait until it is down; why not, else None. Raises ServiceError as `start`."""
        return self._job("stop", state.unit, state.stop_within_s)

    def reset_failed(self, unit: str) -> None:
        """Forget its failures, and with them its start limit. A unit without any is no error."""
        self._call(["reset-failed", "--", unit], _ANSWERS_WITHIN_S)

    def similar(self, unit: str) -> str | None:
        """The service that exists and has the name most like this one."""
        import difflib

        _, said = self._call(
            ["list-unit-files", "--type=service", "--no-legend", "--plain", "--full"], _ANSWERS_WITHIN_S
        )
        names = [line.split()[0] for line in said.splitlines() if line.split()]
        return next(iter(difflib.get_close_matches(unit, names, n=1)), None)

    def last_words(self, state: UnitState) -> str:
        """The last line of the journal out of this run of the unit; "" when there is none. Raises nothing."""
        if not state.invocation:
            return ""
        # the field systemd gives to all that comes out of one run of a unit, systemd.journal-fields(7)
        ran = f"_SYSTEMD_INVOCATION_ID={state.invocation}"
        # What can't be executed is told by a process that may be gone before the journal knows whose it was;
        # it says so itself then, and so may anybody.
        by_manager = f"_UID={os.geteuid() if self._user else 0}"
        told = f"{'USER_' if self._user else ''}INVOCATION_ID={state.invocation}"
        words = self._last_line(ran, "+", told, f"MESSAGE_ID={_NOT_EXECUTED}", by_manager)
        return words.removeprefix(f"{state.unit}: ")

    def last_told(self, unit: str) -> str:
        """The last line of the journal about a unit, by itself or by systemd; "" when there is none. Raises nothing."""
        return self._last_line(f"--user-unit={unit}" if self._user else f"--unit={unit}")

    def _last_line(self, *match: str) -> str:
        command = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=5", *match]
        try:
            # what was said is in the journal a moment later; only root may wait for that
            run_command(["journalctl", "--sync"], timeout_s=_ANSWERS_WITHIN_S, env=self._environment())
            ran = run_command(command, timeout_s=_ANSWERS_WITHIN_S, env=self._environment())
        except OSError:
            return ""
        return ran.last_line if ran.status == 0 else ""

    def job_lines(self, units: Sequence[str]) -> list[JobLine]:
        """What the manager wrote in this boot about units, oldest first; empty where the journal can't be read.

        Only what the manager itself wrote: anybody may write lines that look like these. Raises nothing.
        """
        known, lines = _READ.get()
        if known.issuperset(units):
            return [line for line in lines if line.unit in units]
        by_manager = f"_UID={os.geteuid()}" if self._user else "_PID=1"
        field = "USER_UNIT" if self._user else "UNIT"
        command = ["journalctl", "--quiet", "--no-pager", "--boot", "--output=json", f"--lines={_JOURNAL_LINES}"]
        command += [f"--output-fields={','.join(FIELDS)}", by_manager, *(f"{field}={unit}" for unit in units)]
        try:
            ran = run_command(command, timeout_s=_ANSWERS_WITHIN_S, env=self._environment(), most_bytes=_JOURNAL_BYTES)
        except OSError:
            return []
        return parse_lines(ran.output) if ran.status == 0 else []

    def journal(self, unit: str, lines: int, *, follow: bool) -> Iterator[str]:
        """Lines of the unit's journal, from all its runs; with `follow` those that come too. Raises ServiceError."""
        command = ["journalctl", "--quiet", "--no-pager", "--output=short-iso", f"--lines={lines}"]
        command += ["--follow"] if follow else []
        command += [f"--user-unit={unit}" if self._user else f"--unit={unit}"]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if not follow else subprocess.DEVNULL,
                env=self._environment(),
            )
        except OSError as error:
            raise ServiceError(
                f"the journal of {unit} can't be read: journalctl: {error.strerror}", hint="install systemd's journal"
            ) from error
        if follow:
            return _stream(process)
        output, errors = process.communicate()
        if process.returncode != 0:
            said = errors.decode("utf-8", "replace").strip().splitlines()
            raise ServiceError(
                f"the journal of {unit} can't be read: {said[-1] if said else 'journalctl failed'}",
                hint="read it as root, or as a member of the group systemd-journal",
            )
        return iter(output.decode("utf-8", "surrogateescape").splitlines())

    def _job(self, verb: str, unit: str, within_s: float, *options: str) -> str | None:
        deadline_s = min(within_s, _LONGEST_JOB_S) + _LEEWAY_S
        status, said = self._call([verb, *options, "--", unit], deadline_s)
        if status == 0:
            return None
        lowered = said.lower()
        if any(words in lowered for words in ("access denied", "authentication required", "permission denied")):
            raise ServiceError(
                f"systemd does not let this user {verb} {unit}",
                hint="run recoverd as root, or allow it with a polkit rule for org.freedesktop.systemd1.manage-units",
            )
        if _unreachable(lowered):
            raise self._failure(said, "")
        if status is None:
            return f"it did not {verb} within {deadline_s:g} s"
        return next((line.strip() for line in said.splitlines() if line.strip()), f"systemctl {verb} failed")

    def _call(self, arguments: Sequence[str], timeout_s: float) -> tuple[int | None, str]:
        """Exit status (None: it took too long) and output. Raises ServiceError where no systemd runs."""
        if not os.path.isdir(BOOTED):
            raise _not_the_init()
        manager = ["--user"] if self._user else ["--system"]
        command = ["systemctl", *manager, "--no-pager", "--no-ask-password", *arguments]
        try:
            ran = run_command(command, timeout_s=timeout_s, env=self._environment(), most_bytes=_ANSWER_BYTES)
        except OSError as error:
            raise _not_the_init() from error
        return ran.status, ran.output

    def _failure(self, said: str, otherwise: str) -> ServiceError:
        if "not been booted with systemd" in said:
            return _not_the_init()
        if self._user and _unreachable(said.lower()):
            return ServiceError(
                "the systemd of this user does not run",
                hint="log in, or have it started at boot: loginctl enable-linger",
            )
        lines = said.strip().splitlines()
        return ServiceError(
            f"systemd does not answer: {lines[-1]}" if lines else otherwise or "systemd does not answer",
            hint="`systemctl is-system-running` tells how it does",
        )

    def _environment(self) -> dict[str, str]:
        env = {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "SYSTEMD_URLIFY": "0"}
        runtime = f"/run/user/{os.geteuid()}"
        if self._user and "XDG_RUNTIME_DIR" not in env and os.path.isdir(runtime):
            env["XDG_RUNTIME_DIR"] = runtime  # which cron, for one, does not set
        return env


@contextmanager
def asked_once(units: Sequence[str], *, user: bool) -> Iterator[None]:
    """Within it, looking at any of these units asks nobody again: a hundred services take one question, or three."""
    found: dict[str, UnitState] = {}
    ended: frozenset[str] = frozenset()
    lines: Sequence[JobLine] = ()
    try:
        systemctl = Systemctl(user=user)
        found = dict(zip(units, systemctl.show(units), strict=True)) if units else {}
        down = [one for one in found.values() if one.down and one.left_us]
        needed = [name for one in down for name in one.needs]
        others = list(dict.fromkeys([*(name for one in found.values() for name in one.triggered_by), *needed]))
        found |= dict(zip(others, systemctl.show(others), strict=True)) if others else {}
        ended = frozenset([*(one.unit for one in down), *needed])
        lines = systemctl.job_lines(sorted(ended)) if ended else ()
    except ServiceError:
        pass  # each of those who ask will hear it
    states, read = _ASKED.set(found), _READ.set((ended, lines))
    try:
        yield
    finally:
        _ASKED.reset(states)
        _READ.reset(read)


def _unreachable(lowered: str) -> bool:
    return any(words in lowered for words in ("failed to connect to bus", "transport endpoint", "not been booted with"))


def _not_the_init() -> ServiceError:
    return ServiceError(
        "systemd is not the init here, so its units can't be asked for or started",
        hint="use run.command or run.control on this machine",
    )


def _stream(process: subprocess.Popen[bytes]) -> Iterator[str]:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            yield line.decode("utf-8", "surrogateescape").rstrip("\n")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def is_shutting_down() -> bool:
    """Whether systemd takes this machine down now. False where systemd is not the init, or does not answer."""
    if not os.path.isdir(BOOTED):
        return False
    try:
        ran = run_command(["systemctl", "is-system-running"], timeout_s=_ANSWERS_WITHIN_S)
    except (OSError, ValueError):
        return False
    return ran.output.strip() == "stopping"
