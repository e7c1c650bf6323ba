"""How state really breaks: the damages that public issue trackers report, for each format (promise 2)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from recoverd.config.model import Format, SchemaSource
from recoverd.state.judging import Judge
from recoverd.state.schemas import close
from recoverd.state.verdicts import Judgement, Verdict

OLD = {"version": 1, "key": "auth", "data": {"users": [{"id": n, "name": f"user {n}"} for n in range(40)]}}
NEW = {"version": 1, "key": "auth", "data": {"users": [{"id": n, "name": f"person {n} äöü"} for n in range(45)]}}


def document(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def lines(value: object) -> bytes:
    return b"".join(json.dumps({"n": n, "v": value}).encode() + b"\n" for n in range(50))


def half_and_half(old: bytes, new: bytes) -> bytes:
    """A write in place that got as far as the middle."""
    return new[: len(old) // 2] + old[len(old) // 2 :]


DAMAGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "0 bytes": lambda old, new: b"",
    "all NUL": lambda old, new: b"\0" * len(old),
    "NUL tail": lambda old, new: old[:-100] + b"\0" * 100,
    "a page of NUL in the middle": lambda old, new: old[:512] + b"\0" * 512 + old[1024:],
    "cut in half": lambda old, new: old[: len(old) // 2],
    "last byte gone": lambda old, new: old[:-1],
    "first half new and second half old": half_and_half,
    "old tail behind a shorter new one": lambda old, new: old + new[len(old) :],
    "random bytes": lambda old, new: random.Random(7).randbytes(len(old)),
    "one byte flipped to 0xff": lambda old, new: old[:300] + b"\xff" + old[301:],
}


def verdict(judge: Judge, data: bytes) -> Judgement:
    """Judged whole and block by block: the same."""
    whole = judge.judge("", data)
    examination = judge.begin("")
    for start in range(0, len(data), 333):
        examination.feed(data[start : start + 333])
    assert examination.finish() == whole
    return whole


@pytest.mark.parametrize("damage", DAMAGES)
def test_json(damage: str) -> None:
    judge = Judge(Format.JSON)
    old, new = document(OLD), document(NEW)
    assert verdict(judge, old).verdict is verdict(judge, new).verdict is Verdict.OK
    judgement = verdict(judge, DAMAGES[damage](old, new))
    assert judgement.verdict is Verdict.CORRUPT
    assert len(judgement.problems) == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_json_lines(damage: str) -> None:
    judge = Judge(Format.JSON_LINES)
    old, new = lines(OLD), lines(NEW)
    judgement = verdict(judge, DAMAGES[damage](old, new))
    if damage == "0 bytes":
        assert (judgement.verdict, judgement.blank) == (Verdict.OK, True), "wrong only where the known-good was not"
    elif damage == "last byte gone":
        assert judgement.verdict is Verdict.OK, "only the newline is gone"
    else:
        assert judgement.verdict is Verdict.CORRUPT
        assert all(problem.place.startswith("line ") for problem in judgement.problems[:20]) or damage == "all NUL"


@pytest.mark.parametrize("damage", DAMAGES)
def test_opaque(damage: str) -> None:
    """Bytes that nobody can parse show only whether they were emptied."""
    judgement = verdict(Judge(Format.OPAQUE), DAMAGES[damage](document(OLD), document(NEW)))
    assert judgement.verdict is Verdict.OK
    assert judgement.blank == (damage in ("0 bytes", "all NUL"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_auto(damage: str) -> None:
    """Damage that leaves the beginning is found; what does not is told by `blank`, or by what it is now."""
    judge = Judge(Format.AUTO)
    judgement = verdict(judge, DAMAGES[damage](document(OLD), document(NEW)))
    if damage in ("0 bytes", "all NUL"):
        assert judgement.blank
    elif damage == "random bytes":
        assert judgement.detected == "opaque" != verdict(judge, document(OLD)).detected
    else:
        assert judgement.verdict is Verdict.CORRUPT


CASES = {
    "home-assistant/core#57343": (b"", "is empty (0 bytes)"),
    "home-assistant/core#150728": (
        b'{\n  "version": 1,\n  "key": "core.device_registry",\n  "data": "a\0\0\0"\n}',
        "line 4, column 13: holds a NUL byte inside a text",
    ),
    "matter-js/python-matter-server#977": (
        b'{"fabrics": {"1": {"id": 1}}, "nodes": }',
        'line 1, column 40: "}" stands where a value',
    ),
    "moby#17618": (b"\0" * 512, "holds only NUL bytes (512 of them): typical of a power loss"),
    "kubernetes#84783": (
        b'{"policyName":"none","defaultCpuSet":"","checksum":1353318690}"',
        "line 1, column 63: goes on after its end, with a quotation mark",
    ),
    "zigbee2mqtt#28657": (b'{"id":1,"type":"Coordi', "line 1, column 23: ends in the middle of a text"),
    "zwave-js#4122": (b'{"nodes":{"1":{"id":1},"2":{', "line 1, column 29: ends in the middle of an object"),
    "transmission#650": (b'{\n    "alt-speed-down": 50,\n\0\0\0\0\0\0', "line 3, column 1: ends with 6 NUL bytes"),
    "a disk that was full at a page": (document(OLD)[:4096][:1500], "ends in the middle of"),
}


@pytest.mark.parametrize("case", CASES)
def test_reported_cases(case: str) -> None:
    data, sentence = CASES[case]
    judgement = verdict(Judge(Format.JSON), data)
    assert judgement.verdict is Verdict.CORRUPT
    assert sentence in str(judgement.problems[0])


def test_adguard_nul_in_the_query_log() -> None:
    """AdGuardHome#753: the line is named, the others are fine."""
    judgement = verdict(Judge(Format.JSON_LINES), b'{"T":1}\n\0\0\0\0{"T":2}\n{"T":3}\n')
    assert [str(problem) for problem in judgement.problems] == ["line 2, column 1: begins with 4 NUL bytes"]


def test_pm2_valid_but_reset_is_ok_here() -> None:
    """pm2#2653: `[]` is valid; only a declared guard can call it a reset."""
    assert verdict(Judge(Format.JSON), b"[]").verdict is Verdict.OK


def test_nextcloud_one_key_left_fails_its_schema(schema_source: Callable[..., SchemaSource]) -> None:
    """nextcloud/server#18620: valid, but what the service needs is gone; a schema tells."""
    schema = {"type": "object", "required": ["instanceid", "secret"]}
    judge = Judge(Format.JSON, closure=close(schema_source(schema)))
    assert [str(problem) for problem in verdict(judge, b'{"maintenance": true}').problems] == [
        '#: lacks "instanceid"',
        '#: lacks "secret"',
    ]
