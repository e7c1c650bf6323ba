"""`for_each`: one declared service stands for several, one for each path that a pattern fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recoverd.config import matching
from recoverd.config.nodes import Node, describe
from recoverd.config.sections import Section
from recoverd.config.units import one_line
from recoverd.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Expansion:
    """One service that a template stands for: its name, its keys with the match filled in, and the match."""

    name: str
    node: Node
    match: str


@dataclass(slots=True)
class Expansions:
    """What all templates of one load have become.

    `declared`: the names of all templates; `templates`: the name of each service -> that of the template it comes from;
    `matches`: each pattern -> all that it fits; `notes`: what is no problem and yet worth telling, each with its place.
    """

    declared: set[str] = field(default_factory=set)
    templates: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)  # service -> its match
    matches: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, template: Section) -> Iterator[Expansion]:
        """The services that a declared one with `for_each` stands for; none where a problem was reported."""
        name, below = str(template.path[-1]), template.section("for_each")
        self.declared.add(name)
        pattern = below.expanded("glob")
        if pattern is None:
            return
        reason = matching.why_no_pattern(pattern)
        found: tuple[str, ...] = ()
        if reason is None:
            try:
                found = matching.find(pattern, euid=template.context.euid)
            except ValueError as error:
                reason = str(error)
        if reason is not None:
            below.problem("glob", reason)
            return
        self.matches[pattern] = found
        if not found:
            self._note(below, f"nothing fits {pattern}, so there is no service")
        for match in found:
            if why := matching.why_left_out(match):
                self._note(below, f"{match} is left out: {why}")
                continue
            one = Expansion(matching.name_of(name, pattern, match), _filled(template.node, match), match)
            self.templates[one.name], self.paths[one.name] = name, match
            yield one

    def names(self, template: str) -> list[str]:
        """The services that come from a template."""
        return sorted(name for name, origin in self.templates.items() if origin == template)

    def _note(self, section: Section, sentence: str) -> None:
        self.notes.append(f"{section.place('glob')}: {describe((*section.path, 'glob'))}: {one_line(sentence)}")


def _filled(template: Node, match: str) -> Node:
    """The keys of the service for a match."""
    parent, _, name = match.rpartition("/")
    words = {"{match.parent}": parent or "/", "{match.name}": name, "{match}": match}
    content = {key: _replaced(node, words) for key, node in template.content.items() if key != "for_each"}
    return Node(content, template.place, template.keys)


def _replaced(node: Node, words: Mapping[str, str]) -> Node:
    content = node.content
    if isinstance(content, str) and "{match" in content:
        for word, value in words.items():
            content = content.replace(word, value)
    elif isinstance(content, dict):
        content = {key: _replaced(below, words) for key, below in content.items()}
    elif isinstance(content, tuple):
        content = tuple(_replaced(below, words) for below in content)
    return Node(content, node.place, node.keys)
