"""Reading trees: the canonical text of `trees` and no other is accepted, so nothing unknown, unordered, doubled or
unsafe ("..", "a/b") in a damaged or hostile repository ever reaches a restore.
"""

from __future__ import annotations

import binascii
import functools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from recoverd.errors import RepositoryError
from recoverd.repository.trees import (
    PARTS_HEAD,
    TREE_HEAD,
    TREE_TAIL,
    TREE_VERSION,
    UNSAFE_NAMES,
    Entry,
    encode_entry,
    in_range,
    raw_name,
)

_PARTS = re.compile(rb'\[("[0-9a-f]{64}"(,"[0-9a-f]{64}")*)\]\}')


def decode_tree(data: bytes) -> tuple[Entry, ...]:
    """The entries of one unsplit tree, sorted by the bytes of their names. Raises RepositoryError."""
    return tuple(_decode(data))


def decode_parts(data: bytes) -> tuple[str, ...] | None:
    """The hashes of the parts of a large directory's tree, None for an unsplit one. Raises RepositoryError."""
    if not data.startswith(PARTS_HEAD):
        return None
    body = data[len(PARTS_HEAD) - 1 :]
    if not _PARTS.fullmatch(body):
        raise RepositoryError("a tree is not what recoverd writes: its list of parts is malformed")
    parts: list[str] = json.loads(body[:-1])
    return tuple(parts)


def join_parts(parts: Sequence[tuple[Entry, ...]]) -> tuple[Entry, ...]:
    """The entries of a split directory. Raises RepositoryError when a name comes twice or out of order."""
    joined = tuple(entry for part in parts for entry in part)
    _check_order(raw_name(entry.name) for part in parts for entry in (*part[:1], *part[-1:][: len(part) - 1]))
    return joined


_NUMBER = "(0|[1-9][0-9]{0,9})"
_LONG = "(0|-?[1-9][0-9]{0,18})"
_PLAIN = r'"([^"\\\x00-\x1f\x7f]*)"'
_OWNER = (
    rf',"type":"(file|dir)","mode":"([0-7]{{4}})","uid":{_NUMBER},"gid":{_NUMBER},'
    rf'"user":{_PLAIN},"group":{_PLAIN},"mtime_ns":"'
)
_ANY_OWNER = re.sub(r"\((?!\?)", "(?:", _OWNER)  # as one piece
_ORDINARY = rf'\{{"name":{_PLAIN}({_ANY_OWNER}){_LONG}"(?:,"size":"{_LONG}")?,"hash":"([0-9a-f]{{64}})"\}}'
_DECODER = json.JSONDecoder()


def _decode(data: bytes) -> list[Entry]:
    if not data.startswith(TREE_HEAD):
        raise _head_error(data)
    try:
        text = data.decode("ascii")
        return _entries(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RepositoryError(f"a tree is not what recoverd writes: {error}") from None


def _entries(text: str) -> list[Entry]:
    entries: list[Entry] = []
    end = len(text) - len(TREE_TAIL)
    position = len(TREE_HEAD)
    match_ordinary = _pattern(_ORDINARY).match
    # the part that most entries of a directory share: type, mode, numbers and names of owner and group
    owners: dict[str, tuple[str, int, int, int, str, str]] = {}
    while position < end:
        match = match_ordinary(text, position)
        if match is not None:
            name, shared, mtime, size, content = match.groups()
            owner = owners.get(shared) or _owner(shared)
            kind, mode, uid, gid, user, group = owners[shared] = owner
            entry = Entry(name, kind, mode, uid, gid, user, group, int(size or 0), int(mtime), content)
            # what no pattern has answered of that which makes an entry one that recoverd writes
            if (size is None) is (kind == "file") or "/" in name or name in UNSAFE_NAMES or not in_range(entry):
                raise ValueError(f"{name!r} is no entry that recoverd writes")
            position = match.end()
        else:
            document, after = _DECODER.raw_decode(text, position)
            entry = _rare_entry(document)
            if text[position:after] != encode_entry(entry):
                raise ValueError(f"{entry.name!r} is not spelled as recoverd spells it")
            position = after
        entries.append(entry)
        if text[position : position + 1] != ",":
            break
        position += 1
    else:
        if entries:
            raise ValueError("it ends in a comma")
    if position != end or not text.endswith("]}"):
        raise ValueError(f"it does not end where it should, at {position}")
    _check_order(raw_name(entry.name) for entry in entries)
    return entries


def _owner(text: str) -> tuple[str, int, int, int, str, str]:
    match = _pattern(_OWNER).fullmatch(text)
    assert match is not None  # it is a piece of what was matched
    kind, mode, uid, gid, user, group = match.groups()
    return kind, int(mode, 8), int(uid), int(gid), user, group


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    """Compiled with the first tree: a capture that finds nothing changed reads none."""
    return re.compile(pattern)


def _check_order(names: Iterator[bytes]) -> None:
    before = b""
    for raw in names:
        if raw <= before:
            raise RepositoryError(f"a tree is not what recoverd writes: {raw!r} comes twice or out of order")
        before = raw


def _rare_entry(document: Any) -> Entry:
    """Any entry; that its spelling is canonical is checked by encoding it again."""
    if not isinstance(document, dict):
        raise TypeError("an entry is not an object")
    get = document.get
    return Entry(
        name=_decode_text(document, "name") or "",
        type=_string(document["type"]),
        mode=int(_string(document["mode"]), 8),
        uid=_integer(document["uid"]),
        gid=_integer(document["gid"]),
        user=_string(document["user"]),
        group=_string(document["group"]),
        size=int(_string(get("size", "0"))),
        mtime_ns=int(_string(document["mtime_ns"])),
        hash=None if "hash" not in document else _string(document["hash"]),
        blocks=None if "blocks" not in document else _string(document["blocks"]),
        block_size=_integer(get("block_size", 0)),
        target=_decode_text(document, "target"),
        xattrs=tuple(
            (_decode_text(pair, "name") or "", binascii.a2b_base64(_string(pair["value64"]), strict_mode=True))
            for pair in get("xattrs", ())
        ),
        hard_link=None if "hard_link" not in document else _string(document["hard_link"]),
        sparse=get("sparse", False) is True,
    )


def _decode_text(document: dict[str, Any], key: str) -> str | None:
    if f"{key}64" in document:
        try:
            raw = binascii.a2b_base64(_string(document[f"{key}64"]), strict_mode=True)
        except binascii.Error:
            raise ValueError(f"{key}64 is not base64") from None
        return raw.decode("utf-8", "surrogateescape")
    return _string(document[key]) if key in document else None


def _string(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"text is expected where {type(value).__name__} stands")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"a whole number is expected where {type(value).__name__} stands")
    return value


def _head_error(data: bytes) -> RepositoryError:
    version = re.match(rb'\{"tree":([0-9]{1,9}),', data)
    if version and int(version[1]) > TREE_VERSION:
        return RepositoryError(
            f"a tree has version {int(version[1])}, newer than this recoverd understands ({TREE_VERSION})",
            hint="use the recoverd that wrote it, or a newer one",
        )
    return RepositoryError("a tree was expected, and something else is stored there")
