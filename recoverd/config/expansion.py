"""`~` and `${NAME}` in paths. Pure; ValueError carries a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\{([^}]*)(\}?)")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)


def expand(text: str, *, environ: Mapping[str, str], home: str, used: dict[str, str | None]) -> str:
    """`text` with a leading `~` as `home` and `${NAME}` or `${NAME:-default}` from the environment.

    A variable that is empty counts as unset: `${DIR}/state` must not become /state. `used` collects the names
    that were asked for, with their values. Raises ValueError for an unset one without default, and for `~user`.
    """

    def replace(found: re.Match[str]) -> str:
        inside = _INSIDE.match(found[1])
        if not found[2] or inside is None:
            raise ValueError(f"{found[0]} is no reference to a variable: write ${{NAME}} or ${{NAME:-default}}")
        name, default = inside[1], inside[2]
        if default is not None and "${" in default:
            raise ValueError(f"the default of ${{{name}}} can't refer to another variable")
        value = environ.get(name)
        used[name] = value
        if value:
            return value
        if default is None:
            state = "empty" if value == "" else "not set"
            raise ValueError(f"the environment variable {name} is {state}; ${{{name}:-default}} gives a default")
        return tilde(default) if found.start() == 0 else default

    def tilde(path: str) -> str:
        if not path.startswith("~"):
            return path
        if path != "~" and not path.startswith("~/"):
            raise ValueError("only ~ and ~/ are expanded, for the user that recoverd runs as")
        return home + path[1:]

    expanded = _REFERENCE.sub(replace, tilde(text))
    if "\0" in expanded:
        raise ValueError("a path can't hold a NUL byte")
    return expanded
