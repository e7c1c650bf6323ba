"""Trees: one directory as canonical JSON, so that equal directories are equal bytes (docs/repository-format.md).

The encoding is canonical: for any list of entries there is exactly one text. Decoding accepts that text and no
other, so nothing unknown, unordered, doubled or unsafe ("..", "a/b") in a damaged or hostile repository ever
reaches a restore.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii as quoted
from operator import attrgetter, itemgetter
from typing import Any

from blake3 import blake3

from recoverd.errors import RepositoryError
from recoverd.values import dataclass

TREE_VERSION = 1
BLOCK_THRESHOLD = 1024 * 1024  # larger files are stored as blocks
BLOCK_SIZE = 1024 * 1024  # the usual size of a block
SPLIT_ABOVE = 4096  # directories with more entries are split into parts
_PART_MASK = 0x03FF  # a name whose hash is a multiple of 1024 begins a new part

_MAX_ID = 2**32 - 1
_MAX_64 = 2**63


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory. Names and targets that are not valid UTF-8 carry surrogate escapes, as os.fsdecode.

    A file has either `hash` (of its bytes) or `blocks` (of its block list, with `block_size`); a directory has
    `hash` (of its tree); a symlink has `target`. `user` and `group` are "" when nobody has that number.
    """

    name: str
    type: str  # file | dir | symlink
    mode: int  # permission bits, setuid, setgid and sticky
    uid: int
    gid: int
    user: str
    group: str
    size: int  # bytes of a file; 0 otherwise
    mtime_ns: int
    hash: str | None = None
    blocks: str | None = None
    block_size: int = 0
    target: str | None = None
    xattrs: tuple[tuple[str, bytes], ...] = ()
    hard_link: str | None = None  # names with the same group id within the item are one file
    sparse: bool = False


_ALL_BUT_MTIME = attrgetter(*(name for name in Entry.__match_args__ if name != "mtime_ns"))


def same_but_mtime(a: Entry, b: Entry) -> bool:
    """Whether two entries differ at most in their time. Directories are compared by the hash of their tree, so a
    time that changed further down is a difference here."""
    return bool(_ALL_BUT_MTIME(a) == _ALL_BUT_MTIME(b))


def encode_tree(entries: Sequence[Entry]) -> bytes:
    """The canonical bytes of one unsplit tree, whatever order the entries come in.

    Raises ValueError for entries that no directory can hold (two of one name, a name with a slash, ...).
    """
    return _HEAD + ",".join(text for _, text in _lines(entries)).encode("ascii") + _TAIL


def tree_objects(entries: Sequence[Entry]) -> list[bytes]:
    """The objects that store a directory: its parts if it is large, and last the one that names it.

    Parts begin at names whose BLAKE3 begins with ten zero bits, so that one change rewrites one part.
    """
    if len(entries) <= SPLIT_ABOVE:
        return [encode_tree(entries)]
    parts: list[list[str]] = [[]]
    for raw, text in _lines(entries):
        if parts[-1] and not int.from_bytes(blake3(raw).digest(2), "little") & _PART_MASK:
            parts.append([])
        parts[-1].append(text)
    objects = [_HEAD + ",".join(part).encode("ascii") + _TAIL for part in parts]
    index = ",".join(f'"{blake3(data).hexdigest()}"' for data in objects)
    return [*objects, _PARTS_HEAD + index.encode("ascii") + _TAIL]


def hash_tree(entries: Sequence[Entry]) -> str:
    """The hash under which `put_tree` stores these entries."""
    return blake3(tree_objects(entries)[-1]).hexdigest()


def decode_tree(data: bytes) -> tuple[Entry, ...]:
    """The entries of one unsplit tree, sorted by the bytes of their names. Raises RepositoryError."""
    return tuple(_decode(data))


def decode_parts(data: bytes) -> tuple[str, ...] | None:
    """The hashes of the parts of a large directory's tree, None for an unsplit one. Raises RepositoryError."""
    if not data.startswith(_PARTS_HEAD):
        return None
    body = data[len(_PARTS_HEAD) - 1 :]
    if not _PARTS.fullmatch(body):
        raise RepositoryError("a tree is not what recoverd writes: its list of parts is malformed")
    parts: list[str] = json.loads(body[:-1])
    return tuple(parts)


