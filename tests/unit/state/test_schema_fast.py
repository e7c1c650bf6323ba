"""The extra `fast` says yes only where jsonschema says yes, and where it can say so: on schemas of every day."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recoverd.config.model import Format, Place, SchemaSource
from recoverd.config.schema_files import examine
from recoverd.state.judging import Judge
from recoverd.state.schema_cost import cost_of
from recoverd.state.schema_fast import FastValidator, fast_validator
from recoverd.state.schema_formats import CHECKERS
from recoverd.state.schema_rust_patterns import Untranslatable, translate
from recoverd.state.schemas import Validator, close
from recoverd.state.verdicts import OK

jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="the extra `fast` is not installed")

DEPTH = 128
DRAFTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
)
PATTERNS = [
    "^a",
    "a$",
    "^[ab]*$",
    r"\d",
    r"^\w+$",
    r"\s",
    r"\bx",
    ".",
    "^.$",
    "^(?:a|b$)",
    "[^a]",
    "(a+)+$",
    "",
    "^$",
    r"[\W_]",
]
TEXTS = st.one_of(
    st.text(max_size=3),
    st.text("ab1 \n\x1c\u0660é_x", max_size=3),
    st.sampled_from(["2026-11-21", "2026-11-21T03:12:45Z", "2026-02-30", "1.2.3.4", "a\n", "\ud800", "x@y", "P1D"]),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, 2**63, 2**64, 2**70, -(2**64), 10**400]),
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.5, 1e16, 1e300, 1e-300, float(2**53), float("inf"), float("-inf")]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
KEYS = st.sampled_from(["a", "b", "ab", "x", "é", "1", ""])
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.just("\ud800"), inner, max_size=4),
    max_leaves=12,
)
SMALL = st.integers(0, 3)
TYPES = st.sampled_from(["array", "boolean", "integer", "null", "number", "object", "string"])


def schemas_of(draft: str) -> st.SearchStrategy[Any]:
    leaf = st.one_of(st.booleans(), st.builds(lambda name: {"$ref": f"#/definitions/{name}"}, st.sampled_from("pq")))

    def grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        keys = st.lists(KEYS, max_size=2, unique=True)
        several = st.lists(inner, min_size=1, max_size=3)
        named = st.dictionaries(KEYS, inner, max_size=3)
        keywords: dict[str, st.SearchStrategy[Any]] = {
            "type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
            "enum": st.lists(SCALARS | st.lists(NUMBERS, max_size=1), min_size=1, max_size=3),
            "const": SCALARS | st.lists(NUMBERS, max_size=2),
            "minimum": NUMBERS.filter(abs_is_finite),
            "maximum": NUMBERS.filter(abs_is_finite),
            "exclusiveMinimum": NUMBERS.filter(abs_is_finite),
            "multipleOf": st.sampled_from([1, 2, 0.1, 0.5, 3]),
            "minLength": SMALL,
            "maxLength": SMALL,
            "pattern": st.sampled_from(PATTERNS),
            "format": st.sampled_from([*CHECKERS, "uri-reference", "json-pointer", "nobody-knows"]),
            "required": keys,
            "properties": named,
            "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "minProperties": SMALL,
            "maxProperties": SMALL,
            "minItems": SMALL,
            "maxItems": SMALL,
            "uniqueItems": st.booleans(),
            "contains": inner,
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "title": st.just("t"),
            "contentMediaType": st.just("application/json"),
        }
        if "draft-07" in draft:
            keywords["dependencies"] = st.dictionaries(
                KEYS, inner | st.lists(KEYS, max_size=2, unique=True), max_size=2
            )
        else:
            keywords["dependentSchemas"] = named
            keywords["dependentRequired"] = st.dictionaries(KEYS, keys, max_size=2)
            keywords["minContains"] = keywords["maxContains"] = SMALL
            keywords["unevaluatedProperties"] = inner
        if "2020-12" in draft:
            keywords["prefixItems"] = several
            keywords["items"] = inner
        else:
            keywords["items"] = inner | several
            keywords["additionalItems"] = inner
        return st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True).flatmap(
            lambda chosen: st.fixed_dictionaries({name: keywords[name] for name in chosen})
        )

    bodies = st.recursive(leaf, grow, max_leaves=5)
    return st.builds(
        lambda root, p, q: {"$schema": draft, "allOf": [root], "definitions": {"p": p, "q": q}}, bodies, bodies, bodies
    )


def abs_is_finite(number: float) -> bool:
    return abs(number) != float("inf")


def engines(schema: Any) -> tuple[Validator, FastValidator | None]:
    source = SchemaSource(schema, None, (), Place("x", 1, 1))
    validator = Validator(close(source))
    return validator, fast_validator(validator.graph, cost_of(validator.graph, DEPTH), DEPTH)


@pytest.mark.parametrize("draft", DRAFTS)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_accepted_passes_jsonschema(draft: str, data: st.DataObject) -> None:
    """Random schemas and documents with all that engines are known to differ in: numbers, patterns, halves of
    characters, formats. What the fast engine does not refuse for its own limits it must also judge the same."""
    schema = data.draw(schemas_of(draft))
    faults, _ = examine(schema, None, (), lambda path: None)
    assume(not faults)
    validator, fast = engines(schema)
    assume(fast is not None)
    assert fast is not None
    for document in data.draw(st.lists(DOCUMENTS, min_size=1, max_size=6)):
        passes = validator.problems(document, 5) == ()
        if fast.accepts(document):
            assert passes
        elif passes:
            assert is_left_to_jsonschema(document, fast)


def is_left_to_jsonschema(document: Any, fast: FastValidator) -> bool:
    """A value that Rust has not, or one beyond ASCII where a pattern means something else there."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        encoded = text.encode()
    except ValueError:
        return True
    return fast._only_ascii and (not encoded.isascii() or "\\u" in text)


