"""`recoverd verify --heal`: what somebody still has comes back; nothing is lost, or believed without its hash."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from recoverd.errors import DamagedObject
from recoverd.health.results import Result, Status
from recoverd.operations.verify import VerifyRequest, VerifyResult, verify
from recoverd.repository.packs import read_index
from recoverd.repository.store import Repository

LARGE = b'{"id": "large", "of several blocks": "%b"}' % b"".join(b"%07d" % number for number in range(400_000))


def run(house: Any, *, heal: bool = False, **options: Any) -> VerifyResult:
    house.reopen()
    return verify(house.context, VerifyRequest(heal=heal, **options))


def spoil(pack: Path, at: float = 0.3) -> None:
    """Damage one byte, so far into the frames."""
    data = bytearray(pack.read_bytes())
    data[int(len(data) * at)] ^= 0x55
    pack.write_bytes(data)


def restorable(house: Any) -> dict[str, dict[str, bytes]]:
    """Every file of every snapshot, read through the repository and checked."""
    repository: Repository = house.context.repository()
    found: dict[str, dict[str, bytes]] = {}
    with repository.reader() as reader:

        def collect(tree: str, into: dict[str, bytes], below: str) -> None:
            for entry in reader.tree(tree):
                if entry.type == "dir":
                    assert entry.hash is not None
                    collect(entry.hash, into, f"{below}{entry.name}/")
                else:
                    into[below + entry.name] = b"".join(
                        chunk if isinstance(chunk, bytes) else bytes(chunk) for chunk in reader.file_chunks(entry)
                    )

        for snapshot in repository.snapshots("app"):
            files = found[snapshot.id] = {}
            for name, item in snapshot.items.items():
                collect(item.root, files, f"{name}:")
    return found


@pytest.fixture
def saved(house: Any) -> Any:
    """Three snapshots: of the first nothing is live any more, of the last everything."""
    house.write(1)
    house.write_task("old")
    house.snapshot()
    (house.tasks / "old.json").unlink()
    house.write(2)
    house.write_task("t2")
    (house.tasks / "large.json").write_bytes(LARGE)
    house.snapshot()
    house.write(3)
    house.write_task("t3")
    house.snapshot()
    return house


def newest_pack(house: Any) -> Path:
    packs: list[Path] = house.packs
    return max(packs, key=lambda pack: pack.stat().st_mtime_ns)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "frame": spoil,
    "trees": lambda pack: spoil(pack, 0.75),
    "index": lambda pack: spoil(pack, 0.9),
    "footer": lambda pack: pack.write_bytes(pack.read_bytes()[:-40] + bytes(40)),
    "cut": lambda pack: os.truncate(pack, pack.stat().st_size // 3),
    "empty": lambda pack: os.truncate(pack, 0),
    "gone": lambda pack: pack.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("number", [1, 2])
def test_what_is_live_heals_whatever_is_damaged(saved: Any, damage: str, number: int) -> None:
    """Blobs, blocks, block lists and trees of what still lies there, or the pack's own frames, bring all of it back."""
    whole = restorable(saved)
    pack = sorted(saved.packs, key=lambda one: one.stat().st_mtime_ns)[number]
    live = {path: path.read_bytes() for path in saved.root.rglob("state/**/*") if path.is_file()}
    DAMAGES[damage](pack)
    assert run(saved).exit_status == 1
    result = run(saved, heal=True)
    if number == 2 or damage in {"index", "footer"} or not result.damage:
        assert result.damage == ()
        assert result.exit_status == 0
        assert restorable(saved) == whole
        assert run(saved).exit_status == 0
    else:
        # what only app/2 had may be lost: state.json and the trees around it changed since
        assert result.snapshots == ("app/2",)
        assert {one.snapshots for one in result.damage if one.snapshots} == {("app/2",)}
        assert restorable_of(saved, "app/3") == whole["app/3"]
    assert result.healed
    assert {path: path.read_bytes() for path in live} == live
    assert not list(saved.state_dir.rglob(".tmp-*"))


def restorable_of(house: Any, snapshot: str) -> dict[str, bytes]:
    """The same of one snapshot, after what is damaged in others is gone."""
    sequence = int(snapshot.partition("/")[2])
    for path in (house.state_dir / "repository" / "snapshots" / "app").glob("*.json"):
        if int(path.stem) != sequence:
            path.unlink()
    house.reopen()
    return restorable(house)[snapshot]


