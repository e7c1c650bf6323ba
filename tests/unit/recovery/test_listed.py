"""What a document says of processes: whatever it holds, names are valid and apart, and no entry spoils another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.process_model import Instances, Processes
from recoverd.errors import StateError
from recoverd.recovery.listed import instance_name, listed, pids
from recoverd.repository.snapshots import is_instance_name

RULE = Instances("s", "/sessions", ("run", "--id={id}"), {"status": "Active"}, cwd="{path}", most=3)


def entry(name: Any, **more: Any) -> dict[str, Any]:
    return {"id": name, "status": "Active", "path": "/srv", **more}


def names(document: Any, rule: Instances = RULE) -> tuple[list[str], dict[str, str]]:
    wanted, refused = listed("app", rule, document, now_ns=0)
    return [one.name for one in wanted], {one.name: one.why for one in refused}


def test_what_fits_is_wanted_with_its_fields_filled_in() -> None:
    document = {"sessions": [entry("a"), entry("b", status="Stopped"), entry(7, path="/x")]}
    wanted, refused = listed("app", RULE, document, now_ns=0)
    assert [(one.name, one.command, one.cwd) for one in wanted] == [
        ("app@a", ("run", "--id=a"), "/srv"),
        ("app@7", ("run", "--id=7"), "/x"),
    ]
    assert refused == ()
    assert names({"sessions": {"x": entry("a")}})[0] == ["app@a"]
    assert names({})[0] == names({"sessions": None})[0] == []


def test_no_entry_spoils_another() -> None:
    """Each that fits and can't be used is told by itself, with a sentence."""
    document = {"sessions": [
        {"status": "Active", "path": "/srv"}, "text", entry("a"), entry("a"), entry("b", path="src"), entry([1]),
        entry("c\0"), entry("d"), entry("e"), entry("f"),
    ]}  # fmt: skip
    wanted, refused = names(document)
    assert wanted == ["app@a", "app@d", "app@e"]
    assert refused == {
        "app@~0": "entry 0 of /sessions has no id",
        "app@~3": "app@a is listed twice: only the first is meant",
        "app@b": "entry 4 of /sessions gives src as the directory to start in, which is no whole path",
        "app@~5": "entry 5 of /sessions has no id that is text or a number",
        "app@~6": "entry 6 of /sessions can't be used: its id holds a NUL, or is too long",
        "app@f": "is one more than `instances.most` allows (3)",
    }


@pytest.mark.parametrize("document", [{"sessions": 3}, {"sessions": "a"}])
def test_no_list_is_an_error(document: Any) -> None:
    with pytest.raises(StateError, match="neither a list nor a mapping"):
        names(document)


@given(st.sets(st.one_of(st.text(max_size=80), st.from_regex(r"[A-Za-z0-9._~@/ -]{1,70}", fullmatch=True)), min_size=2))
def test_names_are_file_names_and_no_two_share_one(ids: set[str]) -> None:
    found = {instance_name("app", one) for one in ids}
    assert len(found) == len(ids)
    for one in found:
        assert is_instance_name(one), one
        assert "/" not in one and len(one) < 100


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda below: st.one_of(
        st.lists(below, max_size=4), st.dictionaries(st.sampled_from(["id", "pid", "status"]), below)
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_a_document_holds(document: Any) -> None:
    """Never anything but an answer or a StateError; and a pid is one that a process can have."""
    try:
        wanted, _ = listed("app", Instances("s", "/id", ("{id}",)), {"id": document}, now_ns=0)
        found = pids(Processes("s", "/id"), {"id": document})
    except StateError:
        return
    assert len({one.name for one in wanted}) == len(wanted) <= 100
    assert all(1 < pid < 1 << 31 for pid in found)


def test_what_is_told_of_entries_is_bounded() -> None:
    """Promise 12: a document of a hundred thousand entries fills no record, log or status with them."""
    wanted, refused = listed("app", RULE, {"sessions": [entry(number) for number in range(5000)]}, now_ns=0)
    assert len(wanted) == RULE.most
    assert len(refused) == 101
    assert refused[-1].why == f"{5000 - RULE.most - 100} more entries can't be used either"
