"""Rows of the stat cache: packed and unpacked without loss, and any other bytes are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.recovery.stat_rows import TRUSTED_AGE_NS, Finding, Row, decode, encode, join_names, pack_stat
from recoverd.state.verdicts import Problem, Verdict

names = st.lists(
    st.binary(min_size=1, max_size=8).filter(lambda raw: b"\0" not in raw and b"/" not in raw), unique=True, max_size=5
).map(lambda found: [os.fsdecode(name) for name in found])


def row(documents: list[str], directories: list[str], **facts: object) -> Row:
    status = os.stat("/")
    common: dict[str, object] = {
        "captured_ns": 2 * TRUSTED_AGE_NS,
        "newest_ctime_ns": TRUSTED_AGE_NS,
        "judge": "1" * 64,
        "root": "2" * 64,
        "good": "3" * 64,
        "names": join_names(documents, directories),
        "stats": pack_stat(status) * (len(documents) + len(directories)),
        "findings": tuple(Finding(name, Verdict.CORRUPT, (Problem(name, "why"),), "4" * 64) for name in documents),
        "children": dict.fromkeys(directories, ("5" * 64, "6" * 64)),
        "files": len(documents),
        "size_bytes": 2**60,
        "unchecked": 1,
        "notes": (Problem("x", "note"),),
    }
    return Row(**(common | facts))  # type: ignore[arg-type]


@given(names, names)
def test_a_row_comes_back_as_it_was(documents: list[str], directories: list[str]) -> None:
    """Whatever the names, those that are not UTF-8 among them; directories are told from files of the same name."""
    one = row(documents, directories)
    found = decode(encode(one))
    assert found == one
    assert found.by_name().keys() == {*documents, *(f"{name}/" for name in directories)}


@given(st.integers(0, 600), st.binary(max_size=3))
def test_other_bytes_are_no_row(cut: int, more: bytes) -> None:
    """Losing a row only costs a read; believing half of one could hide a change."""
    data = encode(row(["a", "b"], ["c"]))
    changed = data[:cut] + more
    assert changed == data or decode(changed) is None


@pytest.mark.parametrize("data", [b"", b"RSR1" + bytes(300), b"not a row at all" * 20])
def test_rows_of_other_versions_are_none(data: bytes) -> None:
    """An older recoverd wrote them."""
    assert decode(data) is None


def test_what_is_trusted() -> None:
    """A minute must lie between the last change and the start of the capture, to the nanosecond."""
    old = row(["a"], [])
    assert old.trusted_whole
    assert old.trusts(TRUSTED_AGE_NS)
    assert not old.trusts(TRUSTED_AGE_NS + 1)
    assert not row(["a"], [], newest_ctime_ns=TRUSTED_AGE_NS + 1).trusted_whole
    assert row([], []).by_name() == {}


def test_every_fact_of_a_stat_counts(tmp_path: Path) -> None:
    """Two files that differ in anything but their access time are packed differently."""
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_bytes(b"x")
    packed = pack_stat(one.stat())
    assert pack_stat(other.stat()) != packed
    one.read_bytes()
    os.utime(one, ns=(1, one.stat().st_mtime_ns))
    after = pack_stat(one.stat())
    assert after != packed  # the ctime moved
    one.chmod(0o600 if one.stat().st_mode & 0o077 else 0o644)
    assert pack_stat(one.stat()) != after
