"""config.md: hooks are commands or webhooks, by event; names are checked, and what is secret is never shown."""

# ruff: noqa: E501 (whole configurations and templates, read line by line)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config import effective, templates
from recoverd.config.hook_model import EVERY, Hook
from recoverd.config.loading import Loaded
from recoverd.config.model import Secret
from recoverd.config.rendering import as_plain
from recoverd.config.templates import Kind, fill, fill_words
from recoverd.config.wording import schema_text
from recoverd.events.names import EventName

Load = Callable[..., Loaded]
TELL = "command: [tell]"
BARE = 'hooks: [{when: ["*"], webhook: "https://x", body: BODY}]'


def test_the_names_are_those_of_the_events() -> None:
    """cli.md, "Events": hooks can name each of them, and nothing else."""
    known = json.loads(schema_text())["$defs"]["hooks"]["items"]["properties"]["when"]["items"]["enum"]
    assert known == [EVERY, *(name.value for name in EventName)]


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (f"when: [snapshot.fialed], {TELL}", 'did you mean "snapshot.failed"?'),
        (f'when: ["snapshot.*"], {TELL}', "is not the name of an event, or *"),
        (f"when: [], {TELL}", "must not be empty"),
        (f"when: ['*'], {TELL}, webhook: 'https://x'", "command and webhook can't stand together"),
        ("when: ['*']", "one of command and webhook is needed"),
        (TELL, 'the key "when" is missing'),
        (f"when: ['*'], {TELL}, body: x", "goes with `webhook` only"),
        (f"when: ['*'], {TELL}, headers: {{a: b}}", "goes with `webhook` only"),
        ("when: ['*'], command: ['']", "the program must not be empty"),
        ("when: ['*'], command: ['{service}']", "an event must not choose it"),
        ("when: ['*'], command: [tell, '{servise}']", 'did you mean "service"?'),
        ("when: ['*'], command: [awk, '{print}']", "to mean it literally, write {{print}}"),
        (f"when: ['*'], {TELL}, timeout: 0s", "must be longer than 0s"),
        ("when: ['*'], webhook: 'ftp://token@x/secret'", "is no URL such as https://chat.example.com/hook"),
        ("when: ['*'], webhook: 'https://x', headers: {'a b': c}", "is no name of a header"),
        ("when: ['*'], webhook: 'https://x', headers: {Host: c}", "is said by recoverd itself"),
        ("when: ['*'], webhook: 'https://x', headers: {a: b, A: c}", "is given twice"),
        ('when: ["*"], webhook: "https://x", headers: {a: "b\\nc: d"}', "must be plain ASCII, in one line"),
        ("when: ['*'], webhook: 'https://x', body: '{\"text\": {message}'", "is no JSON once its fields are filled in"),
        ("when: ['*'], webhook: 'https://x', body: 'x', headers: {content-type: application/json}", "is no JSON"),
        ("when: ['*'], webhook: 'https://x', body: '{mesage}'", 'did you mean "message"?'),
    ],
)
@pytest.mark.parametrize("where", ["host", "service"])
def test_problems(problems: Callable[[str], list[str]], hook: str, said: str, where: str) -> None:
    """All are told with their place, and none of them shows the path or the user of a URL."""
    indent = "" if where == "host" else "    "
    head = "" if where == "host" else "services:\n  web:\n    run: {command: [a]}\n"
    found = problems(f"{head}{indent}hooks: [{{{hook}}}]\n")
    assert found
    assert said in found[0]
    assert "hooks[0]" in found[0]
    assert not any("token" in line or "secret" in line for line in found)


def test_what_is_loaded_comes_back_from_the_cache(load_text: Load, tmp_path: Path) -> None:
    """The cached configuration is the loaded one, secrets as the references that they are."""
    text = """
hooks: [{when: [disk.low], webhook: {env: URL}, headers: {A: {file: /k}, B: c}, body: "{message}", timeout: 3s}]
services:
  web: {run: {command: [a]}, hooks: [{when: ["*"], command: [tell, "{event}"]}]}
"""
    loaded = load_text(text)
    assert loaded.config.hooks == (
        Hook(("disk.low",), (), Secret("env", "URL"), {"A": Secret("file", "/k"), "B": "c"}, "{message}", 3.0),
    )
    assert loaded.config.services["web"].hooks == (Hook(("*",), ("tell", "{event}")),)
    paths = [str(tmp_path / "recoverd.yaml")]
    who: dict[str, Any] = {"euid": 1000, "home": "/home/me"}
    data = effective.encode(loaded.config, loaded.sources, paths, **who)
    environ = {"STATE_DIRECTORY": "/var/lib/recoverd"}
    assert effective.decode_if_current(data, paths, environ=environ, **who) == loaded.config


