"""Schemas: their references reach the configuration directories and nothing else, their words are for people."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import SchemaSource
from recoverd.config.schema_closure import DRAFTS
from recoverd.errors import StateError
from recoverd.state.schemas import Closure, Validator, close

MakeSource = Callable[..., SchemaSource]
NEWEST = "https://json-schema.org/draft/2020-12/schema"


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    directory = tmp_path / "schemas"
    directory.mkdir(mode=0o755)
    return directory


@pytest.fixture
def write(schemas: Path) -> Callable[[str, Any], Path]:
    def make(name: str, document: Any) -> Path:
        path = schemas / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
        path.chmod(0o644)
        return path

    return make


@pytest.fixture
def closed(schemas: Path, write: Callable[[str, Any], Path], schema_source: MakeSource) -> Callable[[Any], Closure]:
    """A schema, saved as root.json in the allowed directory, with its closure."""

    def make(document: Any) -> Closure:
        path = write("root.json", document)
        return close(schema_source(document, str(path), (str(schemas),)))

    return make


def words(schema: Any, value: Any, schema_source: MakeSource) -> list[str]:
    return [str(problem) for problem in Validator(close(schema_source(schema))).problems(value, 20)]


class TestReferences:
    def test_a_file_beside_it(self, closed: Callable[[Any], Closure], write: Callable[[str, Any], Path]) -> None:
        write("task.json", {"$ref": "sub/status.json#/$defs/status"})
        write("sub/status.json", {"$defs": {"status": {"enum": ["open"]}, "other": {"$ref": "../more.json"}}})
        write("more.json", True)
        closure = closed({"items": {"$ref": "task.json"}})
        validator = Validator(closure)
        assert validator.problems(["open"], 20) == ()
        assert str(validator.problems(["x"], 20)[0]) == '#/0: is "x", not one of "open"'
        assert sorted(os.path.basename(path) for path in closure.source.files) == [
            "more.json",
            "status.json",
            "task.json",
        ]

    def test_a_schema_that_calls_itself_https_finds_its_neighbours(
        self, closed: Callable[[Any], Closure], write: Callable[[str, Any], Path]
    ) -> None:
        write("task.json", {"$id": "https://example.com/s/task.json", "$ref": "kind.json"})
        write("kind.json", {"type": "string"})
        for own in ("https://example.com/s/root.json", "root.json", "urn:x:y"):
            reference = "https://example.com/s/task.json" if own.startswith("urn") else "task.json"
            root = {"$id": own, "items": {"$ref": reference}, "$defs": {"t": {"$ref": "task.json"}}}
            if own.startswith("urn"):
                continue
            assert str(Validator(closed(root)).problems([1], 20)[0]) == "#/0: is 1, not text"

    def test_schemas_that_refer_to_each_other(
        self, closed: Callable[[Any], Closure], write: Callable[[str, Any], Path]
    ) -> None:
        write("b.json", {"properties": {"a": {"$ref": "root.json"}}})
        validator = Validator(closed({"type": "object", "properties": {"b": {"$ref": "b.json"}}}))
        assert str(validator.problems({"b": {"a": {"b": 1, "x": {}}}}, 20)) == "()"
        assert validator.problems({"b": {"a": 1}}, 20)[0].place == "#/b/a"

    def test_anchors_embedded_ids_and_the_meta_schema(self, closed: Callable[[Any], Closure]) -> None:
        validator = Validator(
            closed(
                {
                    "$schema": NEWEST,
                    "properties": {"a": {"$ref": "#t"}, "b": {"$ref": "inner"}, "c": {"$ref": NEWEST}},
                    "$defs": {"t": {"$anchor": "t", "type": "string"}, "i": {"$id": "inner", "type": "null"}},
                }
            )
        )
        assert validator.problems({"a": "x", "b": None, "c": {"type": "object"}}, 20) == ()
        assert {p.place for p in validator.problems({"a": 1, "b": 1, "c": {"type": 7}}, 20)} == {
            "#/a",
            "#/b",
            "#/c/type",
        }

    def test_an_inline_schema_looks_in_each_directory(self, tmp_path: Path, schema_source: MakeSource) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir(mode=0o755)
            (tmp_path / name / f"{name}.json").write_text('{"type": "string"}')
            (tmp_path / name / f"{name}.json").chmod(0o644)
        directories = (str(tmp_path / "one"), str(tmp_path / "two"))
        root = {"properties": {"a": {"$ref": "one.json"}, "b": {"$ref": "two.json"}}}
        validator = Validator(close(schema_source(root, None, directories)))
        assert len(validator.problems({"a": 1, "b": 1}, 20)) == 2


class TestHash:
    def test_every_byte_of_the_closure_counts(
        self, closed: Callable[[Any], Closure], write: Callable[[str, Any], Path]
    ) -> None:
        """A verdict that was remembered must not outlive a change of any file of the schema."""
        write("b.json", {"$ref": "c.json"})
        write("c.json", {"type": "string"})
        root = {"$ref": "b.json"}
        first = closed(root).hash
        assert closed(root).hash == first
        write("c.json", {"type": "number"})
        second = closed(root).hash
        write("c.json", {"type": "string"})
        assert closed(root).hash == first != second
        assert closed({"$ref": "b.json", "title": "x"}).hash not in (first, second)


class TestDrafts:
    @pytest.mark.parametrize("draft", DRAFTS)
    def test_each_draft_validates(self, draft: str, schema_source: MakeSource) -> None:
        for end in ("", "#") if "draft-0" in draft else ("",):
            schema = {"$schema": draft + end, "properties": {"a": {"type": "string"}, "b": {"uniqueItems": True}}}
            validator = Validator(close(schema_source(schema)))
            assert [p.place for p in validator.problems({"a": 1, "b": [{}, {}]}, 20)] == ["#/a", "#/b"]
            assert validator.problems({"a": "x", "b": [1, True]}, 20) == ()

    def test_the_ids_of_draft_4(self, closed: Callable[[Any], Closure]) -> None:
        draft = "http://json-schema.org/draft-04/schema#"
        closure = closed(
            {
                "$schema": draft,
                "id": "https://example.com/r.json",
                "properties": {"a": {"$ref": "https://example.com/t"}},
                "definitions": {"t": {"id": "t", "type": "string"}},
            }
        )
        assert len(Validator(closure).problems({"a": 1}, 20)) == 1

    @pytest.mark.parametrize(
        ("schema", "sentence"),
        [({"const": 10**5000}, "a very long one"), ({"const": {1}}, "a value that JSON has not")],
    )
    def test_what_no_hash_can_be_made_of_is_refused(
        self, schema: Any, sentence: str, schema_source: MakeSource
    ) -> None:
        with pytest.raises(StateError, match=f"recoverd.yaml:7:3 can't be used: .*{sentence}"):
            close(schema_source(schema))

    @pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$ref": "#/$defs/none"}, {"allOf": [{"$ref": "#"}]}])
    def test_what_the_configuration_would_not_have_let_pass_is_no_validator(
        self, schema: Any, schema_source: MakeSource
    ) -> None:
        """Judging by a schema that applies itself to the same value would use up the stack."""
        with pytest.raises(StateError, match="can't be used"):
            Validator(close(schema_source(schema)))

    def test_true_and_false(self, schema_source: MakeSource) -> None:
        assert words(True, 1, schema_source) == []
        assert words(False, 1, schema_source) == ["#: is not allowed here"]


LONG = "secret-" * 20


class TestWords:
    @pytest.mark.parametrize(
        ("schema", "value", "expected"),
        [
            ({"type": "number"}, "x", '#: is "x", not a number'),
            ({"type": ["array", "null"]}, {}, "#: is an empty object, not a list or null"),
            ({"type": "object"}, [1, 2], "#: is a list of 2, not an object"),
            ({"type": "string"}, None, "#: is null, not text"),
            ({"type": "boolean"}, {"a": 1}, "#: is an object with 1 key, not true or false"),
            ({"type": "integer"}, 1.5, "#: is 1.5, not an integer"),
            ({"required": ["a", "b"]}, {"a": 1}, '#: lacks "b"'),
            ({"enum": [1, "a", None]}, True, '#: is true, not one of 1, "a", null'),
            ({"enum": list("abcdefg")}, "z", '#: is "z", not one of "a", "b", "c", "d", "e" and 2 more'),
            ({"const": "on"}, "off", '#: is "off", not "on"'),
            ({"minimum": 3}, 2, "#: is 2, less than 3"),
            ({"maximum": 3}, 4, "#: is 4, more than 3"),
            ({"exclusiveMinimum": 3}, 3, "#: is 3, not more than 3"),
            ({"exclusiveMaximum": 3}, 3, "#: is 3, not less than 3"),
            ({"multipleOf": 2}, 3, "#: is 3, not a multiple of 2"),
            ({"pattern": "^a$"}, "b", '#: is "b", which does not match the pattern ^a$'),
            ({"minLength": 1}, "", '#: is "", shorter than 1 character'),
            ({"maxLength": 2}, "abc", "#: is text of 3 characters, more than 2"),
            ({"minItems": 1}, [], "#: is an empty list, fewer than 1 item"),
            ({"maxItems": 1}, [1, 2], "#: is a list of 2, more than 1 item"),
            ({"minProperties": 2}, {}, "#: is an empty object, fewer than 2 keys"),
            ({"maxProperties": 1}, {"a": 1, "b": 2}, "#: is an object with 2 keys, more than 1 key"),
            ({"uniqueItems": True}, [1, 1.0], "#: holds equal items"),
            (
                {"additionalProperties": False, "properties": {"a": {}}},
                {"a": 1, "b": 2},
                '#: has the key "b", not declared',
            ),
            ({"additionalProperties": False}, {"a": 1, "b": 2}, '#: has the keys "a", "b", not declared'),
            ({"unevaluatedProperties": False}, {"a": 1}, '#: has the key "a", not declared'),
            ({"prefixItems": [{}], "items": False}, [1, 2], "#: holds more items than are declared"),
            ({"prefixItems": [{}], "unevaluatedItems": False}, [1, 2], "#: holds more items than are declared"),
            ({"contains": {"type": "null"}}, [1], "#: does not hold as many items of the declared kind as it must"),
            (
                {"propertyNames": {"maxLength": 1}},
                {"ab": 1},
                '#: has the key "ab", which is text of 2 characters, more than 1',
            ),
            ({"propertyNames": False}, {"ab": 1}, '#: has the key "ab", which is not allowed here'),
            ({"anyOf": [{"anyOf": [{"type": "null"}]}]}, 1, "#: fits none of 1 allowed forms"),
            ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "#: lacks a key that another key of it requires"),
            (
                {"anyOf": [{"type": "null"}, {"type": "string"}]},
                1,
                "#: fits none of 2 allowed forms; the closest: # is 1, not null",
            ),
            ({"oneOf": [{"required": ["a"]}]}, {}, '#: fits none of 1 allowed forms; the closest: # lacks "a"'),
            ({"oneOf": [{}, {}]}, 1, "#: fits more than one of 2 forms that exclude each other"),
            ({"not": {}}, 1, "#: has a form that is ruled out"),
            ({"properties": {"a/b": {"items": {"type": "null"}}}}, {"a/b": [None, 1]}, "#/a~1b/1: is 1, not null"),
            ({"properties": {"a": False}}, {"a": 1}, "#/a: is not allowed here"),
            ({"if": {}, "then": {"type": "null"}}, 1, "#: is 1, not null"),
            (
                {"$schema": "http://json-schema.org/draft-03/schema", "disallow": "string"},
                "x",
                '#: does not satisfy "disallow"',
            ),
        ],
        ids=lambda value: json.dumps(value)[:40],
    )
    def test_sentence(self, schema: Any, value: Any, expected: str, schema_source: MakeSource) -> None:
        assert words(schema, value, schema_source) == [expected]

    def test_long_values_are_cut(self, schema_source: MakeSource) -> None:
        """Problems are logged and shown: a long value may be a secret."""
        (sentence,) = words({"properties": {"token": {"type": "null"}}}, {"token": LONG}, schema_source)
        assert sentence == f'#/token: is "{LONG[:40]}…", not null'
        (sentence,) = words({"additionalProperties": {"type": "null"}}, {LONG: LONG}, schema_source)
        assert len(sentence) < 160

    def test_nothing_that_a_terminal_would_obey_comes_out(self, schema_source: MakeSource) -> None:
        """Promise 12: the document belongs to somebody else."""
        evil = "\x1b]0;x\x07\n\ud800\u202e"
        found = words({"additionalProperties": {"enum": [1]}}, {evil: evil}, schema_source)
        assert found == [r'#/\u001b]0;x\u0007\n\ud800\u202e: is "\u001b]0;x\u0007\n\ud800\u202e", not one of 1']
        found = words({"additionalProperties": False}, {evil: evil}, schema_source)
        assert all(sentence.isprintable() for sentence in found)

    def test_an_unknown_key_among_very_many(self, schema_source: MakeSource) -> None:
        schema = {"properties": {f"k{number}": {} for number in range(2000)}, "additionalProperties": False}
        value = {**dict.fromkeys(schema["properties"], 1), "x": 1}  # type: ignore[call-overload]
        assert words(schema, value, schema_source) == ['#: has the key "x", not declared']

    def test_many_problems_are_counted(self, schema_source: MakeSource) -> None:
        schema = {"items": {"type": "null"}}
        found = words(schema, list(range(30)), schema_source)
        assert len(found) == 21
        assert found[-1] == "and 10 more"
        assert words(schema, list(range(3000)), schema_source)[-1] == "and at least 180 more"


class TestHostileDocuments:
    def test_uniqueness_of_many_objects_is_not_quadratic(self, schema_source: MakeSource) -> None:
        """Comparing each with each would take an hour; the suite's own deadline is the measure."""
        validator = Validator(close(schema_source({"uniqueItems": True})))
        many: list[Any] = [{"n": number, "l": [number]} for number in range(50_000)]
        assert validator.problems(many, 20) == ()
        assert len(validator.problems([*many, {"l": [7.0], "n": 7}], 20)) == 1

    @pytest.mark.parametrize(
        ("items", "unique"),
        [
            ([1, True], True),
            ([0, False], True),
            ([1, 1.0], False),
            ([[1], [True]], True),
            ([{"a": 1}, {"a": True}], True),
            ([{"a": 1, "b": 2}, {"b": 2, "a": 1.0}], False),
            ([{}, []], True),
            (["1", 1], True),
            ([None, False, 0, "", [], {}], True),
        ],
    )
    def test_equality_is_that_of_json_schema(self, items: Any, unique: bool, schema_source: MakeSource) -> None:
        assert (words({"uniqueItems": True}, items, schema_source) == []) == unique

    @pytest.mark.parametrize(
        ("value", "divisor", "multiple"),
        [
            (0.3, 0.1, True),
            (19.99, 0.01, True),
            (1e308, 1e-308, True),
            (10**400, 0.5, True),
            (10**400 + 1, 10, False),
            (10**400, 10**399, True),
            (0.5, 10**400, False),
            (float("inf"), 0.5, False),
            (float("nan"), 2, False),
            (0.35, 0.1, False),
            (7, 7, True),
            (7.0, 7, True),
        ],
    )
    def test_multiples_are_exact_and_raise_nothing(
        self, value: Any, divisor: Any, multiple: bool, schema_source: MakeSource
    ) -> None:
        assert (words({"multipleOf": divisor}, value, schema_source) == []) == multiple

    def test_the_deepest_document_that_is_parsed_can_be_validated(self, schema_source: MakeSource) -> None:
        value: Any = {"n": 1}
        for _ in range(127):
            value = {"n": 1, "child": value}
        schema = {"required": ["n"], "properties": {"child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
        assert words(schema, value, schema_source) == []
