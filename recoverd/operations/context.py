"""What every operation works with: the configuration, the repository, where events go, how long to wait."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from recoverd.config.model import Config, Service
from recoverd.errors import NOTHING_DECLARED, ConfigProblem, RepositoryError, UsageError
from recoverd.events.stream import Events, Sink
from recoverd.events.where import by_name
from recoverd.repository import layout
from recoverd.repository.catalog import Catalog
from recoverd.repository.reserve import Reserve
from recoverd.repository.store import Repository
from recoverd.values import dataclass, field

if TYPE_CHECKING:
    from recoverd.events.hooks import Hooks
    from recoverd.operations.proving import Watch
    from recoverd.state.judging import Judge

DEFAULT_WAIT_S = 30.0
# services whose state is looked at and written at the same time: they mostly wait for the disk, which syncs what many
# wait for in one go; each more costs memory
RESTORES_AT_ONCE = 8
_USABLE = "00" * 32  # the hash of no document: under it the memo of verdicts keeps that a schema can be used


@dataclass(slots=True)
class Context:
    """One for each run of a command; `run` makes a new one when it reloads."""

    config: Config
    events: Events
    runtime_dir: str  # confirmations and what else a reboot may forget
    wait_s: float = DEFAULT_WAIT_S
    hooks: Hooks | None = None  # those that were declared; waited for at the end
    _repository: Repository | None = None
    _judges: dict[str, dict[str, Judge]] = field(default_factory=dict)
    problems: tuple[ConfigProblem, ...] = ()  # of the configuration, where it was loaded tolerantly
    command: tuple[str, ...] = ()  # recoverd with its global options, where we run in a unit that will end
    told_damage: set[str] = field(default_factory=set)
    told_low: set[str] = field(default_factory=set)  # bounds of the repository that are not met, and told
    rest_until_s: float = 0.0  # monotonic: until then nobody tries to bring home what the spare holds
    observing: dict[str, Watch] = field(default_factory=dict)  # what was seen of services, by those that look
    opening: threading.Lock = field(default_factory=threading.Lock)
    state_changes: threading.RLock = field(default_factory=threading.RLock)  # captures, prunes, starts: one at a time
    restores: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(RESTORES_AT_ONCE))

    def log_to(self, *sinks: Sink) -> None:
        """From now on events go to these, and to the hooks."""
        everybody = [*sinks, *((self.hooks.tell,) if self.hooks is not None else ())]
        self.events = Events(everybody, partial(by_name, self.config))

    def tell_damage(self, service: str, message: str) -> None:
        """Tell the events of damage in the repository, once for each run of a command."""
        if message not in self.told_damage:
            self.told_damage.add(message)
            self.events.emit("verify.damage", service=service, message=message)

    @property
    def state_dir(self) -> str:
        return self.config.state_dir

    def repository(self, *, create: bool = False) -> Repository:
        """The repository, opened once. Raises RepositoryError when there is none and it is not to be created.

        With a spare it is opened anew whenever one of the two places comes or goes.
        """
        if self.config.repository.spare is not None:
            from recoverd.operations import spare

            with self.opening:
                self._repository = spare.opened(self, self._repository, create=create)
        elif self._repository is None:
            path = self.config.repository.path
            if not layout.is_there(path):
                if not create:
                    raise RepositoryError(
                        f"there is no repository at {path}",
                        hint="`recoverd snapshot` or `recoverd run` creates it with the first snapshot",
                    )
                Repository.create(path, compression=self.config.repository.compression)
                Reserve.of(self.state_dir, path).set_up()
            self._repository = Repository.open(
                path, state_dir=self.state_dir, compression=self.config.repository.compression
            )
        return self._repository

    def repository_if_any(self) -> Repository | None:
        """The repository, or None when none was created yet. Raises RepositoryError for one that can't be read."""
        if self.config.repository.spare is not None:
            from recoverd.operations import spare

            with self.opening:
                found = self._repository = spare.opened_if_any(self, self._repository)
            return found
        if self._repository is None and not layout.is_there(self.config.repository.path):
            return None
        return self.repository()

    def judges(self, service: Service) -> Mapping[str, Judge]:
        """The judge of each state item, built once."""
        from recoverd.state.judging import build_judge

        known = self._judges.setdefault(service.name, {})
        if service.state.keys() - known.keys():  # the same service may be at hand with a part of its state
            repository = self.repository_if_any()
            proven = None if repository is None else partial(_is_usable, repository.catalog)
            judges = {name: build_judge(item, proven) for name, item in service.state.items() if name not in known}
            if repository is not None:
                for judge in judges.values():
                    if judge.has_schema and not _is_usable(repository.catalog, judge.id):
                        repository.catalog.remember(judge.id, {_USABLE: b""})
            known |= judges
        return known

    def select(self, names: Sequence[str], *, enabled_only: bool = True) -> list[Service]:
        """The named services, or all enabled ones. Raises UsageError for a name that nothing is declared under."""
        services = self.config.services
        if not names:
            return [service for service in services.values() if service.enabled or not enabled_only]
        for name in names:
            if name not in services:
                raise unknown_service(name, services)
        return [services[name] for name in dict.fromkeys(names)]


def _is_usable(catalog: Catalog, judge: str) -> bool:
    """Whether the schema of a judge is known to be one, so that it need not be compiled to see."""
    return bool(catalog.memo(judge, [_USABLE]))


def unknown_service(name: str, services: Mapping[str, Service]) -> UsageError:
    """The error for a name that nothing is declared under, with the nearest one that is."""
    import difflib

    near = difflib.get_close_matches(name, services, n=1)
    if near:
        hint = f"did you mean {near[0]}?"
    elif services:
        hint = f"declared are: {', '.join(sorted(services))}"
    else:
        hint = f"no service is declared: {NOTHING_DECLARED}"
    return UsageError(f"there is no service {name!r}", hint=hint)
