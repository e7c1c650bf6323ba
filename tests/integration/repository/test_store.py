"""The repository as a whole: opening, writing, reading, and the records around the objects."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from recoverd.errors import DamagedObject, RepositoryError
from recoverd.repository import packs, writer
from recoverd.repository.records import Marks, ServiceRecord
from recoverd.repository.store import Repository
from recoverd.repository.trees import EMPTY_TREE, Entry

FILES = {"state.json": b'{"a": 1}', "empty": b"", "big": os.urandom(300_000)}


def entry(name: str, **changes: Any) -> Entry:
    return replace(Entry(name, "file", 0o600, 0, 0, "", "", 0, 0), **changes)


# --- creating and opening


def test_a_repository_belongs_to_its_owner(bench: Any) -> None:
    """Directories are 0700, files 0600: state may hold secrets."""
    bench.capture(FILES)
    bench.repository.set_marks("svc", 1, lambda marks: replace(marks, pinned=True))
    bench.repository.update_record("svc", lambda record: replace(record, paused=True))
    for path in [bench.path, *bench.state_dir.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_format_json_says_what_it_is(bench: Any) -> None:
    """Another reader finds format, id and hash there."""
    found = json.loads((bench.path / "format.json").read_text())
    assert found["format"] == 1
    assert found["hash"] == "blake3"
    assert found["id"] == bench.repository.id
    assert set(found) == {"format", "id", "hash", "machine_id", "created", "compression"}


def test_creating_never_overwrites(bench: Any, tmp_path: Path) -> None:
    """A second `create`, and one over foreign files, is refused."""
    with pytest.raises(RepositoryError, match="already"):
        Repository.create(str(bench.path))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RepositoryError, match="not empty"):
        Repository.create(str(tmp_path / "other"))
    with pytest.raises(RepositoryError, match="can't be created"):
        Repository.create(str(tmp_path / "other" / "thesis.txt" / "x"))


def test_an_interrupted_creation_is_finished_by_the_next(tmp_path: Path) -> None:
    """format.json comes last, so a half-made repository is none, and can be made again."""
    path = tmp_path / "r"
    Repository.create(str(path))
    (path / "format.json").unlink()
    with pytest.raises(RepositoryError, match="no repository"):
        Repository.open(str(path), state_dir=str(tmp_path))
    Repository.create(str(path))
    Repository.open(str(path), state_dir=str(tmp_path)).close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"\0" * 64, "damaged"),
        (b'{"format":"1"}', "damaged"),
        (b'{"format":1}', "damaged"),
        (b'{"format":2,"shape":"new"}', r"repository format 2 is newer than this recoverd understands \(1\)"),
        (b'{"format":0}', "older"),
    ],
)
def test_what_is_not_understood_is_refused_with_a_hint(content: bytes, message: str, bench: Any) -> None:
    """Another format or a damaged one: a sentence and what to do, and nothing is written."""
    (bench.path / "format.json").write_bytes(content)
    with pytest.raises(RepositoryError, match=message) as caught:
        bench.open()
    assert caught.value.hint


def test_no_repository_is_said_as_such(tmp_path: Path, bench: Any) -> None:
    """The hint says what creates one; a repository that only lost its format.json is told apart."""
    with pytest.raises(RepositoryError, match="there is no repository") as caught:
        Repository.open(str(tmp_path / "nowhere"), state_dir=str(tmp_path))
    assert "recoverd snapshot" in (caught.value.hint or "")
    bench.capture(FILES)
    (bench.path / "format.json").unlink()
    with pytest.raises(RepositoryError, match="lost its format"):
        bench.open()
    with pytest.raises(RepositoryError, match="not empty"):
        Repository.create(str(bench.path))


def test_a_repository_of_somebody_else_is_said_as_such(bench: Any) -> None:
    """Not readable: one sentence."""
    (bench.path / "format.json").chmod(0)
    try:
        (bench.path / "format.json").read_bytes()
    except PermissionError:
        pass
    else:
        pytest.skip("root reads everything")
    with pytest.raises(RepositoryError, match="can't be read"):
        bench.open()


# --- objects


def test_what_is_captured_comes_back(bench: Any) -> None:
    """Promise 6, without any accident: also for another process, and with the newest known."""
    first = bench.capture(FILES)
    second = bench.capture({**FILES, "state.json": b'{"a": 2}'})
    assert (first.id, second.id) == ("svc/1", "svc/2")
    bench.reopen()
    assert bench.repository.snapshots("svc") == [first, second]
    assert bench.repository.newest("svc") == second == bench.repository.snapshot("svc", 2)
    assert bench.repository.services() == ["svc"]
    assert bench.files(first) == FILES
    assert bench.files(second)["state.json"] == b'{"a": 2}'
    assert not bench.temporaries()


def test_what_is_stored_already_costs_nothing(bench: Any) -> None:
    """Promise 11: the same content adds no pack, and one changed file adds a small one."""
    first = bench.capture(FILES)
    assert 300_000 < first.new_bytes < 310_000
    assert first.new_bytes == sum(path.stat().st_size for path in bench.packs())
    again = bench.capture(FILES)
    assert again.new_bytes == 0
    assert len(bench.packs()) == 1
    third = bench.capture({**FILES, "state.json": b"changed"})
    assert 0 < third.new_bytes < 2000


def test_one_pack_for_all_that_is_captured_together(bench: Any) -> None:
    """One pack for each tick: flash memory is thankful. What is new is counted once, where it came first."""
    with bench.repository.writer(wait_s=0, what="a test") as session:
        roots = [bench.put(session, {**FILES, "own": b"%d" % number}) for number in range(3)]
        found = session.commit([bench.draft(root, service=f"s{number}") for number, root in enumerate(roots)])
    (pack,) = bench.packs()
    assert abs(sum(snapshot.new_bytes for snapshot in found) - pack.stat().st_size) <= 3
    assert found[0].new_bytes > 300_000
    assert 0 < found[1].new_bytes < 5_000
    assert [bench.files(snapshot)["own"] for snapshot in found] == [b"0", b"1", b"2"]


def test_a_session_without_drafts_leaves_nothing(bench: Any) -> None:
    """Nothing changed: no snapshot, no pack, no file. Also when the session ends with an error, or without commit."""
    with bench.repository.writer(wait_s=0, what="a test") as session:
        bench.put(session, FILES)
        assert session.busy
        assert session.commit([]) == []
        assert not session.busy
        bench.put(session, FILES)
    with pytest.raises(KeyError), bench.repository.writer(wait_s=0, what="a test") as session:
        bench.put(session, FILES)
        raise KeyError
    assert not bench.packs()
    assert not bench.temporaries()
    assert bench.repository.snapshots("svc") == []


def test_a_snapshot_of_what_was_never_put_is_refused(bench: Any) -> None:
    """Promise 6: no record is written that could not be read back, however the tree came to name the object."""
    missing = blake3(b"never put").hexdigest()
    with bench.repository.writer(wait_s=0, what="a test") as session:
        with pytest.raises(RepositoryError, match="not stored"):
            session.commit([bench.draft(missing)])
        tree = session.put_tree([entry("x", hash=missing)])
        with pytest.raises(RepositoryError, match="not stored"):
            session.commit([bench.draft(tree)])
        blocks = session.put_blocks([missing], 4, 4)
        tree = session.put_tree([entry("x", blocks=blocks, block_size=4, size=4)])
        with pytest.raises(RepositoryError, match="not stored"):
            session.commit([bench.draft(tree)])
    assert bench.repository.snapshots("svc") == []
    assert not bench.packs()


def test_a_writer_reads_back_what_it_has_put(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture looks into trees it has just stored, also in a pack that is closed already."""
    monkeypatch.setattr(writer, "PACK_BYTES", 400_000)
    blobs = [os.urandom(200_000) for _ in range(6)]
    with bench.repository.writer(wait_s=0, what="a test") as session:
        hashes = [session.put(blob) for blob in blobs]
        tree = session.put_tree([entry(f"{n}", hash=value, size=200_000) for n, value in enumerate(hashes)])
        assert [session.read(value) for value in hashes] == blobs
        assert [found.hash for found in session.tree(tree)] == hashes
        assert session.has(tree)
        assert not session.has("00" * 32)
        session.commit([bench.draft(tree)])
        assert [session.read(value) for value in hashes] == blobs
    assert len(bench.packs()) > 1
    assert all(path.stat().st_size < 800_000 for path in bench.packs())


