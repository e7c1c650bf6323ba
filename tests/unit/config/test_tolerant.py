"""config.md: "One broken drop-in does not take the others down at boot: its services are reported as failed"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from recoverd.config.loading import Loaded, load
from recoverd.errors import ConfigError

Write = Callable[[Mapping[str, str]], Path]
GOOD = "services: {good: {state: {m: {file: /srv/good}}}}\n"


def boot(root: Path) -> Loaded:
    return load([str(root)], environ={}, euid=1000, home="/", strict=False)


@pytest.mark.parametrize(
    ("broken", "failed"),
    [
        ("services: {bad: {stat: {}}}\n", ["bad"]),
        ("services: {bad: {state: {m: {file: x}}}}\n", ["bad"]),
        ("services: {bad: {state: {m: {file: /srv/b}}, after: [none]}}\n", ["bad"]),
        ("services: {bad: {state: {m: {file: /srv/good}}}}\n", ["good"]),  # the later one claims what is taken
        ("services: {bad: 3}\n", ["bad"]),
        ("services: {bad: {state: {m: {file: /srv/b}}}, bad: {}}\n", ["bad"]),  # a duplicate key
        (
            "services: {a: {state: {m: {file: /srv/a}}, after: [b]}, b: {state: {m: {file: /srv/b}}, after: [a]}}\n",
            ["a", "b"],
        ),
        ("services: {bad: {}, fine: {state: {m: {file: /srv/f}}}}\n", ["bad"]),
        ("services: {b: {state: {m: {file: /srv/b}}}}\nservies: {}\n", ["b"]),
        ("services: {bad: [}\n", ["{file}"]),
        ("service: {bad: {}}\n", ["{file}"]),
        ("services: []\n", ["{file}"]),
        ("text\n", ["{file}"]),
        ("\0\0\0", ["{file}"]),
        ("", ["{file}"]),
        ("services: {good: {state: {m: {file: /srv/x}}}}\n", ["good"]),
    ],
)
def test_one_broken_drop_in(broken: str, failed: list[str], write: Write) -> None:
    """Its services fail, by name where one can be told, and nothing else does."""
    root = write({"conf.d/a.yaml": broken, "conf.d/good.yaml": GOOD})
    loaded = boot(root)
    expected = [name.format(file=root / "conf.d" / "a.yaml") for name in failed]
    assert [each.name for each in loaded.config.failed] == expected
    assert ("good" in loaded.config.services) == ("good" not in failed)
    assert not set(expected) & set(loaded.config.services)
    for each in loaded.config.failed:
        assert each.problems
        assert set(each.problems) <= {str(problem) for problem in loaded.problems}
    with pytest.raises(ConfigError) as caught:
        load([str(root)], environ={}, euid=1000, home="/")
    assert caught.value.problems == loaded.problems


def test_a_directory_in_place_of_a_file(write: Write) -> None:
    root = write({"conf.d/a.yaml/x": "", "conf.d/good.yaml": GOOD})
    loaded = boot(root)
    assert list(loaded.config.services) == ["good"]
    assert loaded.config.failed[0].problems == (f"{root}/conf.d/a.yaml: is no regular file",)


def test_a_dangling_link(write: Write) -> None:
    root = write({"conf.d/good.yaml": GOOD})
    (root / "conf.d" / "a.yaml").symlink_to("nowhere")
    loaded = boot(root)
    assert list(loaded.config.services) == ["good"]
    assert loaded.config.failed[0].problems == (f"{root}/conf.d/a.yaml: can't be read: no such file or directory",)


def test_who_waits_for_a_failed_service_stays(write: Write) -> None:
    """`after` a service of a broken file is no problem of its own: who waits is told when the order is made."""
    root = write(
        {
            "conf.d/a.yaml": "services: {bad: {}, c: {state: {m: {file: /srv/c}}, after: [bad]}}\n",
            "conf.d/b.yaml": "services: {lost: [\n",
            "conf.d/d.yaml": "services: {d: {state: {m: {file: /srv/d}}, after: [lost]}}\n",
        }
    )
    loaded = boot(root)
    assert {name: service.after for name, service in loaded.config.services.items()} == {"c": ("bad",), "d": ("lost",)}
    assert [each.name for each in loaded.config.failed] == [f"{root}/conf.d/b.yaml", "bad"]


def test_a_broken_change_fails_what_it_changes(write: Write) -> None:
    root = write(
        {
            "conf.d/a.yaml": "services: {a: {state: {m: {file: /srv/a}}}}\n",
            "conf.d/a.yaml.d/x.yaml": "]",
            "conf.d/good.yaml": GOOD,
        }
    )
    loaded = boot(root)
    assert [each.name for each in loaded.config.failed] == ["a"]
    assert list(loaded.config.services) == ["good"]


@pytest.mark.parametrize(
    "broken",
    [
        "state_dir: 3\n",
        "statedir: /srv\n",
        "[",
        "",
        "repository: {spare: x}\n",
        "defaults: {autosave: {every: x}}\n",
        "timezone: X\n",
        "\0",
    ],
)
def test_broken_host_wide_keys_still_raise(broken: str, write: Write) -> None:
    """Without them nobody knows where the snapshots are: a guess would say that there are none."""
    root = write({"recoverd.yaml": broken, "conf.d/good.yaml": GOOD})
    with pytest.raises(ConfigError):
        boot(root)


def test_services_of_the_main_file_fail_alone(write: Write) -> None:
    root = write(
        {"recoverd.yaml": "services: {bad: {}, fine: {state: {m: {file: /srv/f}}}}\n", "conf.d/good.yaml": GOOD}
    )
    loaded = boot(root)
    assert list(loaded.config.services) == ["fine", "good"]
    assert [each.name for each in loaded.config.failed] == ["bad"]


def test_good_configuration_has_no_failures(write: Write) -> None:
    loaded = boot(write({"conf.d/good.yaml": GOOD}))
    assert (loaded.config.failed, loaded.problems) == ((), ())
