"""`for_each`: one isolated service per match, with names that last; nothing planted in a home leads anywhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config import effective, matching
from recoverd.config.items import why_no_name
from recoverd.config.loading import Loaded, load

EUID = os.geteuid()
SAMPLE = """\
services:
  ctl:
    for_each: {{glob: "{glob}"}}
    root: "{{match}}"
    state: {{main: {{file: main.json, format: json}}}}
    run: {{command: [work, "{{match.name}}"], cwd: "{{match.parent}}"}}
  after: {{run: {{command: [x]}}, after: [ctl]}}
"""


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    for place in ("ann/src/app/.ctl", "ann/src/My App/.ctl", "bob/src/app/.ctl", "bob/src/other", ".hid/src/app/.ctl"):
        (tmp_path / "home" / place).mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def loaded(homes: Path, load_text: Callable[..., Loaded]) -> Callable[[], Loaded]:
    return lambda: load_text(SAMPLE.format(glob=f"{homes}/*/src/*/.ctl"), euid=EUID)


def test_one_service_per_match(homes: Path, loaded: Callable[[], Loaded]) -> None:
    """Each has its own paths; the declared one itself is none; `after` it means after all of them."""
    config = loaded().config
    odd = next(name for name in config.services if name.startswith("ctl-ann.my-app.."))
    assert list(config.services) == ["after", "ctl-ann.app", odd, "ctl-bob.app"]
    one = config.services["ctl-bob.app"]
    assert (one.match, one.state["main"].path) == (f"{homes}/bob/src/app/.ctl", f"{homes}/bob/src/app/.ctl/main.json")
    assert one.run is not None
    assert (one.run.command, one.run.cwd) == (("work", ".ctl"), f"{homes}/bob/src/app")
    assert config.services["after"].after == ("ctl-ann.app", odd, "ctl-bob.app")


def test_places_are_those_of_the_declared_service(loaded: Callable[[], Loaded]) -> None:
    """config.md: where each value comes from."""
    provenance = loaded().provenance
    assert provenance["services", "ctl-ann.app", "root"].line == 4
    assert not any(path[:2] == ("services", "ctl") for path in provenance)


def test_no_match_is_no_problem_and_told(homes: Path, loaded: Callable[[], Loaded]) -> None:
    os.rename(homes, homes.with_name("away"))
    found = loaded()
    assert (list(found.config.services), found.config.services["after"].after) == (["after"], ())
    (note,) = found.notes
    assert f"recoverd.yaml:3:22: services.ctl.for_each.glob: nothing fits {homes}/" in note


@pytest.mark.parametrize("name", ["a$HOME", "a${HOME}", "a{id}", "a\nb", "a\x1b"])
def test_names_that_would_mean_something_are_left_out(name: str, homes: Path, loaded: Callable[[], Loaded]) -> None:
    """Service users are not trusted: a name that they choose is never expanded, and costs the others nothing."""
    (homes / "bob" / "src" / name / ".ctl").mkdir(parents=True)
    found = loaded()
    assert len(found.config.services) == 4
    assert "is left out: its name holds" in found.notes[0]
    assert found.notes[0].isprintable()
    assert matching.why_left_out("/home/bob/~") is not None  # where {match.name} is all of a value


def test_links_are_not_followed(homes: Path, tmp_path: Path, loaded: Callable[[], Loaded]) -> None:
    """Neither on the way nor as a match; nor is a FIFO or socket one."""
    (tmp_path / "elsewhere" / "app" / ".ctl").mkdir(parents=True)
    before = list(loaded().config.services)
    (homes / "eve").mkdir()
    (homes / "eve" / "src").symlink_to(tmp_path / "elsewhere")
    (homes / "bob" / "src" / "other" / ".ctl").symlink_to(tmp_path / "elsewhere")
    (homes / "bob" / "src" / "pipe").mkdir()
    os.mkfifo(homes / "bob" / "src" / "pipe" / ".ctl")
    assert list(loaded().config.services) == before


@pytest.mark.skipif(EUID != 0, reason="only root can make links of other users")
def test_root_follows_no_link_of_another_above_the_pattern(homes: Path, problems: Callable[..., list[str]]) -> None:
    link = homes.with_name("link")
    link.symlink_to(homes)
    text = SAMPLE.format(glob=f"{link}/*/src/*/.ctl")
    assert problems(text, euid=0) == []
    os.lchown(link, 1234, 1234)
    (found,) = problems(text, euid=0)
    assert found.startswith("3:22: services.ctl.for_each.glob: leads through a symbolic link of another user")


@pytest.mark.parametrize(
    ("glob", "sentence"),
    [
        ("src/*/.ctl", "must be the whole path"),
        ("/srv/**/x", "has **"),
        ("/srv/../*", "must not contain . or .."),
        ("/", "matches everything"),
        ("${UNSET_HERE}/*", "UNSET_HERE is not set"),
    ],
)
def test_patterns_that_mean_nothing(glob: str, sentence: str, problems: Callable[..., list[str]]) -> None:
    (found,) = problems(SAMPLE.format(glob=glob))
    assert found.startswith("3:22: services.ctl.for_each.glob: ")
    assert sentence in found


def test_too_many_matches_are_a_problem_of_this_service_only(
    homes: Path, loaded: Callable[[], Loaded], monkeypatch: pytest.MonkeyPatch, problems: Callable[..., list[str]]
) -> None:
    monkeypatch.setattr(matching, "MOST_MATCHES", 2)
    (found,) = problems(SAMPLE.format(glob=f"{homes}/*/src/*/.ctl"), euid=EUID)
    assert "fits more than 2 paths" in found


def test_what_is_wrong_with_the_declared_service_is_said_once_for_each(homes: Path, write: Callable[..., Path]) -> None:
    """A broken template takes its services with it and no other, and a collision with a declared name is told."""
    text = SAMPLE.format(glob=f"{homes}/*/src/*/.ctl").replace("format: json", "format: jsn")
    root = write({"recoverd.yaml": text})
    options: dict[str, Any] = {"environ": {"STATE_DIRECTORY": "/s"}, "euid": EUID, "home": "/root", "strict": False}
    found = load([str(root / "recoverd.yaml")], **options)
    assert found.config.failed[0].name == "ctl"
    assert [name for name in found.config.services if name.startswith("ctl")] == []
    write({"recoverd.yaml": SAMPLE.format(glob=f"{homes}/*/src/*/.ctl") + "  ctl-bob.app: {run: {command: [x]}}\n"})
    found = load([str(root / "recoverd.yaml")], **options)
    assert [one.name for one in found.config.failed] == ["ctl-bob.app"]
    assert "ctl-ann.app" in found.config.services


def test_the_cache_holds_as_long_as_the_same_paths_fit(homes: Path, write: Callable[..., Path]) -> None:
    root = write({"recoverd.yaml": SAMPLE.format(glob=f"{homes}/*/src/*/.ctl")})
    paths, options = [str(root / "recoverd.yaml")], {"euid": EUID, "home": "/root"}
    environ = {"STATE_DIRECTORY": "/s"}
    found = load(paths, environ=environ, **options)  # type: ignore[arg-type]
    data = effective.encode(found.config, found.sources, paths, **options)  # type: ignore[arg-type]

    def again() -> Any:
        return effective.decode_if_current(data, paths, environ=environ, **options)  # type: ignore[arg-type]

    assert again() == found.config
    (homes / "bob" / "src" / "new" / ".ctl").mkdir(parents=True)
    assert again() is None
    (homes / "bob" / "src" / "new" / ".ctl").rmdir()
    assert again() == found.config
    (homes / "ann" / "src" / "app" / ".ctl").rmdir()
    assert again() is None


PARTS = st.one_of(st.from_regex(r"[a-z0-9_.A-Z -]{1,12}", fullmatch=True), st.text(min_size=1, max_size=40)).filter(
    lambda part: "/" not in part and "\0" not in part
)


@given(st.lists(st.tuples(PARTS, PARTS), min_size=2, max_size=6, unique=True))
def test_names_are_valid_and_no_two_matches_share_one(pairs: list[tuple[str, str]]) -> None:
    """Whatever directories are called; and a name depends on nothing but its match."""
    names = [matching.name_of("ctl", "/home/*/src/*/.ctl", f"/home/{one}/src/{two}/.ctl") for one, two in pairs]
    assert len(set(names)) == len(pairs)
    assert [why_no_name(name) for name in names] == [None] * len(names)
