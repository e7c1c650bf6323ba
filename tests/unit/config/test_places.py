"""The places of config.md: which files count, which are overridden or masked, and what changes single keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from recoverd.config.loading import load
from recoverd.config.places import Search, Standing, find
from recoverd.errors import ConfigError

Write = Callable[[Mapping[str, str]], Path]
SHIPPED, MAIN, OWN = "usr/lib/recoverd/conf.d", "etc/recoverd/recoverd.yaml", "etc/recoverd/conf.d"


def one(name: str, path: str) -> str:
    return f"services:\n  {name}:\n    state: {{m: {{file: {path}}}}}\n"


def as_root(root: Path) -> Search:
    return find(None, environ={}, euid=0, home="/root", prefix=str(root))


def used(search: Search, root: Path) -> list[str]:
    return [unit.path.removeprefix(f"{root}/") for unit in search.units]


def standings(search: Search, root: Path) -> dict[str, Standing]:
    return {found.path.removeprefix(f"{root}/"): found.standing for found in search.found}


def test_order(write: Write) -> None:
    """Shipped drop-ins, recoverd.yaml, the host's drop-ins; only *.yaml, nothing hidden."""
    names = [f"{SHIPPED}/b.yaml", f"{SHIPPED}/a.yaml", MAIN, f"{OWN}/z.yaml", f"{OWN}/c.yaml"]
    root = write(
        dict.fromkeys([*names, f"{OWN}/n.yml", f"{OWN}/.h.yaml", f"{OWN}/n.yaml~", "etc/recoverd/x.yaml"], "x: 1")
    )
    assert used(as_root(root), root) == [
        f"{SHIPPED}/a.yaml",
        f"{SHIPPED}/b.yaml",
        MAIN,
        f"{OWN}/c.yaml",
        f"{OWN}/z.yaml",
    ]


def test_later_overrides_earlier_by_file_name(write: Write) -> None:
    root = write({f"{SHIPPED}/a.yaml": "x: 1", f"{OWN}/a.yaml": "y: 1"})
    search = as_root(root)
    assert used(search, root) == [f"{OWN}/a.yaml"]
    assert standings(search, root)[f"{SHIPPED}/a.yaml"] is Standing.OVERRIDDEN
    assert search.found[0].by is None or search.found[0].by.endswith(f"{OWN}/a.yaml")


def test_a_drop_in_of_the_same_name_does_not_override_the_main_file(write: Write) -> None:
    root = write({MAIN: "log: {}", f"{OWN}/recoverd.yaml": "services: {}"})
    assert used(as_root(root), root) == [MAIN, f"{OWN}/recoverd.yaml"]


@pytest.mark.parametrize("kind", ["empty", "null"])
def test_masking(kind: str, write: Write) -> None:
    """An empty file or a link to /dev/null of the same name masks a shipped one, and all that changes it."""
    root = write(
        {f"{SHIPPED}/a.yaml": "x: 1", f"{SHIPPED}/b.yaml": "x: 1", f"{SHIPPED}/a.yaml.d/c.yaml": "x: 2", f"{OWN}/x": ""}
    )
    mask = root / OWN / "a.yaml"
    mask.touch() if kind == "empty" else mask.symlink_to("/dev/null")
    search = as_root(root)
    assert used(search, root) == [f"{SHIPPED}/b.yaml"]
    assert standings(search, root)[f"{SHIPPED}/a.yaml"] is Standing.MASKED
    assert standings(search, root)[f"{OWN}/a.yaml"] is Standing.MASK


def test_an_empty_file_that_masks_nothing_is_a_problem(write: Write) -> None:
    """A power cut leaves empty files: a service must not vanish because of one without a word."""
    root = write({"a.yaml": ""})
    with pytest.raises(ConfigError) as caught:
        load([str(root)], environ={}, euid=1000, home="/")
    assert [str(problem) for problem in caught.value.problems] == [
        f"{root}/a.yaml: is empty, and there is nothing of that name that it could mask: was it cut off? Else delete it"
    ]


def test_a_mask_of_nothing_is_fine(write: Write) -> None:
    """A link to /dev/null can't come from an accident, and may outlive the package it masks."""
    root = write({f"{OWN}/x": ""})
    (root / OWN / "a.yaml").symlink_to("/dev/null")
    assert load([str(root / OWN)], environ={}, euid=1000, home="/").config.services == {}


