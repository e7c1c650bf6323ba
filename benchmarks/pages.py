"""The tables of docs/performance.md, made from results.json: no figure of that page is typed by hand.

`python -m benchmarks.pages` writes them; `make docs` does, too.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from difflib import unified_diff
from itertools import groupby
from pathlib import Path

from benchmarks import show
from benchmarks.goals import outcomes
from benchmarks.ours import CopyInside
from benchmarks.plans import PLANS
from benchmarks.results import Results, Row
from benchmarks.tools import Phase

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
    if name == "store":
        return _store(results)
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


def _store(results: Results) -> str:
    """Backup and restore of a hundred files, beside what the conversation store says of its own way."""
    rows = {(row.phase, row.tool): row for row in results.rows if row.plan == "few"}
    phases = (Phase.FIRST, Phase.ONE, Phase.RESTORE)
    own = [rows.get((phase, CopyInside.name)) for phase in phases]
    ours = [rows.get((phase, "recoverd with schema, in process")) for phase in phases]
    if None in own or None in ours:
        return "Not measured yet: `benchmarks/run --plan few --write-docs` does."
    copied = [show.seconds(row.seconds) for row in own if row is not None]
    first, one, restore = (show.seconds(row.seconds) for row in ours if row is not None)
    syncs = [show.count(row.syncs) for row in ours if row is not None]
    waits = f"It waits for the disk {syncs[0]}, {syncs[1]} and {syncs[2]} times, the copy never." if all(syncs) else ""
    files = results.plans["few"].partition(" ")[0]
    words = (
        "The [conversation store](recipes/conversation-store.md), a program with saving code of its own, gives a",
        f"figure for backup and restore of {files} files: about 10 ms each, as a copy of the directory.",
        f"`shutil.copytree`, as it does it, takes {copied[0]} and {copied[2]} here. recoverd, in a process that runs",
        f"on and with a schema, takes {first} for the first snapshot, {one} once one file changed, and {restore} for",
        f"the restore; all of it is hashed, judged, and on the disk. {waits}",
    )
    return textwrap.fill(" ".join(words), show.WIDTH + 20).rstrip()


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
