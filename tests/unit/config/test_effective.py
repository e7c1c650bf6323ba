"""effective.json: the same configuration without yaml and jsonschema, as long as loading again would give it."""

# ruff: noqa: E501 (whole configurations, and builders of whole models)

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config import effective, model
from recoverd.config.loading import Loaded, load
from recoverd.config.model import Config
from recoverd.config.sources import Sources

Write = Callable[[Mapping[str, str]], Path]
FILES = {
    "recoverd.yaml": "state_dir: ${BASE}/r\nlog: {debug: [state]}\n",
    "conf.d/a.yaml": "services:\n  a:\n    root: ${BASE}/a\n    run: {command: [a], env: {A: {env: B}, C: d}, user: root}\n"
    "    state: {m: {file: m.json, schema: s.json, allow: [nan]}, n: {directory: n, include: ['*'], schema: {type: array}}}\n"
    "    autosave: {every: 30s}\n    retention: {last: 1, tags: [[a, b], c], within: 1y2mo, within_daily: 3d}\n"
    "    restore: {verdicts: {missing: alert}}\n"
    "    health: {probes: [{http: 'http://a/'}, {command: [x, y], timeout: 1s}]}\n    check: {max_age: 1m}\n",
    "conf.d/a.yaml.d/x.yaml": "services: {a: {after: [b]}}\n",
    "conf.d/b.yaml": "services: {b: {state: {m: {file: /srv/b}}}}\n",
    "conf.d/schemas/s.json": '{"type": "object"}',
}
ENVIRON = {"BASE": "/srv/base", "OTHER": "1"}
EUID, HOME = os.geteuid(), "/home/me"


@pytest.fixture
def saved(write: Write) -> tuple[Path, Loaded, bytes]:
    root = write(FILES)
    loaded = load([str(root)], environ=ENVIRON, euid=EUID, home=HOME)
    return root, loaded, effective.encode(loaded.config, loaded.sources, [str(root)], euid=EUID, home=HOME)


def again(root: Path, data: bytes, environ: Mapping[str, str] = ENVIRON, **options: Any) -> Config | None:
    return effective.decode_if_current(data, [str(root)], environ=environ, **{"euid": EUID, "home": HOME, **options})


def test_the_same_comes_back(saved: tuple[Path, Loaded, bytes]) -> None:
    root, loaded, data = saved
    assert again(root, data) == loaded.config
    assert again(root, data, {**ENVIRON, "OTHER": "2"}) == loaded.config  # nobody asked for this one


