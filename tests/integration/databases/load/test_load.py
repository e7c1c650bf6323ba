"""Five hundred transfers a second by four processes while copies are made: nobody is turned away, nobody waits for
longer than the copy takes, and every copy is what one commit has left."""

from __future__ import annotations

import time
from typing import Any

import pytest

MODES = ["wal", "delete", "truncate", "persist"]
COMPANY: dict[str, list[tuple[str, float]]] = {
    "alone": [],
    "with readers": [("read", 60), ("read", 40)],
    "with vacuum": [("vacuum", 2), ("read", 30)],
    "with checkpoints": [("checkpoint", 15)],
}


def cases(torture: Any, mode: str) -> list[tuple[str, int]]:
    """In which company, with which page size."""
    company = [one for one in COMPANY if mode == "wal" or one != "with checkpoints"]
    found = [(one, page_size) for one in company for page_size in (512, 4096, 65536)]
    return found if torture.full else [torture.random.choice(found)]


@pytest.mark.parametrize("mode", MODES)
def test_copies_under_load(bank: Any, torture: Any, poll_s: float, mode: str) -> None:
    """The longest wait of a writer while a copy is made is held against the copy itself, and against what writers wait
    for each other without one; by the clock, so the gate, which may run anywhere, leaves that to the torture."""
    for company, page_size in cases(torture, mode):
        bank.make(mode, page_size=page_size, padding=20_000 if torture.full else 2000)
        for _ in range(4):
            bank.hire()
        for does, rate in COMPANY[company]:
            bank.hire(does, rate=rate)
        copies = []
        for _ in range(40 if torture.full else 4):
            copies.append(bank.copy())
            time.sleep(torture.random.random() * 0.1)
        while copies[-1].counts == copies[0].counts:  # nobody got on yet
            copies.append(bank.copy())
        day = bank.close()
        assert day.busy == 0
        assert ("live" if mode == "wal" else "locked") in {copy.how for copy in copies}
        for copy in copies:
            day.check(copy)
        without = day.stall_without(copies)
        over = max(day.stall(copy) - copy.seconds for copy in copies)
        if torture.full:
            assert over < 2 * without + poll_s
        longest, slowest = max(map(day.stall, copies)), max(copy.seconds for copy in copies)
        found = (
            f"{day.rate:.0f} transfers a second by 4 processes, SQLITE_BUSY {day.busy} times, all copies whole; the "
            f"longest stall {longest:.3f} s beside copies of {slowest:.3f} s at most, {without:.3f} s without one, and "
            f"{max(over, 0.0):.3f} s more than the copy it met took"
        )
        torture.tell(len(copies), f"copies under load ({mode}, pages of {page_size}, {company})", found)
