"""Words on the command line that make no sense: one sentence, a suggestion, 64 (`check`: 3)."""

from __future__ import annotations

from typing import Any

import pytest

from recoverd.cli.arguments import NOT_YET
from recoverd.cli.wording import NOT_YET_OPTIONS

WRONG = [
    ("snapshott", 64, ["there is no command 'snapshott'", "did you mean `recoverd snapshot`?"]),
    ("wibble", 64, ["there is no command 'wibble'", "`recoverd --help`"]),
    ("check --format jsn", 3, ["there is no format 'jsn'", "did you mean json?"]),
    ("check nots", 3, ["there is no service 'nots'", "did you mean notes?"]),
    ("check --bogus", 3, ["there is no option --bogus", "`recoverd check --help`"]),
    ("restore nots", 64, ["there is no service 'nots'", "did you mean notes?"]),
    ("prune --dry", 64, ["there is no option --dry", "did you mean --dry-run?"]),
    ("list --jason", 64, ["there is no option --jason", "did you mean --json?"]),
    ("config validat", 64, ["there is no config action 'validat'", "did you mean validate?"]),
    ("config", 64, ["ACTION is missing"]),
    ("show", 64, ["SNAPSHOT is missing"]),
    ("run notes", 64, ["'notes' is one argument too many"]),
    ("show notes", 64, ["'notes' does not name a snapshot", "SERVICE/SEQUENCE"]),
    ("show nots/1", 64, ["there is no service 'nots'", "did you mean notes?"]),
    ("show notes/99", 64, ["service notes has no snapshot 99", "notes/1"]),
    ("show notes@soon", 64, ["'soon' is not a time", "notes@20"]),
    ("show notes@2020-01-01T00:00:00Z", 64, ["no known-good snapshot at or before 2020", "notes/1"]),
    ("show notes/1 nope", 64, ["no item 'nope'", "main, tasks"]),
    ("restore --snapshot notes/7", 64, ["service notes has no snapshot 7"]),
    ("undo nope", 64, ["nothing to undo"]),
    ("--wait soon list", 64, ["--wait", "500ms"]),
    ("list --wait", 64, ["--wait takes a value", "`recoverd list --help`"]),
    ("restore --dry-run=5", 64, ["--dry-run takes no value", "`recoverd restore --help`"]),
    ("-q -v list", 64, ["--verbose can't go together with --quiet"]),
    ("--debug everything list", 64, ["there is no debug area 'everything'", "recovery"]),
]


# What later versions bring is refused by name; each of them takes its own words out of these.
WRONG += [(name, 64, [f"`recoverd {name}` is not supported yet"]) for name in sorted(NOT_YET)]
WRONG += [
    (f"{command} {option}=x", 64, [f"`recoverd {command} {option}` is not supported yet"])
    for command, options in NOT_YET_OPTIONS.items()
    for option in sorted(options)
]


@pytest.mark.parametrize(("words", "status", "sentences"), WRONG, ids=[case[0] for case in WRONG])
def test_words_that_make_no_sense(kept: Any, words: str, status: int, sentences: list[str]) -> None:
    """cli.md, "Exit status": 64 usage; for `check` alone 3. A misspelt word gets a suggestion."""
    done = kept.run(*words.split()).refused(status, *sentences)
    assert done.out == ""
    assert len(done.err.splitlines()) == 2


@pytest.mark.parametrize("words", ["wibble", "check nots", "list --jason", "show notes/99", "config"])
def test_with_json_an_error_is_the_one_document(kept: Any, words: str) -> None:
    """cli.md: `--json` prints one JSON document to stdout, nothing else, for every command: also when it fails."""
    done = kept.run("--json", *words.split())
    document = done.json
    error = document.pop("error")
    assert list(error) == ["message", "hint", "exit_status"]
    assert error["exit_status"] == done.status
    assert done.err.splitlines()[0] == f"recoverd: error: {error['message']}"
    assert done.err.splitlines()[1] == f"hint: {error['hint']}"
    assert document["recoverd"]
    if words.startswith("check"):
        assert (document["status"], document["results"]) == ("UNKNOWN", [])


def test_wrong_words_change_nothing(kept: Any, files: Any) -> None:
    """Nothing lost, nothing created."""
    before = files(kept.root)
    for words in ("restore nots", "snapshot nots", "prune nots", "undo nope", "restore --snapshot notes/99"):
        kept.run(*words.split()).refused(64)
    assert files(kept.root) == before


def test_extracting_never_overwrites(kept: Any) -> None:
    """`restore --to DIR` writes into an empty directory only."""
    full = kept.root / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    kept.run("restore", "--to", str(full)).refused(64, str(full), "empty")
    kept.run("restore", "--to", str(full / "mine")).refused(64, "mine", "empty")
    kept.run("restore", "--to", str(kept.root / "x"), "--dry-run").refused(64, "--to and --dry-run")
    assert [one.name for one in full.iterdir()] == ["mine"]
    assert (full / "mine").read_text() == "mine"
