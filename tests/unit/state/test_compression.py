"""Compressed documents: seen through whatever their name, damaged ones known for damaged, and no bomb goes off."""

from __future__ import annotations

import gzip
import json
import random
import sys
import time
import tracemalloc
import zlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Format
from recoverd.state.formats.compression import PIECE_BYTES, Compression, Unpacker, find, level_of, pack, unpack
from recoverd.state.formats.text import Limits, Unjudgeable
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Verdict

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DOCUMENT = json.dumps({"tasks": [{"id": number, "title": f"task {number}"} for number in range(50)]}).encode()
KINDS = (Compression.GZIP, Compression.ZSTD)
MOST = 1 << 30


def skippable(content: bytes) -> bytes:
    return b"\x5e\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


@cache
def bomb(kind: Compression, count: int) -> bytes:
    """Zeros, `count` times 16 MiB."""
    if kind is Compression.ZSTD:
        packer = zstd.ZstdCompressor()
        return b"".join(packer.compress(bytes(1 << 24)) for _ in range(count)) + packer.flush()
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(deflate.compress(bytes(1 << 24)) for _ in range(count)) + deflate.flush()


WRITERS = st.sampled_from(
    [gzip.compress, lambda data: gzip.compress(data, 1), zstd.compress, lambda data: pack(data, Compression.ZSTD, 12)]
)


