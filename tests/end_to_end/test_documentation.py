"""Every YAML block of the documentation is loaded, every command in it is parsed, and those that can be are run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from recoverd.cli import arguments
from recoverd.config.loading import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECOVERD = Path(sys.executable).with_name("recoverd")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


YAML_BLOCKS = [(page.name, number, text) for page in PAGES for number, text in enumerate(blocks(page, "yaml"))]


@pytest.mark.parametrize(("page", "number", "text"), YAML_BLOCKS, ids=[f"{p}-{n}" for p, n, _ in YAML_BLOCKS])
def test_each_yaml_block_is_a_valid_drop_in(tmp_path: Path, page: str, number: int, text: str) -> None:
    """A block that can't be copied into conf.d as it stands is worth nothing at three in the morning."""
    path = tmp_path / f"{page}-{number}.yaml"
    path.write_text(text)
    loaded = load([str(path)], environ={"HOME": str(tmp_path)}, euid=os.geteuid(), home=str(tmp_path))
    assert bool(loaded.config.services) == ("services:" in text)  # else it goes into recoverd.yaml


def commands(page: Path) -> list[str]:
    """`recoverd …` in blocks and in running text, without comments."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(recoverd [^`]+)`", page.read_text())
    found = [re.split(r" [#>|]", line)[0].strip() for line in lines if line.startswith("recoverd ")]
    return [line for line in found if line != "recoverd pack 1"]  # a magic string of the format


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_is_one_that_exists(page: Path) -> None:
    for line in commands(page):
        words = [word for word in shlex.split(line)[1:] if word not in {"…", "COMMAND", "SNAPSHOT"}]
        assert arguments.parse(words).command is not None, line


@pytest.mark.parametrize(
    "page", [str(page.relative_to(ROOT / "docs")) for page in PAGES if "<!-- house: " in page.read_text()]
)
def test_the_commands_of_a_page_print_what_it_shows(page: str) -> None:
    """They are run in houses of their own; each ends with the exit status that the page claims."""
    command = [sys.executable, "-m", "tests.documentation.generate_pages", "--check", page]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"`make docs` writes the page anew\n{done.stdout}{done.stderr}"


def test_every_file_that_is_linked_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links {target}"


def test_the_readme_commands_run_in_their_order(tmp_path: Path) -> None:
    """With the README's own service, its process left out: each ends as the text says."""
    document = yaml.safe_load(blocks(ROOT / "README.md", "yaml")[0])
    service = document["services"]["assistant"]
    del service["run"], service["health"]
    service["root"] = str(tmp_path / "state")
    (tmp_path / "state" / "tasks").mkdir(parents=True)
    (tmp_path / "state" / "state.json").write_text('{"version": "1", "tasks": []}')
    conf = tmp_path / "conf"
    (conf / "conf.d").mkdir(parents=True)
    (conf / "recoverd.yaml").write_text(f"state_dir: {tmp_path}/var\n")
    (conf / "conf.d" / "assistant.yaml").write_text(yaml.safe_dump(document))
    environment = os.environ | {"RUNTIME_DIRECTORY": str(tmp_path / "run")}

    def run(line: str, expect: set[int]) -> None:
        words = shlex.split(line.replace("/tmp/look", str(tmp_path / "look")))[1:]
        command = [str(RECOVERD), "--config", str(conf), *words]
        if words == ["run"]:
            schedulers.append(subprocess.Popen(command, env=environment))
            while not list((tmp_path / "var").glob("repository/snapshots/assistant/*.json")):
                assert schedulers[0].poll() is None
                time.sleep(0.05)
            return
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in expect, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"

    schedulers: list[subprocess.Popen[bytes]] = []
    try:
        _as_in_the_readme(tmp_path, run)
    finally:
        for scheduler in schedulers:
            scheduler.send_signal(signal.SIGTERM)
            assert scheduler.wait(30) == 0


def _as_in_the_readme(tmp_path: Path, run: Callable[[str, set[int]], None]) -> None:
    ordered = [block for block in blocks(ROOT / "README.md", "sh") if block.startswith("recoverd ")]
    normal, wrong = ordered[:2]
    for line in normal.splitlines():
        run(line.partition("#")[0].strip(), {0})
    (tmp_path / "state" / "state.json").write_bytes(b"")
    statuses = [{2}, {1}, {0}, {0}, {0}]  # check, assess, restore --dry-run, restore, undo
    for line, expect in zip(wrong.splitlines(), statuses, strict=True):
        run(line.partition("#")[0].strip(), expect)
    for line in re.findall(r"`(recoverd (?:list|show|restore --snapshot)[^`]*)`", (ROOT / "README.md").read_text()):
        run(line, {0})
    assert (tmp_path / "look" / "assistant" / "main" / "state.json").read_text() == '{"version": "1", "tasks": []}'
