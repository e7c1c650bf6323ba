"""Five hundred transfers a second by four processes while copies are made: nobody is turned away, nobody waits for
longer than the copy takes, and every copy is what one commit has left."""

from __future__ import annotations

import time
from typing import Any

import pytest

MODES = ["wal", "delete", "truncate", "persist"]
COMPANY: dict[str, list[tuple[str, float]]] = {
    "alone": [],
    "with readers": [("read", 20), ("read", 10)],
    "with vacuum": [("vacuum", 0.5), ("read", 10)],
    "with checkpoints": [("checkpoint", 15)],
}


def cases(torture: Any, mode: str) -> list[tuple[str, int]]:
    """In which company, with which page size."""
    company = [one for one in COMPANY if mode == "wal" or one != "with checkpoints"]
    found = [(one, page_size) for one in company for page_size in (512, 4096, 65536)]
    return found if torture.full else [torture.random.choice(found)]


@pytest.mark.parametrize("mode", MODES)
def test_copies_under_load(bank: Any, torture: Any, poll_s: float, mode: str) -> None:
    """What a writer waits beside copies is held against those copies, and against what writers wait for each other in
    as long a time without copies. That is by the clock, so the gate, which may run anywhere, leaves it out; and in
    company they wait for readers, VACUUM and checkpoints too, which is told, and not judged."""
    held_up, timeout_s = [], 5 if torture.full else 60
    for company, page_size in cases(torture, mode):
        bank.make(mode, page_size=page_size, padding=20_000 if torture.full else 2000)
        for _ in range(4):
            bank.hire(timeout_s=timeout_s)
        for does, rate in COMPANY[company]:
            bank.hire(does, rate=rate, timeout_s=timeout_s)
        copies = []
        for _ in range(25 if torture.full else 4):
            copies.append(bank.copy())
            time.sleep(torture.random.random() * 0.1)
        while copies[-1].counts == copies[0].counts:  # nobody got on yet
            copies.append(bank.copy())
        while time.monotonic() - copies[-1].ended < copies[-1].ended - copies[0].begun:
            bank.check()  # that work too is done in both times
            time.sleep(torture.random.random() * 0.1)
        day = bank.close()
        assert day.busy == 0
        assert ("live" if mode == "wal" else "locked") in {copy.how for copy in copies}
        for copy in copies:
            day.check(copy)
        without = day.stall_after(copies[-1].ended)
        stalls, slowest = list(day.stalls(copies)), max(copy.seconds for copy in copies)
        longest, over = (max((one[n] for one in stalls), default=0.0) for n in (0, 1))
        found = (
            f"{day.rate:.0f} transfers a second by 4 processes, SQLITE_BUSY {day.busy} times, all copies whole; the "
            f"longest stall {longest:.3f} s beside copies of {slowest:.3f} s at most, {max(over, 0.0):.3f} s more "
            f"than what it met of them, and {without:.3f} s in as long a time without copies"
        )
        torture.tell(len(copies), f"copies under load ({mode}, pages of {page_size}, {company})", found)
        if company == "alone" and over > 3 * without + 4 * poll_s:
            held_up.append(found)
    assert not (torture.full and held_up)
