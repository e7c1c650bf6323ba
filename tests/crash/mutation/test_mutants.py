"""Tests that can fail: each fsync, order, hash check, second look and lock that keeps data safe is taken out in turn.

mutants.toml lists them. A mutant is a copy of the package with one change of the text; its tests run on that copy, and
one of them must fail. The change must fit the code exactly once, so that the table stays in step with it.

A few are tried each time, others whenever the code has changed; RECOVERD_TORTURE=1 tries all of them.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

ROOT = Path(__file__).resolve().parents[3]
TORTURE = bool(os.environ.get("RECOVERD_TORTURE"))
AT_ONCE = 3  # tried by `make test`


@dataclass(frozen=True)
class Mutant:
    """`rule`: what the code does, and this copy does not. `killed_by`: the tests of which one must fail."""

    name: str
    rule: str
    killed_by: str
    file: str
    changes: tuple[tuple[str, str], ...]  # text that stands there once, and what replaces it

    def apply(self, text: str) -> str:
        """The mutated text. Raises AssertionError where the code is not what it was."""
        for old, new in self.changes:
            count = text.count(old)
            assert count == 1, f"{self.name}: {self.file} has {count} times, not once:\n{old}"
            text = text.replace(old, new)
        return text


def _read() -> list[Mutant]:
    with (Path(__file__).parent / "mutants.toml").open("rb") as file:
        found = tomllib.load(file)["mutant"]
    return [Mutant(**{**one, "changes": tuple((old, new) for old, new in one["changes"])}) for one in found]


MUTANTS = _read()


def _chosen() -> list[Mutant]:
    """All under torture; else a few, which change with the code."""
    if TORTURE:
        return MUTANTS
    state = blake3(b"".join((ROOT / name).read_bytes() for name in sorted({one.file for one in MUTANTS})))
    quick = [one for one in MUTANTS if one.killed_by.startswith("tests/unit/repository")]
    slow = [one for one in MUTANTS if one.killed_by.startswith("tests/crash/lost_writes/test_syncs")]
    chance = random.Random(state.digest())
    return [*chance.sample(quick, AT_ONCE - 1), chance.choice(slow)]


def run(copy: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """The tests, with the package in `copy`: as they run in the gate, but with nothing of this run's surroundings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST", "RECOVERD"))}
    # the package beside the tests is not the one to be tested, also not in processes that the tests start
    env |= {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}
    if tests.startswith("tests/crash/lost_writes/"):
        env["RECOVERD_TORTURE"] = "1"  # every point: it takes seconds
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
    # a place of its own: what other runs leave in the usual one is tidied away at the end, and may not go
    command += ["-p", "no:xdist", "-p", "no:pytest_cov", f"--basetemp={copy / 'tests'}", tests]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, compiled files with it."""
    shutil.copytree(ROOT / "recoverd", tmp_path / "recoverd")
    return tmp_path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_mutant_fits_the_code(mutant: Mutant) -> None:
    """Where the code has moved on, the table does too; the mutated text still is Python."""
    text = (ROOT / mutant.file).read_text()
    mutated = mutant.apply(text)
    assert mutated != text
    compile(mutated, mutant.file, "exec")
    assert (ROOT / mutant.killed_by.partition("::")[0]).exists()


def test_each_mutant_is_listed_once() -> None:
    """docs/testing.md lists what is taken out, in the same words and order."""
    assert len(MUTANTS) >= 30
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)
    page = (ROOT / "docs" / "testing.md").read_text()
    table = page.partition("<!-- mutants -->\n")[2].partition("<!-- end of mutants -->")[0]
    lines = [f"| {one.name} | {one.rule} | `{one.killed_by.rpartition('::')[2]}` |" for one in MUTANTS]
    assert table.strip().splitlines()[2:] == lines


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", _chosen(), ids=lambda one: one.name)
def test_a_mutant_is_killed(mutant: Mutant, package: Path, torture: Any) -> None:
    """What was taken out is missed by a test that stands for it."""
    path = package / mutant.file
    path.write_text(mutant.apply(path.read_text()))
    done = run(package, mutant.killed_by)
    killed = done.returncode == 1 and re.search(r"^(FAILED|ERROR) ", done.stdout, re.MULTILINE)
    assert killed, f"it survives, status {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
    torture.tell(1, "mutant", f"{mutant.name}: killed")


@pytest.mark.timeout(900)
@pytest.mark.skipif(not TORTURE, reason="the gate runs these tests on the code itself; so does torture, in a copy")
@pytest.mark.parametrize("tests", sorted({one.killed_by for one in MUTANTS}))
def test_without_a_mutation_the_same_tests_pass(tests: str, package: Path) -> None:
    """So it is the change that is found, not the copy."""
    done = run(package, tests)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
