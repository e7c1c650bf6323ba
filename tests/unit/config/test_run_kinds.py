"""Who runs a service: a unit of systemd, recoverd itself, or commands of something else. Exactly one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recoverd.config.loading import Loaded
from recoverd.config.model import Run, RunKind

ITEM = "state: {m: {file: /srv/x/a}}"


def run_of(load_text: Callable[..., Loaded], run: str) -> Run:
    run_ = load_text(f"services:\n  web:\n    run: {run}\n    {ITEM}\n").config.services["web"].run
    assert run_ is not None
    return run_


@pytest.mark.parametrize(
    ("given", "unit"),
    [
        ("web.service", "web.service"),
        ("web", "web.service"),
        ("web@blue", "web@blue.service"),
        ("web@blue.service", "web@blue.service"),
        ("org.example.web", "org.example.web.service"),
        ("my-web_2:x.service", "my-web_2:x.service"),
        (r"dev-disk\x2dby.service", r"dev-disk\x2dby.service"),
        ("service", "service.service"),
    ],
)
def test_a_unit_gets_its_suffix(given: str, unit: str, load_text: Callable[..., Loaded]) -> None:
    """As `systemctl` does it: what has no suffix is a service."""
    assert run_of(load_text, f"{{systemd: '{given}'}}") == Run(RunKind.SYSTEMD, unit=unit)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("web.socket", "is a socket"),
        ("web.timer", "is a timer"),
        ("web@.service", "is a template: name one instance, such as web@main.service"),
        ("@web", "is a template"),
        ("web*", "is no name of a unit"),
        ("a/b", "is no name of a unit"),
        ("a b", "is no name of a unit"),
        ("wéb", "is no name of a unit"),
        ("w" * 250, "255 at most"),
    ],
)
def test_what_is_no_service_unit(given: str, words: str, problems: Callable[..., list[str]]) -> None:
    """`systemctl show` would take a pattern, and escape what is no name, without a word."""
    (found,) = problems(f"services:\n  web:\n    run: {{systemd: '{given}'}}\n    {ITEM}\n")
    assert words in found
    assert found.startswith("3:20: services.web.run.systemd: ")


def test_control(load_text: Callable[..., Loaded]) -> None:
    run = run_of(load_text, "{control: {start: [docker, start, w], stop: [docker, stop, w], status: [up, w]}}")
    assert run == Run(RunKind.CONTROL, start=("docker", "start", "w"), stop=("docker", "stop", "w"), status=("up", "w"))


@pytest.mark.parametrize("missing", ["start", "stop", "status"])
def test_control_needs_all_three(missing: str, problems: Callable[..., list[str]]) -> None:
    keys = ", ".join(f"{key}: [x]" for key in ("start", "stop", "status") if key != missing)
    (found,) = problems(f"services:\n  web:\n    run: {{control: {{{keys}}}}}\n    {ITEM}\n")
    assert f'the key "{missing}" is missing' in found


def test_an_empty_program(problems: Callable[..., list[str]]) -> None:
    (found,) = problems(
        f"services:\n  web:\n    run: {{control: {{start: [x], stop: [''], status: [x]}}}}\n    {ITEM}\n"
    )
    assert found.endswith("services.web.run.control.stop: the program must not be empty")


@pytest.mark.parametrize("kind", ["systemd: web", "control: {start: [x], stop: [x], status: [x]}"])
@pytest.mark.parametrize(
    "key", ["cwd: /", "env: {A: b}", "user: root", "log: /x", "stop_signal: INT", "stop_timeout: 3s"]
)
def test_keys_of_a_command_are_not_ignored(kind: str, key: str, problems: Callable[..., list[str]]) -> None:
    """A `user:` that did nothing would be a hole."""
    (found,) = problems(f"services:\n  web:\n    run: {{{kind}, {key}}}\n    {ITEM}\n")
    assert f"services.web.run.{key.partition(':')[0]}: goes with `command` only" in found
