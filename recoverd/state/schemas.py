"""JSON Schemas, ready to judge documents: what they are made of, and what they have against a value.

The configuration read and checked them with all that they refer to (`config.schema_files`); nothing is read here.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from blake3 import blake3

from recoverd.config.model import SchemaSource
from recoverd.errors import StateError
from recoverd.state.formats.text import Unjudgeable, printable
from recoverd.state.schema_words import problem_of
from recoverd.state.verdicts import Problem
from recoverd.values import dataclass

_MOST_ERRORS_COUNTED = 200


@dataclass(frozen=True, slots=True)
class Closure:
    """A schema with everything it refers to. `hash` (BLAKE3, hex) tells it from any that could judge otherwise."""

    name: str  # for messages
    source: SchemaSource
    hash: str


def close(source: SchemaSource) -> Closure:
    """Raises StateError for a schema that holds what JSON has not. Neither jsonschema nor `urllib` is needed yet."""
    name = source.path or str(source.place)
    # Names of files decide where references lead, so they count as their content does.
    parts = [source.path, source.directories, source.document, sorted(source.files.items())]
    try:
        text = json.dumps(parts, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise unusable(name, f"it holds a value that JSON has not, or a very long one: {error}") from None
    except RecursionError:
        raise unusable(name, "it is nested too deeply") from None
    return Closure(name, source, blake3(text.encode()).hexdigest())


def unusable(name: str, sentence: str) -> StateError:
    return StateError(f"the schema {name} can't be used: {sentence}")


class Validator:
    """A compiled schema; reused for every document, from any thread. `graph`: which schemas apply which others."""

    def __init__(self, closure: Closure) -> None:
        """Raises StateError when the schema was never checked, and can't be used."""
        from referencing.exceptions import Unresolvable

        from recoverd.config.schema_closure import Fault, crawl
        from recoverd.config.schema_graph import graph_of, registry_of
        from recoverd.state.schema_keywords import validator_of

        source = closure.source
        try:
            crawled = crawl(source.document, source.path, source.directories, source.files.get)
            for fault in crawled.faults:
                raise fault
            self.graph = graph_of(crawled)
        except Fault as fault:
            raise unusable(closure.name, fault.sentence) from None
        if self.graph.circle() is not None:
            raise unusable(closure.name, "it applies itself to the same value, without end")
        self._unresolvable = Unresolvable
        root = crawled.documents[crawled.base]
        if any(not spot.value.startswith("#") for spot in crawled.references):
            root = {"$ref": crawled.name}  # relative references start from there
        dynamic = any(step.dynamic for step in self.graph.steps)
        self._validator = validator_of(crawled.draft, root, registry_of(crawled), dynamic=dynamic)

    def problems(self, value: Any, most: int) -> tuple[Problem, ...]:
        """What is wrong with a document: at most `most` problems, then how many more. Raises Unjudgeable."""
        try:
            errors = list(islice(self._validator.iter_errors(value), _MOST_ERRORS_COUNTED))
        except RecursionError:
            raise Unjudgeable("is nested too deeply for its schema") from None
        except self._unresolvable as error:  # of dynamic references only: the others are known to lead somewhere
            raise Unjudgeable(f"needs a part of its schema that is not there: {printable(str(error.ref))}") from None
        if not errors:
            return ()
        problems = [problem_of(error) for error in errors[:most]]
        if len(errors) > most:
            at_least = "at least " if len(errors) == _MOST_ERRORS_COUNTED else ""
            problems.append(Problem("", f"and {at_least}{len(errors) - most} more"))
        return tuple(problems)
