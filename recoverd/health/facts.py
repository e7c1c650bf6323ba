"""What the checks are decided on. Gathered by `operations.check`, judged by `health.thresholds`.

Times are nanoseconds of the wall clock (UTC), sizes are bytes. None always means "not known" unless a field
says otherwise.
"""

from __future__ import annotations

from recoverd.values import dataclass

MISSED = 3
"""So many scheduled captures may be missing before a limit that is derived from the schedule warns."""
WATCHED_S = 60.0
"""So often at least it is noted of a service that is saved on change that nothing changed: by looking or watching."""


@dataclass(frozen=True, slots=True)
class Space:
    """Room on a file system: what is free for recoverd, and all of it."""

    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class QuarantineFacts:
    """What restores have replaced: so many quarantines, and their bytes when they were last counted."""

    count: int
    size_bytes: int | None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PathFacts:
    """One state item's path, looked at now and without reading content."""

    item: str
    path: str
    exists: bool
    readable: bool = True
    writable: bool = True
    optional: bool = False
    unchecked: bool = False  # nothing declares what valid content is, so `ok` says only that the format is right
    known_good: bool = True  # a snapshot holds a good version of it; without one, absence is a fresh service
    emptied: bool = False  # zero bytes now, and its known-good version is not
    error: str | None = None  # why it could not even be looked at (EIO, a link that can't be trusted, …)
    files: int | None = None
    size_bytes: int | None = None
    space: Space | None = None


@dataclass(frozen=True, slots=True)
class ProblemFacts:
    """One problem of a snapshot or of live state: the item, the place in it, one sentence."""

    item: str
    place: str
    problem: str


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    id: str  # service/sequence
    time_ns: int
    verdict: str  # ok | partial | invalid
    problems: tuple[ProblemFacts, ...] = ()
    files: int = 0
    size_bytes: int = 0
    left_alone: bool = False  # all that is wrong is `reset` or `newer`: a restore does not replace it unasked


@dataclass(frozen=True, slots=True)
class CaptureRun:
    """One capture in the run history."""

    time_ns: int
    seconds: float
    failed: bool


@dataclass(frozen=True, slots=True)
class DrillFacts:
    """What is known of a service's drills. `limit_s`: how long ago the last that passed may be; None: for ever."""

    limit_s: float | None
    passed_ns: int | None = None
    seconds: float | None = None  # what the last one took
    data_age_s: float | None = None  # how old what it brought back was
    failed: str | None = None  # why the last one failed; None: it did not


@dataclass(frozen=True, slots=True)
class ResumeFacts:
    """How often a service came back, and how it did so last."""

    restart_count: int
    unclean: int  # of the runs that are remembered, so many did not end in order
    kept: int  # so many are remembered
    time: str  # of the last one: RFC 3339
    outcome: str
    clean: bool | None


@dataclass(frozen=True, slots=True)
class RestoreRun:
    """One restore in the run history."""

    time_ns: int
    seconds: float
    outcome: str  # untouched | restored | degraded | blocked | failed


@dataclass(frozen=True, slots=True)
class WatchFacts:
    """How the scheduler sees changes. `why`: why it can't watch, so that it looks every `look_s` seconds."""

    directories: int = 0
    why: str | None = None
    hint: str | None = None
    look_s: float | None = None


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """The process of a service that has one."""

    running: bool | None
    wanted: str | None = None  # running | stopped (by its operator) | None: nobody asked for either yet
    healthy: bool | None = None  # what the last probes said
    why: str | None = None  # why it is not healthy, or why its state is not known
    restarts: int = 0  # since it was last started or stopped on purpose
    recent_restarts: int = 0  # of those, in the last hour
    given_up: str | None = None  # why nobody brings it back any more; None: somebody does, or nobody ever did


@dataclass(frozen=True, slots=True)
class InstancesFacts:
    """The processes that a service's document lists, as SERVICE@NAME; pairs are name and why."""

    is_compared: bool = True  # False: nobody has looked yet, or a reboot has forgotten it
    listed: int = 0
    running: int = 0  # of those that are listed
    stopped: int = 0  # of them, on purpose
    restarts: int = 0
    dead: tuple[tuple[str, str], ...] = ()
    given_up: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()  # entries that can't be used
    unlisted: tuple[str, ...] = ()  # run all the same
    error: str | None = None  # why nobody knows what is listed
    has_changed: bool = False  # the document, since it was compared
    is_watched: bool = False  # somebody brings back what dies


@dataclass(frozen=True, slots=True)
class ProbeFacts:
    probe: str
    healthy: bool
    message: str


