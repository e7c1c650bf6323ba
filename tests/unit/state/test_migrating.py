"""Documents of older versions: what steps make of them, how it is written, and what a judge says of it."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from recoverd.config.migration_model import MigrationStep, VersionRule
from recoverd.config.model import Format, Guards, ItemKind, Place, SchemaSource, StateItem
from recoverd.errors import StateError
from recoverd.state.judging import build_judge, decode_judgement, encode_judgement
from recoverd.state.migrating import migrate_document, migrate_value
from recoverd.state.verdicts import Verdict

RULE = VersionRule("version", "3")
ADD = MigrationStep("1", "2", patch=({"op": "add", "path": "/sessions", "value": []},))
RENAME = MigrationStep("2", "3", rename={"/stats": "/metrics"})
SCHEMA = {"type": "object", "required": ["sessions", "metrics"], "properties": {"version": {"enum": ["3", 3]}}}


def item(*steps: MigrationStep, format: Format = Format.JSON, **keys: Any) -> StateItem:
    return StateItem("main", ItemKind.FILE, "/srv/state", format, version=RULE, migrate=steps or (ADD, RENAME), **keys)


def refused(step: MigrationStep, document: bytes) -> bytes:
    raise AssertionError(f"nothing runs here: {step} {document!r}")


def migrated(data: bytes, declared: StateItem, run: Any = refused) -> bytes:
    return migrate_document(data, declared, declared.migrate, run)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"version": "1", "stats": 1}', b'{"version": "3", "metrics": 1, "sessions": []}'),
        (b'{"version":1,"stats":{"a":2}}\n', b'{"version":3,"metrics":{"a":2},"sessions":[]}\n'),
        (
            b'{\r\n\t"version": "1",\r\n\t"stats": 123456789012345678901234567890\r\n}',
            b'{\r\n\t"version": "3",\r\n\t"metrics": 123456789012345678901234567890,\r\n\t"sessions": []\r\n}',
        ),
    ],
)
def test_it_is_written_as_it_was(before: bytes, after: bytes) -> None:
    """Indentation, line ends, separators, the kind of the version and long integers stay; a renamed field its place."""
    assert migrated(before, item()) == after
    packed = migrated(gzip.compress(before), item())
    assert packed[:2] == b"\x1f\x8b"
    assert gzip.decompress(packed) == after


def test_yaml_and_its_version() -> None:
    assert migrated(b"version: 1\nstats: {a: 1}\n", item(format=Format.YAML)) == (
        b"version: 3\nmetrics:\n  a: 1\nsessions: []\n"
    )


@pytest.mark.parametrize(
    ("steps", "document", "why"),
    [
        ([MigrationStep("1", "3", patch=({"op": "remove", "path": "/a"},))], {}, "operation 1, remove /a"),
        (
            [MigrationStep("1", "3", patch=({"op": "test", "path": "/a", "value": 1},))],
            {"a": 2},
            "operation 1, test /a",
        ),
        ([MigrationStep("1", "3", patch=({"op": "add", "path": "/a/b/c", "value": 1},))], {"a": 2}, "add /a/b/c"),
        ([MigrationStep("1", "3", patch=({"op": "replace", "path": "", "value": []},))], {}, "not a document with a"),
        ([MigrationStep("1", "3", patch=({"op": "add", "path": "/version", "value": "7"},))], {}, 'its version is "7"'),
        ([MigrationStep("1", "3", patch=({"op": "test", "path": "/a", "value": "x"},))], {"a": "secret"}, 'is not "x"'),
        ([MigrationStep("1", "3", rename={"/a": "/b"})], {"a": 1, "b": 2}, "is there already"),
        ([MigrationStep("1", "3", rename={"/a": "/b/c"})], {"a": 1}, "nothing that could hold it"),
    ],
)
def test_what_fails_is_told_with_its_step(steps: list[MigrationStep], document: dict[str, Any], why: str) -> None:
    """No step is half done without a word, and the value that came in is not touched."""
    value = {"version": "1", **document}
    with pytest.raises(StateError) as caught:
        migrate_value(value, RULE, steps)
    assert caught.value.message.startswith("the step from 1 to 3: ")
    assert why in caught.value.message
    assert "secret" not in caught.value.message
    assert "<class" not in caught.value.message
    assert value == {"version": "1", **document}


def test_a_version_deeper_in_the_document_is_set_there() -> None:
    """Also where a step moves what holds it; where nothing can hold it any more, that is said."""
    rule = VersionRule("/meta/version", "2")
    step = MigrationStep("1", "2", rename={"/meta/host": "/meta/name"})
    value = {"version": 1, "meta": {"version": 1, "host": "a"}}
    assert migrate_value(value, rule, [step]) == {"version": 1, "meta": {"version": 2, "name": "a"}}
    with pytest.raises(StateError, match="no place for its version, /meta/version"):
        migrate_value(value, rule, [MigrationStep("1", "2", rename={"/meta": "/about"})])


def test_a_field_that_is_not_there_is_not_renamed() -> None:
    value = migrate_value(
        {"version": "2", "list": [{"a": 1}]},
        RULE,
        [
            MigrationStep("2", "3", rename={"/list/0/a": "/list/0/b"}),
        ],
    )
    assert value == {"version": "3", "list": [{"b": 1}]}
    assert migrate_value({"version": "2"}, RULE, [RENAME]) == {"version": "3"}


def test_a_command_gets_the_document_and_its_result_is_read() -> None:
    """The document goes in uncompressed, after the steps before it; in YAML comments that a command keeps are kept."""
    seen: list[bytes] = []
    command = MigrationStep("2", "3", command=("upgrade",))

    def run(_: MigrationStep, document: bytes) -> bytes:
        seen.append(document)
        return document.replace(b"stats", b"metrics")

    done = migrated(gzip.compress(b'{"version":1,"stats":1}'), item(ADD, command), run)
    assert seen == [b'{"version":2,"stats":1,"sessions":[]}']
    assert json.loads(gzip.decompress(done)) == {"version": 3, "metrics": 1, "sessions": []}

    yaml = item(command, format=Format.YAML)
    assert migrated(b"version: 2 # old\n", yaml, lambda *_: b"version: 3 # new\nx: 1\n") == b"version: 3 # new\nx: 1\n"
    assert migrated(b"version: 2 # old\n", yaml, lambda *_: b"version: 2 # old\nx: 1\n") == b"version: 3\nx: 1\n"
    toml = item(command, format=Format.TOML)
    assert migrated(b"version = 2\n", toml, lambda *_: b"version = 3\n") == b"version = 3\n"
    for wrong, why in ((b"{", "can't be read"), (b"version = 2\n", "must set the version itself")):
        with pytest.raises(StateError, match=why):
            migrated(b"version = 2\n", toml, lambda *_, wrong=wrong: wrong)


@pytest.mark.parametrize(
    ("document", "verdict", "older"),
    [
        (b'{"version": "1", "stats": 1}', Verdict.OK, True),
        (b'{"version": "2", "stats": 1, "sessions": []}', Verdict.OK, True),
        (b'{"version": "2", "stats": 1}', Verdict.NEWER, False),  # its migration lacks sessions
        (b'{"version": "3", "metrics": 1, "sessions": []}', Verdict.OK, False),
        (b'{"version": "3"}', Verdict.CORRUPT, False),
        (b'{"version": "4"}', Verdict.NEWER, False),
        (b'{"version": "1", "sta', Verdict.CORRUPT, False),
        (b'{"version": "0.9", "metrics": 1, "sessions": []}', Verdict.NEWER, False),  # nothing leads on from there
        (b'{"version": "2.5", "metrics": 1, "sessions": []}', Verdict.NEWER, False),
        (b'{"version": "0.9"', Verdict.CORRUPT, False),
        (b'{"metrics": 1}', Verdict.CORRUPT, False),  # without a version it is judged as one of today
    ],
)
def test_an_older_document_is_as_good_as_its_migration(document: bytes, verdict: Verdict, older: bool) -> None:
    """Promises 1 and 2: what can be brought to a valid document is good; what can't be is neither restored over nor
    ever promoted; remembered verdicts say the same."""
    judge = build_judge(item(schema=SchemaSource(SCHEMA, None, (), Place("x", 1, 1))))
    found = judge.judge("", document)
    assert (found.verdict, judge.is_older(found)) == (verdict, older)
    assert judge.is_older(decode_judgement(encode_judgement(found))) == older


@pytest.mark.parametrize("format", [Format.TOML, Format.AUTO])
def test_toml_is_for_commands_only(format: Format) -> None:
    """Known before anything is done, also where the format shows in the content alone."""
    command = MigrationStep("1", "3", command=("upgrade",))
    for steps, verdict in (((command,), Verdict.OK), ((ADD, RENAME), Verdict.NEWER)):
        judge = build_judge(replace(item(*steps, format=format), path="/srv/state.toml"))
        found = judge.judge("", b'version = "1"\n')
        assert (found.verdict, judge.is_older(found)) == (verdict, verdict is Verdict.OK)
    assert "TOML can't be written, so only a `command` can migrate it" in found.problems[0].problem


def test_guards_hold_the_migrated_document() -> None:
    judge = build_judge(item(guards=Guards(require=("/metrics",))))
    assert judge.judge("", b'{"version": "1", "stats": 1}').verdict is Verdict.OK
    found = judge.judge("", b'{"version": "1"}')
    assert found.verdict is Verdict.NEWER
    assert "its migration to 3 fails: #/metrics" in found.problems[0].problem


def test_other_steps_are_another_judge() -> None:
    """A verdict that was remembered under other steps counts no more."""
    ids = {
        build_judge(one).id for one in (item(), item(ADD, MigrationStep("2", "3", rename={"/stats": "/x"})), item(ADD))
    }
    assert len(ids) == 3
