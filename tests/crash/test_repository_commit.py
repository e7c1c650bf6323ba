"""Real children, killed by SIGKILL before, after and in the middle of each call that touches the disk (promise 6).

Afterwards the repository opens, everything that was committed before reads back bit for bit, the new snapshot is
wholly there or not at all, the next writer works, and no temporary file is left.

A sample of all instants is tried; RECOVERD_TORTURE=1 tries every one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.repository.store import Repository

# The child counts its calls, and kills itself at one of them: before it is made, after it, or (writes) in the middle.
CHILD = """
import os, signal, sys

path, state_dir, action, when, at = *sys.argv[1:5], int(sys.argv[5])
calls = 0

def deadly(name):
    real = getattr(os, name)
    def call(*args, **options):
        global calls
        calls += 1
        if calls == at:
            if when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if when == "during" and name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
        try:
            return real(*args, **options)
        finally:
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
    return call

from recoverd.repository.pruning import prune
from recoverd.repository.records import ItemRecord, SnapshotDraft, SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.repository.trees import Entry

def capture(writer, files):
    entries = [Entry(name, "file", 0o600, 0, 0, "", "", len(data), 0, writer.put(data)) for name, data in files.items()]
    tree = writer.put_tree(entries)
    item = ItemRecord("directory", "/srv/x", tree, tree, len(files), 1, "ok")
    return SnapshotDraft("svc", 0, "boot", "host", SnapshotVerdict.OK, {"main": item})

repository = Repository.open(path, state_dir=state_dir)
if action == "prepare":
    for number in range(3):
        with repository.writer(wait_s=0, what="a test") as writer:
            writer.commit([capture(writer, {"a": b"%d" % number * 300, "same": b"s" * 300})])
    sys.exit()

for name in ("write", "fsync", "rename", "replace", "unlink", "mkdir", "open", "close"):
    setattr(os, name, deadly(name))
with repository.writer(wait_s=0, what="a test") as writer:
    if action == "commit":
        drafts = [capture(writer, {"a": b"3" * 300, "same": b"s" * 300, "big": b"x" * 200_000})]
        writer.commit(drafts)
    else:
        prune(repository, writer, {"svc": [1, 3]})
repository.close()
print(calls)
"""

EXPECTED = {
    **{number + 1: {"a": b"%d" % number * 300, "same": b"s" * 300} for number in range(3)},
    4: {"a": b"3" * 300, "same": b"s" * 300, "big": b"x" * 200_000},
}


def run(base: Path, action: str, when: str = "never", at: int = 0) -> subprocess.CompletedProcess[str]:
    arguments = [str(base / "repository"), str(base), action, when, str(at)]
    command = [sys.executable, "-c", CHILD, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def contents(base: Path) -> dict[int, dict[str, bytes]]:
    """Every file of every snapshot, checked against its hash."""
    repository = Repository.open(str(base / "repository"), state_dir=str(base))
    try:
        found: dict[int, dict[str, bytes]] = {}
        with repository.reader() as reader:
            assert repository.unreadable_records("svc") == {}
            for snapshot in repository.snapshots("svc"):
                entries = reader.tree(snapshot.items["main"].root)
                found[snapshot.sequence] = {entry.name: reader.read(entry.hash or "") for entry in entries}
        return found
    finally:
        repository.close()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("prepared")
    Repository.create(str(base / "repository"))
    done = run(base, "prepare")
    assert done.returncode == 0, done.stderr
    return base


def instants(prepared: Path, tmp_path: Path, action: str) -> Iterator[tuple[Path, str, int]]:
    """A fresh copy of the repository for each instant at which the child is to be killed."""
    shutil.copytree(prepared, tmp_path / "whole")
    calls = int(run(tmp_path / "whole", action).stdout)
    assert calls > 15
    step = 1 if os.environ.get("RECOVERD_TORTURE") else 3
    for at in range(1, calls + 1, step):
        for when in ("before", "during") if step == 1 or at % 2 else ("after",):
            base = tmp_path / f"{at}-{when}"
            shutil.copytree(prepared, base)
            yield base, when, at


def temporaries(base: Path) -> list[Path]:
    return list(base.rglob(".tmp-*"))


def test_a_killed_commit_leaves_all_or_nothing(prepared: Path, tmp_path: Path) -> None:
    """Promise 6: whenever it is killed, the new snapshot is whole or absent, and the others are untouched."""
    outcomes = set()
    for base, when, at in instants(prepared, tmp_path, "commit"):
        assert run(base, "commit", when, at).returncode == -signal.SIGKILL
        found = contents(base)
        outcomes.add(4 in found)
        assert found == {number: EXPECTED[number] for number in found}, (when, at)
        assert {1, 2, 3} <= found.keys()
        after = run(base, "commit")
        assert after.returncode == 0, after.stderr
        again = contents(base)
        assert again.pop(max(again)) == EXPECTED[4]
        assert again == found
        assert not temporaries(base)
        shutil.rmtree(base)
    assert outcomes == {True, False}  # the sample reaches both sides of the commit point


def test_a_killed_prune_leaves_a_valid_repository_and_the_next_one_finishes(prepared: Path, tmp_path: Path) -> None:
    """Promises 3 and 6: what is to be kept reads back; no sequence is used twice; no dead pack stays."""
    for base, when, at in instants(prepared, tmp_path, "prune"):
        assert run(base, "prune", when, at).returncode == -signal.SIGKILL
        found = contents(base)
        assert 2 in found
        assert found == {number: EXPECTED[number] for number in found}, (when, at)
        assert run(base, "prune").returncode == 0
        assert contents(base) == {2: EXPECTED[2]}
        assert len(list(base.glob("repository/packs/*/*.tar.zst"))) == 2
        assert run(base, "commit").returncode == 0
        assert set(contents(base)) == {2, 4}
        shutil.rmtree(base)