def join_parts(parts: Sequence[tuple[Entry, ...]]) -> tuple[Entry, ...]:
    """The entries of a split directory. Raises RepositoryError when a name comes twice or out of order."""
    joined = tuple(entry for part in parts for entry in part)
    _check_order(raw_name(entry.name) for part in parts for entry in (*part[:1], *part[-1:][: len(part) - 1]))
    return joined


def raw_name(name: str) -> bytes:
    """The bytes of a name as they are on disk. Raises ValueError for text that no name decodes to."""
    return name.encode("utf-8", "surrogateescape")


# --- encoding

_HEAD = b'{"tree":%d,"entries":[' % TREE_VERSION
_PARTS_HEAD = b'{"tree":%d,"parts":[' % TREE_VERSION
_TAIL = b"]}"
_PARTS = re.compile(rb'\[("[0-9a-f]{64}"(,"[0-9a-f]{64}")*)\]\}')
_HASH = re.compile(r"[0-9a-f]{64}")

EMPTY_TREE: str = blake3(_HEAD + _TAIL).hexdigest()


def _lines(entries: Sequence[Entry]) -> list[tuple[bytes, str]]:
    """(raw name, text) of every entry in order."""
    lines = [(raw_name(entry.name), _encode(entry)) for entry in entries]
    lines.sort(key=itemgetter(0))
    if len({raw for raw, _ in lines}) != len(lines):
        raise ValueError("two entries have the same name")
    return lines


def _encode(entry: Entry) -> str:
    kind = entry.type
    if (
        kind == "file"
        and entry.hash is not None
        and not (entry.xattrs or entry.hard_link or entry.sparse or entry.blocks)
        and entry.target is None
    ):
        tail = f',"size":"{entry.size}","hash":"{entry.hash}"}}'
    elif kind == "dir" and entry.hash is not None and not entry.xattrs:
        tail = f',"hash":"{entry.hash}"}}'
    else:
        tail = _encode_rare(entry)
    problem = _problem(entry)
    if problem:
        raise ValueError(f"{entry.name!r} can't be stored in a tree: {problem}")
    return (
        f'{{{_text("name", entry.name)},"type":"{kind}","mode":"{entry.mode:04o}","uid":{entry.uid},"gid":{entry.gid}'
        f',"user":{_owner(entry.user)},"group":{_owner(entry.group)},"mtime_ns":"{entry.mtime_ns}"{tail}'
    )


def _encode_rare(entry: Entry) -> str:
    parts = [f',"size":"{entry.size}"'] if entry.type == "file" else []
    if entry.hash is not None:
        parts.append(f',"hash":"{entry.hash}"')
    if entry.blocks is not None:
        parts.append(f',"blocks":"{entry.blocks}","block_size":{entry.block_size}')
    if entry.target is not None:
        parts.append("," + _text("target", entry.target))
    if entry.xattrs:
        pairs = sorted((raw_name(name), value) for name, value in entry.xattrs)
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError(f"{entry.name!r} can't be stored in a tree: an attribute comes twice")
        parts.append(',"xattrs":[' + ",".join(_attribute(name, value) for name, value in pairs) + "]")
    if entry.hard_link is not None:
        parts.append(f',"hard_link":{quoted(entry.hard_link)}')
    if entry.sparse:
        parts.append(',"sparse":true')
    return "".join(parts) + "}"


def _text(key: str, value: str) -> str:
    """`"key":"text"`, or `"key64":"base64"` where the bytes are not UTF-8."""
    if value.isascii():
        return f'"{key}":{quoted(value)}'
    raw = raw_name(value)
    try:
        return f'"{key}":{quoted(raw.decode())}'
    except UnicodeDecodeError:
        return f'"{key}64":"{binascii.b2a_base64(raw, newline=False).decode()}"'


def _attribute(name: bytes, value: bytes) -> str:
    shown = _text("name", name.decode("utf-8", "surrogateescape"))
    return f'{{{shown},"value64":"{binascii.b2a_base64(value, newline=False).decode()}"}}'


