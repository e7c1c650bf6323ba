"""The official JSON-Schema-Test-Suite, through what judges documents, as the README beside this file says.

The suite is not part of this tree: `RECOVERD_SUITES` names a directory with a checkout of it. What differs from what
it expects stands in outcomes.toml, case by case; anything else is a failure, and so is a case that came right.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Place, SchemaSource
from recoverd.config.schema_closure import DRAFTS
from recoverd.config.schema_files import examine
from recoverd.state.schema_cost import cost_of
from recoverd.state.schema_fast import fast_validator
from recoverd.state.schema_formats import checkers
from recoverd.state.schemas import Validator, close

OUTCOMES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("outcomes.toml").read_text())
FOLDERS = ("draft3", "draft4", "draft6", "draft7", "draft2019-09", "draft2020-12")
SERVER = "http://localhost:1234/"  # where the suite says that its files are
MOST_DEPTH = 128


def checkout() -> Path:
    place = Path(os.environ.get("RECOVERD_SUITES", "/nowhere"), "JSON-Schema-Test-Suite")
    if not place.is_dir():
        pytest.skip("RECOVERD_SUITES names no directory with a checkout of JSON-Schema-Test-Suite")
    return place.resolve()


def loaded(path: Path, root: Path) -> Any:
    """A file of the suite; what it would fetch from its server lies in the allowed directory instead."""
    return json.loads(path.read_text().replace(SERVER, (root / "remotes").as_uri() + "/"))


def groups(root: Path, folder: str, draft: str) -> Iterator[tuple[str, Any]]:
    """Name and content of each group; those of formats that are not asserted are left out."""
    asserted = {"ecmascript-regex", *checkers(draft)}
    for path in sorted((root / "tests" / folder).rglob("*.json")):
        if path.parent.name == "format" and path.stem not in asserted:
            continue
        for group in loaded(path, root):
            yield f"{path.relative_to(root / 'tests' / folder)}: {group['description']}", group


@pytest.mark.parametrize(("folder", "draft"), list(zip(FOLDERS, DRAFTS, strict=True)), ids=FOLDERS)
def test_suite(folder: str, draft: str) -> None:
    """Each case is judged as the suite says, and what the fast engine accepts is always what jsonschema accepts."""
    root = checkout()
    directory = str(root / "remotes")

    def read(path: str) -> Any:
        return loaded(Path(path), root) if Path(path).is_file() else None

    refused, missed, cases = [], [], 0
    for name, group in groups(root, folder, draft):
        schema = group["schema"]
        if isinstance(schema, dict):
            schema = {"$schema": draft, **schema}
        faults, files = examine(schema, None, (directory,), read)
        if faults:
            refused.append(name)
            continue
        validator = Validator(close(SchemaSource(schema, None, (directory,), Place("suite", 1, 1), files)))
        fast = fast_validator(validator.graph, cost_of(validator.graph, MOST_DEPTH), MOST_DEPTH)
        for case in group["tests"]:
            cases += 1
            passes = validator.problems(case["data"], 5) == ()
            if passes != case["valid"]:
                missed.append(f"{name}: {case['description']}")
            assert passes or fast is None or not fast.accepts(case["data"]), f"{name}: {case['description']}"
    assert cases > 400
    expected = OUTCOMES[folder]
    assert sorted(refused) == sorted(expected.get("refused", []))
    assert sorted(missed) == sorted(expected.get("missed", []))
