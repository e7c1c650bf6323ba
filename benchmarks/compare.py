# ruff: noqa: T201 - a script that prints what it measured
"""recoverd beside restic and cp on small JSON documents: seconds of wall clock, all on one file system.

See README.md. Every figure is one run of the command as a user would type it, from start to exit status.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SETTLE_S = 62  # recoverd believes a stat only if the file was left alone for a minute before the capture
SCHEMA = {
    "type": "object",
    "required": ["id", "state", "notes"],
    "properties": {"id": {"type": "integer"}, "state": {"enum": ["new", "done"]}, "notes": {"type": "string"}},
}
ROUNDS = ("first", "unchanged", "1% changed", "restore all")
Environment = Mapping[str, str]


def write_documents(root: Path, count: int, directories: int, chance: random.Random) -> list[Path]:
    """`count` documents of 0.5 to 4 KB each, spread evenly over `directories` (1: all in `root` itself)."""
    paths = []
    for number in range(count):
        place = root if directories == 1 else root / f"part-{number % directories:03d}"
        paths.append(place / f"document-{number:06d}.json")
    for place in {path.parent for path in paths}:
        place.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        path.write_text(document(number, chance))
    return paths


def document(number: int, chance: random.Random) -> str:
    words = " ".join(f"{chance.getrandbits(40):x}" for _ in range(chance.randrange(30, 320)))
    return json.dumps({"id": number, "state": chance.choice(["new", "done"]), "notes": words})


def timed(command: Sequence[str], environment: Environment) -> float:
    """Seconds that a command takes; one that fails ends the comparison."""
    started = time.monotonic()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds


def quiet() -> None:
    """Nothing of an earlier round is still on its way to the disk."""
    os.sync()


class Recoverd:
    def __init__(self, work: Path, source: Path, *, schema: bool) -> None:
        self.name = "recoverd with schema" if schema else "recoverd"
        self.source = source
        state = work / self.name.replace(" ", "-")
        self.config = work / f"{state.name}.json"
        item: dict[str, object] = {"directory": str(source), "format": "json"}
        if schema:
            item["schema"] = SCHEMA
        service = {"state": {"documents": item}}
        self.config.write_text(json.dumps({"version": 1, "state_dir": str(state), "services": {"bench": service}}))
        self.environment: Environment = {"XDG_RUNTIME_DIR": str(work / "runtime")}

    def call(self, *arguments: str) -> float:
        command = [os.path.join(os.path.dirname(sys.executable), "recoverd"), "--config", str(self.config)]
        return timed([*command, *arguments], self.environment)

    def save(self) -> float:
        return self.call("snapshot")

    def restore(self) -> float:
        """All of it, as after a loss: stage, validate, swap, sync, look again."""
        shutil.rmtree(self.source)
        quiet()
        return self.call("restore")


class Restic:
    def __init__(self, work: Path, source: Path) -> None:
        self.name = "restic"
        self.source = source
        self.target = work / "restored-by-restic"
        password = work / "password"
        password.write_text("benchmark")
        self.environment: Environment = {
            "RESTIC_REPOSITORY": str(work / "restic"),
            "RESTIC_PASSWORD_FILE": str(password),
            "RESTIC_CACHE_DIR": str(work / "restic-cache"),
        }
        timed(["restic", "init"], self.environment)

    def save(self) -> float:
        return timed(["restic", "backup", "--quiet", str(self.source)], self.environment)

    def restore(self) -> float:
        shutil.rmtree(self.target, ignore_errors=True)
        quiet()
        return timed(["restic", "restore", "latest", "--quiet", "--target", str(self.target)], self.environment)


def copy(work: Path, source: Path, *, synced: bool) -> float:
    """`cp -a`, and with `synced` until the bytes are on the disk, as after a restore by recoverd."""
    target = work / "copy"
    shutil.rmtree(target, ignore_errors=True)
    quiet()
    seconds = timed(["cp", "-a", str(source), str(target)], {})
    return seconds + (timed(["sync", "-f", str(target)], {}) if synced else 0.0)


def compare(work: Path, count: int, directories: int, *, peers: bool) -> dict[str, dict[str, float]]:
    """Figures by tool and round."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    chance = random.Random(1)  # noqa: S311 - documents, not secrets
    source = work / "documents"
    paths = write_documents(source, count, directories, chance)
    tools: list[Recoverd | Restic] = [Recoverd(work, source, schema=False), Recoverd(work, source, schema=True)]
    if peers:
        tools.append(Restic(work, source))
    figures: dict[str, dict[str, float]] = {tool.name: {} for tool in tools}
    quiet()
    time.sleep(SETTLE_S)

    def all_tools(round_name: str, work_of: Callable[[Recoverd | Restic], float]) -> None:
        for tool in tools:
            quiet()
            figures[tool.name][round_name] = work_of(tool)

    all_tools("first", lambda tool: tool.save())
    all_tools("unchanged", lambda tool: tool.save())
    for number in chance.sample(range(count), max(1, count // 100)):
        paths[number].write_text(document(number, chance))
    time.sleep(1)
    all_tools("1% changed", lambda tool: tool.save())
    if peers:
        figures["cp -a"] = {"restore all": copy(work, source, synced=False)}
        figures["cp -a, sync"] = {"restore all": copy(work, source, synced=True)}
        shutil.rmtree(work / "copy")
    all_tools("restore all", lambda tool: tool.restore())
    if peers:
        figures["cp -a"]["first"] = copy(work, source, synced=False)
    return figures


def show(title: str, figures: Mapping[str, Mapping[str, float]]) -> None:
    print(f"\n{title}\n{'':22}" + "".join(f"{name:>16}" for name in ROUNDS))
    for tool, row in figures.items():
        cells = []
        for name in ROUNDS:
            peer = figures.get("restic", {}).get(name)
            ratio = f" ({row[name] / peer:.2f})" if name in row and peer and tool.startswith("recoverd") else ""
            cells.append(f"{row[name]:.2f}{ratio}" if name in row else "")
        print(f"{tool:22}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="a directory on the file system to be measured; emptied first")
    parser.add_argument("--count", type=int, action="append", help="documents; may be given again")
    parser.add_argument("--directories", type=int, action="append", help="directories; 1: all in one")
    parser.add_argument("--alone", action="store_true", help="measure recoverd only")
    parser.add_argument("--json", action="store_true", help="print figures as JSON instead of tables")
    arguments = parser.parse_args()
    everything = {}
    for count in arguments.count or [10_000, 100_000]:
        for directories in arguments.directories or [100, 1]:
            where = "one directory" if directories == 1 else f"{directories} directories"
            figures = compare(arguments.work.resolve() / "compare", count, directories, peers=not arguments.alone)
            everything[f"{count} documents in {where}"] = figures
            if not arguments.json:
                show(f"{count} documents in {where}: seconds (ratio to restic)", figures)
    if arguments.json:
        print(json.dumps(everything, indent=2))


if __name__ == "__main__":
    main()
