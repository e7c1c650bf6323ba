"""A tar archive as a stream: POSIX pax format, as `tar` of GNU, BSD and Python read it. Deterministic.

Pax records hold what a ustar header can't: long or odd names, times to the nanosecond, large numbers, extended
attributes (SCHILY.xattr.*) and the holes of sparse files (GNU.sparse, version 1.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from recoverd.errors import RepositoryError
from recoverd.repository.trees import Entry, raw_name
from recoverd.values import replace

_BLOCK = 512
_RECORD = 20 * _BLOCK  # an archive is a multiple of this
_SMALL_ID = 0o7777777
_LONGEST_SIZE = 0o77777777777
_LONGEST_NAME, _LONGEST_OWNER = 100, 31
_KINDS = {"file": b"0", "symlink": b"2", "dir": b"5"}
_HARD_LINK, _PAX = b"1", b"x"

Piece = tuple[int, int]  # offset and length of a stretch of data


class TarStream:
    """Writes one archive to `write`, which takes bytes. Nothing is held but the names of hard links."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write_out = write
        self._links: dict[tuple[str, str, str], bytes] = {}  # (group, hard link id, content) -> the first name
        self.size_bytes = 0

    def add(
        self,
        entry: Entry,
        path: str,
        chunks: Iterator[bytes | int] | None = None,
        *,
        group: str = "",
        data: Sequence[Piece] | None = None,
    ) -> None:
        """Add one entry as `path`. Hard links are kept within one `group`.

        Of a file, `chunks` is its content in order (a number is the length of a hole). `data` tells where in a
        sparse file its bytes are: stretches that begin and end at multiples of 512, but for the end of the file.
        Without it holes are written as zeros. Raises RepositoryError when the content
        is not as long as the entry says, and what `chunks` raises: the archive is unusable then.
        """
        name = raw_name(path) + (b"/" if entry.type == "dir" else b"")
        if entry.type == "file" and entry.hard_link is not None:
            first = self._links.setdefault((group, entry.hard_link, entry.hash or entry.blocks or ""), name)
            if first != name:
                self._header(replace(entry, xattrs=()), name, _HARD_LINK, 0, link=first)
                return
        if entry.type != "file":
            self._header(entry, name, _KINDS[entry.type], 0, link=raw_name(entry.target or ""))
        elif data is None:
            self._header(entry, name, b"0", entry.size)
            self._content(entry, chunks or iter(()), holes=True)
        else:
            self._sparse(entry, name, chunks or iter(()), data)

    def finish(self) -> None:
        """The end of the archive."""
        end = 2 * _BLOCK
        self._write(bytes(end + -(self.size_bytes + end) % _RECORD))

    def _sparse(self, entry: Entry, name: bytes, chunks: Iterator[bytes | int], data: Sequence[Piece]) -> None:
        pieces = list(data)
        if not pieces or sum(pieces[-1]) < entry.size:
            pieces.append((entry.size, 0))  # the file ends in a hole
        numbers = [len(pieces), *(number for piece in pieces for number in piece)]
        table = b"".join(b"%d\n" % number for number in numbers)
        table += bytes(-len(table) % _BLOCK)
        records = {
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.name": name,
            b"GNU.sparse.realsize": b"%d" % entry.size,
        }
        directory, slash, last = name.rpartition(b"/")
        shown = directory + slash + b"GNUSparseFile.0/" + last
        self._header(entry, shown, b"0", len(table) + sum(length for _, length in pieces), records=records)
        self._write(table)
        self._content(entry, chunks, holes=False)

    def _content(self, entry: Entry, chunks: Iterator[bytes | int], *, holes: bool) -> None:
        length = written = 0
        for chunk in chunks:
            if isinstance(chunk, bytes):
                self._write(chunk)
                length, written = length + len(chunk), written + len(chunk)
                continue
            length += chunk
            for start in range(0, chunk if holes else 0, 1 << 20):
                part = bytes(min(1 << 20, chunk - start))
                self._write(part)
                written += len(part)
        if length != entry.size:
            raise RepositoryError(
                f"{entry.name!r} has {length} bytes in the repository where its record says {entry.size}"
            )
        self._write(bytes(-written % _BLOCK))

    def _header(
        self,
        entry: Entry,
        name: bytes,
        kind: bytes,
        size: int,
        *,
        link: bytes = b"",
        records: dict[bytes, bytes] | None = None,
    ) -> None:
        pax = dict(records or {})
        seconds, nanoseconds = divmod(entry.mtime_ns, 1_000_000_000)
        if nanoseconds or not 0 <= seconds <= _LONGEST_SIZE:
            pax[b"mtime"] = _decimal(entry.mtime_ns)
        for key, value in ((b"path", name), (b"linkpath", link)):
            if len(value) > _LONGEST_NAME or not value.isascii():
                pax.setdefault(key, value)
        for key, number, most in (
            (b"uid", entry.uid, _SMALL_ID),
            (b"gid", entry.gid, _SMALL_ID),
            (b"size", size, _LONGEST_SIZE),
        ):
            if number > most:
                pax[key] = b"%d" % number
        for key, text in ((b"uname", entry.user), (b"gname", entry.group)):
            if len(raw_name(text)) > _LONGEST_OWNER or not text.isascii():
                pax[key] = raw_name(text)
        for attribute, value in entry.xattrs:
            # spelled as GNU tar does: a record's key ends at the first equals sign
            pax[b"SCHILY.xattr." + raw_name(attribute).replace(b"%", b"%25").replace(b"=", b"%3D")] = value
        if pax:
            body = b"".join(_pax_record(key, value) for key, value in sorted(pax.items()))
            # owner and time of the records say nothing
            plain = Entry("", "file", 0o644, 0, 0, "", "", 0, 0)
            self._write(_ustar(plain, b"PaxHeaders/" + name[-80:], _PAX, len(body), b""))
            self._write(body + bytes(-len(body) % _BLOCK))
        self._write(_ustar(entry, name, kind, size, link))

    def _write(self, data: bytes) -> None:
        self._write_out(data)
        self.size_bytes += len(data)


def _decimal(time_ns: int) -> bytes:
    """Nanoseconds as seconds with a fraction."""
    sign, amount = (b"-", -time_ns) if time_ns < 0 else (b"", time_ns)
    fraction = b".%09d" % (amount % 1_000_000_000)
    return sign + b"%d" % (amount // 1_000_000_000) + fraction.rstrip(b"0").rstrip(b".")


def _pax_record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE` and a newline, where the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _ustar(entry: Entry, name: bytes, kind: bytes, size: int, link: bytes) -> bytes:
    """One header block; what does not fit stands in the pax records before it."""
    seconds = entry.mtime_ns // 1_000_000_000
    block = bytearray(_BLOCK)
    for offset, value in (
        (0, name[:_LONGEST_NAME]),
        (100, b"%07o\0" % entry.mode),
        (108, b"%07o\0" % (entry.uid if entry.uid <= _SMALL_ID else 0)),
        (116, b"%07o\0" % (entry.gid if entry.gid <= _SMALL_ID else 0)),
        (124, b"%011o\0" % (size if size <= _LONGEST_SIZE else 0)),
        (136, b"%011o\0" % (seconds if 0 <= seconds <= _LONGEST_SIZE else 0)),
        (148, b" " * 8),
        (156, kind),
        (157, link[:_LONGEST_NAME]),
        (257, b"ustar\x0000"),
        (265, raw_name(entry.user)[:_LONGEST_OWNER]),
        (297, raw_name(entry.group)[:_LONGEST_OWNER]),
        (329, b"0000000\x000000000\x00"),
    ):
        block[offset : offset + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
