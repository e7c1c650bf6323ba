"""Writes the generated parts of the pages: `make docs`; with `--check [PAGE…]` it compares, and tells what differs.

- The damage matrix, from tests/damage/matrix.toml, between `<!-- matrix -->` and `<!-- end -->`.
- What commands print: after `<!-- house: NAME -->` the `sh` blocks of a page are really run, in a house that houses.py
  prepares, until the next such comment. Each line must end with the status that its `# exit status N` claims, or 0. A
  `text` block that follows is what they printed; paths, times and the like are put as they are on a usual machine.
  `<!-- as is -->` before a block says that it is not run.
"""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.documentation.houses import HOUSES, House, Unavailable

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MATRIX = ROOT / "tests" / "damage" / "matrix.toml"
PAGES = (
    "recovery.md",
    "troubleshooting.md",
    "formats.md",
    "recipes/coding-agent.md",
    "recipes/session-manager.md",
    "recipes/orchestrator.md",
    "recipes/conversation-store.md",
)
_PARTS = re.compile(
    r"<!-- house: (?P<house>\S+) -->"
    r"|<!-- as is -->\n+```.*?^```"
    r"|^```sh\n(?P<commands>.*?)^```(?P<between>\n*)(?P<output>^```text\n.*?^```)?",
    re.MULTILINE | re.DOTALL,
)
_STATUS = re.compile(r"\s+# exit status (\d+)(?::[^'\"]*)?$|\s+#[^#'\"]*$")

_SESSION = re.compile(r"\w+=|cd ")  # what the following lines of a block build upon


def matrix() -> str:
    """The damage matrix as three tables, one for each kind of item."""
    data = tomllib.loads(MATRIX.read_text())
    lines = []
    for kind, words in (("file", "File items"), ("directory", "One document of a directory item")):
        lines += [f"**{words}**", "", f"| damage | {' | '.join(one['title'] for one in data['format'])} |"]
        lines.append("| --- " * (len(data["format"]) + 1) + "|")
        for damage in data["damage"]:
            if kind in damage:
                cells = [data["cell"][name]["text"] for name in damage[kind]]
                lines.append(f"| {damage['title']} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"- {damage['title']}: {damage['note']}." for damage in data["damage"] if "note" in damage]
    lines += ["", "**SQLite items**", "", f"| damage | {' | '.join(one['title'] for one in data['mode'])} |"]
    lines.append("| --- " * (len(data["mode"]) + 1) + "|")
    for damage in data["database"]:
        cells = [data["cell"][name]["text"] for name in damage["modes"]]
        lines.append(f"| {damage['title']} | {' | '.join(cells)} |")
    lines += ["", *(f"- {damage['title']}: {damage['note']}." for damage in data["database"] if "note" in damage)]
    lines.append(
        "- ¹ without that key it is `ok` and left alone: nothing else tells. Where there is no schema `assess` says so."
    )
    return "\n".join(lines)


def page(text: str) -> str:
    """A page with its generated parts made anew. Raises SystemExit for a claim that is not true."""
    text = re.sub(
        r"(<!-- matrix -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{matrix()}\n\n{found[2]}",
        text,
        flags=re.DOTALL,
    )
    house: House | None = None
    with tempfile.TemporaryDirectory() as scratch:
        opened: list[House] = []

        def part(found: re.Match[str]) -> str:
            nonlocal house
            if found["house"] is not None:
                place = Path(scratch, str(len(opened)))
                place.mkdir()
                house = House(place)
                opened.append(house)
                try:
                    HOUSES[found["house"]](house)
                except Unavailable as reason:
                    print(f"{found['house']} is not run here: {reason}", file=sys.stderr)
                    house = None
                return found[0]
            if found["commands"] is None or house is None:
                return found[0]
            printed = run(house, found["commands"])
            block = f"```sh\n{found['commands']}```"
            return block if found["output"] is None else f"{block}{found['between']}```text\n{printed}```"

        try:
            return _PARTS.sub(part, text)
        finally:
            for one in opened:
                one.close()


def run(house: House, commands: str) -> str:
    """Run the lines of a block one after the other; what they printed, each behind its prompt."""
    printed, session = [], []
    for line in commands.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        claimed = _STATUS.search(line)
        command = line[: claimed.start()] if claimed else line
        if _SESSION.match(command):
            session.append(command)
            continue
        status, output = house.shell("; ".join([*session, command]))
        if status != int((claimed[1] if claimed else None) or 0):
            sys.exit(f"{command}: the page does not claim exit status {status}\n{output}")
        printed.append(f"$ {command}\n{output}")
    return "\n".join(printed)


def main() -> int:
    """The exit status: 1 when a page is not what it should be."""
    status, check = 0, sys.argv[1:2] == ["--check"]
    for name in sys.argv[2 if check else 1 :] or PAGES:
        path = DOCS / name
        before = path.read_text()
        after = page(before)
        if not check:
            path.write_text(after)
        elif before != after:
            print("".join(difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, "as it is now")))
            status = 1
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.TimeoutExpired as error:
        sys.exit(f"{error.cmd}: did not end")
