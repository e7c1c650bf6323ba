"""Loading the configuration: all files, all problems at once, no side effects, no service touched."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from recoverd.config import crosschecks, host, places
from recoverd.config.documents import Document, read_documents
from recoverd.config.findings import Findings
from recoverd.config.for_each import Expansions
from recoverd.config.hooks import build_hooks
from recoverd.config.items import Claim, why_no_name
from recoverd.config.model import DEFAULT_BOOT_TIMEOUT_S, DEFAULT_IO_TIMEOUT_S, Config, FailedService, Place, Service
from recoverd.config.nodes import Node, Path, at, empty_mapping, leaves, merge
from recoverd.config.places import Search
from recoverd.config.sections import Context, Section
from recoverd.config.services import build_service
from recoverd.config.sources import SourceLog, Sources
from recoverd.config.wording import suggest
from recoverd.errors import ConfigError, ConfigProblem
from recoverd.values import dataclass, replace

HINT = "correct what is listed; `recoverd config schema` tells all keys, and `recoverd config validate` checks again"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and what it was made of.

    `problems` is empty unless it was loaded tolerantly. `provenance` has the place of every value that a file
    gives, by its path: ("services", "web", "autosave", "every"); what is not in it is a default. `notes` are no
    problems: what `for_each` left out, and patterns that nothing fits.
    """

    config: Config
    sources: Sources
    search: Search
    problems: tuple[ConfigProblem, ...]
    provenance: Mapping[tuple[str, ...], Place]
    notes: tuple[str, ...] = ()


def load(
    paths: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str],
    euid: int,
    home: str,
    strict: bool = True,
    prefix: str = "",
) -> Loaded:
    """Read the files at `paths`, or those at the usual places.

    Raises ConfigError with every problem. When not `strict` (at boot), one broken drop-in does not take the
    others down: a service with a problem, or all of a file that can't be read, is in `Config.failed`; only
    problems of host-wide keys still raise, since without them nobody knows where the snapshots are.
    """
    search = places.find(paths, environ=environ, euid=euid, home=home, prefix=prefix)
    sources = SourceLog()
    if not paths and euid != 0:
        sources.ask(environ, "XDG_CONFIG_HOME")
    schema_directory = os.path.join(places.system_directory(prefix), "schemas")
    context = Context(environ, euid, home, Findings(), sources, schema_directory)
    documents = read_documents(search, context)
    builder = _Builder(context, documents)
    config, provenance = builder.build(strict=strict)
    problems = context.findings.sorted()
    if problems and (strict or context.findings.concern_host()):
        raise ConfigError(problems, hint=HINT)
    return Loaded(config, sources.finish(search), search, problems, provenance, builder.notes)