def test_a_file_with_comments_only_says_nothing(write: Write) -> None:
    root = write({"a.yaml": "# nothing yet\n"})
    assert load([str(root / "a.yaml")], environ={}, euid=1000, home="/").problems == ()


def test_changes_of_single_keys(write: Write) -> None:
    """NAME.yaml.d/*.yaml changes NAME.yaml mapping by mapping, in order of names; lists are replaced, null removes."""
    root = write(
        {
            "conf.d/a.yaml": "services:\n  a:\n    state: {m: {file: /srv/a}, n: {file: /srv/n}}\n"
            "    autosave: {every: 30s, jitter: 3s}\n    after: [b, c]\n    health: {within: 5s}\n",
            "conf.d/bc.yaml": "services: {b: {state: {m: {file: /srv/b}}}, c: {state: {m: {file: /srv/c}}}}\n",
            "conf.d/a.yaml.d/10.yaml": "services: {a: {autosave: {every: 10s}, after: [c]}}\n",
            "conf.d/a.yaml.d/20.yaml": "services: {a: {autosave: {every: 20s}, health: null, state: {n: null}}}\n",
        }
    )
    loaded = load([str(root)], environ={}, euid=1000, home="/")
    a = loaded.config.services["a"]
    assert (a.autosave.every_s, a.autosave.jitter_s, a.after, a.health.within_s, list(a.state)) == (
        20,
        3,
        ("c",),
        30,
        ["m"],
    )
    places = {".".join(path[2:]): place for path, place in loaded.provenance.items() if path[:2] == ("services", "a")}
    assert str(places["autosave.every"]) == f"{root}/conf.d/a.yaml.d/20.yaml:1:34"
    assert str(places["autosave.jitter"]) == f"{root}/conf.d/a.yaml:4:36"
    assert "health.within" not in places


def test_changes_across_places(write: Write) -> None:
    """What a package ships is changed from /etc; a change is overridden and masked by its name like any file."""
    root = write(
        {
            f"{SHIPPED}/a.yaml": one("a", "/srv/a"),
            f"{SHIPPED}/a.yaml.d/x.yaml": "x: 1",
            f"{SHIPPED}/a.yaml.d/y.yaml": "x: 1",
            f"{OWN}/a.yaml.d/x.yaml": "x: 2",
            f"{OWN}/a.yaml.d/y.yaml": "",
            f"{MAIN}.d/z.yaml": "x: 3",
            MAIN: "x: 4",
        }
    )
    search = as_root(root)
    assert {unit.path: unit.changes for unit in search.units} == {
        f"{root}/{SHIPPED}/a.yaml": (f"{root}/{OWN}/a.yaml.d/x.yaml",),
        f"{root}/{MAIN}": (f"{root}/{MAIN}.d/z.yaml",),
    }
    assert standings(search, root)[f"{SHIPPED}/a.yaml.d/y.yaml"] is Standing.MASKED


def test_a_problem_in_a_change_stands_at_its_place(write: Write) -> None:
    root = write({"conf.d/a.yaml": one("a", "/srv/a"), "conf.d/a.yaml.d/x.yaml": "\nservices: {a: {aftr: []}}\n"})
    with pytest.raises(ConfigError) as caught:
        load([str(root)], environ={}, euid=1000, home="/")
    assert str(caught.value.problems[0]).startswith(f"{root}/conf.d/a.yaml.d/x.yaml:2:16: services.a.aftr: unknown key")


