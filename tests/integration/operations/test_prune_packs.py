"""What `prune` makes of packs, seen from the operations and the command line: few files, little waste, figures told."""

from __future__ import annotations

import io
from typing import Any

from recoverd.cli.prune import _render
from recoverd.cli.terminal import Terminal
from recoverd.config.model import Retention
from recoverd.repository.packs import SUFFIX


def told(result: Any) -> str:
    out = io.StringIO()
    _render(result, Terminal(out, io.StringIO()))
    return out.getvalue()


def size_of_packs(house: Any) -> int:
    return sum(path.stat().st_size for path in house.packs)


def test_autosave_leaves_few_files(house: Any) -> None:
    """A snapshot every 30 s does not leave a million files: pruning by itself, as autosave does, keeps them few."""
    house.change(retention=Retention(last=3))
    for number in range(40):
        house.write(number)
        house.write_task(f"task-{number:03d}", changed=number)
        assert house.snapshot().outcome == "saved"
    assert len(house.list()) == 3
    assert len(house.packs) <= 30
    before = size_of_packs(house)
    result = house.prune()
    assert before - size_of_packs(house) == result.freed_bytes > 0
    assert len(house.packs) <= 24
    contents = house.contents()
    for path in (house.state, *house.tasks.glob("*.json")):
        path.write_bytes(b"")
    assert house.restore().healthy is not False
    assert house.contents() == contents


def test_what_it_does_is_told_before_and_after(house: Any) -> None:
    """cli.md: text and JSON come from one result; a dry run foretells it and changes nothing."""
    house.change(retention=Retention(last=1))
    house.snapshot(prune=False)
    for number in range(90):
        house.write_task(f"task-{number:03d}", changed=number)
    house.snapshot(prune=False)
    files = house.packs
    foreseen = house.prune(dry_run=True)
    assert house.packs == files
    assert (foreseen.removed, foreseen.packs.removed, foreseen.packs.rewritten) == (("app/1",), 0, 1)
    assert "1 snapshot would be removed, 1 kept, about " in told(foreseen)
    assert "would be freed; 1 pack would be rewritten" in told(foreseen)
    before = size_of_packs(house)
    result = house.prune()
    assert result.to_json()["packs"] == {
        "removed": 0,
        "rewritten": 1,
        "written": 1,
        "written_bytes": result.packs.written_bytes,
    }
    assert abs(foreseen.freed_bytes - result.freed_bytes) < 1000
    assert result.freed_bytes > before - size_of_packs(house) > 0
    assert "1 snapshot removed, 1 kept, " in told(result)
    assert "; 1 pack rewritten as 1 new one of " in told(result)
    assert told(house.prune()) == "0 snapshots removed, 1 kept\n"


def test_damage_is_named_and_left_alone(house: Any) -> None:
    """Promise 7: the pack that holds what can't be read any more stays, and every prune says so."""
    house.change(retention=Retention(last=1))
    house.snapshot(prune=False)
    (pack,) = house.packs
    for number in range(90):
        house.write_task(f"task-{number:03d}", changed=number)
    house.snapshot(prune=False)
    data = bytearray(pack.read_bytes())
    data[60] ^= 0xFF
    pack.write_bytes(data)
    for _ in range(2):
        result = house.prune()
        assert any(pack.name.removesuffix(SUFFIX) in note for note in result.notes)
        assert pack.read_bytes() == data


def test_what_nobody_declares_is_forgotten(house: Any) -> None:
    """The catalog does not grow with every item there ever was; what is declared costs no full read."""
    house.snapshot()
    catalog = house.context.repository().catalog
    assert catalog.stat_cache("app/tasks")
    items = dict(house.service.state)
    del items["tasks"]
    house.change(state=items)
    house.prune()
    catalog = house.context.repository().catalog
    assert not catalog.stat_cache("app/tasks")
    assert catalog.stat_cache("app/main")