def test_large_and_sparse_files_come_back_block_by_block(bench: Any) -> None:
    """Holes stay holes, the last block may be short, and blocks are shared with the version before."""
    size = packs.FRAME_BYTES
    blobs = [os.urandom(size), os.urandom(size), b"tail"]
    with bench.repository.writer(wait_s=0, what="a test") as session:
        one, two, tail = (session.put(blob) for blob in blobs)
        blocks = session.put_blocks([one, None, None, two, tail], size, 4 * size + 4)
        large = entry("db", blocks=blocks, block_size=size, size=4 * size + 4, sparse=True)
        session.commit([bench.draft(session.put_tree([large]))])
    with bench.repository.reader() as reader:
        assert list(reader.file_chunks(large)) == [blobs[0], 2 * size, blobs[1], b"tail"]
        with pytest.raises(DamagedObject, match="another file"):
            list(reader.file_chunks(replace(large, size=5)))
        with pytest.raises(DamagedObject, match="are expected"):
            list(reader.file_chunks(entry("x", hash=tail, size=5)))
        with pytest.raises(DamagedObject, match="block list"):
            list(reader.file_chunks(replace(large, blocks=tail)))


def test_a_large_directory_is_split_and_read_as_one(bench: Any) -> None:
    """Readers see one directory; a change in it stores little (promise 11)."""
    files = {f"task_{number:05}.json": b"%d" % (number % 7) for number in range(9000)}
    first = bench.capture(files)
    second = bench.capture({**files, "task_04321.json": b"new"})
    assert bench.files(second) == {**files, "task_04321.json": b"new"}
    assert second.new_bytes < first.new_bytes / 3


