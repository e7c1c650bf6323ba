"""The tables of docs/performance.md, made from results.json: no figure of that page is typed by hand.

`python -m benchmarks.pages` writes them; `make docs` does, too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from difflib import unified_diff
from itertools import groupby
from pathlib import Path

from benchmarks import show
from benchmarks.goals import outcomes
from benchmarks.plans import PLANS
from benchmarks.results import Results, Row

KEPT = Path(__file__).with_name("results.json")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_PART = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write(page: str, results: Results) -> str:
    """The page with the tables between its markers made anew. Raises KeyError for a marker that nothing is known of."""
    return _PART.sub(lambda found: f"{found[1]}\n{_part(found[2], results)}\n\n{found[3]}", page)


def _part(name: str, results: Results) -> str:
    if name == "machine":
        return "\n".join(_machine(results))
    if name == "goals":
        return "\n".join(_goals(results))
    if name not in results.plans and name in PLANS:
        return f"Not measured yet: `benchmarks/run --plan {name} --write-docs` does."
    later = [f"Measured by themselves on {results.later[name]}.", ""] if name in results.later else []
    return "\n".join([f"**{_capital(results.plans[name])}**", "", *later, *_plan(results, name)])


def _machine(results: Results) -> Iterator[str]:
    words = ", ".join(show.words_of(results))
    yield f"Measured on {results.taken[:10]} with recoverd {results.versions['recoverd']}: {words}."
    yield ""
    for note in show.notes(results):
        yield f"- {note}"


def _goals(results: Results) -> Iterator[str]:
    yield "| plan | what | measured | |"
    yield "| --- | --- | --- | --- |"
    for one in outcomes(results):
        met = "met" if one.met else "**missed**"
        yield f"| {one.goal.plan} | {one.goal.tool}: {one.goal.phase} | {show.goal_words(one)} | {met} |"


def _plan(results: Results, plan: str) -> Iterator[str]:
    rows = [row for row in results.rows if row.plan == plan]
    phases = list(dict.fromkeys(row.phase for row in rows))
    yield "| | time | of restic | of cp -a | memory | written | syncs |"
    yield "| --- | --: | --: | --: | --: | --: | --: |"
    for phase, group in groupby(sorted(rows, key=lambda row: phases.index(row.phase)), key=lambda row: row.phase):
        yield f"| **{phase}** | | | | | | |"
        for row in sorted(group, key=lambda row: row.seconds):
            yield f"| {' | '.join(_cells(results, row))} |"


def _cells(results: Results, row: Row) -> tuple[str, ...]:
    return (
        row.tool,
        show.seconds(row.seconds),
        show.ratio(results, row, "restic"),
        show.ratio(results, row, "cp -a"),
        show.memory(results, row),
        show.size(row.written_bytes),
        show.count(row.syncs),
    )


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def main() -> int:
    """Write the page anew from the kept results; with `--check` only compare. The exit status: 1 when they differ."""
    page = PAGE.read_text()
    made = write(page, Results.from_json(KEPT.read_text()))
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(made)
    elif page != made:
        print("".join(unified_diff(page.splitlines(True), made.splitlines(True), PAGE.name, "as it should be")))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