def _owner(name: str) -> str:
    # A name that is not text can't be looked up on another machine: the number alone is kept.
    return quoted(name) if name.isascii() or _is_text(name) else '""'


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _problem(entry: Entry) -> str | None:
    """Why an entry is none that recoverd stores or restores. Types are right already."""
    name, kind = entry.name, entry.type
    if name in _UNSAFE or "/" in name or "\0" in name:
        return "the name is unsafe"
    if not 0 <= entry.mode <= 0o7777 or not _fits(entry):
        return "mode, owner, size or mtime is out of range"
    for value in (entry.hash, entry.blocks):
        if value is not None and not _HASH.fullmatch(value):
            return "a hash is malformed"
    wanted = (
        (entry.hash is None) != (entry.blocks is None) and entry.target is None
        if kind == "file"
        else entry.blocks is None and (entry.hash is None) == (kind == "symlink") and not entry.size
    )
    if kind not in {"file", "dir", "symlink"} or not wanted:
        return "it does not fit its type"
    if (entry.blocks is None) != (entry.block_size == 0) or entry.block_size < 0:
        return "block list and block size do not fit"
    if (entry.target is not None) != (kind == "symlink") or (entry.target is not None and _bad(entry.target)):
        return "the link target does not fit"
    if entry.xattrs and any(_bad(attribute) for attribute, _ in entry.xattrs):
        return "an attribute's name is unsafe"
    if entry.hard_link is not None and (kind == "dir" or not entry.hard_link or not _is_text(entry.hard_link)):
        return "the hard-link group does not fit"
    if entry.sparse and kind != "file":
        return "only files can be sparse"
    return None


def _fits(entry: Entry) -> bool:
    return (
        0 <= entry.uid <= _MAX_ID
        and 0 <= entry.gid <= _MAX_ID
        and 0 <= entry.size < _MAX_64
        and -_MAX_64 <= entry.mtime_ns < _MAX_64
    )


def _bad(value: str) -> bool:
    return not value or "\0" in value


# --- decoding

_NUMBER = "(0|[1-9][0-9]{0,9})"
_LONG = "(0|-?[1-9][0-9]{0,18})"
_PLAIN = r'"([^"\\\x00-\x1f\x7f]*)"'
_ORDINARY = re.compile(
    rf'\{{"name":{_PLAIN},"type":"(file|dir)","mode":"([0-7]{{4}})","uid":{_NUMBER},"gid":{_NUMBER},'
    rf'"user":{_PLAIN},"group":{_PLAIN},"mtime_ns":"{_LONG}"(?:,"size":"{_LONG}")?,"hash":"([0-9a-f]{{64}})"\}}'
)
_UNSAFE = frozenset({"", ".", ".."})


class _Cache(dict[str, int]):
    """Numbers by their text; a directory holds few different owners and modes."""

    def __init__(self, base: int) -> None:
        super().__init__()
        self._base = base

    def __missing__(self, text: str) -> int:
        number = self[text] = int(text, self._base)
        return number


_DECODER = json.JSONDecoder()


def _decode(data: bytes) -> list[Entry]:
    if not data.startswith(_HEAD):
        raise _head_error(data)
    try:
        text = data.decode("ascii")
        return _entries(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RepositoryError(f"a tree is not what recoverd writes: {error}") from None


def _entries(text: str) -> list[Entry]:
    entries: list[Entry] = []
    end = len(text) - len(_TAIL)
    position = len(_HEAD)
    match_ordinary = _ORDINARY.match
    modes, ids = _Cache(8), _Cache(10)
    while position < end:
        match = match_ordinary(text, position)
        if match is not None:
            name, kind, mode, uid, gid, user, group, mtime, size, content = match.groups()
            entry = Entry(name, kind, modes[mode], ids[uid], ids[gid], user, group, int(size or 0), int(mtime), content)
            # what `_problem` asks, less what the pattern has already answered
            if (size is None) is (kind == "file") or "/" in name or name in _UNSAFE or not _fits(entry):
                raise ValueError(f"{name!r} is no entry that recoverd writes")
            position = match.end()
        else:
            document, after = _DECODER.raw_decode(text, position)
            entry = _rare_entry(document)
            if text[position:after] != _encode(entry):
                raise ValueError(f"{entry.name!r} is not spelled as recoverd spells it")
            position = after
        entries.append(entry)
        if text[position] != ",":
            break
        position += 1
    else:
        if entries:
            raise ValueError("it ends in a comma")
    if position != end or not text.endswith("]}"):
        raise ValueError(f"it does not end where it should, at {position}")
    _check_order(raw_name(entry.name) for entry in entries)
    return entries


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
