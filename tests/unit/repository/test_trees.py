"""Trees: one text for one directory, and nothing else is ever decoded (promise 7)."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from recoverd.errors import RepositoryError
from recoverd.repository.tree_reading import decode_parts, decode_tree, join_parts
from recoverd.repository.trees import (
    EMPTY_TREE,
    SPLIT_ABOVE,
    TREE_HEAD,
    TREE_TAIL,
    Entry,
    encode_entry,
    encode_tree,
    hash_tree,
    raw_name,
    same_but_mtime,
    tree_objects,
)

HASH = "ab" * 32


def file(name: str = "state.json", **changes: Any) -> Entry:
    return replace(
        Entry(name, "file", 0o644, 1000, 1000, "agent", "agent", 12, 1_700_000_000_123_456_789, HASH), **changes
    )


raw_names = st.binary(min_size=1, max_size=40).filter(lambda raw: raw not in {b".", b".."} and not {0, 47} & set(raw))
texts = st.text(max_size=12).map(lambda text: text.encode("utf-8", "ignore").decode())
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
xattrs = st.dictionaries(raw_names, st.binary(max_size=20), max_size=2).map(
    lambda found: tuple((os.fsdecode(name), found[name]) for name in sorted(found))
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(["file", "file", "large", "dir", "symlink"]))
    common = Entry(
        name=os.fsdecode(draw(raw_names)),
        type="file" if kind == "large" else kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, 2**32 - 1)),
        gid=draw(st.integers(0, 2**32 - 1)),
        user=draw(texts),
        group=draw(texts),
        size=draw(st.integers(0, 2**63 - 1)) if kind in {"file", "large"} else 0,
        mtime_ns=draw(st.integers(-(2**63), 2**63 - 1)),
        xattrs=draw(st.one_of(st.just(()), xattrs)),
    )
    if kind == "symlink":
        target = draw(st.binary(min_size=1, max_size=20).filter(lambda raw: 0 not in raw))
        return replace(common, target=os.fsdecode(target))
    if kind == "dir":
        return replace(common, hash=draw(hashes))
    link = draw(st.one_of(st.none(), texts.filter(bool)))
    if kind == "large":
        return replace(
            common,
            blocks=draw(hashes),
            block_size=draw(st.integers(1, 2**30)),
            hard_link=link,
            sparse=draw(st.booleans()),
        )
    return replace(common, hash=draw(hashes), hard_link=link, sparse=draw(st.booleans()))


directories = st.lists(entries(), max_size=8, unique_by=lambda entry: os.fsencode(entry.name))


@given(directories)
def test_what_is_encoded_comes_back_in_the_order_of_raw_names(found: list[Entry]) -> None:
    """Promise 7: whatever names, owners, times and attributes a directory has, they come back exactly."""
    data = encode_tree(found)
    assert decode_tree(data) == tuple(sorted(found, key=lambda entry: os.fsencode(entry.name)))
    assert data.isascii()
    assert encode_tree(found[::-1]) == data
    assert json.loads(data)["tree"] == 1


@given(directories.filter(bool), st.data())
def test_no_other_text_than_the_canonical_one_is_decoded(found: list[Entry], data: st.DataObject) -> None:
    """Promise 7: a tree with any one byte changed is refused, or is the canonical text of another directory."""
    good = bytearray(encode_tree(found))
    position = data.draw(st.integers(0, len(good) - 1))
    good[position] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_tree(bytes(good))
    except RepositoryError:
        return
    assert encode_tree(decoded) == bytes(good)


def test_a_tree_that_is_cut_just_behind_an_entry_is_refused() -> None:
    plain = Entry("a", "file", 0o644, 0, 0, "root", "root", 1, 0, "ab" * 32)
    data = encode_tree([plain, replace(plain, name="b", hard_link="a", xattrs=(("user.a", b"b"),))])
    for length in range(len(data)):
        with pytest.raises(RepositoryError):
            decode_tree(data[:length])


@given(directories, st.integers(0, 10_000))
@settings(max_examples=30)
def test_a_cut_tree_is_refused(found: list[Entry], length: int) -> None:
    """Promise 7: truncation at any length is noticed."""
    data = encode_tree(found)
    if length < len(data):
        with pytest.raises(RepositoryError):
            decode_tree(data[:length])
    with pytest.raises(RepositoryError):
        decode_tree(data + b"\n")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "../x", "a\0b"])
def test_a_name_that_would_leave_the_directory_is_refused(name: str) -> None:
    """Promise 12: neither is it stored, nor is it read from a repository that somebody prepared, in either spelling."""
    with pytest.raises(ValueError, match="unsafe"):
        encode_tree([file(name)])
    document = json.loads(encode_tree([file("x")]))
    document["entries"][0]["name"] = name
    with pytest.raises(RepositoryError):
        decode_tree(json.dumps(document, separators=(",", ":")).encode())
    document["entries"][0] = {
        "name64": base64.b64encode(name.encode()).decode(),
        **{key: value for key, value in document["entries"][0].items() if key != "name"},
    }
    with pytest.raises(RepositoryError):
        decode_tree(json.dumps(document, separators=(",", ":")).encode())


def spelled(text: str) -> bytes:
    """The text of a tree with one file, in which something is replaced."""
    good = encode_tree([file(), file("z")]).decode()
    old, _, new = text.partition(" => ")
    assert old in good
    return good.replace(old, new).encode()


@pytest.mark.parametrize(
    "change",
    [
        '"name":"z" => "name":"state.json"',  # twice
        '"name":"z" => "name":"a"',  # out of order
        '"name":"z" => "name":"\\u007a"',  # another spelling of the same
        '"name":"z" => "name64":"eg=="',  # text belongs in name
        '"name":"z" => "name64":"e"',
        '"name":"z" => "name":5',
        '"name":"z" => "nam":"z"',
        '"type":"file" => "type":"fifo"',
        '"type":"file" => "type":"dir"',
        '"type":"file" => "type":"symlink"',
        '"mode":"0644" => "mode":"644"',
        '"mode":"0644" => "mode":420',
        '"mode":"0644" => "mode":"0o644"',
        '"mode":"0644" => "mode":"77777"',
        '"uid":1000 => "uid":4294967296',
        '"uid":1000 => "uid":-1',
        '"uid":1000 => "uid":1e3',
        '"uid":1000 => "uid":true',
        '"uid":1000 => "uid":01000',
        '"uid":1000 => "uid":"1000"',
        '"size":"12" => "size":12',
        '"size":"12" => "size":"-12"',
        '"size":"12" => "size":"9223372036854775808"',
        '"size":"12" => "size":"012"',
        '"mtime_ns":"1700000000123456789" => "mtime_ns":"9999999999999999999"',
        '"mtime_ns":"1700000000123456789" => "mtime_ns":"-0"',
        f'"hash":"{HASH}" => "hash":"{HASH.upper()}"',
        f'"hash":"{HASH}" => "hash":"../../etc/passwd"',
        f'"hash":"{HASH}" => "hash":null',
        f',"hash":"{HASH}" => ',
        f'"hash":"{HASH}" => "hash":"{HASH}","blocks":"{HASH}","block_size":1',
        f'"hash":"{HASH}" => "blocks":"{HASH}"',
        f'"hash":"{HASH}" => "hash":"{HASH}","block_size":1',
        f'"hash":"{HASH}" => "hash":"{HASH}","target":"x"',
        f'"hash":"{HASH}" => "hash":"{HASH}","hash":"{HASH}"',
        f'"hash":"{HASH}" => "hash":"{HASH}","sparse":false',
        f'"hash":"{HASH}" => "hash":"{HASH}","xattrs":[]',
        f'"hash":"{HASH}" => "hash":"{HASH}","xattrs":5',
        f'"hash":"{HASH}" => "hash":"{HASH}","xattrs":[{{"name":"","value64":""}}]',
        f'"hash":"{HASH}" => "hash":"{HASH}","hard_link":""',
        f'"hash":"{HASH}" => "hash":"{HASH}","unknown":1',
        '{"tree":1 => {"tree":0',
        '{"tree":1 => {"tree":"1"',
        '"entries":[ => "entries":[,',
        '"entries":[ => "entries":[5,',
        "}]} => },]}",
        "}]} => }]} ",
        "}]} => }]}{}",
    ],
)
def test_what_recoverd_would_not_write_is_refused(change: str) -> None:
    """Promise 7: wrong types, other spellings, unknown keys, doubled names: a sentence instead of a restore."""
    with pytest.raises(RepositoryError):
        decode_tree(spelled(change))


def test_deep_nesting_and_huge_numbers_are_refused_quietly() -> None:
    """A hostile repository gets a sentence, no traceback."""
    for bad in (b"[" * 100_000, b'{"name":' * 50_000, b'{"uid":' + b"9" * 5000):
        with pytest.raises(RepositoryError):
            decode_tree(b'{"tree":1,"entries":[' + bad + b"]}")


def test_a_newer_version_is_named() -> None:
    """A tree of a later recoverd is refused with what to do, not misread."""
    with pytest.raises(RepositoryError, match="version 2, newer than") as caught:
        decode_tree(b'{"tree":2,"entries":[]}')
    assert caught.value.hint


@pytest.mark.parametrize(
    "entry",
    [
        file(hash=None),
        file(hash="x"),
        file(blocks=HASH),
        file(block_size=5),
        file(target="x"),
        file(type="dir", size=5),
        file(type="dir", size=0, sparse=True),
        file(type="dir", size=0, hard_link="g"),
        file(type="symlink", size=0),
        file(type="symlink", size=0, hash=None),
        file(type="symlink", size=0, hash=None, target=""),
        file(type="socket"),
        file(mode=0o10000),
        file(uid=-1),
        file(size=-1),
        file(mtime_ns=2**63),
        file(xattrs=(("user.a", b"1"), ("user.a", b"2"))),
        file(xattrs=(("", b"1"),)),
        file(hard_link="\udc80"),
        file("\ud800"),
    ],
)
def test_an_impossible_entry_is_not_stored(entry: Entry) -> None:
    """Promise 6: what could not be read back is refused when it is written."""
    with pytest.raises(ValueError, match=r".+"):
        encode_tree([entry])


def test_two_of_one_name_are_not_stored() -> None:
    """Also when the two spellings of the name differ in Python only."""
    with pytest.raises(ValueError, match="same name"):
        encode_tree([file("é"), file("\udcc3\udca9")])


def test_an_owner_whose_name_is_no_text_keeps_its_number() -> None:
    """A broken passwd line must not stop captures."""
    (entry,) = decode_tree(encode_tree([file(user="\udcff", group="grüppe")]))
    assert (entry.user, entry.group, entry.uid) == ("", "grüppe", 1000)


def large(count: int, skip: int | None = None) -> list[Entry]:
    return [file(f"task_{number:05}.json", size=number) for number in range(count) if number != skip]


def test_a_large_directory_is_split_so_that_one_change_rewrites_one_part() -> None:
    """Promise 11: cost follows what changed. Boundaries depend on names alone, so others stay where they are."""
    before = tree_objects(large(20_000))
    assert len(before) > 10
    parts = decode_parts(before[-1])
    assert parts is not None
    assert join_parts([decode_tree(data) for data in before[:-1]]) == tuple(large(20_000))
    for after in (tree_objects(large(20_000, skip=7777)), tree_objects([*large(20_000), file("task_07777.json.bak")])):
        assert len(set(after) - set(before)) <= 3  # the part, perhaps its neighbour, and the list of parts
    assert [blake3(data).hexdigest() for data in before[:-1]] == list(parts)
    assert hash_tree(large(20_000)) == blake3(before[-1]).hexdigest()


def test_a_directory_is_split_by_its_number_of_names_only() -> None:
    """One directory has one hash: whether it is split follows from what is in it."""
    assert len(tree_objects(large(SPLIT_ABOVE))) == 1
    assert len(tree_objects(large(SPLIT_ABOVE + 1))) > 1
    assert decode_parts(tree_objects(large(3))[-1]) is None
    assert hash_tree([]) == EMPTY_TREE


@pytest.mark.parametrize("bad", [b"]}", b'"x"]}', b'"' + b"a" * 64 + b'",]}', b'"' + b"a" * 64 + b'"]} ', b"5]}"])
def test_a_malformed_list_of_parts_is_refused(bad: bytes) -> None:
    """Promise 7."""
    with pytest.raises(RepositoryError):
        decode_parts(b'{"tree":1,"parts":[' + bad)


def test_parts_that_overlap_or_nest_are_refused() -> None:
    """A prepared list of parts can't bring a name twice, nor point at itself."""
    one, two = (file("a"), file("c")), (file("b"), file("d"))
    with pytest.raises(RepositoryError):
        join_parts([one, two])
    with pytest.raises(RepositoryError):
        join_parts([one, one])
    assert join_parts([one, (file("d"),)]) == (*one, file("d"))
    with pytest.raises(RepositoryError):
        decode_tree(tree_objects(large(SPLIT_ABOVE + 1))[-1])


def test_only_time_is_ignored_when_entries_are_compared() -> None:
    """A change of mtime alone makes no snapshot; any other change does."""
    assert same_but_mtime(file(), file(mtime_ns=5))
    for other in (file(mode=0o600), file(uid=0), file(group="x"), file(size=13), file(hash="cd" * 32), file("b")):
        assert not same_but_mtime(file(), other)
    assert not same_but_mtime(file(), file(xattrs=(("user.a", b""),)))
    assert not same_but_mtime(file(), file(sparse=True))


@given(directories)
def test_ordinary_files_are_spelled_like_all_others(found: list[Entry]) -> None:
    """The fast spelling of files that share an owner is the canonical one, entry by entry."""
    lines = sorted((raw_name(entry.name), encode_entry(entry)) for entry in found)
    assert encode_tree(found) == TREE_HEAD + ",".join(text for _, text in lines).encode() + TREE_TAIL
