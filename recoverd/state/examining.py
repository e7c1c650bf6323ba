"""Documents that come block by block: seen through their compression, and no more kept of them than judging needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from recoverd.config.model import Format
from recoverd.state.formats import compression, detection
from recoverd.state.formats.compression import Compression, Unpacker
from recoverd.state.formats.json_lines import LinesReader
from recoverd.state.formats.opaque import OpaqueReader
from recoverd.state.formats.text import Unjudgeable
from recoverd.state.verdicts import Judgement, Problem, Verdict

if TYPE_CHECKING:
    from recoverd.state.judging import Judge


class Examination(Protocol):
    """A document that comes block by block."""

    def feed(self, block: bytes) -> None: ...

    def finish(self) -> Judgement: ...


class Examining:
    """A whole file: what it says, seen through its compression, and then what its first bytes and its size say."""

    def __init__(self, judge: Judge, name: str) -> None:
        self._judge = judge
        self._name = name
        self._head = b""
        self._head_bytes = max(len(judge.signs.magic), compression.HEAD_BYTES)
        self._size_bytes = 0
        self._waiting: list[bytes] = []
        self._content: Examination | None = None

    def feed(self, block: bytes) -> None:
        missing = self._head_bytes - len(self._head)
        if missing > 0:
            self._head += block[:missing]
        self._size_bytes += len(block)
        if self._content is not None:
            self._content.feed(block)
            return
        self._waiting.append(block)
        if len(self._head) >= compression.HEAD_BYTES:
            self._begin()

    def skip(self, size_bytes: int) -> None:
        """So many zeros follow zeros that were fed: they say nothing more, but for their number."""
        self._size_bytes += size_bytes

    def finish(self) -> Judgement:
        content = self._content or self._begin()
        return self._judge.by_bytes(content.finish(), self._head, self._size_bytes)

    def _begin(self) -> Examination:
        kind = self._judge.compression(self._head)
        if kind is Compression.NONE:
            self._content = content = plain(self._judge, self._name)
        else:
            self._content = content = Unpacking(self._judge, self._name, kind)
        for block in self._waiting:
            content.feed(block)
        self._waiting.clear()
        return content


def plain(judge: Judge, name: str) -> Examination:
    """What a document says that is not compressed, or not any more."""
    if judge.format is Format.OPAQUE:
        return _Streamed(judge, OpaqueReader())
    if judge.format is Format.JSON_LINES:
        return _Streamed(judge, judge.lines())
    return _Collected(judge, name)


class Unpacking:
    """What a compressed document says. Damage to its compression is damage, whatever could still be read."""

    def __init__(self, judge: Judge, name: str, kind: Compression) -> None:
        self._judge = judge
        self._unpacker = Unpacker(kind)
        self._content = plain(judge, name)
        self._limit = ""

    def feed(self, block: bytes) -> None:
        if self._limit:
            return
        try:
            for piece in self._unpacker.feed(block):
                self._content.feed(piece)
        except Unjudgeable as reason:
            self._limit = str(reason)

    def finish(self) -> Judgement:
        judge = self._judge
        if self._limit:
            if judge.format is Format.AUTO and not judge.is_structured:
                return judge.made(Verdict.OK, Format.OPAQUE, (), (Problem("", self._limit),))
            return Judgement(Verdict.UNREADABLE, (Problem("", self._limit),))
        self._unpacker.finish()
        if self._unpacker.problem is not None:
            return Judgement(Verdict.CORRUPT, (self._unpacker.problem,), unchecked=judge.unchecked)
        return self._content.finish()


class _Streamed:
    """An examination that keeps nothing but the reader's state."""

    def __init__(self, judge: Judge, reader: LinesReader | OpaqueReader) -> None:
        self._judge = judge
        self._reader = reader

    def feed(self, block: bytes) -> None:
        self._reader.feed(block)

    def finish(self) -> Judgement:
        return self._judge.finished(self._reader)


class _Collected:
    """An examination that needs the whole document: it collects up to the limit, unless it turns out to be opaque."""

    def __init__(self, judge: Judge, name: str) -> None:
        self._judge = judge
        self._name = name
        self._most_bytes = judge.most_bytes
        self._blocks: list[bytes] = []
        self._size_bytes = 0
        self._may_be_opaque = judge.format is Format.AUTO and not judge.is_structured
        self._undecided = self._may_be_opaque and judge.hint(name) is None
        self._reader: _Streamed | None = None

    def feed(self, block: bytes) -> None:
        if self._reader is not None:
            self._reader.feed(block)
            return
        if self._size_bytes > self._most_bytes:
            return
        self._blocks.append(block)
        self._size_bytes += len(block)
        if self._undecided and self._size_bytes >= detection.HEAD_BYTES:
            self._undecided = False
            if not detection.looks_parsable(b"".join(self._blocks)):
                self._switch(OpaqueReader())
        if self._size_bytes > self._most_bytes and self._reader is None:
            self._overflow()

    def finish(self) -> Judgement:
        if self._reader is not None:
            return self._reader.finish()
        if self._size_bytes > self._most_bytes:
            return too_large(self._most_bytes)
        return self._judge.plain(self._name, b"".join(self._blocks))

    def _overflow(self) -> None:
        """It is too large to be collected; what needs no collecting goes on."""
        if self._judge.format is Format.AUTO:
            data = b"".join(self._blocks)
            if detection.is_lines(data):
                self._switch(self._judge.lines())
                return
            if self._may_be_opaque and not detection.looks_parsable(data):
                self._switch(OpaqueReader())
                return
        self._blocks.clear()

    def _switch(self, reader: LinesReader | OpaqueReader) -> None:
        self._reader = _Streamed(self._judge, reader)
        for block in self._blocks:
            self._reader.feed(block)
        self._blocks.clear()


def too_large(most_bytes: int) -> Judgement:
    """Not corrupt: a document that grew beyond what is parsed must not be rolled back for it."""
    sentence = f"is larger than {most_bytes} bytes, more than is parsed; `format: opaque` keeps it unparsed"
    return Judgement(Verdict.UNREADABLE, (Problem("", sentence),))