@dataclass(frozen=True, slots=True)
class LiveFacts:
    """What assessing live state and running probes just now said (`check --live`)."""

    verdict: str
    problems: tuple[ProblemFacts, ...] = ()
    probes: tuple[ProbeFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class DumpFacts:
    """One dump item. `good_ns`: when the newest good one was taken; `seconds`: for how long the server was asked then.
    `waits`: what is to be loaded once the service runs; `begun`: the same, of a load that did not come to its end."""

    item: str
    size_bytes: int | None = None
    good_ns: int | None = None
    seconds: float | None = None
    failures: int = 0  # in a row
    last_error: str | None = None
    waits: str | None = None
    begun: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    name: str
    every_s: float | None = None  # None: it is not saved by interval
    missed_s: float | None = None  # how long ago the MISSEDth last time of its crontab was; None: it has none
    on_change: bool = False  # it is saved when it changes
    watch: WatchFacts | None = None  # None: nobody watches now, or nobody has said how
    max_age_s: float | None = None  # None: derived from the schedule
    max_failures: int = 3
    paused: bool = False
    paths: tuple[PathFacts, ...] = ()
    dumps: tuple[DumpFacts, ...] = ()
    newest: SnapshotFacts | None = None  # whatever its verdict; None: there is none
    confirmed_ns: int | None = None  # when live state was last seen equal to `newest`
    known_good: SnapshotFacts | None = None  # newest ok or partial one; None: there is none
    snapshots: int = 0
    known_good_snapshots: int = 0
    new_bytes: int = 0  # what all its snapshots together take
    unreadable_records: int = 0
    failures: int = 0  # captures that failed in a row
    last_error: str | None = None
    runs: tuple[CaptureRun, ...] = ()  # oldest first, bounded
    restores: tuple[RestoreRun, ...] = ()  # oldest first, bounded
    drill: DrillFacts | None = None  # None: none is declared, and none was held
    resumed: ResumeFacts | None = None  # None: it never came back
    unproven: str | None = None  # the candidate that a restore wrote and nobody has proven; None: there is none
    pending: tuple[str, ...] = ()  # what of its state waits for a migration, as clauses
    blocked: str | None = None  # why the last restore did not bring it up; None: it is not blocked
    open_intent: str | None = None  # of which restore, in words; None: none is open
    process: ProcessFacts | None = None  # None: the service has no process of its own
    instances: InstancesFacts | None = None  # None: its documents list none
    live: LiveFacts | None = None  # None: not asked for

    @property
    def is_scheduled(self) -> bool:
        """Whether somebody has to save it now and then."""
        return self.every_s is not None or self.missed_s is not None or self.on_change


@dataclass(frozen=True, slots=True)
class FailedServiceFacts:
    """A service (or file) whose configuration is broken."""

    name: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    path: str
    writable: bool
    error: str | None = None  # why it can't be opened
    exists: bool = True  # False: nothing was ever saved
    size_bytes: int | None = None
    files: int | None = None
    space: Space | None = None
    max_bytes: int | None = None  # of the configuration; None: no bound
    min_free_bytes: int = 0  # the same, of this file system
    growth_bytes_per_day: float | None = None  # None: too little is known
    days_until_full: float | None = None  # None: the disk does not fill, or too little is known
    has_spare: bool = False  # which is used instead while this one fails
    without_reserve: tuple[str, ...] = ()  # directories that should hold a space reserve and do not


@dataclass(frozen=True, slots=True)
class SpareFacts:
    """The second place for captures, where one is declared."""

    path: str
    exists: bool
    writable: bool = False
    error: str | None = None  # why it can't be used
    snapshots: int | None = None  # in it alone or as well: they belong into the repository
    size_bytes: int | None = None
    space: Space | None = None
    same_file_system: bool = False  # as the repository's
    first_writable: bool = True  # whether the repository itself can be


@dataclass(frozen=True, slots=True)
class VerifyFacts:
    """When the repository was last read and checked, and what of it is known to be damaged now."""

    verified_ns: int | None  # None: never
    created_ns: int  # of the repository
    every_s: float | None = None  # how often a sample is declared; None: never
    damaged: int = 0
    first: str | None = None  # one damage in words
    hurt: int = 0  # snapshots


@dataclass(frozen=True, slots=True)
class HookFacts:
    """A hook that does not work: since when, and of what it was not told last. `untold`: so many events in all."""

    name: str
    since_ns: int
    last_ns: int
    event: str
    why: str
    untold: int


@dataclass(frozen=True, slots=True)
class SchedulerFacts:
    """`recoverd run` of this state directory."""

    pid: int | None  # None: it is not running
    started_before: bool = False  # its lock file exists: someone runs it here
    changed_files: tuple[str, ...] = ()  # configuration files that differ from what it has loaded


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Everything."""

    now_ns: int
    services: tuple[ServiceFacts, ...]
    scheduler: SchedulerFacts
    repository: RepositoryFacts
    failed: tuple[FailedServiceFacts, ...] = ()
    verify: VerifyFacts | None = None  # None: there is no repository that could be verified
    quarantine: QuarantineFacts | None = None  # None: there is none
    spare: SpareFacts | None = None  # None: none is declared, or nothing was ever saved
    hooks: int = 0  # that are declared
    untold: tuple[HookFacts, ...] = ()  # those of them that do not work
    lingers: bool | None = None  # whether a plain user's units run without a login; None: that does not matter here