def test_a_damaged_pack_is_kept_as_evidence_and_never_written(saved: Any) -> None:
    pack = newest_pack(saved)
    spoil(pack)
    bytes_before = pack.read_bytes()
    run(saved, heal=True)
    moved = saved.state_dir / "repository" / "damaged" / pack.name
    assert moved.read_bytes() == bytes_before
    assert not pack.exists()


def test_what_nobody_has_stays_named_and_its_pack_stays(saved: Any) -> None:
    """Nothing is lost: a pack of which something needed can't be had is left where it is, for a better day."""
    whole = restorable(saved)
    oldest = min(saved.packs, key=lambda pack: pack.stat().st_mtime_ns)
    before = oldest.read_bytes()
    spoil(oldest, 0.1)
    result = run(saved, heal=True)
    assert result.exit_status == 1
    assert result.snapshots == ("app/1",)
    assert all(one.pack == oldest.name[:64] for one in result.damage)
    assert oldest.exists()
    packs = saved.packs
    again = run(saved, heal=True)
    assert (again.damage, again.healed) == (result.damage, ())
    assert saved.packs == packs  # nor does every heal leave another copy
    oldest.write_bytes(before)
    assert run(saved).damage == ()
    assert restorable(saved) == whole


def spoil_object(house: Any, content: bytes) -> None:
    """Damage the frame that holds an object."""
    repository: Repository = house.context.repository()
    ((name, location),) = repository.catalog.locations(blake3(content).hexdigest())
    (pack,) = (one for one in house.packs if one.name.startswith(name))
    data = bytearray(pack.read_bytes())
    data[location.frame_offset + location.frame_length // 2] ^= 0xFF
    pack.write_bytes(data)


def test_quarantine_heals_too(saved: Any) -> None:
    """What a restore replaced lies there, under other names than it had."""
    content = saved.write(4, room="in a frame of its own" * 10_000)
    saved.snapshot()
    saved.restore(snapshot="app/3")
    whole = restorable(saved)
    spoil_object(saved, content)
    assert run(saved).exit_status == 1
    result = run(saved, heal=True)
    assert next(one.origin for one in result.healed if one.object is not None).startswith(str(saved.state_dir))
    assert result.damage == ()
    assert restorable(saved) == whole


def test_links_that_a_service_plants_lead_nowhere(house: Any, tmp_path: Path) -> None:
    """Promise 12: healing reads live state as captures do."""
    house.write(1)
    secret = house.write_task("secret", key="of somebody else")
    house.snapshot()
    (house.tasks / "secret.json").unlink()
    house.snapshot()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.json").write_bytes(secret)
    (house.tasks / "secret.json").symlink_to(elsewhere / "secret.json")
    (house.tasks / "directory").symlink_to(elsewhere)
    os.mkfifo(house.tasks / "fifo")
    first = min(house.packs, key=lambda pack: pack.stat().st_mtime_ns)
    first.unlink()
    result = run(house, heal=True)
    assert blake3(secret).hexdigest() not in {one.object for one in result.healed}


def test_the_next_capture_heals_what_is_still_there(saved: Any) -> None:
    """What verify finds is stored anew by the next autosave, though nothing changed and the stat cache knows it."""
    whole = restorable(saved)
    saved.snapshot()
    spoil_object(saved, whole["app/3"]["tasks:tasks/t3.json"])
    assert run(saved).exit_status == 1
    with pytest.raises(DamagedObject):
        restorable(saved)
    saved.reopen()
    saved.snapshot()
    assert restorable(saved)["app/3"] == whole["app/3"]
    run(saved, heal=True)
    assert run(saved).exit_status == 0


def test_a_snapshot_whose_data_is_damaged_is_passed_over(saved: Any) -> None:
    """Promise 7: the next candidate is taken, also while nobody has healed anything."""
    newest_pack(saved).unlink()
    run(saved)
    saved.state.write_bytes(b"")
    saved.reopen()
    result = saved.restore()
    assert result.outcome == "restored"
    assert b'"counter": 2' in saved.state.read_bytes()


def test_a_damaged_record_comes_back_from_the_catalog(saved: Any) -> None:
    record = saved.state_dir / "repository" / "snapshots" / "app" / "000000000002.json"
    saved.list()
    before = record.read_bytes()
    record.write_bytes(before.replace(b'"ok"', b'"OK"', 1))
    assert run(saved).snapshots == ("app/2",)
    result = run(saved, heal=True)
    assert result.exit_status == 0
    assert [one.path for one in result.healed] == ["snapshots/app/000000000002.json"]
    assert record.read_bytes() == before
    evidence = saved.state_dir / "repository" / "damaged" / "snapshots-app-000000000002.json"
    assert evidence.read_bytes() != before


def test_a_damaged_record_that_nobody_has_stays_and_is_named(saved: Any) -> None:
    record = saved.state_dir / "repository" / "snapshots" / "app" / "000000000002.json"
    record.write_bytes(b"{}")
    saved.reopen()
    (saved.state_dir / "catalog.sqlite").unlink()
    result = run(saved, heal=True)
    assert [(one.path, one.snapshots) for one in result.damage] == [("snapshots/app/000000000002.json", ("app/2",))]
    assert record.read_bytes() == b"{}"


def test_marks_that_are_damaged_become_pinned(saved: Any) -> None:
    """They counted as pinned while they could not be read: it is not for a heal to let the snapshot go."""
    marks = saved.state_dir / "repository" / "marks" / "app" / "000000000002.json"
    marks.parent.mkdir(exist_ok=True)
    marks.write_bytes(b"\0\0")
    result = run(saved, heal=True)
    assert result.exit_status == 0
    assert saved.context.repository().marks("app", 2).pinned


def finding(house: Any) -> Result:
    house.reopen()
    results: tuple[Result, ...] = house.check().results
    return next(one for one in results if one.name == "verify")


def test_check_tells_of_damage_until_it_is_healed(saved: Any) -> None:
    assert finding(saved).status is Status.OK
    pack = newest_pack(saved)
    spoil(pack)
    run(saved)
    told = finding(saved)
    assert told.status is Status.CRITICAL
    assert told.hint == "`recoverd verify --heal`"
    assert "app/3" in told.message
    run(saved, heal=True)
    assert finding(saved).status is Status.OK


def test_events_tell_of_damage(saved: Any) -> None:
    spoil(newest_pack(saved))
    result = run(saved)
    told = [event for event in saved.events if event.name.value == "verify.damage"]
    assert len(told) == len(result.damage)
    assert "app/3" in told[0].message


def test_json_has_the_keys_of_the_contract(saved: Any) -> None:
    spoil(newest_pack(saved))
    document = run(saved).to_json()
    assert list(document)[:4] == ["checked_bytes", "objects", "damage", "healed"]
    assert list(document["damage"][0])[:4] == ["object", "pack", "snapshots", "files"]
    assert document["damage"][0]["snapshots"] == ["app/3"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_pack_that_may_not_be_read_stays_where_it_is(saved: Any) -> None:
    """Promise 6: it may be whole; once it can be read again nothing is missing."""
    before = restorable(saved)
    saved.reopen()
    for pack in saved.packs:
        pack.chmod(0)
        result = run(saved, heal=True)
        assert result.exit_status == 1
        assert any("can't be opened" in one.problem for one in result.damage)
        pack.chmod(0o600)
        saved.reopen()
        assert restorable(saved) == before


def test_a_pack_of_which_the_disk_gives_nothing_stays_where_it_is(saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 6: an I/O error may pass; what it hides is not taken for unneeded."""
    from recoverd.repository import verifying

    before = restorable(saved)
    real: Callable[[str], int] = getattr(verifying, "open_own_fd")  # noqa: B009 - what it imports, not what it exports
    for pack in saved.packs:

        def refused(path: str, pack: Path = pack) -> int:
            if path == str(pack):
                raise OSError(5, "Input/output error", path)
            return real(path)

        monkeypatch.setattr(verifying, "open_own_fd", refused)
        assert run(saved, heal=True).exit_status == 1
        monkeypatch.setattr(verifying, "open_own_fd", real)
        saved.reopen()
        assert pack.exists()
        assert restorable(saved) == before


def test_what_hangs_on_a_lost_tree_stays(house: Any) -> None:
    """Promise 6: while a tree is lost nobody knows what else is needed; the tree may come back from another copy."""
    (house.tasks / "large.json").write_bytes(LARGE)
    house.snapshot()
    before = restorable(house)
    (house.tasks / "large.json").unlink()
    (pack,) = house.packs
    data = pack.read_bytes()
    with pack.open("rb") as file:
        last = max(location.frame_offset for location in read_index(file.fileno(), pack.name[:64]).values())
    pack.write_bytes(data[: last + 10])  # the blocks are whole, and the trees behind them are cut off
    assert run(house, heal=True).exit_status == 1
    assert pack.exists()
    pack.write_bytes(data)
    assert run(house).exit_status == 0
    house.reopen()
    assert restorable(house) == before
