"""Results as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recoverd.health.results import Figure, Result, overall


def document(results: Sequence[Result]) -> dict[str, Any]:
    """`{"status", "results": [{"name", "service", "status", "message", "hint", "figures"}]}`, as recoverd(8) has it.

    A figure is `{"value", "unit", "warn", "crit"}`; `warn` and `crit` are null where there is no limit.
    """
    return {"status": overall(results).value, "results": [_result(result) for result in results]}


def _result(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "service": result.service,
        "status": result.status.value,
        "message": result.message,
        "hint": result.hint,
        "figures": {name: _figure(figure) for name, figure in result.figures.items()},
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "value": _exact(figure.value),
        "unit": figure.unit,
        "warn": _exact(figure.warn),
        "crit": _exact(figure.crit),
    }


def _exact(number: int | float | None) -> int | float | str | None:
    """An integer beyond 2^53 as a string: readers of JSON round it."""
    return str(number) if isinstance(number, int) and abs(number) > 2**53 else number
