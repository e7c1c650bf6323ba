"""Python's regular expressions in the words of Rust's: the same texts match, or there is no translation.

Rust's engine takes time linear in the text whatever the pattern is. What it has not (looking around, references to
groups) can't be translated. Where the two mean different characters (`\\d`, `\\w`, `\\s`, `\\b` beyond ASCII), the
translation holds for ASCII texts only, and says so.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

_MOST_REPEATS = 1000
_CATEGORIES = {  # within ASCII
    "DIGIT": r"\x{30}-\x{39}",
    "NOT_DIGIT": r"\x{0}-\x{2f}\x{3a}-\x{7f}",
    "WORD": r"\x{30}-\x{39}\x{41}-\x{5a}\x{5f}\x{61}-\x{7a}",
    "NOT_WORD": r"\x{0}-\x{2f}\x{3a}-\x{40}\x{5b}-\x{5e}\x{60}\x{7b}-\x{7f}",
    "SPACE": r"\x{9}-\x{d}\x{1c}-\x{20}",
    "NOT_SPACE": r"\x{0}-\x{8}\x{e}-\x{1b}\x{21}-\x{7f}",
}


class Untranslatable(Exception):
    """The pattern has no counterpart."""


def translate(pattern: str) -> tuple[str, bool]:
    """A pattern of `re.search` as one of Rust, and whether it is right for ASCII texts only. Raises Untranslatable."""
    parser: Any = importlib.import_module("re._parser")
    parsed = parser.parse(pattern)
    if parsed.state.flags & ~re.UNICODE:
        raise Untranslatable
    translator = _Translator()
    return translator.sequence(list(parsed), at_end=True), translator.only_ascii


def _character(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:
        raise Untranslatable  # no character to Rust
    return rf"\x{{{code:x}}}"


class _Translator:
    def __init__(self) -> None:
        self.only_ascii = False

    def sequence(self, items: list[tuple[Any, Any]], *, at_end: bool) -> str:
        """`at_end`: nothing of the pattern comes behind it."""
        last = len(items) - 1
        parts = (
            self._item(str(name), argument, at_end and index == last) for index, (name, argument) in enumerate(items)
        )
        return "".join(parts)

    def _item(self, name: str, argument: Any, at_end: bool) -> str:
        match name:
            case "LITERAL":
                return _character(argument)
            case "NOT_LITERAL":
                return f"[^{_character(argument)}]"
            case "ANY":
                return r"[^\x{a}]"
            case "IN":
                return self._set(argument)
            case "AT":
                return self._place(str(argument), at_end)
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repeat(*argument)
            case "SUBPATTERN":
                _, added, removed, inner = argument
                if added or removed:
                    raise Untranslatable
                return f"(?:{self.sequence(list(inner), at_end=at_end)})"
            case "BRANCH":
                return f"(?:{'|'.join(self.sequence(list(each), at_end=at_end) for each in argument[1])})"
        raise Untranslatable

    def _place(self, name: str, at_end: bool) -> str:
        if name in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            return r"\A"
        if name == "AT_END_STRING":
            return r"\z"
        if name == "AT_END" and at_end:
            return r"\x{a}?\z"  # Python's `$` also stands before a last line feed
        if name in ("AT_BOUNDARY", "AT_NON_BOUNDARY"):
            self.only_ascii = True
            return r"(?-u:\b)" if name == "AT_BOUNDARY" else r"(?-u:\B)"
        raise Untranslatable

    def _repeat(self, least: int, most: Any, inner: Any) -> str:
        body = self.sequence(list(inner), at_end=False)
        end = "" if str(most) == "MAXREPEAT" else str(int(most))
        if least > _MOST_REPEATS or (end and int(end) > _MOST_REPEATS):
            raise Untranslatable
        return f"(?:{body}){{{least},{end}}}"

    def _set(self, members: list[tuple[Any, Any]]) -> str:
        negated = ""
        parts = []
        for name, argument in members:
            match str(name):
                case "NEGATE":
                    negated = "^"
                case "LITERAL":
                    parts.append(_character(argument))
                case "RANGE":
                    parts.append(f"{_character(argument[0])}-{_character(argument[1])}")
                case "CATEGORY":
                    self.only_ascii = True
                    parts.append(_CATEGORIES[str(argument).removeprefix("CATEGORY_")])
                case _:
                    raise Untranslatable
        return f"[{negated}{''.join(parts)}]"
