"""The repository as a whole: created, opened, refused, read where nothing can be written."""

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

from recoverd.errors import RepositoryError
from recoverd.repository import packs
from recoverd.repository.store import Repository
from recoverd.repository.trees import Entry

FILES = {"state.json": b'{"a": 1}', "empty": b"", "big": os.urandom(300_000)}


def entry(name: str, **changes: Any) -> Entry:
    return replace(Entry(name, "file", 0o600, 0, 0, "", "", 0, 0), **changes)


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
