"""One process keeps a database in WAL mode for itself and writes all the time: nobody else can get a lock, so a copy is
an image of the files. Each must be what one commit has left: all that was committed before it, and nothing else."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest

from recoverd.state.databases import copying
from recoverd.state.databases.files import Unreadable

ALONE = ["synchronous=OFF", "locking_mode=EXCLUSIVE"]
# What it does beside its transfers, to the -wal and the database.
HABITS: dict[str, dict[str, Any]] = {
    "checkpoints as SQLite does them": {"settings": ALONE},
    "checkpoints after ten pages": {"settings": [*ALONE, "wal_autocheckpoint=10"]},
    "checkpoints that end later": {
        "settings": [*ALONE, "wal_autocheckpoint=0"],
        "now_and_then": [(23, ["PRAGMA wal_checkpoint(PASSIVE)"]), (61, ["PRAGMA wal_checkpoint(TRUNCATE)"])],
    },
    "what is not committed is written": {"settings": [*ALONE, "cache_size=5"], "large_every": 7},
    "a short -wal": {"settings": [*ALONE, "journal_size_limit=0", "wal_autocheckpoint=30"]},
    "the -shm file in use before": {
        "settings": ["synchronous=OFF", "schema_version", "locking_mode=EXCLUSIVE", "wal_autocheckpoint=100"]
    },
    "pages that move": {
        "settings": [*ALONE, "cache_size=5", "wal_autocheckpoint=200"],
        "large_every": 40,
        "now_and_then": [(50, ["VACUUM"])],
    },
    "other journals": {
        "settings": [*ALONE, "wal_autocheckpoint=50"],
        "now_and_then": [(40, ["PRAGMA journal_mode=DELETE"]), (45, ["PRAGMA journal_mode=WAL"])],
    },
}


@pytest.mark.parametrize("habit", HABITS)
def test_images_under_load(bank: Any, torture: Any, monkeypatch: pytest.MonkeyPatch, habit: str) -> None:
    """What can't be copied so is told, and no copy is wrong."""
    monkeypatch.setattr(copying, "WAIT_S", 0.2)  # locks are never given here
    made, refused, rates = 0, 0, []
    for padding, rate in ((300, 500), (3000, 500), (300, 4000), (30_000, 500)) if torture.full else ((300, 250),):
        bank.make("wal", padding=padding, page_size=torture.random.choice((512, 4096, 16384)), clerks=1)
        bank.hire(rate=rate, **HABITS[habit])
        copies: list[Any] = []
        tried = 0
        while tried < (100 if torture.full else 4) and tried - len(copies) < 3:
            tried += 1
            with suppress(Unreadable):
                copies.append(bank.copy())
            time.sleep(torture.random.random() * 0.02)
        day = bank.close()
        rates.append(day.rate)
        for copy in copies:
            day.check(copy)
        made += sum(copy.how == "image" for copy in copies)
        refused += tried - len(copies)
        assert day.busy == 0
    assert made
    found = (
        f"{made} images, all of them what one commit has left, {refused} refused, beside "
        f"{', '.join(f'{rate:.0f}' for rate in rates)} transfers a second by one process that kept it for itself"
    )
    torture.tell(made + refused, f"copies of a database in exclusive use ({habit})", found)
