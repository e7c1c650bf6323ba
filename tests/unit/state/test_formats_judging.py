"""YAML and TOML under the judge: schemas, versions and guards apply to them as to JSON; names are hints and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.migration_model import VersionRule
from recoverd.config.model import Format, ItemKind, SchemaSource, StateItem
from recoverd.state.formats.compression import Compression, pack
from recoverd.state.formats.detection import format_of, hint
from recoverd.state.formats.text import Limits
from recoverd.state.judging import Judge, build_judge
from recoverd.state.schemas import close
from recoverd.state.signs import Signs
from recoverd.state.verdicts import Judgement, Verdict

MakeSource = Callable[..., SchemaSource]
SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "n": {"type": "integer"}, "day": {"type": "string", "format": "date"}},
}
GOOD = {
    Format.JSON: b'{"name": "x", "n": 1, "day": "2026-11-21"}',
    Format.YAML: b"name: x\nn: 1\nday: 2026-11-21\n",
    Format.TOML: b'name = "x"\nn = 1\nday = 2026-11-21\n',
}
BAD = {
    Format.JSON: b'{"name": "x", "n": "1"}',
    Format.YAML: b"name: x\nn: '1'\n",
    Format.TOML: b'name = "x"\nn = "1"\n',
}


@pytest.fixture
def judge_of(schema_source: MakeSource) -> Callable[[Format], Judge]:
    return lambda format: Judge(format, closure=close(schema_source(SCHEMA)))


@pytest.mark.parametrize("kind", list(Compression))
@pytest.mark.parametrize("format", list(GOOD))
def test_a_schema_says_the_same_of_each_format(
    format: Format, kind: Compression, judge_of: Callable[[Format], Judge]
) -> None:
    """Also under `auto`, which takes what has a schema for what it can be read as."""
    for judge in (judge_of(format), judge_of(Format.AUTO)):
        assert judge.judge("", pack(GOOD[format], kind)).verdict is Verdict.OK
        bad = judge.judge("", pack(BAD[format], kind))
        assert bad.verdict is Verdict.CORRUPT
        assert [str(problem) for problem in bad.problems] == ['#/n: is "1", not an integer']


def test_each_document_of_a_stream_is_judged(judge_of: Callable[[Format], Judge]) -> None:
    judge = judge_of(Format.YAML)
    assert judge.judge("", b"---\nname: a\n---\nname: b\n---\n").verdict is Verdict.OK
    judgement = judge.judge("", b"---\nname: a\n---\nname: b\nn: x\n---\n- 1\n")
    assert judgement.verdict is Verdict.CORRUPT
    assert [str(problem) for problem in judgement.problems] == [
        'document 2, #/n: is "x", not an integer',
        "document 3, #: is a list of 1, not an object",
    ]
    assert len(judge.judge("", b"---\n[]\n" * 100).problems) == 20


def test_versions_are_compared_in_yaml_and_toml() -> None:
    signs = Signs(version=VersionRule("version", "2"))
    for format, text in ((Format.YAML, b"version: %s\n"), (Format.TOML, b"version = %s\n")):
        judge = Judge(format, signs=signs)
        assert judge.judge("", text % b"2").verdict is Verdict.OK
        newer = judge.judge("", text % b"3")
        assert (newer.verdict, newer.version) == (Verdict.NEWER, "3")


def test_patterns_in_the_child_see_the_same_values(schema_source: MakeSource) -> None:
    """Values that JSON has not, integers of any length, and what aliases repeat, reach it too."""
    schema = {"properties": {"id": {"pattern": "^(a+)+$"}, "n": {"type": "integer"}, "x": {"type": "number"}}}
    judge = Judge(Format.YAML, closure=close(schema_source(schema)))
    assert judge.judge("", b"id: aaa\nn: %s\nx: .nan\n" % (b"9" * 6000)).verdict is Verdict.OK
    assert judge.judge("", b"o: &o aab\nid: *o\n").verdict is Verdict.CORRUPT


def test_what_aliases_repeat_is_bounded_for_schemas(schema_source: MakeSource) -> None:
    """A few hundred bytes that stand for a gigabyte of JSON."""
    judge = Judge(Format.YAML, closure=close(schema_source({"items": {"type": "array"}})))
    text = "- &0 [" + "x, " * 50 + "]\n" + "".join(f"- &{n} [{f'*{n - 1}, ' * 50}]\n" for n in range(1, 9))
    assert judge.judge("", text.encode()).verdict is Verdict.UNREADABLE


class TestAuto:
    @pytest.mark.parametrize(
        ("name", "data", "detected"),
        [
            ("a.yaml", b"a: 1\n", "yaml"),
            ("a.YML", b"- a\n", "yaml"),
            ("d/a.yaml.gz", pack(b"a: 1\n", Compression.GZIP), "yaml"),
            ("a.yml.zst", b"a: 1\n", "yaml"),
            ("a.yaml", b'{"a": 1, }', "yaml"),
            ("a.yaml", b"text alone", "opaque"),
            ("a.yaml", b"a: {{ template }}{", "opaque"),
            ("a.yaml", b'{"a": 1', "json"),
            ("a.txt", b"a: 1\n", "opaque"),
            ("", b"a: 1\n", "opaque"),
            ("yaml", b"a: 1\n", "opaque"),
            ("a.toml", b"[a]\nb = 1\n", "toml"),
            ("a.toml", b"[a\nb = 1\n", "opaque"),
            ("a.ini", b"[a]\nb = 1\n", "opaque"),
            ("a.json", b"a: 1\n", "opaque"),
            ("a.json", b'{"a": 1}', "json"),
            ("a.yaml", b"", "opaque"),
        ],
    )
    def test_a_name_is_a_hint_that_content_must_bear_out(self, name: str, data: bytes, detected: str) -> None:
        judge = Judge(Format.AUTO)
        judgement = judge.judge(name, data)
        assert judgement.detected == detected
        if detected == "opaque":
            assert judgement.verdict is Verdict.OK, "nothing says that it was ever anything else"
        examination = judge.begin(name)
        for start in range(0, len(data), 3):
            examination.feed(data[start : start + 3])
        assert examination.finish() == judgement

    @pytest.mark.parametrize("kind", list(Compression))
    def test_whoever_writes_a_document_is_told_the_same(self, kind: Compression) -> None:
        """What a rebuild takes for the format of a document is what the judge takes it for."""
        for name in ("a.yaml", "a.toml", "a"):
            for data in (*GOOD.values(), b"text", b"", b'{"a"', b"{}\n{}\n"):
                packed = pack(data, kind)
                assert format_of(packed, name).value == Judge(Format.AUTO).judge(name, packed).detected
        assert [format_of(pack(data, kind), structured=True) for data in GOOD.values()] == list(GOOD)
        assert format_of(b"text", structured=True) is Format.JSON

    def test_the_name_of_a_file_item_is_one_too(self) -> None:
        judge = build_judge(StateItem("main", ItemKind.FILE, "/srv/x/settings.yaml"))
        assert judge.judge("", b"a: 1\n").detected == "yaml"
        other = build_judge(StateItem("main", ItemKind.FILE, "/srv/x/settings"))
        assert other.judge("", b"a: 1\n").detected == "opaque"
        assert judge.id != other.id
        assert not judge.content_decides

    def test_large_ones_are_what_small_ones_are(self) -> None:
        """A file that comes in blocks must get the verdict of the whole, also beyond the bounds."""
        limits = Limits(size_bytes=50_000, yaml_bytes=20_000)
        judge = Judge(Format.AUTO, limits=limits)
        for name in ("a.yaml", "a.txt"):
            for data in (b"a: 1\n", b"{]\n", b'{"a": 1}\n', b"\0", b'["a",\n'):
                for count in (1000, 3000, 12_000):
                    examination = judge.begin(name)
                    for _ in range(count):
                        examination.feed(data)
                    found, whole = examination.finish(), judge.judge(name, data * count)
                    assert (found.verdict, found.detected) == (whole.verdict, whole.detected), (name, data, count)

    @given(st.binary(max_size=40), st.sampled_from(["a.yaml", "a.toml", "a", "a.json.gz"]))
    def test_anything_has_a_verdict(self, data: bytes, name: str) -> None:
        judgement = Judge(Format.AUTO).judge(name, data)
        assert isinstance(judgement, Judgement)
        assert judgement.unchecked

    def test_hints(self) -> None:
        names: dict[str, Any] = {"x.yaml": Format.YAML, "x.toml.zst": Format.TOML, "x.yaml.bak": None, "toml": None}
        assert {name: hint(name) for name in names} == names
        assert Judge(Format.JSON).hint("x.yaml") is None
