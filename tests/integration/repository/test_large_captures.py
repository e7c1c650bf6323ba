"""A capture of many bytes: a process helps, which shows in the time alone; an object costs what it always costs."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import psutil
import pytest

from recoverd.repository.compression import START_BYTES
from tests.children import children_that_run


def helpers() -> list[psutil.Process]:
    return children_that_run("recoverd.repository.compression_child")


def files(seed: int) -> dict[str, bytes]:
    """Three times what starts the process, half of it random."""
    chance = random.Random(seed)
    return {f"{n}": chance.randbytes(20_000) + b"%d " % n * 5_000 for n in range(3 * START_BYTES // 40_000)}


@pytest.mark.parametrize("kill_at", [None, 700, 1000])
def test_a_capture_that_a_process_helps_with(bench: Any, kill_at: int | None) -> None:
    """Promise 6: also when that process is killed. The packs are the same."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one processor, which needs no second process")
    given, helped = files(1), 0
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        for number, data in enumerate(given.values()):
            writer.put(data)
            time.sleep(0.0002)  # it has to begin
            helped += number % 100 == 0 and bool(helpers())
            if number == kill_at:
                for helper in helpers():
                    helper.kill()
                    helped += 1
        (snapshot,) = writer.commit([bench.draft(bench.put(writer, given))])
        assert not helpers()
    assert helped
    assert bench.files(snapshot) == given
    assert sorted(bench.files(snapshot)) == sorted(given)


def test_what_is_not_committed_leaves_no_process(bench: Any) -> None:
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        for data in files(2).values():
            writer.put(data)
    assert not helpers()
    assert not bench.packs()
    assert not bench.temporaries()


def test_an_object_costs_the_same_however_many_were_put_before(bench: Any) -> None:
    """Promise 11. A difference of sets by an operator looked at all of them for each one."""
    parts = []
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        for part in range(5):
            began = time.process_time()
            for number in range(2500):
                writer.put_all([b"%d %d" % (part, number)])
            parts.append(time.process_time() - began)
    assert min(parts[3:]) < 3 * min(parts[:2])
