"""The `control` driver: commands of whatever else runs the service, such as a container engine, pm2 or a supervisor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from recoverd.config.model import EMPTY, Run
from recoverd.errors import ServiceError
from recoverd.services.commands import Ran, run_command
from recoverd.services.driver import Ledger, ServiceStatus, Started, Stopped
from recoverd.services.exclusion import exclusively
from recoverd.services.log_reading import last_line
from recoverd.services.logs import open_log
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.system import locks
from recoverd.system.clock import monotonic_s, now_ns, rfc3339
from recoverd.values import replace

ACT_WITHIN_S = 120.0  # `start` and `stop`: containers are pulled down with a grace period of their own
STATUS_WITHIN_S = 10.0
COMES_UP_WITHIN_NS = 10_000_000_000  # so long after a start, a `status` that says no may be too early
_LONGEST_WAIT_S = 2 * ACT_WITHIN_S + 2 * STATUS_WITHIN_S


class ControlDriver:
    """Driver of a service with `run.control`. Its contract is that of `driver.Driver`; besides:

    - Whether the service runs is what `status` says: it does exactly when the command exits with status 0. Who its
      processes are is not known, so that no identity is told and a stop is as thorough as the `stop` command.
      What `start` has begun may take a moment to show: a no is not settled within COMES_UP_WITHIN_NS of the start.
    - `start` and `stop` run only when they are needed, from /, in a session of their own and in recoverd's own
      environment; what they say is appended to LOG_DIR/SERVICE.log, and may be what a service they start says too.
    """

    def __init__(
        self,
        name: str,
        run: Run,
        ledger: Ledger,
        *,
        log_dir: str,
        extra_env: Mapping[str, str] = EMPTY,
        act_within_s: float = ACT_WITHIN_S,
        status_within_s: float = STATUS_WITHIN_S,
    ) -> None:
        self._name = name
        self._run = run
        self._ledger = ledger
        self._log_dir = log_dir
        self._extra_env = extra_env
        self._act_within_s = act_within_s
        self._status_within_s = status_within_s

    def start(self) -> Started:
        with self._exclusively():
            record = self._record()
            if self._runs():
                if record.wanted != "running" or record.phase is not Phase.RUNNING:
                    self._save(replace(record, wanted="running", phase=Phase.RUNNING, error=""))
                return Started(already=True, identity=None)
            ended_alone = record.phase in {Phase.STARTING, Phase.RUNNING}
            record = replace(
                record,
                wanted="running",
                phase=Phase.STARTING,
                command=self._run.start,
                started_ns=now_ns(),
                starts=record.starts + 1,
                restarts=record.restarts + ended_alone,
                error="",
            )
            self._save(record)
            try:
                self._act("start", self._run.start)
            except ServiceError as error:
                self._save(replace(record, phase=Phase.FAILED, error=error.message))
                raise ServiceError(f"{self._name} can't be started: {error.message}", hint=error.hint) from error
            self._save(replace(record, phase=Phase.RUNNING))
            return Started(already=False, identity=None)

    def stop(self, *, by_operator: bool = False) -> Stopped:
        with self._exclusively():
            record = self._record()
            if by_operator and record.wanted != "stopped":
                record = replace(record, wanted="stopped")
                self._save(record)
            if not self._runs():
                return Stopped(was_running=False, how="not running", seconds=0.0)
            began = monotonic_s()
            try:
                self._act("stop", self._run.stop)
                if self._runs():
                    raise ServiceError(
                        "its `stop` command succeeded, but `status` says that it still runs",
                        hint="run.control.stop must wait until the service has ended",
                    )
            except ServiceError as error:
                raise ServiceError(f"{self._name} can't be stopped: {error.message}", hint=error.hint) from error
            now = now_ns()
            self._save(replace(record, phase=Phase.STOPPED, last_stop_ns=now, last_clean_stop_ns=now))
            return Stopped(was_running=True, how="term", seconds=monotonic_s() - began)

    def status(self) -> ServiceStatus:
        ran = self._ask()
        record = self._record()
        running = ran.status == 0
        known = running and record.phase is Phase.RUNNING
        begun = (
            record.phase in {Phase.STARTING, Phase.RUNNING} and 0 <= now_ns() - record.started_ns < COMES_UP_WITHIN_NS
        )
        return ServiceStatus(
            running=running,
            identity=None,
            since_ns=record.started_ns or None if known else None,
            wanted=record.wanted,
            restarts=record.restarts,
            detail=_describe(record, ran),
            settled=running or not begun,
            supervised=True,
        )

    def log(self, lines: int, *, follow: bool = False) -> Iterator[str]:  # noqa: ARG002 - there is nothing to show
        raise ServiceError(
            f"the log of {self._name} is kept by whatever runs it, and `control` has no command that shows it",
            hint=f"what its start and stop commands said is in {self._log_path}",
        )

    def complaint(self) -> str:
        return last_line(self._log_path)

    @property
    def _log_path(self) -> str:
        return os.path.join(self._log_dir, f"{self._name}.log")

    def _runs(self) -> bool:
        return self._ask().status == 0

    def _ask(self) -> Ran:
        """Raises ServiceError when the `status` command gives no answer."""
        ran = self._execute("status", self._run.status, self._status_within_s, None)
        if ran.status is None or ran.status < 0:
            raise ServiceError(
                f"{self._name}: its status command, {' '.join(self._run.status)}, {ran.ending}",
                hint="run it by hand; run.control.status must answer quickly: 0 while the service runs, else not 0",
            )
        return ran

    def _act(self, key: str, command: tuple[str, ...]) -> None:
        """Raises ServiceError unless the command succeeds."""
        fd = open_log(self._log_path)
        try:
            ran = self._execute(key, command, self._act_within_s, fd)
        finally:
            os.close(fd)
        if ran.status != 0:
            said = self.complaint()
            raise ServiceError(
                f"{' '.join(command)} {ran.ending}" + (f": {said}" if said else ""),
                hint=f"all that it said is in {self._log_path}",
            )

    def _execute(self, key: str, command: tuple[str, ...], timeout_s: float, output_fd: int | None) -> Ran:
        env = {**os.environ, **self._extra_env}
        try:
            return run_command(command, timeout_s=timeout_s, env=env, output_fd=output_fd)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ServiceError(
                f"{self._name}: {command[0]} can't be executed: {why}", hint=f"install it, or correct run.control.{key}"
            ) from error

    def _exclusively(self) -> locks.FileLock:
        return exclusively(self._name, self._log_dir, wait_s=_LONGEST_WAIT_S)

    def _record(self) -> ProcessRecord:
        return ProcessRecord.from_json(self._ledger.load())

    def _save(self, record: ProcessRecord) -> None:
        self._ledger.save(record.to_json())


def _describe(record: ProcessRecord, ran: Ran) -> str:
    said = f": {ran.last_line}" if ran.last_line else ""
    if ran.status == 0:
        if record.phase is Phase.RUNNING and record.started_ns:
            return f"runs; recoverd started it at {rfc3339(record.started_ns)}"
        return "runs; recoverd did not start it"
    if record.phase is Phase.FAILED:
        return f"its last start failed: {record.error}"
    if record.phase is Phase.STOPPED:
        return f"it was stopped at {rfc3339(record.last_stop_ns)}"
    return f"its status command {ran.ending}{said}"
