"""Whether a text is a regular expression of ECMA-262, which is what format `regex` means in every draft.

One pass from left to right, without recursion and without compiling anything. The grammar is that of section 22.2.1
with named groups and Unicode escapes; of Annex B.1.2 what people write is accepted as well: brackets and braces that
stand for themselves, quantified lookaheads, an escape before anything that is no letter.
"""

from __future__ import annotations

import re

_CLASS_ESCAPES = "dDsSwW"
_CONTROLS = "fnrtv"
_COUNT = re.compile(r"\{([0-9]++)(?:(,)([0-9]*+))?\}")
_GROUP_START = re.compile(r"\((?:\?(?:[:=!]|<[=!]|<([A-Za-z_$][\w$]*+)>|([ims]*+)(-?)([ims]*+):))?")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{0*+([0-9A-Fa-f]{1,6})\}")
_PROPERTY = re.compile(r"[pP]\{[A-Za-z0-9_]++(?:=[A-Za-z0-9_]++)?\}")
_NAME = re.compile(r"k<([A-Za-z_$][\w$]*+)>")


class _Invalid(Exception):
    pass


def is_pattern(text: str) -> bool:
    """Whether `new RegExp(text, "u")` or its older, laxer kin would take it."""
    try:
        _Reader(text).read()
    except _Invalid:
        return False
    return True


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[bool] = []  # of each open group: whether it may be repeated as a whole
        self._names: set[str] = set()
        self._wanted: set[str] = set()

    def read(self) -> None:
        repeatable = False  # whether what stands before can be given a count
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "(":
                self._group()
                repeatable = False
            elif char == ")":
                if not self._open:
                    raise _Invalid
                repeatable = self._open.pop()
                self._at += 1
            elif char == "[":
                self._class()
                repeatable = True
            elif char == "\\":
                self._at += 1
                repeatable = self._escape()
            elif char in "*+?" or (char == "{" and _COUNT.match(self._text, self._at)):
                if not repeatable:
                    raise _Invalid
                self._quantifier()
                repeatable = False
            else:
                repeatable = char not in "^$|"
                self._at += 1
        if self._open or not self._wanted <= self._names:
            raise _Invalid

    def _group(self) -> None:
        match = _GROUP_START.match(self._text, self._at)
        if match is None or (match[0] == "(" and self._text.startswith("(?", self._at)):
            raise _Invalid
        if match[1]:
            self._names.add(match[1])
        if match[2] is not None:
            flags = match[2] + match[4]
            if len(set(flags)) != len(flags) or (match[3] and not flags):
                raise _Invalid
        self._open.append(not match[0].startswith("(?<") or bool(match[1]))
        self._at = match.end()

    def _quantifier(self) -> None:
        if match := _COUNT.match(self._text, self._at):
            least, most = match[1].lstrip("0"), (match[3] or "").lstrip("0")
            if match[3] and (len(most), most) < (len(least), least):
                raise _Invalid
            self._at = match.end()
        else:
            self._at += 1
        if self._text.startswith("?", self._at):
            self._at += 1

    def _escape(self) -> bool:
        """What follows a backslash outside of a class; whether it can be repeated."""
        char = self._text[self._at : self._at + 1]
        if char and char in "bB":
            self._at += 1
            return False
        if match := _NAME.match(self._text, self._at):
            self._wanted.add(match[1])
            self._at = match.end()
            return True
        self._character()
        return True

    def _class(self) -> None:
        self._at += 1
        if self._text.startswith("^", self._at):
            self._at += 1
        start: int | None = None  # the character before, which a range may begin with
        while True:
            char = self._text[self._at : self._at + 1]
            if not char:
                raise _Invalid
            if char == "]":
                self._at += 1
                return
            if char == "-" and start is not None and not self._text.startswith("]", self._at + 1):
                self._at += 1
                end = self._member()
                if end is not None and end < start:
                    raise _Invalid
                start = None
            else:
                start = self._member()

    def _member(self) -> int | None:
        """One character of a class: its code point; None where it stands for several."""
        char = self._text[self._at : self._at + 1]
        if not char:
            raise _Invalid
        self._at += 1
        if char != "\\":
            return ord(char)
        if self._text.startswith("b", self._at):
            self._at += 1
            return 8
        return self._character()

    def _character(self) -> int | None:
        """What follows a backslash: its code point; None for a set of them."""
        char = self._text[self._at : self._at + 1]
        if not char:
            raise _Invalid
        if match := _HEX.match(self._text, self._at):
            self._at = match.end()
            code = int(match[1] or match[2] or match[3], 16)
            if code > 0x10FFFF:
                raise _Invalid
            return code
        if match := _PROPERTY.match(self._text, self._at):
            self._at = match.end()
            return None
        self._at += 1
        if char in _CLASS_ESCAPES:
            return None
        if char in _CONTROLS:
            return {"f": 12, "n": 10, "r": 13, "t": 9, "v": 11}[char]
        if char == "c":
            letter = self._text[self._at : self._at + 1]
            if not (letter.isascii() and letter.isalpha()):
                raise _Invalid
            self._at += 1
            return ord(letter) % 32
        if char in "0123456789":
            return None  # NUL, or a group that was matched before
        if char.isascii() and char.isalpha():
            raise _Invalid
        return ord(char)
