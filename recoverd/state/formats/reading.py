"""Reading a whole document of any format into plain values."""

from __future__ import annotations

from recoverd.config.model import Format
from recoverd.state.formats import json_format
from recoverd.state.formats.compression import HEAD_BYTES, Compression, find, unpack
from recoverd.state.formats.text import Documents, Limits, Unjudgeable, blank
from recoverd.state.verdicts import Problem


def read(
    data: bytes, format: Format, *, allow: frozenset[str] = frozenset(), limits: Limits | None = None
) -> Documents:
    """What is in a document of a format other than `auto` and `opaque`, seen through its compression.

    JSON gives one value, JSON lines one for each line that is not blank, YAML one for each document that holds
    something, TOML one. Raises Unjudgeable for what is larger than is parsed.
    """
    limits = limits or Limits()
    if find(data[:HEAD_BYTES]) is not Compression.NONE:
        unpacked = unpack(data, limits.most_bytes(format))
        if unpacked.problem is not None:
            return Documents(problems=(unpacked.problem,))
        data = unpacked.data
    return read_plain(data, format, allow=allow, limits=limits)


def read_plain(data: bytes, format: Format, *, allow: frozenset[str] = frozenset(), limits: Limits) -> Documents:
    """The same of one that is not compressed, or not any more."""
    most_bytes = limits.most_bytes(format)
    if len(data) > most_bytes:
        raise Unjudgeable(f"is larger than {most_bytes} bytes, more than is parsed; `format: opaque` keeps it unparsed")
    if format is Format.YAML:
        from recoverd.state.formats import yaml_format

        return yaml_format.parse(data, allow=allow, limits=limits)
    if format is Format.TOML:
        from recoverd.state.formats import toml_format

        return toml_format.parse(data, limits=limits)
    if format is Format.JSON_LINES:
        return _lines(data, allow, limits)
    parsed = json_format.parse(data, allow=allow, limits=limits)
    return Documents((parsed.value,), ("",), parsed.problems, parsed.notes)


def _lines(data: bytes, allow: frozenset[str], limits: Limits) -> Documents:
    if not data.strip(b"\0") and (sentence := blank(data)):
        return Documents(problems=(Problem("", sentence),) if data else ())
    read = [
        (number, json_format.parse(line, allow=allow, limits=limits, line=number))
        for number, line in enumerate(data.split(b"\n"), 1)
        if line.strip(b" \t\r")
    ]

    def placed(pick: str) -> tuple[Problem, ...]:
        return tuple(_on_line(number, one) for number, parsed in read for one in getattr(parsed, pick))

    return Documents(
        tuple(parsed.value for _, parsed in read),
        tuple(f"line {number}" for number, _ in read),
        placed("problems")[: limits.problems],
        placed("notes")[: limits.problems],
    )


def _on_line(number: int, problem: Problem) -> Problem:
    if problem.place.startswith("line "):
        return problem
    return Problem(f"line {number}, {problem.place}" if problem.place else f"line {number}", problem.problem)