class _Builder:
    def __init__(self, context: Context, documents: Sequence[Document]) -> None:
        self._context = context
        self._documents = documents
        self._provenance: dict[tuple[str, ...], Place] = {}
        self._expansions = Expansions()

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._expansions.notes)

    def build(self, *, strict: bool) -> tuple[Config, Mapping[tuple[str, ...], Place]]:
        section = self._host()
        state_dir = host.state_directory(section)
        repository = host.repository(section, state_dir)
        config = Config(
            state_dir=state_dir,
            repository=repository,
            services={},
            timezone=host.timezone(section),
            quarantine=host.quarantine(section),
            verify=host.verify(section),
            log=host.log(section),
            boot_timeout_s=section.duration("boot_timeout", DEFAULT_BOOT_TIMEOUT_S, positive=True),
            boot_late=str(section.text("boot_late", "start")),
            io_timeout_s=section.duration("io_timeout", DEFAULT_IO_TIMEOUT_S, positive=True),
            prune_cron=host.prune_cron(section),
            hooks=build_hooks(section),
        )
        own = host.own_directories(state_dir, repository)
        services: dict[str, Service] = {}
        claims: list[Claim] = []
        for name, service_section in self._services(section.node.get("defaults")).items():
            service, claimed = build_service(name, service_section, own)
            services[name] = replace(service, after=self._all_of(service.after), match=self._expansions.paths.get(name))
            claims += claimed if service.enabled else []
        self._check_together(services, claims)
        failed = () if strict else self._failed()
        names = {each.name for each in failed}
        good = {
            name: service
            for name, service in sorted(services.items())
            if name not in names and self._expansions.templates.get(name) not in names
        }
        matches = self._expansions.matches
        return replace(config, services=good, failed=failed, matches=matches), self._provenance

    def _host(self) -> Section:
        """The host-wide keys of all files as one; the same key in two of them is a problem."""
        merged: Node | None = None
        given: dict[tuple[str, ...], Place] = {}
        first = ""
        for document in self._documents:
            if not document.unit.host_wide:
                continue
            first = first or document.unit.path
            self._context.broken.update(path for path in document.broken if path[:1] != ("services",))
            content = {key: node for key, node in document.node.content.items() if key != "services"}
            keys = {key: document.node.keys[key] for key in content}
            node = Node(content, document.node.place, keys)
            for path, place in leaves(node) if content else ():
                if path in given and path != ("version",):
                    self._twice(document, path, place, given[path])
                given.setdefault(path, place)
            merged = node if merged is None else merge(merged, node)
        self._provenance.update(given)
        node = merged if merged is not None else empty_mapping(Place(first, 0, 0))
        return Section(node, (), self._context, unit=first)

    def _services(self, defaults: Node | None) -> dict[str, Section]:
        """The services of all files by name, with the defaults below their own keys."""
        sections: dict[str, Section] = {}
        first: dict[str, tuple[Document, Place]] = {}
        for document in self._documents:
            services, whole = document.node.get("services"), at(document.whole, "services")
            names = services.content if services is not None else {}
            for name in names:
                assert services is not None
                place = services.keys[name]
                if name in first:
                    self._twice(document, ("services", name), place, first[name][1])
                    self._twice(first[name][0], ("services", name), first[name][1], place)
                    continue
                first[name] = (document, place)
                own = names[name]
                if not isinstance(own.content, dict):
                    continue
                broken = [path for path in document.broken if path[:2] == ("services", name)]
                self._context.broken.update(broken)
                node = own if defaults is None else _over_defaults(defaults, own)
                section = Section(node, ("services", name), self._context, unit=document.unit.path)
                if own.get("for_each") is None:
                    self._provenance.update(leaves(node, ("services", name)))
                    sections[name] = section
                    continue
                if reason := why_no_name(name):
                    section.problem(None, reason)
                for one in self._expansions.of(section):
                    here: Path = ("services", one.name)
                    if one.name in first:
                        self._twice(document, here, place, first[one.name][1])
                        continue
                    first[one.name] = (document, place)
                    self._context.broken.update((*here, *path[2:]) for path in broken)
                    self._provenance.update(leaves(one.node, ("services", one.name)))
                    sections[one.name] = replace(section, node=one.node, path=here)
            for name in whole.content if whole is not None and isinstance(whole.content, dict) else ():
                if name not in names:  # declared, but not as a mapping
                    self._context.broken.add(("services", name))
        return sections

    def _twice(self, document: Document, path: Path, place: Place, other: Place) -> None:
        sentence = f"is given twice: also at {other}"
        self._context.findings.add(place, path, sentence, unit=document.unit.path)

    def _all_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Names of services, each template as all that come from it."""
        declared = self._expansions.declared
        each = [self._expansions.names(name) if name in declared else [name] for name in names]
        return tuple(dict.fromkeys(name for some in each for name in some))

    def _check_together(self, services: Mapping[str, Service], claims: Sequence[Claim]) -> None:
        for claim, sentence in crosschecks.overlaps(claims):
            unit = self._unit_of(claim.service)
            path: Path = ("services", claim.service, "state", claim.item, claim.kind.value)
            self._context.findings.add(claim.place, path, sentence, unit=unit)
        known = {*services, *(str(path[1]) for path in self._context.broken if len(path) > 1 and path[0] == "services")}
        complete = not any(document.unreadable for document in self._documents)
        for name, service in services.items():
            for other in service.after:
                if other not in known and complete:
                    self._after(service, f'there is no service "{other}"{suggest(other, known - {name})}')
        for cycle in crosschecks.cycles({name: service.after for name, service in services.items()}):
            way = " → ".join(cycle)
            for name in dict.fromkeys(cycle):
                sentence = "waits for itself" if len(cycle) == 2 else f"the services wait for one another: {way}"
                self._after(services[name], sentence)

    def _after(self, service: Service, sentence: str) -> None:
        path = ("services", service.name, "after")
        place = self._provenance.get(path, service.place)
        self._context.findings.add(place, path, sentence, unit=self._unit_of(service.name))

    def _unit_of(self, service: str) -> str:
        declared = self._expansions.templates.get(service, service)
        return next(each.unit.path for each in self._documents if at(each.node, "services", declared) is not None)

    def _failed(self) -> tuple[FailedService, ...]:
        """Whom the problems concern: services by name; all services of a file that is broken as a whole."""
        by_name: dict[str, list[str]] = {}
        for finding in self._context.findings.all:
            names = [finding.service] if finding.service else self._names_in(finding.unit)
            for name in names:
                by_name.setdefault(name, []).append(str(finding.problem))
        return tuple(FailedService(name, tuple(dict.fromkeys(by_name[name]))) for name in sorted(by_name))

    def _names_in(self, unit: str) -> list[str]:
        for document in self._documents:
            if document.unit.path == unit:
                services = document.whole.get("services")
                if services is not None and isinstance(services.content, dict) and services.content:
                    return list(services.content)
        return [unit]


def _over_defaults(defaults: Node, own: Node) -> Node:
    """A service's own keys over the defaults; the place stays the service's."""
    return replace(merge(defaults, own), place=own.place)