UNTRANSLATABLE = (
    *("(?i)a", "(?=a)", "(?<!a)b", r"(a)\1", "a{2000}", "(?s:.)", "$a", "(?>a)", "a*+"),
    *("\ud800", "[\ud800-\udfff]"),
)
ATOM = r"(?:[ab.]|\[\^?[ab\n-]?[a-b]\]|\\[dDwWsS]|\[\^?\\[dDwWsS]b\]|\((?:a|b)\|[ab]?\))"


@settings(max_examples=200, deadline=None)
@given(
    st.from_regex(re.compile(rf"\A(?:\^?{ATOM}[*+?]?){{1,4}}\$?\Z")),
    st.lists(st.text("ab1_ \n\x1c-", max_size=5), max_size=8),
)
def test_translated_patterns_match_the_same_texts(pattern: str, texts: list[str]) -> None:
    try:
        compiled = re.compile(pattern)
        translated, _ = translate(pattern)
    except (re.error, Untranslatable):
        assume(condition=False)
    rust = jsonschema_rs.Draft202012Validator({"pattern": translated}, pattern_options=jsonschema_rs.RegexOptions())
    for text in texts:
        assert rust.is_valid(text) == (compiled.search(text) is not None), (pattern, translated, text)


@pytest.mark.parametrize(
    "pattern",
    UNTRANSLATABLE,
)
def test_what_has_no_counterpart_is_not_translated(pattern: str) -> None:
    with pytest.raises(Untranslatable):
        translate(pattern)


class TestWhere:
    @pytest.mark.parametrize(
        "schema",
        [
            {"multipleOf": 0.1},
            {"unevaluatedProperties": False},
            {"const": 1.5},
            {"enum": [[1]]},
            {"const": 2**53},
            {"minimum": 1e300},
            {"pattern": "(?=a)"},
            {"$dynamicRef": "#"},
            {"maxLength": 2.0},
            {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True},
        ],
        ids=json.dumps,
    )
    def test_keywords_in_which_the_engines_differ_are_left_to_jsonschema(self, schema: Any) -> None:
        assert engines(schema)[1] is None

    def test_a_schema_of_every_day_is_fast(self) -> None:
        schema = {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string", "pattern": "^task_[0-9]+$"},
                "at": {"format": "date-time"},
                "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}},
                "kind": {"oneOf": [{"const": "a"}, {"const": "b"}]},
            },
            "additionalProperties": False,
            "$defs": {
                "step": {"properties": {"inner": {"$ref": "#/$defs/step"}, "n": {"type": "integer", "minimum": 0}}}
            },
        }
        fast = engines(schema)[1]
        assert fast is not None
        assert fast.accepts(
            {"id": "task_1", "at": "2024-02-29T00:00:00Z", "steps": [{"inner": {"n": 2**70}}], "kind": "b"}
        )
        assert not fast.accepts({"id": "task_1", "at": "2026-02-29T00:00:00Z"})

    def test_chains_that_could_use_up_the_stack_are_left_to_jsonschema(self) -> None:
        chain = {f"s{number}": {"$ref": f"#/$defs/s{number + 1}"} for number in range(60)}
        schema = {"$ref": "#/$defs/s0", "$defs": {**chain, "s60": {"items": {"$ref": "#"}}}}
        assert engines(schema)[1] is None

    @pytest.mark.parametrize("draft", DRAFTS)
    def test_the_deepest_document_does_not_use_up_the_stack(self, draft: str) -> None:
        schema: Any = {"items": {"$ref": "#"}, "type": "array"}
        for _ in range(35):
            schema = {"allOf": [schema]}
        fast = engines({"$schema": draft, **schema})[1]
        assert fast is not None
        value: Any = []
        for _ in range(DEPTH - 1):
            value = [value]
        assert fast.accepts(value)

    def test_without_the_extra_verdicts_and_the_id_of_the_judge_are_the_same(self) -> None:
        """What is remembered stays right when the extra is installed or taken away."""
        program = (
            "import sys, json\n"
            "if sys.argv[1] == 'without': sys.modules['jsonschema_rs'] = None\n"
            "from recoverd.config.model import *\n"
            "from recoverd.state.judging import Judge\n"
            "from recoverd.state.schemas import close\n"
            "s = {'properties': {'a': {'format': 'date'}, 'b': {'pattern': '^[a-z]+$'}, 'c': {'maximum': 10}}}\n"
            "j = Judge(Format.JSON, closure=close(SchemaSource(s, None, (), Place('x', 1, 1))))\n"
            'd = [b\'{"a": "2026-02-30"}\', b\'{"b": "x\\\\n"}\', b\'{"c": 1e400}\', b\'{"a": "2026-02-03"}\']\n'
            "print(j.id, *[str(j.judge('', each)) for each in d])\n"
            "print('jsonschema_rs' in sys.modules and sys.modules['jsonschema_rs'] is not None, file=sys.stderr)\n"
        )
        said = [
            subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True, text=True)
            for how in ("with", "without")
        ]
        assert said[0].stdout == said[1].stdout
        assert [each.stderr.strip() for each in said] == ["True", "False"]

    def test_a_pattern_that_backtracks_needs_no_child_to_be_accepted(
        self, schema_source: Callable[..., SchemaSource], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        judge = Judge(Format.JSON, closure=close(schema_source({"properties": {"id": {"pattern": "^(a+)+$"}}})))
        monkeypatch.setattr("recoverd.state.schema_process.GuardedValidator._start", None)
        assert judge.judge("", b'{"id": "' + b"a" * 50_000 + b'"}') == OK
