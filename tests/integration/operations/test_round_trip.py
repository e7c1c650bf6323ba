"""Whatever a service wrote comes back byte by byte, and is never judged corrupt, by any schema that it satisfied."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from typing import Any

import yaml
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoverd.config.model import Format, ItemKind, StateItem

LETTERS = st.characters(exclude_categories=["Cs"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(LETTERS, max_size=12),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(LETTERS, max_size=6), below),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(st.text(LETTERS, min_size=1, max_size=6), VALUES, min_size=1)


def infer(value: Any) -> dict[str, Any]:
    """A schema that is as narrow as one document allows."""
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, dict):
        return {
            "type": "object",
            "required": sorted(value),
            "properties": {key: infer(each) for key, each in value.items()},
            "additionalProperties": False,
        }
    if isinstance(value, list):
        return {"type": "array", "minItems": len(value), "items": {"anyOf": [infer(each) for each in value] or [True]}}
    if isinstance(value, int):
        return {"type": "integer", "minimum": value, "maximum": value}
    return {"type": {str: "string", float: "number", type(None): "null"}[type(value)], "const": value}


@st.composite
def json_texts(draw: st.DrawFn) -> tuple[Any, bytes]:
    """A document as some JSON writer writes it."""
    value = draw(DOCUMENTS)
    text = json.dumps(
        value,
        indent=draw(st.sampled_from([None, 0, 2, 4, "\t"])),
        ensure_ascii=draw(st.booleans()),
        sort_keys=draw(st.booleans()),
        separators=draw(st.sampled_from([None, (",", ":")])),
    )
    text += draw(st.sampled_from(["", "\n", "\r\n", "\n\n"]))
    return value, draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd.compress,
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_texts(), st.sampled_from(sorted(PACK)), st.booleans(), st.sampled_from([Format.JSON, Format.AUTO]))
def test_json(house: Any, written: tuple[Any, bytes], suffix: str, with_schema: bool, format: Format) -> None:
    """Compressed or not, with a byte order mark or without, by its format alone and by an inferred schema."""
    value, text = written
    check(house, f"d.json{suffix}", PACK[suffix](text), format, infer(value) if with_schema else None)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(DOCUMENTS, min_size=1, max_size=4), st.sampled_from(sorted(PACK)), st.booleans())
def test_json_lines(house: Any, values: list[Any], suffix: str, last_newline: bool) -> None:
    text = "\n".join(json.dumps(value, ensure_ascii=False) for value in values) + "\n" * last_newline
    schema = {"anyOf": [infer(value) for value in values]}
    check(house, f"d.jsonl{suffix}", PACK[suffix](text.encode()), Format.JSON_LINES, schema)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS, st.sampled_from(sorted(PACK)), st.booleans(), st.booleans())
def test_yaml(house: Any, value: Any, suffix: str, flow: bool, unicode: bool) -> None:
    """As PyYAML writes it; what is text to its reader must be text to ours, so nothing is narrowed but the shape."""
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=unicode)
    schema = {"type": "object", "minProperties": len(value), "maxProperties": len(value)}
    check(house, f"d.yaml{suffix}", PACK[suffix](text.encode()), Format.YAML, schema)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=3000).filter(any))
def test_opaque(house: Any, data: bytes) -> None:
    check(house, "d.bin", data, Format.OPAQUE, None)


def check(house: Any, name: str, data: bytes, format: Format, schema: Any) -> None:
    """Capture, damage, restore: the verdict is ok before and after, and the bytes are the same."""
    shutil.rmtree(house.state_dir, ignore_errors=True)
    path = house.root / "state" / name
    path.write_bytes(data)
    item = StateItem("d", ItemKind.FILE, str(path), format, house.schema(schema) if schema is not None else None)
    house.change(state={"d": item})
    made = house.snapshot()
    assert (made.verdict, made.problems) == ("ok", ()), (data, made.problems)
    path.write_bytes(data[: len(data) // 2] + b"\0" * (len(data) // 2 + 1))
    if house.verdict() == "ok":  # half a document may be one
        path.unlink()
    result = house.restore()
    assert result.outcome == "restored", result
    assert path.read_bytes() == data
    assert house.verdict() == "ok"
    path.unlink()
