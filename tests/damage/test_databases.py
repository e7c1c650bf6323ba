"""The part of the damage matrix that is about databases: each damage done to a real one, assessed, restored and undone.

Promises 1 (good state is never rolled back), 4 (nothing is lost by a restore) and 7 (damage is never restored).
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.doors import open_the_way

MATRIX: dict[str, Any] = tomllib.loads(Path(__file__).with_name("matrix.toml").read_text())
OLD, NEW = 40, 400  # tasks in an older version and in the known-good one
PAGE = 4096


@dataclass(frozen=True)
class Cell:
    damage: str
    mode: str
    expected: dict[str, str]
    by: str = ""  # what is declared to see it

    def __str__(self) -> str:
        return f"{self.damage}-{self.mode}" + (f"-with-{self.by}" if self.by else "")

    @property
    def keys(self) -> dict[str, Any]:
        keys: dict[str, Any] = MATRIX["keys"][self.by]["all"] if self.by else {}
        return keys


def cells() -> Iterator[Cell]:
    """Every cell, and once more with the keys declared that see what is not seen without."""
    for damage in MATRIX["database"]:
        for mode, name in zip(MATRIX["mode"], damage["modes"], strict=True):
            cell = MATRIX["cell"][name]
            yield Cell(damage["key"], mode["key"], cell)
            if "by" in cell:
                yield Cell(damage["key"], mode["key"], cell["declared"], cell["by"])


CELLS = list(cells())
BY_MODE = {"missing-companion", "killed", "old-companion", "symlink-beside"}  # what lies beside it is another file


def test_every_row_is_done() -> None:
    """No row of the matrix is skipped silently."""
    assert {cell.damage for cell in CELLS} == DAMAGES.keys()


def write(path: Path, mode: str, tasks: int) -> None:
    """So many tasks with an index, closed cleanly."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute("CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY, title TEXT)")
        database.execute("CREATE INDEX IF NOT EXISTS by_title ON tasks (title)")
        database.execute("DELETE FROM tasks")
        titles = ((f"task {number} {'x' * 300}",) for number in range(tasks))
        database.executemany("INSERT INTO tasks (title) VALUES (?)", titles)
        database.commit()


# -- damages -----------------------------------------------------------------------------------------------


def _beside(path: Path, mode: str) -> Path:
    return path.with_name(path.name + ("-wal" if mode == "wal" else "-journal"))


def _killed(path: Path, mode: str) -> None:
    """A writer dies in the middle of a transaction that is larger than its cache."""
    program = (
        "import sqlite3, sys, time\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('PRAGMA cache_size=5'); database.execute('BEGIN')\n"
        "database.execute(\"UPDATE tasks SET title = title || 'y'\")\n"
        "print('ready', flush=True); time.sleep(3600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert _beside(path, mode).stat().st_size


def _cut(path: Path, keep: Callable[[bytes], bytes]) -> None:
    path.write_bytes(keep(path.read_bytes()))


def _missing_with_companion(path: Path, mode: str) -> None:
    _killed(path, mode)
    path.unlink()


def _instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink(missing_ok=True)
    make(path)


def _symlink(path: Path) -> None:
    """To a database that would pass: reading through it would be the mistake."""
    target = path.parent.parent / "elsewhere"
    write(target, "delete", OLD)
    path.symlink_to(target)


def _half_old(path: Path, mode: str) -> None:
    old = path.parent.parent / "older"
    write(old, mode, OLD)
    new = path.read_bytes()
    half = len(new) // 2 // PAGE * PAGE
    path.write_bytes(new[:half] + old.read_bytes() * (len(new) // old.stat().st_size + 1))
    os.truncate(path, len(new))


def _without_index_rows(path: Path, mode: str) -> None:
    """As a bug of SQLite, or of a file system, leaves it: rows that a query by the index does not find."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema=ON")
        (sql,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'by_title'").fetchone()
        database.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'by_title'", (f"{sql} WHERE id < 0",))
        database.commit()
    with closing(sqlite3.connect(path)) as database:
        database.execute("REINDEX by_title")
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'by_title'", (sql,))
        database.commit()


def _emptied(path: Path, mode: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM tasks")


def _anew(path: Path, mode: str) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute("CREATE TABLE other (id)")
        database.commit()


def _owner(path: Path, mode: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 54321, 54321)
    open_the_way(path.parent)


DAMAGES: dict[str, Callable[[Path, str], object]] = {
    "missing": lambda path, mode: path.unlink(),
    "missing-companion": _missing_with_companion,
    "empty": lambda path, mode: _cut(path, lambda data: b""),
    "nul": lambda path, mode: _cut(path, lambda data: bytes(len(data))),
    "nul-tail": lambda path, mode: _cut(path, lambda data: data[: len(data) // 2] + bytes(len(data) // 2)),
    "half": lambda path, mode: _cut(path, lambda data: data[: len(data) // 2]),
    "last-byte": lambda path, mode: _cut(path, lambda data: data[:-1]),
    "half-old": _half_old,
    "header": lambda path, mode: _cut(path, lambda data: data[:16] + b"\xa5" * 84 + data[100:]),
    "page": lambda path, mode: _cut(path, lambda data: data[: 2 * PAGE] + b"\xa5" * PAGE + data[3 * PAGE :]),
    "index": _without_index_rows,
    "reset": _emptied,
    "anew": _anew,
    "killed": _killed,
    "old-companion": lambda path, mode: _beside(path, mode).write_bytes(b"\xa5" * 3 * PAGE),
    "owner": _owner,
    "symlink": lambda path, mode: _instead(path, _symlink),
    "fifo": lambda path, mode: _instead(path, os.mkfifo),
    "directory": lambda path, mode: _instead(path, Path.mkdir),
    "symlink-beside": lambda path, mode: _instead(_beside(path, mode), _symlink),
}


def chosen() -> list[Cell]:
    """Every cell under torture; else of damages to the database itself those of one mode, in turns."""
    if os.environ.get("RECOVERD_TORTURE"):
        return CELLS
    order = list(DAMAGES)
    modes = [mode["key"] for mode in MATRIX["mode"]]
    return [one for one in CELLS if one.damage in BY_MODE or modes[order.index(one.damage) % 2] == one.mode]


@pytest.mark.parametrize("cell", chosen(), ids=str)
def test_damage(cell: Cell, build: Any) -> None:
    house = build("sqlite", cell.keys)
    write(house.document, cell.mode, NEW)
    assert house.snapshot() == "saved"
    good = house.document.read_bytes()
    DAMAGES[cell.damage](house.document, cell.mode)
    before = house.contents()

    item = house.assess()
    assert item.verdict.value == cell.expected["verdict"], item.problems
    assert house.contents() == before, "an assessment changes nothing"
    assert bool(item.problems) == (cell.expected["verdict"] != "ok")
    result = house.restore()

    assert result.outcome == cell.expected["outcome"], result
    assert ({one.source for one in result.items} or {"none"}) == {cell.expected["source"]}, result
    assert result.exit_status == 0
    if result.outcome == "untouched":
        assert house.contents() == before
        assert not house.quarantined()
        return
    assert sorted(path.name for path in house.state.iterdir()) == [house.document.name]
    with closing(sqlite3.connect(house.document)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM tasks").fetchone() == (NEW,)
    assert len(house.document.read_bytes()) == len(good)
    kept = house.quarantined().values()
    assert all(what in kept for what in before.values()), "nothing is lost by a restore"
    house.undo()
    assert house.contents() == before, "and undo brings it back"