def test_the_empty_tree_needs_no_object(bench: Any) -> None:
    """An item whose path was absent."""
    with bench.repository.writer(wait_s=0, what="a test") as session:
        (snapshot,) = session.commit([bench.draft(EMPTY_TREE)])
    assert not bench.packs()
    with bench.repository.reader() as reader:
        assert reader.item_entry(snapshot.items["main"].root) is None


def test_an_item_with_two_names_is_damage(bench: Any) -> None:
    """The root of an item holds one entry, or a restore would write a name that nobody declared."""
    with bench.repository.writer(wait_s=0, what="a test") as session:
        content = session.put(b"x")
        tree = session.put_tree([entry("a", hash=content, size=1), entry("b", hash=content, size=1)])
        session.commit([bench.draft(tree)])
        with pytest.raises(DamagedObject, match="should hold one"):
            session.item_entry(tree)
        with pytest.raises(DamagedObject, match="a tree was expected"):
            session.tree(content)


def test_damage_names_object_and_pack_and_spares_the_rest(bench: Any) -> None:
    """Promise 7: every flipped byte of a pack leads to the right bytes or to DamagedObject, never to other bytes."""
    snapshot = bench.capture({"a": b'{"a": 1}', "b": b"2" * 50})
    (pack,) = bench.packs()
    good = pack.read_bytes()
    hashes = [blake3(data).hexdigest() for data in (b'{"a": 1}', b"2" * 50)]
    damaged = 0
    for position in range(0, len(good), 3):
        pack.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        with bench.repository.reader() as reader:
            for object_hash in hashes:
                try:
                    assert blake3(reader.read(object_hash)).hexdigest() == object_hash
                except DamagedObject as error:
                    damaged += 1
                    assert error.object_hash == object_hash
                    assert error.pack == pack.name.split(".")[0]
                    assert object_hash in error.message
    assert damaged
    pack.write_bytes(good)
    assert bench.files(snapshot) == {"a": b'{"a": 1}', "b": b"2" * 50}


