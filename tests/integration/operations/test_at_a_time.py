"""`restore --at TIME`: every service as it was known to be good then, also over good state; nothing else is touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recoverd.errors import UsageError
from recoverd.operations.extract import ExtractRequest, extract
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def times(house: House, count: int) -> dict[int, int]:
    """So many snapshots: the time of each by its counter."""
    found = {}
    for counter in range(1, count + 1):
        house.write(counter)
        made = house.snapshot()
        found[counter] = house.context.repository().snapshot("app", made.sequence or 0).time_ns
    return found


def test_the_newest_at_or_before_it(house: House) -> None:
    """The very time of a snapshot is its own; one that is no known-good one is passed over."""
    found = times(house, 3)
    house.state.write_bytes(b"damaged")
    assert house.snapshot().verdict == "invalid"
    house.write(9)
    before = house.contents()
    for wanted, time_ns in ((2, found[2]), (1, found[2] - 1), (2, found[3] - 1)):
        result = house.restore(at_ns=time_ns)
        assert (result.outcome, result.exit_status) == ("restored", 0)
        assert b'"counter": %d' % wanted in house.state.read_bytes()
        house.undo()
        assert house.contents() == before


def test_before_the_first_nothing_is_touched(house: House) -> None:
    """One service without such a snapshot ends the whole request, with the oldest there is as the hint."""
    first = times(house, 1)[1]
    house.write(5)
    before = house.contents()
    with pytest.raises(UsageError, match="no known-good snapshot at or before") as raised:
        restore(house.context, RestoreRequest(at_ns=first - 1))
    assert "app/1" in (raised.value.hint or "")
    assert house.contents() == before


def test_into_a_directory(house: House) -> None:
    found = times(house, 3)
    house.state.write_bytes(b"damaged")
    target = house.root / "elsewhere"
    result = extract(house.context, ExtractRequest(str(target), at_ns=found[2]))
    (path,) = [one.path for one in result.items if one.item == "main"]
    assert b'"counter": 2' in Path(path).read_bytes()
    assert house.state.read_bytes() == b"damaged"


def test_only_said_with_a_dry_run(house: House) -> None:
    found = times(house, 2)
    before = house.contents()
    result = house.restore(at_ns=found[1], dry_run=True)
    assert result.outcome == "restored"
    assert {item.candidate for item in result.items} == {"app/1"}
    assert house.contents() == before