def test_changes_of_nothing_are_a_problem(write: Write) -> None:
    """A misspelt directory must not be ignored."""
    root = write({"conf.d/a.yaml": one("a", "/srv/a"), "conf.d/b.yaml.d/x.yaml": "services: {}\n"})
    with pytest.raises(ConfigError) as caught:
        load([str(root)], environ={}, euid=1000, home="/")
    assert [str(problem) for problem in caught.value.problems] == [
        f"{root}/conf.d/b.yaml.d/x.yaml: changes b.yaml, which does not exist"
    ]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "home/.config"),
        ({"XDG_CONFIG_HOME": "{root}/xdg"}, "xdg"),
        ({"XDG_CONFIG_HOME": "relative"}, "home/.config"),
    ],
)
def test_plain_user(environ: Mapping[str, str], expected: str, write: Write) -> None:
    """A plain user's own files only. A relative XDG path is ignored, as its specification wants."""
    files = [
        f"{base}/recoverd/{name}" for base in ("home/.config", "xdg") for name in ("recoverd.yaml", "conf.d/a.yaml")
    ]
    root = write(dict.fromkeys([*files, MAIN], "x: 1"))
    environ = {name: value.format(root=root) for name, value in environ.items()}
    search = find(None, environ=environ, euid=1000, home=str(root / "home"), prefix=str(root))
    assert used(search, root) == [f"{expected}/recoverd/recoverd.yaml", f"{expected}/recoverd/conf.d/a.yaml"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.yaml"], ["a.yaml"]),
        (["d"], ["d/b.yaml", "d/recoverd.yaml", "d/conf.d/c.yaml"]),
        (["d/b.yaml", "a.yaml"], ["d/b.yaml", "a.yaml"]),
        (["d/conf.d"], ["d/conf.d/c.yaml"]),
        (["other/a.yaml", "a.yaml"], ["other/a.yaml", "a.yaml"]),
    ],
)
def test_config_replaces_the_search(paths: Sequence[str], expected: Sequence[str], write: Write) -> None:
    """`--config PATH`, repeatable; files and directories. Files of one name from two directories both count."""
    names = ["a.yaml", "d/b.yaml", "d/recoverd.yaml", "d/conf.d/c.yaml", "other/a.yaml", MAIN]
    root = write(dict.fromkeys(names, "x: 1"))
    search = find([str(root / path) for path in paths], environ={}, euid=0, home="/", prefix=str(root))
    assert used(search, root) == expected
    assert [unit.path for unit in search.units if unit.host_wide] == [
        unit.path
        for unit in search.units
        if str(root / paths[0]) == unit.path or "recoverd.yaml" in unit.path or len(paths) == 2
    ]


def test_relative_config_paths(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write({"a.yaml": one("a", "/srv/a")})
    monkeypatch.chdir(root)
    assert load(["a.yaml"], environ={}, euid=1000, home="/").sources.files[0].path == f"{root}/a.yaml"


def test_asked_for_and_absent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load([str(tmp_path / "none.yaml")], environ={}, euid=1000, home="/")
    assert [str(problem) for problem in caught.value.problems] == [f"{tmp_path}/none.yaml: does not exist"]


def test_nothing_at_all(tmp_path: Path) -> None:
    """No configuration is an empty one, not an error."""
    loaded = load(None, environ={}, euid=1000, home=str(tmp_path), prefix=str(tmp_path))
    assert loaded.config.services == {}
    assert loaded.config.state_dir == f"{tmp_path}/.local/share/recoverd"
    assert {found.standing for found in loaded.search.found} == {Standing.ABSENT}


@pytest.mark.skipif(os.geteuid() == 0, reason="root can list every directory")
def test_directory_that_cannot_be_listed(write: Write) -> None:
    root = write({"conf.d/a.yaml": one("a", "/srv/a")})
    (root / "conf.d").chmod(0)
    try:
        with pytest.raises(ConfigError) as caught:
            load([str(root / "conf.d")], environ={}, euid=1000, home="/")
    finally:
        (root / "conf.d").chmod(0o700)
    assert str(caught.value.problems[0]) == f"{root}/conf.d: can't be looked at: permission denied"


@pytest.mark.parametrize(
    ("environ", "text", "euid", "expected"),
    [
        ({}, "", 0, "/var/lib/recoverd"),
        ({"STATE_DIRECTORY": "/run/a:/run/b"}, "", 0, "/run/a"),
        ({"STATE_DIRECTORY": "/run/a"}, "state_dir: /srv/b/", 0, "/srv/b"),
        ({"STATE_DIRECTORY": "relative"}, "", 0, "/var/lib/recoverd"),
        ({}, "", 1000, "/home/me/.local/share/recoverd"),
        ({"XDG_DATA_HOME": "/data"}, "", 1000, "/data/recoverd"),
        ({}, "state_dir: ~/r", 1000, "/home/me/r"),
        ({}, "state_dir: r", 1000, "{root}/r"),
    ],
)
def test_state_dir(environ: Mapping[str, str], text: str, euid: int, expected: str, write: Write) -> None:
    """`$STATE_DIRECTORY`, else /var/lib/recoverd, for a plain user $XDG_DATA_HOME/recoverd; the key wins."""
    if euid == 0 and os.geteuid() != 0:
        pytest.skip("files of a plain user are refused when recoverd is root")
    root = write({"a.yaml": text or "# nothing"})
    config = load([str(root / "a.yaml")], environ=environ, euid=euid, home="/home/me").config
    assert config.state_dir == expected.format(root=root)
    assert config.repository.path == f"{config.state_dir}/repository"
