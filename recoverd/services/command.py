"""The `command` driver: recoverd starts the process itself, detached, and finds it again by its identity."""

from __future__ import annotations

import os
import signal as signals
import time
from collections.abc import Iterator, Mapping

from recoverd.config.keeping import Limits
from recoverd.config.model import EMPTY, Run
from recoverd.errors import ServiceError
from recoverd.services import process_tree
from recoverd.services.driver import Ledger, ServiceStatus, StartedProcess, Stopped
from recoverd.services.environment import START_ID, build_environment, find_account
from recoverd.services.exclusion import exclusively
from recoverd.services.log_reading import last_line, read_log
from recoverd.services.logs import open_log
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.system import locks
from recoverd.system.clock import boot_id, monotonic_s, now_ns, rfc3339
from recoverd.system.processes import ProcessIdentity, is_alive
from recoverd.values import replace

NO_LIMITS = Limits()
_EXECUTES_WITHIN_S = 1.0
_OTHERS_TAKE_S = 60.0  # at most, beside the stop timeout: killing what is left, and both steps of a launch


class CommandDriver:
    """Driver of a service with `run.command`. Its contract is that of `driver.Driver`; besides:

    - The process is nobody's child, leads a session of its own, has no descriptor, ignored signal or blocked
      signal of recoverd, and survives recoverd and its terminal. The command must stay in the foreground.
    - Starts and stops of one service exclude each other by a lock of the kernel, LOG_DIR/SERVICE.lock, whatever
      locks the caller holds.
    - There is no instant at which a process runs the command and the ledger does not know its identity: the process
      is made, its identity saved, and only then does it execute the command; it ends if recoverd dies in between.
    """

    def __init__(
        self,
        name: str,
        run: Run,
        ledger: Ledger,
        *,
        log_dir: str,
        extra_env: Mapping[str, str] = EMPTY,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._name = name
        self._run = run
        self._ledger = ledger
        self._log_dir = log_dir
        self._extra_env = extra_env
        self._limits = limits

    def start(self) -> StartedProcess:
        with self._exclusively():
            record = self._settled()
            if record.identity is not None and is_alive(record.identity):
                if record.wanted != "running":
                    self._save(replace(record, wanted="running"))
                return StartedProcess(already=True, identity=record.identity)
            if record.identity is not None:
                # children that outlived the former main process would write into the same state
                self._end(record, record.identity)
            identity = self._launch(record)
            _tell("%s: started as process %d: %s", self._name, identity.pid, self._run.command[0])
            return StartedProcess(already=False, identity=identity)

    def stop(self, *, by_operator: bool = False) -> Stopped:
        with self._exclusively():
            record = self._settled()
            if by_operator and record.wanted != "stopped":
                record = replace(record, wanted="stopped")
                self._save(record)
            if record.identity is None:
                return Stopped(was_running=False, how="not running", seconds=0.0)
            ended = self._end(record, record.identity)
            _tell("%s: process %d has ended (%s)", self._name, record.identity.pid, ended.how)
            if ended.main:
                now = now_ns()
                clean = now if ended.how == "term" else record.last_clean_stop_ns
                self._save(replace(record, phase=Phase.STOPPED, last_stop_ns=now, last_clean_stop_ns=clean))
            return Stopped(was_running=ended.main, how=ended.how, seconds=ended.seconds)

    def status(self) -> ServiceStatus:
        record = ProcessRecord.from_json(self._ledger.load())
        running = record.identity is not None and is_alive(record.identity)
        return ServiceStatus(
            running=running,
            identity=record.identity if running else None,
            since_ns=record.started_ns if running else None,
            wanted=record.wanted,
            restarts=record.restarts,
            detail=_describe(record, running=running),
        )

    def log(self, lines: int, *, follow: bool = False) -> Iterator[str]:
        return read_log(self._log_path, lines, follow=follow)

    def complaint(self) -> str:
        return last_line(self._log_path)

    @property
    def _log_path(self) -> str:
        return self._run.log or os.path.join(self._log_dir, f"{self._name}.log")

    def _launch(self, record: ProcessRecord) -> ProcessIdentity:
        """Start the process of which `record` is the former one. Raises ServiceError."""
        from recoverd.services.launching import LaunchSpec
        from recoverd.services.limiting import launch_within

        token = os.urandom(16).hex()
        ended_alone = record.phase in {Phase.STARTING, Phase.RUNNING}
        record = replace(
            record,
            wanted="running",
            token=token,
            command=self._run.command,
            starts=record.starts + 1,
            restarts=record.restarts + ended_alone,
            error="",
        )
        try:
            account = find_account(self._run)
            env = build_environment(self._run, account, environ=os.environ, extra_env=self._extra_env)
            spec = LaunchSpec(
                command=self._run.command,
                env={**env, START_ID: token},
                cwd=self._run.cwd or "/",
                uid=account.uid,
                gid=account.gid,
                groups=account.groups,
            )
            log_fd = open_log(self._log_path)
            try:
                launch, form = launch_within(self._limits, self._name, spec, log_fd)
                with launch:
                    record = replace(record, phase=Phase.STARTING, identity=launch.identity, started_ns=now_ns())
                    record = replace(record, limited_by=form.value)
                    self._save(record)
                    launch.release()
            finally:
                os.close(log_fd)
        except ServiceError as error:
            self._save(replace(record, phase=Phase.FAILED, identity=None, error=error.message))
            raise type(error)(f"{self._name} can't be started: {error.message}", hint=error.hint) from error
        self._save(replace(record, phase=Phase.RUNNING))
        return launch.identity

    def _end(self, record: ProcessRecord, main: ProcessIdentity) -> process_tree.Ended:
        number = signals.Signals[f"SIG{self._run.stop_signal.removeprefix('SIG')}"]
        try:
            return process_tree.end_tree(main, record.token, stop_signal=number, timeout_s=self._run.stop_timeout_s)
        except ServiceError as error:
            raise ServiceError(f"{self._name} can't be stopped: {error.message}", hint=error.hint) from error

    def _settled(self) -> ProcessRecord:
        """The record, once no process that it names is between being made and executing the command.

        Under the lock such a process has lost its recoverd: it was told to go on and does, or it ends.
        """
        record = ProcessRecord.from_json(self._ledger.load())
        if record.phase is Phase.STARTING and record.identity is not None:
            deadline = monotonic_s() + _EXECUTES_WITHIN_S
            while (
                is_alive(record.identity)
                and not process_tree.carries(record.identity.pid, record.token)
                and monotonic_s() < deadline
            ):
                time.sleep(0.005)
        return record

    def _exclusively(self) -> locks.FileLock:
        return exclusively(self._name, self._log_dir, wait_s=self._run.stop_timeout_s + _OTHERS_TAKE_S)

    def _save(self, record: ProcessRecord) -> None:
        self._ledger.save(record.to_json())


def _tell(sentence: str, *words: object) -> None:
    import logging  # a status does without it

    logging.getLogger("recoverd.services").debug(sentence, *words)


def _describe(record: ProcessRecord, *, running: bool) -> str:
    identity = record.identity
    if running and identity is not None:
        limited = f", limited by {record.limited_by}" if record.limited_by else ""
        return f"process {identity.pid} runs since {rfc3339(record.started_ns)}{limited}"
    match record.phase:
        case Phase.NONE:
            return "it was never started"
        case Phase.FAILED:
            return f"its last start failed: {record.error}"
        case Phase.STOPPED:
            return f"it was stopped at {rfc3339(record.last_stop_ns)}"
    if identity is None:
        return "its last start left no process"
    if identity.boot_id != boot_id():
        return f"process {identity.pid} ended with a former boot"
    return f"process {identity.pid} ended by itself"