def test_a_lost_pack_is_damage_of_its_objects_only(bench: Any) -> None:
    """The older snapshot still works."""
    first = bench.capture({"a": b"1"})
    second = bench.capture({"a": b"2"})
    new = max(bench.packs(), key=lambda path: path.stat().st_mtime_ns)
    new.unlink()
    assert bench.files(first) == {"a": b"1"}
    with pytest.raises(DamagedObject):
        bench.files(second)
    repaired = bench.capture({"a": b"2"})  # the writer has noticed, and stores it again
    assert bench.files(second) == bench.files(repaired) == {"a": b"2"}


def test_restoring_many_small_files_opens_each_frame_once(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: 2,000 small files share some frames, and each is decompressed once."""
    files = {f"{number:04}": b'{"number": %d}' % number for number in range(2000)}
    snapshot = bench.capture(files)
    reads: list[int] = []

    def counted(fd: int, where: packs.Location) -> bytes:
        reads.append(where.frame_offset)
        return packs.read_frame(fd, where)

    monkeypatch.setattr("recoverd.repository.objects.read_frame", counted)
    assert bench.files(snapshot) == files
    assert len(reads) == len(set(reads)) < 20


# --- records


def test_a_sequence_is_never_used_twice(bench: Any) -> None:
    """Also when the newest snapshot was deleted, and when the service record is lost."""
    for number in range(3):
        bench.capture({"a": b"%d" % number})
    bench.repository.delete_records("svc", [2, 3])
    assert bench.repository.next_sequence("svc") == 4
    assert bench.capture({"a": b"x"}).sequence == 4
    shutil.rmtree(bench.state_dir / "services")
    assert bench.capture({"a": b"y"}).sequence == 5
    bench.repository.update_record("svc", lambda record: replace(record, next_sequence=100))
    assert bench.capture({"a": b"z"}).sequence == 100
    assert bench.repository.sequences("svc") == [1, 4, 5, 100]


def test_a_lost_snapshot_and_a_record_nobody_can_read_stop_no_listing(bench: Any) -> None:
    """Another recoverd wrote it, a newer one. What can't be noted is not noted: whoever looks is told what there is."""
    first = bench.capture({"a": b"1"})
    newest = bench.capture({"a": b"2"})
    bench.repository.snapshots("svc")
    Path(bench.repository.record_path("svc", newest.sequence)).unlink()
    (bench.state_dir / "services").mkdir(exist_ok=True)
    bench.repository.update_record("svc", lambda record: ServiceRecord(next_sequence=1, paused=True))
    record = bench.state_dir / "services" / "svc.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"service_record": 99}))
    assert [one.sequence for one in bench.reopen().snapshots("svc")] == [first.sequence]


@pytest.mark.parametrize("known_by", ["the catalog", "its marks"])
def test_the_number_of_a_lost_snapshot_is_not_used_again(bench: Any, known_by: str) -> None:
    """Somebody, or the disk, took the newest record: a new snapshot must not be taken for it, nor get its marks."""
    bench.capture({"a": b"1"})
    newest = bench.capture({"a": b"2"})
    bench.repository.snapshots("svc")  # a listing, as every command makes one
    if known_by == "its marks":
        bench.repository.set_marks("svc", newest.sequence, lambda _: Marks(pinned=True))
    Path(bench.repository.record_path("svc", newest.sequence)).unlink()
    if known_by == "its marks":
        bench.repository.close()
        (bench.state_dir / "catalog.sqlite").unlink()
    bench.reopen().snapshots("svc")  # as a capture does, to compare
    assert bench.capture({"a": b"3"}).sequence == newest.sequence + 1


def test_unreadable_records_are_told_never_skipped_in_silence(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged record takes neither the others with it nor its sequence."""
    good = bench.capture({"a": b"1"})
    bench.capture({"a": b"2"})
    path = bench.path / "snapshots/svc/000000000002.json"
    path.write_bytes(path.read_bytes().replace(b'"files":1', b'"files":2', 1))
    for _ in range(2):
        assert bench.repository.snapshots("svc") == [good]
        assert "checksum" in bench.repository.unreadable_records("svc")[2]
        assert bench.repository.newest("svc") == good
        with pytest.raises(RepositoryError, match="checksum"):
            bench.repository.snapshot("svc", 2)
        bench.reopen()
    assert "svc/2" in caplog.text
    assert bench.capture({"a": b"3"}).sequence == 3


def test_imports_are_never_the_newest(bench: Any) -> None:
    """An import's time is not when it was captured."""
    assert bench.repository.newest("svc") is None
    own = bench.capture({"a": b"1"})
    imported = bench.capture({"a": b"0"}, imported=True)
    assert bench.repository.newest("svc") == own
    assert bench.repository.snapshots("svc") == [own, imported]


def test_records_that_come_and_go_are_seen_at_once(bench: Any) -> None:
    """The cache follows the files, also those that another process writes or deletes."""
    other = bench.open()
    first = bench.capture({"a": b"1"})
    assert other.snapshots("svc") == [first]
    second = bench.capture({"a": b"2"})
    assert other.snapshots("svc") == [first, second]
    bench.repository.delete_records("svc", [1])
    assert other.snapshots("svc") == bench.repository.snapshots("svc") == [second]
    other.close()


def test_marks_and_service_records_belong_to_a_snapshot_and_a_service(bench: Any) -> None:
    """They change under a lock, and names that are none are refused."""
    snapshot = bench.capture({"a": b"1"})
    repository = bench.repository
    assert repository.marks("svc", 1) == Marks()
    assert repository.set_marks("svc", 1, lambda found: replace(found, proven_ns=5)) == Marks(proven_ns=5)
    assert repository.all_marks("svc") == {1: Marks(proven_ns=5)}
    with pytest.raises(RepositoryError, match="no snapshot"):
        repository.set_marks("svc", 2, lambda found: found)
    assert repository.record("svc") == ServiceRecord()
    assert repository.update_record("svc", lambda found: replace(found, failures=1)).failures == 1
    for bad in ("", "..", "a/b", ".hidden", "Ä", "x" * 300):
        for attempt in (repository.record, repository.snapshots, repository.sequences):
            with pytest.raises(RepositoryError, match="no name"):
                attempt(bad)
    for missing in (0, 2, 10**12):
        with pytest.raises(RepositoryError, match="no snapshot"):
            repository.snapshot("svc", missing)
    repository.delete_records("svc", [snapshot.sequence])
    assert repository.all_marks("svc") == {}


def test_statistics_count_what_lies_there(bench: Any) -> None:
    """For `check`: from listing alone."""
    bench.capture({"a": b"1"})
    bench.capture({"a": b"2"}, service="other")
    found = bench.repository.statistics()
    files = [*bench.packs(), *bench.path.glob("snapshots/*/*.json")]
    assert found.size_bytes == sum(path.stat().st_size for path in files)
    assert (found.files, found.packs, found.snapshots) == (4, 2, 2)
    assert bench.repository.services() == ["other", "svc"]


READ_ONLY = """
import sys
from recoverd.repository.store import Repository

with Repository.open(sys.argv[1], state_dir=sys.argv[2]) as repository:
    (snapshot,) = repository.snapshots("svc")
    with repository.reader() as reader:
        root = reader.item_entry(snapshot.items["main"].root)
        print(sorted((entry.name, len(reader.read(entry.hash))) for entry in reader.tree(root.hash)))
    try:
        with repository.writer(wait_s=0, what="a test") as writer:
            writer.put(b"new")
    except Exception as error:
        print(error)
"""


@pytest.mark.parametrize("lost", ["nothing", "catalog.sqlite", "repository/readers.lock"])
def test_a_read_only_medium_can_be_read(lost: str, bench: Any) -> None:
    """list, show and restore work from a file system that is mounted read-only; writing is refused in a sentence."""
    bench.capture({"a": b"1", "b": b"22"})
    bench.repository.close()
    if lost != "nothing":
        (bench.state_dir / lost).unlink()
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1/repository" "$1"'
    arguments = ["sh", str(bench.state_dir), sys.executable, READ_ONLY]
    done = subprocess.run(["unshare", "-m", "sh", "-c", mount, *arguments], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("mounting is not permitted here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[('a', 1), ('b', 2)]\n")
    assert "Read-only file system" in done.stdout


@pytest.mark.parametrize("content", [None, b"", os.urandom(9000)], ids=["absent", "empty", "garbage"])
def test_a_catalog_that_can_not_be_written_is_used_as_a_copy(
    content: bytes | None, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to write, everything can still be read, whatever state the catalog is in."""
    snapshot = bench.capture(FILES)
    bench.repository.close()
    path = bench.state_dir / "catalog.sqlite"
    if content is not None:
        path.write_bytes(content)
    before = path.read_bytes()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with bench.open() as bench.repository:
        assert bench.files(snapshot) == FILES
        assert bench.repository.snapshots("svc") == [snapshot]
    assert path.read_bytes() == before


def test_what_is_in_the_way_is_named(bench: Any) -> None:
    """A file where a directory should be, and the reverse: a sentence, no traceback."""
    bench.capture({"a": b"1"})
    repository = bench.repository
    (bench.path / "snapshots/svc/000000000009.json").mkdir()
    assert "Is a directory" in repository.unreadable_records("svc")[9]
    with pytest.raises(RepositoryError, match="can't be read"):
        repository.snapshot("svc", 9)
    (bench.path / "marks").rmdir()
    (bench.path / "marks").write_text("")
    with pytest.raises(RepositoryError, match="can't be written"):
        repository.set_marks("svc", 1, lambda marks: replace(marks, pinned=True))
    with pytest.raises(RepositoryError, match="can't be listed"):
        repository.all_marks("svc")
    (bench.path / "services/svc.lock").mkdir()
    (bench.path / "lock").unlink()
    (bench.path / "lock").symlink_to("elsewhere")
    for attempt in (repository.service_lock, repository.writer):
        with pytest.raises(RepositoryError, match="can't be locked"):
            attempt(**({"service": "svc"} if attempt == repository.service_lock else {}), wait_s=0, what="a test")
    (bench.state_dir / "services").write_text("")
    with pytest.raises(RepositoryError, match="can't be written"):
        repository.update_record("svc", lambda record: replace(record, paused=True))
    shutil.rmtree(bench.path / "packs")
    with pytest.raises(RepositoryError, match="can't be listed"):
        repository.statistics()


def test_a_full_disk_is_one_sentence_and_loses_nothing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC while packs are written: what was there stays, the half-made is gone, the next capture works."""
    first = bench.capture({"a": b"1"})
    import errno

    def full(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packs, "write_all", full)
    with pytest.raises(RepositoryError, match="No space left") as caught:
        bench.capture({"a": b"2"})
    assert "prune" in (caught.value.hint or "")
    monkeypatch.undo()
    assert not bench.temporaries()
    assert bench.repository.snapshots("svc") == [first]
    assert bench.files(bench.capture({"a": b"2"})) == {"a": b"2"}


def test_reading_records_imports_little(bench: Any) -> None:
    """`check` answers in well under 150 ms: looking at service records loads neither database nor compression."""
    script = """
import sys
before = set(sys.modules)  # a coverage run brings its own
from recoverd.repository.store import Repository

with Repository.open(sys.argv[1], state_dir=sys.argv[2]) as repository:
    repository.newest("svc"), repository.record("svc"), repository.marks("svc", 1), repository.statistics()
heavy = {"sqlite3", "backports.zstd", "concurrent.futures", "uuid", "psutil", "jsonschema"}
print(heavy & (sys.modules.keys() - before))
"""
    bench.capture({"a": b"1"})
    command = [sys.executable, "-c", script, str(bench.path), str(bench.state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_what_was_killed_while_it_created_a_repository_leaves_nothing(tmp_path: Path) -> None:
    """Promise 6: the next one creates it, and no temporary file stays."""
    path = tmp_path / "repository"
    pid = os.fork()
    if pid == 0:
        os.rename = lambda *_, **__: os._exit(0)
        Repository.create(str(path))
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(path.glob(".tmp-*"))
    assert not (path / "format.json").exists()
    Repository.create(str(path))
    assert (path / "format.json").exists()
    assert not list(path.glob(".tmp-*"))
