"""From files to documents: read, merged with the files that change them, checked against the schema."""

from __future__ import annotations

from recoverd.config import strict_yaml, trust, unsupported, wording
from recoverd.config.findings import Findings
from recoverd.config.model import Place
from recoverd.config.nodes import Node, Path, empty_mapping, merge, place_of, without
from recoverd.config.places import Found, Search, Standing, Unit
from recoverd.config.sections import Context
from recoverd.errors import ConfigProblem
from recoverd.values import dataclass

_ANYWHERE = {"version", "services"}


@dataclass(frozen=True, slots=True)
class Document:
    """One unit. `node` holds what is usable of it, `whole` all that stands in it; an unreadable one is empty.

    `broken` are the paths at which problems were found.
    """

    unit: Unit
    node: Node
    whole: Node
    broken: frozenset[Path]
    unreadable: bool


def read_documents(search: Search, context: Context) -> list[Document]:
    """Every unit of the search, with the problems of each reported."""
    context.findings.host_wide.update(found.path for found in search.found if found.host_wide)
    context.findings.host_wide.update(unit.path for unit in search.units if unit.host_wide)
    for found in search.found:
        _report_place(found, context.findings)
    return [_document(unit, context) for unit in search.units]


def _report_place(found: Found, findings: Findings) -> None:
    sentence = None
    if found.standing is Standing.EMPTY:
        sentence = "is empty, and there is nothing of that name that it could mask: was it cut off? Else delete it"
    elif found.standing is Standing.ORPHAN:
        sentence = f"changes {found.changes}, which does not exist"
    elif found.standing is Standing.UNREADABLE:
        sentence = f"can't be looked at: {found.reason.lower()}"
    elif found.standing is Standing.ABSENT and found.asked:
        sentence = "does not exist"
    if sentence is not None:
        findings.add_problem(ConfigProblem(found.path, 0, 0, "", sentence), unit=found.path)


def _document(unit: Unit, context: Context) -> Document:
    findings = context.findings
    whole, complete = _read(unit.path, unit, context)
    for changing in unit.changes:
        change, well = _read(changing, unit, context)
        complete = complete and well
        whole = merge(whole, change, null_removes=True)
    broken: set[Path] = set()
    node = whole
    for objection in wording.objections(whole.plain()):
        place = place_of(whole, objection.path, key=objection.key)
        findings.add(place, objection.path, objection.sentence, unit=unit.path)
        broken.add(objection.path if objection.unusable is None else objection.unusable)
    for use, start in _unsupported(whole):
        path = (*start, *use.path)
        findings.add(place_of(whole, path, key=use.value is None), path, use.sentence, unit=unit.path)
        broken.add(path)
    if not unit.host_wide:
        for key in whole.content:
            if key not in _ANYWHERE and (key,) not in broken:
                sentence = "is host-wide: it belongs into recoverd.yaml; here only `services` can stand"
                findings.add(whole.keys[key], (key,), sentence, unit=unit.path)
                broken.add((key,))
    for path in broken:
        node = without(node, path)
    return Document(unit, node, whole, frozenset(broken), unreadable=not complete)


def _unsupported(document: Node) -> list[tuple[unsupported.Use, Path]]:
    found: list[tuple[unsupported.Use, Path]] = [(use, ()) for use in unsupported.uses(document, unsupported.HOST)]
    starts: list[tuple[Path, Node]] = []
    services, defaults = document.get("services"), document.get("defaults")
    if services is not None and isinstance(services.content, dict):
        starts += [(("services", name), node) for name, node in services.content.items()]
    if defaults is not None:
        starts.append((("defaults",), defaults))
    for start, node in starts:
        found += [(use, start) for use in unsupported.uses(node, unsupported.SERVICE)]
    return found


def _read(path: str, unit: Unit, context: Context) -> tuple[Node, bool]:
    """The mapping in a file, and whether all of it could be read."""
    nothing = empty_mapping(Place(path, 1, 1))
    try:
        data = context.read(path, strict_yaml.MOST_BYTES)
    except trust.Unusable as reason:
        context.findings.add_problem(ConfigProblem(path, 0, 0, "", str(reason)), unit=unit.path)
        return nothing, False
    parsed = strict_yaml.parse(data, path)
    for problem in parsed.problems:
        context.findings.add_problem(problem, unit=unit.path)
    if parsed.node is None:
        return nothing, not parsed.problems
    if not isinstance(parsed.node.content, dict):
        for objection in wording.objections(parsed.node.plain()):
            place = parsed.node.place
            problem = ConfigProblem(path, place.line, place.column, "", objection.sentence)
            context.findings.add_problem(problem, unit=unit.path)
        return nothing, False
    return parsed.node, not parsed.problems
