"""What is compressed, and what only its name or its past tells the format of: damaged for real and brought back.

Promises 1 (good state is never rolled back) and 7 (damage is detected) where nothing declares a format, or where files
of one directory are written in different ways.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from recoverd.operations.diff import DiffRequest, diff
from recoverd.state.formats.compression import Compression, pack

ENTRIES = json.dumps([{"id": number, "text": f"entry {number}"} for number in range(50)]).encode()


def test_a_directory_may_mix_plain_and_compressed_documents(build: Any) -> None:
    """zwave-js#4122 and its like: rotated files are compressed, the newest is not; each is judged, each comes back."""
    written = {
        "1.json.gz": pack(ENTRIES, Compression.GZIP),
        "2.json.zst": pack(ENTRIES, Compression.ZSTD),
        "3.json": pack(ENTRIES, Compression.GZIP) + pack(b" ", Compression.GZIP),  # compressed, whatever the name says
        "4.json.gz": ENTRIES,  # and not, likewise
    }
    house = build("directory", {"format": "json"}, name="0.json", others=())
    house.write(ENTRIES)
    for name, data in written.items():
        (house.item / name).write_bytes(data)
    assert house.snapshot() == "saved"
    assert house.assess().verdict.value == "ok"

    damaged = {
        "1.json.gz": written["1.json.gz"][:-5],
        "2.json.zst": written["2.json.zst"] + b"\0" * 30,
        "3.json": pack(ENTRIES[:-1], Compression.GZIP),
        "4.json.gz": ENTRIES[:100],
    }
    for name, data in damaged.items():
        (house.item / name).write_bytes(data)
    item = house.assess()
    assert item.verdict.value == "corrupt"
    assert {problem.place.split()[0] for problem in item.problems} == set(damaged)

    assert house.restore().outcome == "restored"
    assert {name: (house.item / name).read_bytes() for name in written} == written
    house.undo()
    assert {name: (house.item / name).read_bytes() for name in damaged} == damaged


@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize(
    ("name", "good", "bad", "words"),
    [
        (
            "settings.yaml",
            b"a: [1, 2]\nb: 2\n",
            b"a: [1, 2\nb: 2\n",
            "is no yaml any more, as its known-good version is",
        ),
        ("settings.toml", b"a = 1\n[b]\n", b"a = 1\n[b", "is no toml any more, as its known-good version is"),
        ("settings.yml", b"a: 1\n", b"", "is empty (0 bytes), and its known-good version is not"),
    ],
    ids=["yaml", "toml", "emptied"],
)
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_without_a_format_a_name_and_the_past_tell_damage(
    build: Any, kind: str, name: str, good: bytes, bad: bytes, words: str, compression: Compression
) -> None:
    house = build(kind, {}, name=name, others=())
    house.write(pack(good, compression))
    house.snapshot()
    house.document.write_bytes(pack(bad, compression))
    item = house.assess()
    assert item.verdict.value == "corrupt", (item.problems, item.notes)
    assert item.problems[0].problem == words
    assert house.restore().outcome == "restored"
    assert house.document.read_bytes() == pack(good, compression)


def test_what_never_was_yaml_is_left_alone(build: Any) -> None:
    """Templates are called .yaml too: what could never be read so is no damage."""
    house = build("directory", {}, name="a.yaml", others=())
    for data in (b"a: {{ name }}{%\n", b"b: {{ name }}{%\n"):
        house.write(data)
        assert house.snapshot() == "saved"
        assert house.assess().verdict.value == "ok"


def test_the_same_bytes_under_two_names_are_judged_by_each_of_them(build: Any) -> None:
    """A verdict remembered by content alone would call the second one damaged, or the damaged one good."""
    house = build("directory", {"guards": {"min_bytes": 1}}, name="a.txt", others=())
    settings = house.item / "b.yaml"
    house.write(b"x: 1\n")
    settings.write_bytes(b"x: 0\n")
    house.snapshot()
    settings.write_bytes(b"x: 1\n")
    house.document.write_bytes(b"x: [1\n")
    assert house.snapshot() == "saved"
    assert house.assess().verdict.value == "ok"
    settings.write_bytes(b"x: [1\n")
    assert house.assess().verdict.value == "corrupt"


def test_a_log_that_is_emptied_inside_its_compression(build: Any) -> None:
    """A gzip of nothing has twenty bytes."""
    house = build("file", {"format": "json-lines"})
    house.write(pack(b'{"a": 1}\n', Compression.GZIP))
    house.snapshot()
    house.write(pack(b"", Compression.GZIP))
    item = house.assess()
    assert item.verdict.value == "corrupt"
    assert item.problems[0].problem == "is empty (0 bytes), and its known-good version is not"


def test_a_log_that_is_still_empty_is_no_damage(build: Any) -> None:
    """Compressed again with another level, nothing is nothing."""
    house = build("file", {"format": "json-lines"})
    house.write(pack(b"", Compression.GZIP))
    house.snapshot()
    house.write(pack(b"", Compression.GZIP, 9))
    assert house.assess().verdict.value == "ok"


def test_what_outgrew_its_bound_blocks_and_is_not_rolled_back(build: Any) -> None:
    """A service that grows is no damage; nobody may lose its newest state for it."""
    house = build("file", {"format": "toml"})
    house.write(b"a = 1\n")
    house.snapshot()
    large = b"a = 1\n" + b"#" * (4 * 1024 * 1024)
    house.write(large)
    item = house.assess()
    assert item.verdict.value == "unreadable"
    assert "more than is parsed" in item.problems[0].problem
    assert house.restore().outcome == "blocked"
    assert house.document.read_bytes() == large


@pytest.mark.parametrize(
    ("name", "before", "after", "patch"),
    [
        ("a.json", pack(b'{"a": 1}', Compression.ZSTD), pack(b'{"a": 2}', Compression.GZIP), [("replace", "/a", 2)]),
        ("a.yaml", b"a: {b: yes}\n", b"a: {b: 'yes'}\n", [("replace", "/a/b", "yes")]),
        ("a.toml.gz", b"a = 1\n", pack(b"a = 1\nd = 2026-11-21\n", Compression.GZIP), [("add", "/d", "2026-11-21")]),
        ("a.yaml", b"a: 1\n", b"a: .nan\n", "it holds numbers that JSON has not"),
        ("a.yaml", b"a: 1\n", b"a: 1\n---\na: 2\n", "it is no JSON document"),
        ("a.txt", b"a: 1\n", b"a: 2\n", "it is no JSON document"),
        ("a.json", b"{}", pack(b"{}", Compression.GZIP)[:-1], "it ends in the middle of its compressed data (gzip)"),
        ("a.json", b"{}", pack(bytes(8 << 20), Compression.GZIP), "it is too large to be compared as a document"),
    ],
    ids=["compressed", "yaml", "toml", "not-a-number", "a-stream", "text", "cut", "too-large"],
)
def test_what_changed_is_told_in_values(build: Any, name: str, before: bytes, after: bytes, patch: Any) -> None:
    """`diff` reads what the judge reads, and says why where it can't."""
    house = build("directory", {"format": "opaque"}, name=name, others=())
    for data in (before, after):
        house.write(data)
        house.snapshot()
    (change,) = diff(house.open(), DiffRequest("app/1", "app/2")).changes
    if isinstance(patch, str):
        assert (change.patch, change.why_no_patch) == (None, patch)
    else:
        assert [tuple(one.values()) for one in change.patch or ()] == patch
