"""Trees: one directory as canonical JSON, so that equal directories are equal bytes (docs/repository-format.md).

The encoding is canonical: for any list of entries there is exactly one text. How it is read: `tree_reading`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from operator import attrgetter, itemgetter

from blake3 import blake3

from recoverd.values import dataclass

TREE_VERSION = 1
TREE_HEAD = b'{"tree":%d,"entries":[' % TREE_VERSION  # of one that is not split
PARTS_HEAD = b'{"tree":%d,"parts":[' % TREE_VERSION
TREE_TAIL = b"]}"
UNSAFE_NAMES = frozenset({"", ".", ".."})
BLOCK_THRESHOLD = 1024 * 1024  # larger files are stored as blocks
BLOCK_SIZE = 1024 * 1024  # the usual size of a block
DATABASE_BLOCK = 16 * 1024  # the same of databases, whose pages change one by one; a multiple of most pages
DATABASE_BLOCK_THRESHOLD = 128 * 1024
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
    return TREE_HEAD + ",".join(text for _, text in _lines(entries)).encode("ascii") + TREE_TAIL


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
    objects = [TREE_HEAD + ",".join(part).encode("ascii") + TREE_TAIL for part in parts]
    index = ",".join(f'"{blake3(data).hexdigest()}"' for data in objects)
    return [*objects, PARTS_HEAD + index.encode("ascii") + TREE_TAIL]


def hash_tree(entries: Sequence[Entry]) -> str:
    """The hash under which `put_tree` stores these entries."""
    return blake3(tree_objects(entries)[-1]).hexdigest()


def raw_name(name: str) -> bytes:
    """The bytes of a name as they are on disk. Raises ValueError for text that no name decodes to."""
    return name.encode("utf-8", "surrogateescape")


# --- encoding

_OF_EACH = attrgetter("name", "type", "hash", "size", "mtime_ns")
_OWNER = attrgetter("mode", "uid", "gid", "user", "group")
_RARE = attrgetter("blocks", "block_size", "target", "xattrs", "hard_link", "sparse")
_NOTHING_RARE = (None, 0, None, (), None, False)

_HASH = re.compile(r"[0-9a-f]{64}")

EMPTY_TREE: str = blake3(TREE_HEAD + TREE_TAIL).hexdigest()


def _lines(entries: Sequence[Entry]) -> list[tuple[bytes, str]]:
    """(raw name, text) of every entry in order."""
    owners: dict[tuple[int, int, int, str, str], str] = {}
    lines = [(raw_name(entry.name), _encode_file(entry, owners) or encode_entry(entry)) for entry in entries]
    lines.sort(key=itemgetter(0))
    if len({raw for raw, _ in lines}) != len(lines):
        raise ValueError("two entries have the same name")
    return lines


def _encode_file(entry: Entry, owners: dict[tuple[int, int, int, str, str], str]) -> str | None:
    """What `encode_entry` makes of an ordinary file, in less time; None for all others, and for what can't be stored.
    `owners`: the part of the text that most files of a directory share."""
    name, kind, content, size, mtime_ns = _OF_EACH(entry)
    if (
        kind != "file"
        or content is None
        or _RARE(entry) != _NOTHING_RARE
        or not name.isascii()
        or name in UNSAFE_NAMES
        or "/" in name
        or "\0" in name
        or not 0 <= size < _MAX_64
        or not -_MAX_64 <= mtime_ns < _MAX_64
        or not _HASH.fullmatch(content)
    ):
        return None
    owner = _OWNER(entry)
    shared = owners.get(owner)
    if shared is None:
        text = encode_entry(entry)
        owners[owner] = text[
            len(f'{{"name":{quoted(name)}') : -len(f'{mtime_ns}","size":"{size}","hash":"{content}"}}')
        ]
        return text
    return f'{{"name":{quoted(name)}{shared}{mtime_ns}","size":"{size}","hash":"{content}"}}'


def encode_entry(entry: Entry) -> str:
    """The canonical text of one entry. Raises ValueError for one that no directory can hold."""
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
    if name in UNSAFE_NAMES or "/" in name or "\0" in name:
        return "the name is unsafe"
    if not 0 <= entry.mode <= 0o7777 or not in_range(entry):
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


def in_range(entry: Entry) -> bool:
    """Whether owner, size and mtime are numbers that a tree can hold."""
    return (
        0 <= entry.uid <= _MAX_ID
        and 0 <= entry.gid <= _MAX_ID
        and 0 <= entry.size < _MAX_64
        and -_MAX_64 <= entry.mtime_ns < _MAX_64
    )


def _bad(value: str) -> bool:
    return not value or "\0" in value
