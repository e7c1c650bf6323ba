"""The configuration as the rest of recoverd sees it: frozen, complete, with every default filled in.

Durations are seconds (`_s`), sizes are bytes (`_bytes`), fractions lie between 0 and 1. Paths are absolute.
`loading` makes these objects out of files; nothing else does. What each key means is said once, in the
JSON Schema (`recoverd config schema`), from which recoverd.yaml(5) is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from recoverd.config.database_model import COMPANIONS, DatabaseRules
from recoverd.config.dump_model import Dump
from recoverd.config.hook_model import Hook
from recoverd.config.in_flight_model import InFlight
from recoverd.config.keeping import Limits, Watch
from recoverd.config.migration_model import MigrationStep, VersionRule
from recoverd.config.process_model import Instances, Processes
from recoverd.values import dataclass, field

EMPTY: Mapping[str, Any] = MappingProxyType({})
UNLIMITED = -1
DEFAULT_BOOT_TIMEOUT_S = 90.0
DEFAULT_IO_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the configuration something stands; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference to a secret; its value is fetched when it is needed and never stored or printed."""

    source: str  # credential | file | env
    name: str


@dataclass(frozen=True, slots=True)
class Span:
    """A length of calendar time, for `within` rules: months and years have no fixed number of seconds."""

    years: int = 0
    months: int = 0
    days: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Retention:
    """Which snapshots are kept. Counts: 0 is off, -1 unlimited. Rules are ORed."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    tags: tuple[tuple[str, ...], ...] = ()  # OR of ANDs
    within: Span | None = None
    within_hourly: Span | None = None
    within_daily: Span | None = None
    within_weekly: Span | None = None
    within_monthly: Span | None = None
    within_yearly: Span | None = None
    keep_invalid: int = 3


DEFAULT_RETENTION = Retention(last=10, hourly=24, daily=14)


@dataclass(frozen=True, slots=True)
class OnChange:
    """A change is captured when nothing changed for `quiet_s`, and at most `at_most_s` after it was seen."""

    quiet_s: float = 0.5
    at_most_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Consistency:
    """Commands around each capture, each within `timeout_s`: they hold the state still, and let it go again."""

    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Autosave:
    every_s: float | None = None
    jitter_s: float = 0.0
    on_shutdown: bool = False
    cron: str | None = None  # as config.crontab reads it, in the zone of `Config.timezone`
    on_change: OnChange | None = None

    @property
    def is_scheduled(self) -> bool:
        """Whether there are times at which it is due."""
        return self.every_s is not None or self.cron is not None

    @property
    def is_automatic(self) -> bool:
        """Whether the scheduler saves it without being told to: at times, or when it changes."""
        return self.is_scheduled or self.on_change is not None


class Format(StrEnum):
    AUTO = "auto"
    JSON = "json"
    JSON_LINES = "json-lines"
    YAML = "yaml"
    TOML = "toml"
    OPAQUE = "opaque"


class ItemKind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SQLITE = "sqlite"
    DUMP = "dump"


@dataclass(frozen=True, slots=True)
class SchemaSource:
    """A JSON Schema that was checked: inline, or read from `path`. `directories` is all that a `$ref` may reach."""

    document: Any  # the parsed schema
    path: str | None  # None: inline
    directories: tuple[str, ...]
    place: Place
    files: Mapping[str, Any] = field(default_factory=lambda: EMPTY)  # the files that it refers to, parsed, by path


@dataclass(frozen=True, slots=True)
class Guards:
    """What says that valid state was emptied. `max_shrink`: a share, against the newest known-good version."""

    min_bytes: int | None = None
    max_shrink: float | None = None
    require: tuple[str, ...] = ()  # JSON pointers
    min_items: Mapping[str, int] = field(default_factory=lambda: EMPTY)  # JSON pointer -> fewest entries


@dataclass(frozen=True, slots=True)
class Validation:
    """A command that judges a copy of a document; `{path}` in its arguments is the copy."""

    command: tuple[str, ...]
    timeout_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Computed:
    """One computed value of a rebuilt document: the time now, a count of documents, or a mean over them."""

    what: str  # now | count | mean
    item: str = ""  # the state item whose documents are counted, or whose mean is taken
    where: Mapping[str, Any] = field(default_factory=lambda: EMPTY)  # field -> value, list of values or {within: 1h}
    seconds_from: str = ""  # fields with the times between which the seconds of a mean lie
    to: str = ""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """How a document is assembled from other state: by JSON pointer, or by a command that writes it."""

    collect: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # pointer -> state item
    constants: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    compute: Mapping[str, Computed] = field(default_factory=lambda: EMPTY)
    command: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[str, ...]:
        """The state items whose documents it looks at."""
        counted = (each.item for each in self.compute.values() if each.item)
        return tuple(dict.fromkeys((*self.collect.values(), *counted)))


@dataclass(frozen=True, slots=True)
class Initial:
    """The first document of a service that may start empty: a value, or the content of a file as it was loaded."""

    document: Any = None
    path: str | None = None
    content: str = ""  # of the file at `path`, in base64


@dataclass(frozen=True, slots=True)
class StateItem:
    """One declared part of a service's state."""

    name: str
    kind: ItemKind
    path: str  # absolute; "" for a dump
    format: Format = Format.AUTO
    schema: SchemaSource | None = None
    include: tuple[str, ...] = ()  # directory items; empty: everything
    exclude: tuple[str, ...] = ()
    optional: bool = False
    allow: frozenset[str] = frozenset()
    guards: Guards | None = None
    version: VersionRule | None = None
    migrate: tuple[MigrationStep, ...] = ()
    name_field: str | None = None
    magic: str = ""  # the first bytes of every document, in hexadecimal
    validate: Validation | None = None
    siblings: tuple[str, ...] | None = None  # patterns; None: the usual ones
    rebuild: Rebuild | None = None
    initial: Initial | None = None
    dump: Dump | None = None  # of a dump, always
    database: DatabaseRules | None = None  # sqlite items

    @property
    def companions(self) -> tuple[str, ...]:
        """Endings of the names beside its path that come and go with it."""
        return COMPANIONS if self.kind is ItemKind.SQLITE else ()

    @property
    def is_unchecked(self) -> bool:
        """Whether nothing is declared that tells valid content from any other of its format."""
        signs = (self.schema, self.guards, self.version, self.name_field, self.validate)
        held = bool(self.magic) or (self.database is not None and self.database.tells_content)
        return not held and all(sign is None for sign in signs)