def test_config_show_masks(load_text: Load) -> None:
    """config.md: secrets are masked in everything that is printed; the URL of a webhook is one behind its host."""
    text = """
hooks:
  - {when: ["*"], webhook: "https://me:pw@chat.example.com/T0/geheim?key=geheim", headers: {Authorization: geheim, Title: hello}}
  - {when: ["*"], webhook: {credential: chat-url}, headers: {X-Key: {file: /run/key}}}
  - {when: ["*"], command: [curl, "https://u:geheim@x/"]}
"""
    config = load_text(text).config
    shown = as_plain(config, mask=True)["hooks"]
    assert "geheim" not in json.dumps(shown)
    assert shown[0]["webhook"] == "https://***@chat.example.com/***"
    assert shown[0]["headers"] == {"Authorization": "***", "Title": "hello"}
    assert shown[1]["webhook"] == {"credential": "chat-url"}
    assert as_plain(config, mask=False)["hooks"][0]["headers"]["Authorization"] == "geheim"


ANY = st.text(max_size=30)
TEMPLATE = (
    '{"text": "a \\"{message}\\" b", "raw": {message}, "n": {bytes}, "none": {item}, "all": {json}, "in": "{json}"}'
)


@given(ANY, st.integers(min_value=-(2**63), max_value=2**63))
def test_nothing_breaks_out_of_json(message: str, size: int) -> None:
    """Whatever an event says, the body is the JSON that its template is, with these values in it."""
    whole = json.dumps({"message": message})
    values: templates.Values = {"message": message, "bytes": size, "item": None, "json": whole}
    document = json.loads(fill(TEMPLATE, values, Kind.JSON))
    assert document == {
        "text": f'a "{message}" b',
        "raw": message,
        "n": size,
        "none": None,
        "all": {"message": message},
        "in": whole,
    }


@given(ANY)
def test_nothing_breaks_out_of_a_form(message: str) -> None:
    """Encoded, a value is what the server reads again."""
    values = {"message": message, "service": "a&b=c"}
    body = fill("text={message}&from={service}", values, Kind.FORM)
    parsed = parse_qs(body, keep_blank_values=True, strict_parsing=True)
    assert parsed == {"text": [message], "from": ["a&b=c"]}


@given(ANY)
def test_a_word_stays_a_word_and_is_no_option(message: str) -> None:
    """What stands in a name of a file, or in a message, can't be taken for an option."""
    words = fill_words(["tell", "{message}", "--text={message}", "{{message}}"], {"message": message})
    assert len(words) == 4
    assert words[0] == "tell"
    assert not words[1].startswith("-")
    assert words[1].strip(" ") == message.replace("\0", "\\x00").strip(" ")
    assert words[2].startswith("--text=")
    assert words[3] == "{message}"
    assert not any("\0" in word for word in words)


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        ('{"text": "{message}"}', None, Kind.JSON),
        ("{json}", None, Kind.JSON),
        ("[{json}]", None, Kind.JSON),
        ("{message}", None, Kind.TEXT),
        ("{service}: {message}", None, Kind.TEXT),
        ("{message}", "application/json; charset=utf-8", Kind.JSON),
        ('{"a": "{message}"}', "application/vnd.x+json", Kind.JSON),
        ('{"a": "{message}"}', "text/plain", Kind.TEXT),
        ("a={message}", "application/x-www-form-urlencoded", Kind.FORM),
    ],
)
def test_what_a_body_is(body: str, content_type: str | None, kind: Kind) -> None:
    assert templates.kind_of(body, content_type) is kind


def test_samples_of_services_out_there_load(problems: Callable[[str], list[str]]) -> None:
    """Bodies as chat systems want them are no problem, nested braces and all."""
    for body in (
        """'{"content": "**{service}** {message}", "embeds": [{"title": "{event}", "fields": [{"name": "s", "value": {seconds}}]}]}'""",
        """'{service}: {message} ({{literal}})'""",
        """'payload={json}'""",
    ):
        assert problems(BARE.replace("BODY", body)) == []
