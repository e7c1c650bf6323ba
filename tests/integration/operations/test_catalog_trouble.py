"""The catalog is never the truth: whatever becomes of it, every command works and answers as it did before."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from recoverd.errors import RepositoryError
from recoverd.operations.export import ExportRequest, export
from recoverd.operations.extract import ExtractRequest, extract
from recoverd.operations.listing import show
from recoverd.operations.verify import VerifyRequest, verify
from recoverd.repository.store import Repository
from recoverd.values import replace

DERIVED = {
    "objects": "SELECT hash, name, frame_offset, frame_length, frame_size, offset, objects.size"
    " FROM objects JOIN packs ON packs.id = objects.pack ORDER BY hash, name",
    "packs": "SELECT name, size FROM packs ORDER BY name",
    "snapshots": "SELECT service, sequence, size, mtime_ns, record FROM snapshots ORDER BY service, sequence",
    "distrusted": "SELECT hash, pack FROM distrusted ORDER BY hash, pack",
}


def catalog(house: Any) -> Path:
    return Path(house.state_dir / "catalog.sqlite")


def forget(house: Any) -> None:
    """The catalog is gone, as in a new process."""
    if house._context is not None and house.context.repository_if_any() is not None:
        house.context.repository().close()
    for name in ("", "-wal", "-shm"):
        catalog(house).with_name(f"catalog.sqlite{name}").unlink(missing_ok=True)
    house.reopen()


def derived(house: Any) -> dict[str, list[Any]]:
    """What the catalog says that is derived from packs and records, once a new process has looked at these."""
    house.context.repository().close()
    house.reopen()
    repository: Repository = house.context.repository()
    repository.catalog.catch_up()
    for service in repository.services():
        repository.snapshots(service)
    repository.close()
    house.reopen()
    db = sqlite3.connect(catalog(house))
    try:
        return {name: db.execute(query).fetchall() for name, query in DERIVED.items()}
    finally:
        db.close()


def test_a_rebuilt_catalog_equals_the_one_that_was_lost(house: Any, torture: Any) -> None:
    """After any snapshots, prunes and rewritten packs: what is derived is the same, row by row."""
    random = torture.random
    steps = 300 if torture.full else 30
    compared = 0
    for step in range(steps):
        action = random.choice(["write", "write", "write", "delete", "snapshot", "snapshot", "prune"])
        name = f"t{random.randrange(6)}"
        if action == "write":
            house.write_task(name, text=random.randbytes(20_000).hex())
        elif action == "delete":
            (house.tasks / f"{name}.json").unlink(missing_ok=True)
        elif action == "snapshot":
            house.snapshot()
        elif house.packs:
            house.change(retention=replace(house.service.retention, last=random.randrange(1, 4)))
            house.prune()
        if step % 5 == 4 and house.packs:
            before = derived(house)
            assert before["objects"]
            forget(house)
            after = derived(house)
            for table in DERIVED:
                assert after[table] == before[table], (step, table)
            compared += 1
    torture.tell(compared, "rebuilt catalogs", "each was equal to the one that was lost")


# --- whatever becomes of the file


def old_schema(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 1")
    db.close()


def random_bytes(path: Path) -> None:
    path.write_bytes(bytes(blake3(b"noise").digest(20_000)))


def noise_inside(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(4096 + 100, len(data), 1700):
        data[at : at + 30] = blake3(str(at).encode()).digest(30)
    path.write_bytes(data)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_bytes(b"")


def dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nonexistent/catalog")


TROUBLE: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "random bytes": random_bytes,
    "noise inside": noise_inside,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "last bytes gone": lambda path: os.truncate(path, path.stat().st_size - 7),
    "old schema": old_schema,
    "directory": directory,
    "dangling link": dangling_link,
}


@pytest.fixture
def saved(house: Any) -> Any:
    house.write(1)
    house.snapshot()
    house.write(2)
    house.write_task("second")
    house.snapshot()
    return house


def answers(house: Any) -> dict[str, Any]:
    """What reading commands say."""
    house.context.repository().close()
    house.reopen()
    listed = [(one.snapshot.id, one.snapshot.verdict, one.snapshot.files) for one in house.list()]
    shown = show(house.context, "app/1")
    archive = house.root / "export.tar"
    archive.unlink(missing_ok=True)
    export(house.context, ExportRequest("app/1", str(archive)))
    exported = subprocess.run(["tar", "-tf", archive], check=True, capture_output=True, text=True).stdout
    verified = verify(house.context, VerifyRequest())
    checked = {(one.name, one.status) for one in house.check().results if one.name in {"repository", "verify"}}
    house.context.repository().close()
    return {
        "list": listed,
        "show": [(one.path, one.entry) for one in shown.files],
        "export": exported,
        "verify": (verified.damage, verified.objects),
        "check": checked,
    }


@pytest.mark.parametrize("trouble", TROUBLE)
def test_every_command_answers_as_before(saved: Any, trouble: str) -> None:
    before = answers(saved)
    saved.context.repository().close()
    with sqlite3.connect(catalog(saved)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    TROUBLE[trouble](catalog(saved))
    assert answers(saved) == before


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_restore_and_a_capture_work_too(saved: Any, trouble: str) -> None:
    saved.context.repository().close()
    TROUBLE[trouble](catalog(saved))
    saved.reopen()
    saved.state.write_bytes(b"")
    assert saved.restore().outcome == "restored"
    assert json.loads(saved.state.read_bytes())["counter"] == 2
    saved.write(3)
    made = saved.snapshot()
    assert made.outcome == "saved"
    saved.reopen()
    assert verify(saved.context, VerifyRequest()).damage == ()


def test_a_catalog_that_somebody_holds_locked_hinders_nobody(saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recoverd.repository.database.PATIENCE_MS", 50)
    before = answers(saved)
    saved.context.repository().close()
    db = sqlite3.connect(catalog(saved), isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        assert answers(saved) == before
    finally:
        db.close()


# --- media that can only be read


@contextmanager
def read_only(house: Any) -> Iterator[None]:
    """The state directory on a read-only mount (root), or without permission to write (a plain user)."""
    house.context.repository().close()
    house.reopen()
    base = house.state_dir
    if os.geteuid() == 0:
        mounted = subprocess.run(["mount", "--bind", base, base], check=False, capture_output=True)
        if mounted.returncode:
            pytest.skip("this container may not mount")
        subprocess.run(["mount", "-o", "remount,ro,bind", base], check=True)
        try:
            yield
        finally:
            house.reopen()
            subprocess.run(["umount", "-l", base], check=True)
        return
    paths = [base, *base.rglob("*")]
    modes = {path: path.stat().st_mode & 0o7777 for path in paths}
    for path in paths:
        path.chmod(modes[path] & 0o555)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(modes[path])


@pytest.mark.parametrize("with_catalog", [True, False])
def test_a_repository_on_read_only_media_answers_and_restores(saved: Any, with_catalog: bool) -> None:
    """Nothing is written to it, and nothing of what is asked needs that."""
    before = answers(saved)
    if not with_catalog:
        forget(saved)
    files = {path: path.read_bytes() for path in saved.state_dir.rglob("*") if path.is_file()}
    with read_only(saved):
        now = answers(saved)
        assert ("repository", "CRITICAL") in now.pop("check")
        assert now == {key: value for key, value in before.items() if key != "check"}
        target = saved.root / "target"
        saved.reopen()
        extract(saved.context, ExtractRequest(str(target)))
        assert sorted(path.name for path in target.rglob("state.json")) == ["state.json"]
        saved.reopen()
        saved.write(3)
        made = saved.snapshot()
        assert made.outcome == "failed"
        assert "read-only" in made.error.lower() or "permission" in made.error.lower()
    assert {path: path.read_bytes() for path in saved.state_dir.rglob("*") if path.is_file()} == files


# --- what another recoverd wrote


def newer_record(house: Any, key: str = "snapshot") -> Path:
    """Make the newest record one of version 2, with a checksum that is right."""
    path = max((house.state_dir / "repository" / "snapshots" / "app").glob("*.json"))
    document = json.loads(path.read_bytes())
    del document["checksum"]
    document[key] = 2
    body = json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n"
    path.write_text(f'{body[:-2]},"checksum":"{blake3(body.encode()).hexdigest()}"}}\n')
    return Path(path)


def test_a_record_of_another_version_is_told_and_stops_deletion(saved: Any) -> None:
    record = newer_record(saved)
    before = record.read_bytes()
    packs = {path: path.read_bytes() for path in saved.packs}
    saved.reopen()
    (damage,) = verify(saved.context, VerifyRequest()).damage
    assert "has version 2, and this recoverd understands 1" in damage.problem
    verify(saved.context, VerifyRequest(heal=True))
    saved.reopen()
    assert any("can't be" in note for note in saved.prune().notes)
    assert record.read_bytes() == before
    assert {path: path.read_bytes() for path in saved.packs} == packs


@pytest.mark.parametrize("command", ["list", "verify", "snapshot", "prune", "restore", "check"])
def test_a_repository_of_another_format_is_refused_and_not_touched(saved: Any, command: str) -> None:
    path = saved.state_dir / "repository" / "format.json"
    document = json.loads(path.read_bytes()) | {"format": 2}
    path.write_text(json.dumps(document))
    saved.context.repository().close()
    saved.reopen()
    files = {one: one.read_bytes() for one in (saved.state_dir / "repository").rglob("*") if one.is_file()}
    acts: dict[str, Callable[[], object]] = {
        "list": saved.list,
        "verify": lambda: verify(saved.context, VerifyRequest()),
        "snapshot": saved.snapshot,
        "prune": saved.prune,
        "restore": saved.restore,
    }
    if command == "check":
        (told,) = (one for one in saved.check().results if one.name == "repository")
        assert told.status.value == "CRITICAL"
        assert "format 2 is newer" in told.message
    else:
        with pytest.raises(RepositoryError, match="format 2 is newer than this recoverd understands") as refused:
            acts[command]()
        assert refused.value.hint == "use the recoverd that wrote it, or a newer one"
    assert {one: one.read_bytes() for one in (saved.state_dir / "repository").rglob("*") if one.is_file()} == files


@pytest.mark.parametrize("head", [b'{"tree":1,', b'{"blocks":1,'])
def test_trees_and_block_lists_of_another_version_are_told(saved: Any, head: bytes) -> None:
    """They are no damage of the disk: their hash is right. Nothing of such a snapshot is restored, nothing deleted."""
    from recoverd.repository.records import SnapshotDraft, SnapshotVerdict
    from recoverd.repository.trees import Entry, encode_tree

    repository: Repository = saved.context.repository()
    old = repository.snapshots("app")[-1]
    with repository.writer(wait_s=0, what="a test") as writer:
        newer = head.replace(b"1", b"3") + b'"entries":[]}'
        if head.startswith(b'{"tree'):
            root = writer.put(newer)
        else:
            blocks = writer.put(newer)
            entry = Entry("state.json", "file", 0o600, 0, 0, "", "", 5, 1, blocks=blocks, block_size=4)
            root = writer.put(encode_tree([entry]))
        item = old.items["main"]
        draft = SnapshotDraft("app", old.time_ns, "boot", "host", SnapshotVerdict.OK, {"main": _with_root(item, root)})
        writer.commit([draft])
    saved.reopen()
    result = verify(saved.context, VerifyRequest())
    assert [one.snapshots for one in result.damage] == [("app/3",)]
    assert "version 3, newer than this recoverd understands" in result.damage[0].problem
    packs = {path: path.read_bytes() for path in saved.packs}
    assert saved.prune().notes
    assert {path: path.read_bytes() for path in saved.packs} == packs


def _with_root(item: Any, root: str) -> Any:
    return replace(item, root=root, good=root)