class RunKind(StrEnum):
    SYSTEMD = "systemd"
    COMMAND = "command"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Run:
    """How a service's process is run. For `command`: recoverd starts it itself, detached."""

    kind: RunKind
    unit: str | None = None
    command: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, str | Secret] = field(default_factory=lambda: EMPTY)
    user: str | None = None
    group: str | None = None
    log: str | None = None  # absolute; None: STATE_DIR/logs/SERVICE.log
    stop_signal: str = "TERM"
    stop_timeout_s: float = 10.0
    start: tuple[str, ...] = ()  # control
    stop: tuple[str, ...] = ()
    status: tuple[str, ...] = ()


class ProbeKind(StrEnum):
    HTTP = "http"
    TCP = "tcp"
    COMMAND = "command"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Probe:
    """One check that a service is healthy. `target` is a URL, HOST:PORT, or empty."""

    kind: ProbeKind
    target: str = ""
    command: tuple[str, ...] = ()
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    within_s: float = 30.0
    stable_for_s: float = 3.0
    probes: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True)
class Restore:
    fallback: tuple[str, ...] = ("siblings", "snapshots")
    scope: str = "item"  # item | service
    attempts: int = 3
    exhausted: str = "block"  # block | leave | empty: what becomes of a service for whose state there is no candidate
    salvage: str = "none"  # none | tail: keep the whole lines of a damaged file of JSON lines
    unhealthy: str = "report"  # report | fall-back: whether older proven state is tried where state is ok
    verdicts: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # verdict -> restore|alert|block|accept


@dataclass(frozen=True, slots=True)
class Drill:
    """When a restore is rehearsed, and what is started on it."""

    cron: str | None = None  # as config.crontab reads it, in the zone of `Config.timezone`; None: only by hand
    command: tuple[str, ...] = ()
    timeout_s: float = 300.0  # for the command


@dataclass(frozen=True, slots=True)
class CheckThresholds:
    max_age_s: float | None = None  # None: derived from the autosave schedule
    max_drill_age_s: float | None = None  # None: derived from the schedule of drills
    max_failures: int = 3


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    place: Place
    enabled: bool = True
    run: Run | None = None
    after: tuple[str, ...] = ()
    state: Mapping[str, StateItem] = field(default_factory=lambda: EMPTY)
    limits: Limits = Limits()
    consistency: Consistency = Consistency()
    autosave: Autosave = Autosave()
    retention: Retention = DEFAULT_RETENTION
    restore: Restore = Restore()
    health: Health = Health()
    watch: Watch | None = None
    drill: Drill | None = None
    check: CheckThresholds = CheckThresholds()
    processes: Processes | None = None
    instances: Instances | None = None
    in_flight: tuple[InFlight, ...] = ()
    hooks: tuple[Hook, ...] = ()  # who is told of its events, besides those of the host
    match: str | None = None  # the path that `for_each` found, of a service that was made for it

    @property
    def dumps(self) -> tuple[str, ...]:
        """The names of its dump items."""
        return tuple(name for name, item in self.state.items() if item.dump is not None)


@dataclass(frozen=True, slots=True)
class RepositoryConfig:
    """Where snapshots live, and the bounds within which older ones are kept; None is no bound."""

    path: str
    compression: int = 3
    spare: str | None = None  # a second place for captures when the first can't be written
    max_bytes: int | None = None  # of its packs and records
    min_free_bytes: int | None = None  # on its file system; a size, or
    min_free_share: float | None = None  # a share of the whole


@dataclass(frozen=True, slots=True)
class QuarantineConfig:
    """How long what restores replaced is kept, and how many bytes of it; None: no bound."""

    keep_s: float = 30 * 86400.0
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class VerifyConfig:
    """How often so much of the repository is read and checked; a `sample` of 0 is never."""

    every_s: float = 86400.0
    sample: float = 0.05  # share, 0 to 1


@dataclass(frozen=True, slots=True)
class LogConfig:
    format: str = "auto"
    level: str = "info"
    debug: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedService:
    """A service whose drop-in is broken: reported as failed, while the others are recovered."""

    name: str  # the service, or the file where no service name can be told
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything: host-wide keys and the services by name."""

    state_dir: str
    repository: RepositoryConfig
    services: Mapping[str, Service]
    failed: tuple[FailedService, ...] = ()
    timezone: str = "UTC"
    quarantine: QuarantineConfig = QuarantineConfig()
    verify: VerifyConfig = VerifyConfig()
    log: LogConfig = LogConfig()
    boot_timeout_s: float = DEFAULT_BOOT_TIMEOUT_S  # for `restore --boot`
    boot_late: str = "start"  # start | block: what becomes of what was not assessed by then
    io_timeout_s: float = DEFAULT_IO_TIMEOUT_S  # a state path that does not answer by then is unreadable
    matches: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EMPTY)  # of `for_each`: pattern -> paths
    prune_cron: str | None = None  # as config.crontab reads it, in the zone of `timezone`; None: only after snapshots
    hooks: tuple[Hook, ...] = ()
