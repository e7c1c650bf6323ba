"""Whatever stands in a file, loading ends soon: with a configuration or a ConfigError, never with another error."""

# ruff: noqa: E501 (whole configurations)

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoverd.config import strict_yaml
from recoverd.config.loading import load
from recoverd.errors import ConfigError

SEED = (
    "version: 1\nstate_dir: /srv/r\ndefaults: {autosave: {every: 30s}}\nlog: {level: info}\nservices:\n  web:\n    root: /srv/web\n"
    "    run: {command: [/bin/x, a], env: {A: b, C: {env: D}}, user: root}\n    after: [db]\n    state:\n"
    "      main: {file: state.json, schema: {type: object}}\n      tasks: {directory: tasks, include: ['*.json']}\n"
    "    retention: {last: 10, within: 1y, tags: [a, [b]]}\n    restore: {verdicts: {reset: alert}}\n"
    "    health: {within: 30s, probes: [{http: 'http://a/'}, {tcp: 'b:1'}]}\n  db: &x {state: {m: {file: /srv/db}}}\n"
)
WORDS = SEED.replace(":", " : ").replace("{", " { ").replace("}", " } ").replace("[", " [ ").replace("]", " ] ").split()
PIECES = st.sampled_from(
    [*WORDS, ": ", "\n", "\n  ", "\n    ", "- ", "? ", "&a ", "*a", "!!x ", "|", ">", "'", '"', "#", "\t", "<<", "---\n", "...", "%Y", "~",
     "null", "1e999", "9" * 30, "${X}", "${", "\0", "\x1b", "\xff", "\u2028", ",", "@", "`", "sqlite", "for_each", "watch"]
)  # fmt: skip


def attempt(data: bytes, directory: Path, *, strict: bool) -> None:
    """One load; anything but ConfigError fails the test. Each problem is one line with a place in this file."""
    path = directory / "recoverd.yaml"
    path.write_bytes(data)
    try:
        loaded = load([str(path)], environ={}, euid=1000, home="/home/me", strict=strict)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.file == str(path)
            assert str(problem).isprintable(), str(problem)
            assert (
                problem.line
                <= data.count(b"\n") + data.count(b"\r") + data.count(b"\xe2\x80\xa8") + data.count(b"\xc2\x85") + 1
            )
    else:
        assert not strict or not loaded.problems


BREAKS = (b"\n", b"\r", b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x85")
COMMON = settings(deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


@COMMON
@given(data=st.binary(max_size=200), strict=st.booleans())
def test_bytes(data: bytes, strict: bool, tmp_path: Path) -> None:
    attempt(data, tmp_path, strict=strict)


@COMMON
@given(pieces=st.lists(PIECES, max_size=40), strict=st.booleans())
def test_yaml_of_sorts(pieces: list[str], strict: bool, tmp_path: Path) -> None:
    attempt("".join(pieces).encode("utf-8", "replace"), tmp_path, strict=strict)


@COMMON
@given(
    start=st.integers(0, len(SEED)),
    length=st.integers(0, 30),
    pieces=st.lists(PIECES, max_size=4),
    strict=st.booleans(),
)
def test_a_good_file_damaged(start: int, length: int, pieces: list[str], strict: bool, tmp_path: Path) -> None:
    """A piece cut out of a whole configuration, another put in its place."""
    text = SEED[:start] + "".join(pieces) + SEED[start + length :]
    attempt(text.encode(), tmp_path, strict=strict)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=3)
)
KEYS = st.sampled_from([word for word in WORDS if word.isidentifier()]) | st.text(max_size=3)
SHAPES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=4), max_leaves=25
)


@settings(COMMON, max_examples=60)
@given(
    value=st.dictionaries(KEYS, SHAPES, max_size=3),
    service=st.dictionaries(KEYS, SHAPES, max_size=4),
    item=st.dictionaries(KEYS, SHAPES, max_size=3),
)
def test_well_formed_nonsense(
    value: dict[str, object], service: dict[str, object], item: dict[str, object], tmp_path: Path
) -> None:
    """Valid YAML with known keys in wrong places and values of wrong shapes: it is the checks that must hold."""
    from recoverd.config.rendering import flow

    document = {**value, "services": {"web": {**service, "state": {"m": item}}, "x": service}}
    attempt(flow(document).encode("utf-8", "replace"), tmp_path, strict=False)


@pytest.mark.parametrize("cut", range(0, len(SEED), 3))
def test_a_file_cut_off(cut: int, tmp_path: Path) -> None:
    """A torn write of the configuration itself, at any point."""
    attempt(SEED[:cut].encode(), tmp_path, strict=True)
    attempt(SEED[:cut].encode() + b"\0" * 20, tmp_path, strict=False)


@COMMON
@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_the_parser_alone(data: bytes) -> None:
    parsed = strict_yaml.parse(data, "f")
    assert parsed.node is None or isinstance(parsed.problems, tuple)
    for problem in parsed.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert str(problem).isprintable()