class TestUnpacking:
    @given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), WRITERS, st.integers(1, 400))
    def test_several_members_come_out_as_one(self, parts: list[bytes], write: object, block: int) -> None:
        """RFC 1952, 2.2; RFC 8878, 3: members and frames are simply put one behind the other; in any blocks."""
        assert callable(write)
        packed = b"".join(write(part) for part in parts)
        unpacker = Unpacker(find(packed))
        found = b"".join(
            piece for start in range(0, len(packed), block) for piece in unpacker.feed(packed[start : start + block])
        )
        unpacker.finish()
        assert (found, unpacker.problem) == (b"".join(parts), None)

    @pytest.mark.parametrize("block", [1, 3, 100_000])
    def test_skippable_frames_are_skipped(self, block: int) -> None:
        """RFC 8878, 3.1.2: before, between and behind the frames; empty ones and ones larger than a block."""
        packed = (
            skippable(b"") + zstd.compress(b"one") + skippable(b"x" * 70_000) + zstd.compress(b"two") + skippable(b"y")
        )
        unpacker = Unpacker(find(packed))
        pieces = [p for start in range(0, len(packed), block) for p in unpacker.feed(packed[start : start + block])]
        unpacker.finish()
        assert (b"".join(pieces), unpacker.problem) == (b"onetwo", None)

    @pytest.mark.parametrize("kind", KINDS)
    def test_cut_anywhere_it_is_damaged_and_gives_what_was_before(self, kind: Compression) -> None:
        packed = pack(DOCUMENT, kind)
        for cut in range(4, len(packed)):
            found = unpack(packed[:cut], MOST)
            assert found.problem is not None, cut
            assert found.problem.place == f"byte {cut}"
            assert "ends in the middle of its compressed data" in found.problem.problem
            assert DOCUMENT.startswith(found.data)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("tail", "words"),
        [
            (b"x", "goes on after the end"),
            (b"\0" * 40, "ends with 40 NUL bytes"),
            (b"\0x", "goes on after the end"),
            (DOCUMENT, "goes on after the end"),
            (b"\x1f", "after|in the middle"),
            (b"\x28\xb5", "after|in the middle"),
        ],
    )
    def test_what_follows_is_damage_with_its_place(self, kind: Compression, tail: bytes, words: str) -> None:
        packed = pack(DOCUMENT, kind)
        for block in (1, 10_000):
            unpacker = Unpacker(kind)
            data = packed + tail
            pieces = [p for start in range(0, len(data), block) for p in unpacker.feed(data[start : start + block])]
            unpacker.finish()
            assert b"".join(pieces) == DOCUMENT
            assert unpacker.problem is not None
            assert int(unpacker.problem.place.removeprefix("byte ")) in range(len(packed), len(data) + 1)
            assert any(word in unpacker.problem.problem for word in words.split("|")), unpacker.problem

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_flipped_bit_anywhere_is_found(self, kind: Compression) -> None:
        """Promise 7, as far as the service's own checksum goes: never other content without a word.

        (gzip's header holds a time and a system, which mean nothing to the content.)"""
        packed = pack(DOCUMENT, kind)
        chosen = random.Random(7)
        for _ in range(300):
            damaged = bytearray(packed)
            damaged[chosen.randrange(len(packed))] ^= 1 << chosen.randrange(8)
            if find(bytes(damaged[:4])) is not kind:
                continue
            try:
                found = unpack(bytes(damaged), MOST)
            except Unjudgeable:
                continue
            assert found.problem is not None or found.data == DOCUMENT

    def test_bytes_that_are_not_compressed_stay_as_they_are(self) -> None:
        for data in (b"", b"\x1f", b"\x1f\x8b", b"{}", b"(", b"P*M", DOCUMENT):
            assert unpack(data, MOST).data == data
            assert unpack(data, MOST).compression is Compression.NONE

    @given(st.binary(max_size=200), st.sampled_from([b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"]))
    def test_hostile_bytes_never_raise_anything_else(self, data: bytes, magic: bytes) -> None:
        try:
            unpack(magic + data, 1000)
        except Unjudgeable:
            pass


class TestBounds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_bomb_is_a_limit_and_takes_no_memory(self, kind: Compression) -> None:
        """What is larger than is parsed is not corrupt: it must not be rolled back for that."""
        packed = bomb(kind, 17)
        for format in (Format.JSON, Format.JSON_LINES, Format.YAML, Format.TOML):
            judge = Judge(format, limits=Limits(size_bytes=1_000_000, yaml_bytes=1_000_000, toml_bytes=1_000_000))
            tracemalloc.start()
            try:
                judgement = judge.judge("", packed)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 20_000_000
            assert judgement.verdict is Verdict.UNREADABLE, format

    def test_a_bomb_among_other_files_is_told_and_left_alone(self) -> None:
        judgement = Judge(Format.AUTO).judge("", bomb(Compression.ZSTD, 17))
        assert (judgement.verdict, judgement.detected) == (Verdict.OK, "opaque")
        assert "unpacks to more than 256 MiB" in str(judgement.notes[0])

    def test_real_logs_may_be_larger_than_that(self) -> None:
        """Only a ratio that no real log has is a bomb: 300 MiB out of 4 are read to the end."""
        line = b'{"a": "' + bytes(random.Random(1).choices(b"abcdefgh", k=4000)) + b'"}\n'
        packed = skippable(bytes(3_500_000)) + pack(line * 4096, Compression.ZSTD) * 18
        assert sum(map(len, Unpacker(Compression.ZSTD).feed(packed))) == len(line) * 4096 * 18 > 1 << 28

    def test_pieces_are_bounded(self) -> None:
        unpacker = Unpacker(Compression.GZIP)
        for count, piece in enumerate(unpacker.feed(bomb(Compression.GZIP, 4))):
            assert len(piece) <= PIECE_BYTES, count

    def test_a_window_that_would_take_a_gigabyte_is_not_granted(self) -> None:
        options = {int(zstd.CompressionParameter.window_log): 30, int(zstd.CompressionParameter.content_size_flag): 0}
        packer = zstd.ZstdCompressor(options=options)
        judgement = Judge(Format.JSON).judge("", packer.compress(b"{}") + packer.flush())
        assert judgement.verdict is Verdict.UNREADABLE
        assert "needs a window of 1024 MiB" in str(judgement.problems[0])

    def test_a_dictionary_that_is_not_here_is_no_damage(self) -> None:
        samples = [json.dumps({"id": number, "name": f"name {number}"}).encode() for number in range(500)]
        packed = zstd.compress(DOCUMENT, zstd_dict=zstd.train_dict(samples, 2000))
        judgement = Judge(Format.JSON).judge("", packed)
        assert judgement.verdict is Verdict.UNREADABLE
        assert "dictionary" in str(judgement.problems[0])

    def test_many_tiny_members_are_linear(self) -> None:
        packed = gzip.compress(b"") * 50_000 + gzip.compress(b"{}")
        began = time.monotonic()
        assert Judge(Format.JSON).judge("", packed).verdict is Verdict.OK
        assert time.monotonic() - began < 30


class TestJudging:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("format", "data"),
        [
            (Format.JSON, DOCUMENT),
            (Format.JSON_LINES, b'{"a": 1}\n' * 3000),
            (Format.YAML, b"a: 1\n"),
            (Format.TOML, b"a = 1\n"),
            (Format.AUTO, DOCUMENT),
        ],
    )
    def test_it_is_judged_as_what_is_in_it(self, kind: Compression, format: Format, data: bytes) -> None:
        judge = Judge(format)
        packed = pack(data, kind)
        assert judge.judge("x", packed) == judge.judge("x", data)
        assert judge.judge("x", packed).verdict is Verdict.OK
        for size in (1, 1000):
            examination = judge.begin("x")
            for start in range(0, len(packed), size):
                examination.feed(packed[start : start + size])
            assert examination.finish() == judge.judge("x", data)

    @pytest.mark.parametrize("kind", KINDS)
    def test_damage_inside_is_told_as_ever(self, kind: Compression) -> None:
        for damaged in (b"", b"  ", b"\0" * 100, DOCUMENT[:-1], DOCUMENT + b"x"):
            found = Judge(Format.JSON).judge("", pack(damaged, kind))
            assert found == Judge(Format.JSON).judge("", damaged)
            assert found.verdict is Verdict.CORRUPT

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_is_compressed_inside_compression_is_not_json(self, kind: Compression) -> None:
        """One layer is seen through: a quine of compression would have no end."""
        packed = DOCUMENT
        for _ in range(2000):
            packed = pack(packed, kind)
        for form in (Format.JSON, Format.YAML, Format.TOML):
            assert Judge(form).judge("", packed).verdict is Verdict.CORRUPT
        assert Judge(Format.AUTO).judge("a.yaml", packed).detected == "opaque"

    def test_opaque_is_opaque(self) -> None:
        assert Judge(Format.OPAQUE).judge("", pack(DOCUMENT, Compression.GZIP)[:-9]).verdict is Verdict.OK

    def test_text_that_begins_like_a_skippable_frame_is_text_where_nothing_is_declared(self) -> None:
        assert Judge(Format.AUTO).judge("", b"P*M\x18 is how it begins").detected == "opaque"


def test_packing_is_the_same_each_time_and_its_level_is_seen() -> None:
    for kind in KINDS:
        assert pack(DOCUMENT, kind) == pack(DOCUMENT, kind)
        assert unpack(pack(DOCUMENT, kind), MOST).data == DOCUMENT
    assert [level_of(pack(DOCUMENT, Compression.GZIP, level)) for level in (1, 6, 9)] == [1, None, 9]
    assert gzip.decompress(pack(DOCUMENT, Compression.GZIP, 9)) == DOCUMENT