@pytest.mark.parametrize(
    "change",
    [
        "content",
        "same size and time",
        "touched",
        "new drop-in",
        "masked",
        "gone",
        "new change",
        "schema",
        "schema before it",
        "mode",
    ],
)
def test_any_change_is_seen(change: str, saved: tuple[Path, Loaded, bytes]) -> None:
    """Content, time, a new file in a place, a mask, a schema, also one that is now found first: load again."""
    root, _, data = saved
    path = root / "conf.d/b.yaml"
    before = path.stat()
    if change == "content":
        path.write_text("services: {}\n")
    elif change == "same size and time":
        with path.open("r+") as file:
            file.write(path.read_text().replace("/srv/b", "/srv/c"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    elif change == "touched":
        os.utime(path, ns=(0, 0))
    elif change == "new drop-in":
        (root / "conf.d/c.yaml").write_text("# nothing\n")
    elif change == "masked":
        path.unlink()
        path.symlink_to("/dev/null")
    elif change == "gone":
        path.unlink()
    elif change == "new change":
        (root / "conf.d/b.yaml.d").mkdir()
        (root / "conf.d/b.yaml.d/x.yaml").write_text("{}\n")
    elif change == "schema":
        (root / "conf.d/schemas/s.json").write_text('{"type": "array"}')
    elif change == "schema before it":
        (root / "conf.d/s.json").write_text('{"type": "object"}')
    elif EUID == 0:
        path.chmod(0o666)
    else:
        pytest.skip("modes matter to root only")
    assert again(root, data) is None


@pytest.mark.parametrize("environ", [{}, {"BASE": "/other"}, {"BASE": "/srv/base", "STATE_DIRECTORY": "/x"}])
def test_the_environment_is_part_of_it(environ: Mapping[str, str], saved: tuple[Path, Loaded, bytes]) -> None:
    """Variables that were asked for decide, also those that were unset; others do not."""
    root, loaded, data = saved
    expected = (
        loaded.config if environ.get("BASE") == "/srv/base" else None
    )  # state_dir is given: nobody asks for its default
    assert again(root, data, environ) == expected


def test_a_default_directory_depends_on_its_variables(write: Write) -> None:
    root = write({"recoverd.yaml": "{}\n"})
    loaded = load([str(root)], environ={}, euid=1000, home=HOME)
    data = effective.encode(loaded.config, loaded.sources, [str(root)], euid=1000, home=HOME)
    assert again(root, data, {}, euid=1000) == loaded.config
    assert again(root, data, {"STATE_DIRECTORY": "/x"}, euid=1000) is None
    assert again(root, data, {"XDG_DATA_HOME": "/x"}, euid=1000) is None


def test_the_request_is_part_of_it(saved: tuple[Path, Loaded, bytes], write: Write) -> None:
    """Another --config, another user, another home: another configuration."""
    root, _, data = saved
    assert again(root, data, home="/elsewhere") is None
    assert again(root, data, euid=EUID + 1) is None
    assert again(root, data, prefix="/x") is None
    assert effective.decode_if_current(data, None, environ=ENVIRON, euid=EUID, home=HOME) is None


def test_another_version_wrote_it(saved: tuple[Path, Loaded, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    root, _, data = saved
    monkeypatch.setattr("recoverd.__version__", "9.9")
    assert again(root, data) is None


def test_damage_is_no_configuration(saved: tuple[Path, Loaded, bytes]) -> None:
    """Cut anywhere, or not ours at all: load again, never a traceback."""
    root, _, data = saved
    for length in range(0, len(data) - 1, 37):
        assert again(root, data[:length]) is None
    document = json.loads(data)
    for key in document:
        values: tuple[Any, ...] = (None, 3, [], {}, "x", [[]])
        for value in values:
            again(root, json.dumps({**document, key: value}).encode())
        assert again(root, json.dumps({name: each for name, each in document.items() if name != key}).encode()) is None


@given(st.binary(max_size=50))
def test_garbage_is_no_configuration(data: bytes) -> None:
    assert effective.decode_if_current(data, None, environ={}, euid=1000, home="/nonexistent") is None


def test_64_bit_values_are_text(saved: tuple[Path, Loaded, bytes]) -> None:
    for _, digest, size_bytes, mtime_ns, inode in json.loads(saved[2])["files"]:
        assert isinstance(mtime_ns, str)
        assert isinstance(inode, str)
        assert size_bytes >= 0
        assert digest is None or len(digest) == 64


def test_odd_names_survive(write: Write, tmp_path: Path) -> None:
    """A directory whose name is not UTF-8."""
    root = tmp_path / os.fsdecode(b"\xff dir")
    root.mkdir()
    (root / "recoverd.yaml").write_text("state_dir: s\n")
    loaded = load([str(root)], environ={}, euid=EUID, home=HOME)
    data = effective.encode(loaded.config, loaded.sources, [str(root)], euid=EUID, home=HOME)
    assert effective.decode_if_current(data, [str(root)], environ={}, euid=EUID, home=HOME) == loaded.config


def test_every_class_of_the_model_comes_back() -> None:
    """Random instances of the whole model: a new field that the codec does not know fails here."""

    @given(st.from_type(Config))
    def round_trip(config: Config) -> None:
        data = effective.encode(config, Sources((), {}, "x"), [], euid=1000, home="/")
        assert effective._config(json.loads(data.decode("utf-8", "surrogateescape"))["config"]) == config

    text = st.text(max_size=5)
    st.register_type_strategy(str, text)
    for cls in (model.Retention, model.Service, model.Config, model.StateItem, model.Run, model.Health):
        assert is_dataclass(cls)
    schema = st.builds(
        model.SchemaSource, document=st.recursive(st.none() | text, lambda each: st.lists(each) | st.dictionaries(text, each), max_leaves=3),
        path=st.none() | text, directories=st.lists(text).map(tuple), place=st.builds(model.Place),
    )  # fmt: skip
    env = st.dictionaries(text, st.one_of(text, st.builds(model.Secret)), max_size=2)
    run = st.builds(model.Run, env=env)
    item = st.builds(model.StateItem, schema=st.none() | schema, allow=st.frozensets(text))
    restore = st.builds(model.Restore, verdicts=st.dictionaries(text, text, max_size=2))
    number = st.floats(allow_nan=False, allow_infinity=False)
    span = st.builds(model.Span, seconds=number)
    spans = {field.name: st.none() | span for field in fields(model.Retention) if field.name.startswith("within")}
    service = st.builds(
        model.Service, run=st.none() | run, state=st.dictionaries(text, item, max_size=2), restore=restore,
        retention=st.builds(model.Retention, tags=st.lists(st.lists(text).map(tuple), max_size=2).map(tuple), **spans),
        autosave=st.builds(model.Autosave, every_s=st.none() | number, jitter_s=number),
        health=st.builds(model.Health, within_s=number, stable_for_s=number, probes=st.lists(st.builds(model.Probe, timeout_s=number), max_size=2).map(tuple)),
        check=st.builds(model.CheckThresholds, max_age_s=st.none() | number),
    )  # fmt: skip
    st.register_type_strategy(Config, st.builds(Config, services=st.dictionaries(text, service, max_size=2)))
    round_trip()


def test_neither_yaml_nor_jsonschema_is_imported(
    saved: tuple[Path, Loaded, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`check` starts fast: what reads effective.json must not pull in what parses and checks."""
    root, _, data = saved
    kept = tmp_path_factory.mktemp("kept") / "data"
    kept.write_bytes(data)
    code = (
        "import os, sys\nfrom recoverd.config import effective\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        f"config = effective.decode_if_current(data, [sys.argv[2]], environ={ENVIRON!r}, euid=os.geteuid(), home={HOME!r})\n"
        "assert config is not None\n"
        "heavy = ('yaml', 'jsonschema', 'referencing', 'psutil', 'apscheduler', 'rich', 'difflib', 'zoneinfo')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(kept), str(root)], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
