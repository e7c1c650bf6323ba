"""Promise 11: how often `restore --boot` waits for the disk. Good state costs nothing, damaged state a known number."""

from __future__ import annotations

from pathlib import Path

from tests.crash.lost_writes.house import House
from tests.crash.lost_writes.recording import SYNCS, record

OF_EACH = 16  # of a service: its staging, what is noted of it, evidence, intent, the swap, quarantine, the end
OF_ALL = 12  # what lies above all of them, resume reports, the catalog; one or two more or less, as they meet
FEW, MANY = 2, 6


def declared(house: House, count: int) -> list[Path]:
    """So many services more, with ten documents each."""
    services = ""
    documents: list[Path] = []
    for number in range(count):
        directory = house.root / f"{count}-{number}"
        directory.mkdir(exist_ok=True)
        documents += [directory / f"{document}.json" for document in range(10)]
        services += f"  s{count}-{number}:\n    state: {{all: {{directory: {directory}, format: json}}}}\n"
    (house.conf / "conf.d" / "many.yaml").write_text(f"services:\n{services}")
    for document in documents:
        document.write_text('{"good": true}')
    done, _ = record(house.command(("snapshot",)), house.env)
    assert done.returncode == 0, done.stderr
    return documents


def syncs(house: House) -> int:
    done, calls = record(house.command(("restore", "--boot")), house.env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return sum(call.name in SYNCS and not call.began for call in calls)


def test_a_boot_waits_for_the_disk_as_often_as_it_must(house: House) -> None:
    """More services that are good cost no sync more, and those that are damaged no more than the transaction has."""
    found = []
    for count in (FEW, MANY):
        documents = declared(house, count)
        syncs(house)  # the first one makes directories
        found.append(syncs(house))
        for document in documents:
            document.write_bytes(b'{"good": ')
        assert syncs(house) <= OF_ALL + OF_EACH * count
        assert all(document.read_text() == '{"good": true}' for document in documents)
    assert found[0] == found[1], "state that is good costs syncs"
