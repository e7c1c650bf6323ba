"""Schemas and what they refer to: read with the configuration, trusted like it, and wrong before any document is."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from recoverd.config import effective
from recoverd.config.json_places import place_in
from recoverd.config.loading import Loaded, load
from recoverd.config.model import SchemaSource

Write = Callable[[Mapping[str, str | bytes]], Path]
Problems = Callable[..., list[str]]
CONFIG = "services: {web: {state: {main: {file: /srv/a, schema: s.json}}}}\n"
PLACE = "services.web.state.main.schema"


def text_of(**files: Any) -> dict[str, str]:
    return {f"{name}.json": json.dumps(document) for name, document in files.items()}


@pytest.fixture
def schema(load_text: Callable[..., Loaded]) -> Callable[[], SchemaSource]:
    def schema(**options: Any) -> SchemaSource:
        found = load_text(CONFIG, **options).config.services["web"].state["main"].schema
        assert found is not None
        return found

    return schema


@pytest.fixture
def sentinel() -> Iterator[tuple[str, list[str]]]:
    """A server that nobody must call: (its URL, what called it)."""
    calls: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            calls.append(str(address))
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/task.json", calls
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


class TestReferences:
    def test_all_files_are_part_of_the_configuration(self, write: Write, schema: Callable[[], SchemaSource]) -> None:
        root = write(
            {
                "s.json": '{"items": {"$ref": "sub/t.json#/$defs/x"}}',
                "sub/t.json": '{"$defs": {"x": {"$ref": "../u.json"}}}',
                "u.json": "true",
            }
        )
        assert schema().files == {
            f"{root}/sub/t.json": {"$defs": {"x": {"$ref": "../u.json"}}},
            f"{root}/u.json": True,
        }

    @pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
    @pytest.mark.parametrize("inline", [True, False])
    def test_nothing_is_fetched_from_the_network(
        self, keyword: str, inline: bool, sentinel: tuple[str, list[str]], write: Write, problems: Problems
    ) -> None:
        url, calls = sentinel
        document = json.dumps({"properties": {"a": {keyword: url}}})
        write({"s.json": document})
        (problem,) = problems(CONFIG.replace("s.json", document) if inline else CONFIG)
        assert f'"{url}" is not a file, and references are never fetched from the network' in problem
        assert calls == []

    def test_what_looks_like_a_reference_in_a_value_is_none(
        self, sentinel: tuple[str, list[str]], write: Write, problems: Problems
    ) -> None:
        url, calls = sentinel
        inner = {"$ref": url}
        write(
            text_of(
                s={"const": inner, "examples": [inner], "default": inner, "enum": [inner], "properties": {"$ref": {}}}
            )
        )
        assert problems(CONFIG) == []
        assert calls == []

    @pytest.mark.parametrize("reference", ["../secret.json", "%2e%2e/secret.json", "/etc/passwd", "file:///etc/passwd"])
    def test_nothing_outside_is_read(self, reference: str, tmp_path: Path) -> None:
        (tmp_path / "secret.json").write_text("{}")
        conf = tmp_path / "conf"
        conf.mkdir()
        (conf / "s.json").write_text(json.dumps({"$ref": reference}))
        (conf / "recoverd.yaml").write_text(CONFIG)
        with pytest.raises(Exception, match="1 problem") as caught:
            load([str(conf / "recoverd.yaml")], environ={}, euid=1000, home="/home/me")
        (problem,) = caught.value.problems  # type: ignore[attr-defined]
        assert "outside of the configuration directories" in problem.sentence
        assert str(problem).startswith(f'{conf}/s.json:1:10: {PLACE}: #/$ref "{reference}" leads to /')

    def test_links_may_stay_inside_and_not_lead_out(self, tmp_path: Path, write: Write, problems: Problems) -> None:
        write({"s.json": '{"$ref": "link.json"}', "real.json": "{}"})
        (tmp_path / "link.json").symlink_to("real.json")
        assert problems(CONFIG) == []
        (tmp_path / "link.json").unlink()
        (tmp_path / "link.json").symlink_to("/etc/passwd")
        (problem,) = problems(CONFIG)
        assert "leads to /etc/passwd, outside of the configuration directories" in problem

    @pytest.mark.parametrize("reference", ["file://other-host/x.json", "ftp://x/y", "data:application/json,{}"])
    def test_other_schemes_are_refused(self, reference: str, write: Write, problems: Problems) -> None:
        write(text_of(s={"$ref": reference}))
        assert "is not a file" in problems(CONFIG)[0]

    @pytest.mark.parametrize("name", ["pipe", "folder"])
    def test_a_fifo_or_a_directory_does_not_hang(
        self, name: str, tmp_path: Path, write: Write, problems: Problems
    ) -> None:
        write(text_of(s={"$ref": name}))
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "folder").mkdir()
        assert problems(CONFIG) == [f's.json:1:10: {PLACE}: #/$ref "{name}" {name} is no regular file']

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root distrusts files of others")
    @pytest.mark.parametrize(("mode", "owner"), [(0o646, 0), (0o644, 1234)])
    def test_as_root_a_file_that_others_can_write_is_refused(
        self, mode: int, owner: int, tmp_path: Path, write: Write, problems: Problems
    ) -> None:
        """Who can write a part of a schema decides what is called good state, and so what is rolled back."""
        write(text_of(s={"$ref": "b.json"}, b={}))
        assert problems(CONFIG, euid=0) == []
        (tmp_path / "b.json").chmod(mode)
        os.chown(tmp_path / "b.json", owner, -1)
        (problem,) = problems(CONFIG, euid=0)
        assert problem.endswith("and recoverd runs as root")

    @pytest.mark.parametrize("target", ["changed", "gone", "found first"])
    def test_a_file_that_is_referred_to_makes_the_configuration_load_again(
        self, target: str, tmp_path: Path, write: Write
    ) -> None:
        files = text_of(b={"type": "string"})
        inline = CONFIG.replace("s.json", '{"$ref": "b.json"}')
        write({"recoverd.yaml": inline, "schemas/b.json": files["b.json"]})
        paths = [str(tmp_path / "recoverd.yaml")]
        loaded = load(paths, environ={}, euid=1000, home="/home/me")
        data = effective.encode(loaded.config, loaded.sources, paths, euid=1000, home="/home/me")

        def current() -> object:
            return effective.decode_if_current(data, paths, environ={}, euid=1000, home="/home/me")

        assert current() == loaded.config
        if target == "changed":
            (tmp_path / "schemas/b.json").write_text('{"type": "number"}')
        elif target == "gone":
            (tmp_path / "schemas/b.json").unlink()
        else:
            (tmp_path / "b.json").write_text("{}")
        assert current() is None


class TestPlaces:
    """A problem stands where an editor can jump to."""

    @pytest.mark.parametrize(
        ("schema", "line"),
        [
            ('{\n  "properties": {\n    "id": {"type": "strin"}}}', "s.json:3:20: {}: #/properties/id/type"),
            ('{"properties":\n {"a/b": {"pattern": "(["}}}', "s.json:2:22: {}: #/properties/a~1b/pattern"),
            ('{"patternProperties": {\n"(": {}}}', "s.json:2:1: {}: #/patternProperties/("),
            ('{"$ref": "#/$defs/no"}', 's.json:1:10: {}: #/$ref "#/$defs/no" leads nowhere'),
            ('{"$ref": "#no"}', 's.json:1:10: {}: #/$ref "#no" leads nowhere'),
            ('{"$ref": "t.json#/no"}', 's.json:1:10: {}: #/$ref "t.json#/no" leads nowhere'),
            ('{"$defs": {"a": {"$ref": "no.json"}}}', 's.json:1:26: {}: #/$defs/a/$ref "no.json": there is no file'),
            ('{"$ref": "#"}', "s.json:1:1: {}: applies itself to the same value again, without end"),
            ('{"allOf": [{"$ref": "t.json"}]}', "s.json:1:1: {}: applies itself"),
            ('{"$ref": "bad.json"}', 's.json:1:10: {}: #/$ref "bad.json" bad.json is not JSON: line 1'),
            ('{"$ref": "wrong.json"}', "wrong.json:1:16: {}: #/minLength must be at least 0"),
            ('{"$ref": "old.json"}', "old.json:1:13: {}: #/$schema is another draft"),
            ('{"required": "a"}', "s.json:1:14: {}: #/required must be a list"),
            (
                '{"properties": {"a": 3}}',
                "s.json:1:22: {}: #/properties/a must be a schema: a mapping or true or false",
            ),
            ('{"required": ["a", "a"]}', "s.json:1:14: {}: #/required holds something twice"),
            ('{"allOf": []}', "s.json:1:11: {}: #/allOf must not be empty"),
            ("3", "s.json:1:1: {}: a schema is a mapping, or true or false"),
        ],
    )
    def test_in_files(self, schema: str, line: str, write: Write, problems: Problems) -> None:
        write(
            {
                "s.json": schema,
                "t.json": '{"anyOf": [{"type": "null"}, {"$ref": "s.json"}]}',
                "bad.json": "{",
                "wrong.json": ' {"minLength": -1}',
                "old.json": '{"$schema": "http://json-schema.org/draft-07/schema#"}',
            }
        )
        (problem,) = problems(CONFIG)
        assert problem.startswith(line.format(PLACE))

    def test_inline(self, problems: Problems) -> None:
        text = CONFIG.replace("s.json", '{properties: {a: {type: "nil"},\n  b: {pattern: "["}}}')
        found = problems(text)
        assert [each.split(": ")[0] for each in found] == ["1:79", "2:16"]
        assert found[0].startswith(f"1:79: {PLACE}.properties.a.type: ")

    def test_all_at_once(self, write: Write, problems: Problems) -> None:
        inner = {"a": {"minimum": "1"}, "b": {"pattern": "("}, "c": {"$ref": "none.json"}, "d": {"$ref": "http://x/y"}}
        write(text_of(s={"type": "x", "properties": inner}))
        assert len(problems(CONFIG)) == 5

    def test_a_schema_that_comes_back_to_itself_in_what_it_holds_is_fine(
        self, write: Write, problems: Problems
    ) -> None:
        write(
            text_of(s={"properties": {"child": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}, "items": {"$ref": "#"}})
        )
        assert problems(CONFIG) == []

    @pytest.mark.parametrize(
        ("path", "place"),
        [
            ((), (2, 2)),
            (("a",), (2, 8)),
            (("b", 1), (3, 12)),
            (("b", 2, "c"), (4, 8)),
            (("b", 9), (3, 6)),
            (("x",), (2, 2)),
            (("twice",), (6, 2)),
        ],
    )
    def test_places_in_json(self, path: tuple[str | int, ...], place: tuple[int, int]) -> None:
        text = '\n {"a": "x\\"]}",\n"b": [[1], 2,\n{"c" : 3}],\n"twice": 1, "twice":\n 2}'
        found = place_in(text, "f", path)
        assert (found.line, found.column) == place

    def test_places_of_keys(self) -> None:
        assert place_in('{"a":\n {"b": 1}}', "f", ("a", "b"), key=True).column == 3
