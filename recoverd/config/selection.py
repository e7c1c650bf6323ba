"""Which names of a directory item are covered: `include` and `exclude`, with the common sense of .gitignore.

- A pattern without a slash (`*.json`) is compared with the name alone, at any depth; one with a slash in it or at its
  start (`tasks/*.json`, `/state.json`) with the whole path below the item.
- `*` and `?` stand for anything but a slash, also at the start of a hidden name; `[a-z]` and `[!a-z]` for one
  character; `**` as a whole component for any number of components, also none; a backslash takes away any meaning.
- A slash at the end (`cache/`) means that only a directory is meant.
- A pattern that fits a directory covers (or excludes) all that is in it.
- Without `include` everything is covered; `exclude` wins. There is no negation: `exclude` is it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from recoverd.errors import StateError

_NEVER = re.compile(r"(?!)")
_ANY_DEPTH = "(?:[^/]+/)*"


class Selection:
    """The names that a directory item covers. Paths are relative to the item, without a leading slash."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """Raises StateError for a pattern that can't mean anything."""
        self.everything = not include and not exclude
        included = [_components(pattern) for pattern in include]
        self._include = _union([_covering(*pattern) for pattern in included]) if include else None
        self._exclude = _union([_covering(*_components(pattern)) for pattern in exclude])
        # Directories that are covered themselves, or below which something may be.
        self._leading = _union([_covering(parts, directory=False) + "|" + _leading(parts) for parts, _ in included])

    def covers(self, relative: str) -> bool:
        """Whether the file (or link) at this path is part of the item."""
        if self.everything:
            return True
        if self._exclude.fullmatch(relative):
            return False
        return self._include is None or self._include.fullmatch(relative) is not None

    def may_descend(self, relative_dir: str) -> bool:
        """Whether anything below this directory can be covered; "" is the item itself."""
        if self.everything or not relative_dir:
            return True
        if self._exclude.fullmatch(relative_dir + "/"):  # with the slash, so that `cache/` fits it
            return False
        return self._include is None or self._leading.fullmatch(relative_dir) is not None


def _union(expressions: Sequence[str]) -> re.Pattern[str]:
    if not expressions:
        return _NEVER
    return re.compile("|".join(f"(?:{expression})" for expression in expressions), re.DOTALL)


def _components(pattern: str) -> tuple[list[str], bool]:
    """A pattern as components ("**" for any depth), and whether it means directories only."""
    directory = pattern.endswith("/") and not pattern.endswith("\\/")
    body = pattern.rstrip("/") if directory else pattern
    anchored = "/" in body
    parts = body.removeprefix("/").split("/")
    if pattern.startswith("!"):
        raise StateError(
            f"the pattern {pattern!r} begins with !", hint=r"use `exclude`, or \! for a name that begins so"
        )
    if any(part in ("", ".", "..") for part in parts):
        raise StateError(f"the pattern {pattern!r} is not a path below the item")
    if not anchored:
        parts = ["**", *parts]
    joined: list[str] = []
    for part in parts:
        if part != "**" or joined[-1:] != ["**"]:
            joined.append(part)
    return joined, directory


def _covering(parts: Sequence[str], directory: bool) -> str:
    """An expression for the paths that the pattern fits, and for all below them."""
    expression = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            expression += ".+" if last else _ANY_DEPTH
        else:
            expression += _component(part) + ("" if last else "/")
    if parts[-1] == "**":
        return expression
    return expression + ("/.*" if directory else "(?:/.*)?")


def _leading(parts: Sequence[str]) -> str:
    """An expression for the directories above a path that the pattern may fit."""
    if "**" in parts:
        fixed = list(parts[: parts.index("**")])
        below = "(?:/.*)?" if fixed else ".*"
    else:
        fixed = list(parts[:-1])
        below = ""
    if not fixed:
        return below or "(?!)"
    above = ["/".join(_component(part) for part in fixed[:count]) for count in range(1, len(fixed))]
    return "|".join([*above, "/".join(_component(part) for part in fixed) + below])


def _component(glob: str) -> str:
    """An expression for one component."""
    expression = ""
    position = 0
    while position < len(glob):
        char = glob[position]
        position += 1
        if char == "*":
            if not expression.endswith("[^/]*"):
                expression += "[^/]*"
        elif char == "?":
            expression += "[^/]"
        elif char == "[" and (end := glob.find("]", position + 1 + glob.startswith("!", position))) >= 0:
            expression += _character_class(glob[position:end])
            position = end + 1
        elif char == "\\" and position < len(glob):
            expression += re.escape(glob[position])
            position += 1
        else:
            expression += re.escape(char)
    # A component that begins with `*` fits hidden names too, but never nothing.
    return f"(?=[^/]){expression}"


def _character_class(inner: str) -> str:
    """An expression for what stands between brackets; a range that runs backwards holds nothing."""
    negated = inner.startswith("!")
    members = inner.removeprefix("!")
    expression = ""
    position = 0
    while position < len(members):
        first, last = members[position], members[position + 2 : position + 3]
        if last and members[position + 1] == "-":
            if first <= last:
                expression += f"{re.escape(first)}-{re.escape(last)}"
            position += 3
        else:
            expression += re.escape(first)
            position += 1
    if not expression:
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{expression}]"
