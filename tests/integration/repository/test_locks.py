"""Locks are the kernel's (promise 9), and durability costs a fixed number of syncs (promise 6)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import LockHeld


def start(bench: Any, script: str, *prefix: str) -> subprocess.Popen[str]:
    """A real other process, which has the repository open as `repository`."""
    head = f"""
        import sys, time
        from recoverd.repository.store import Repository
        repository = Repository.open({str(bench.path)!r}, state_dir={str(bench.state_dir)!r})
    """
    program = textwrap.dedent(head) + textwrap.dedent(script)
    return subprocess.Popen([*prefix, sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def wait_for_line(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


@pytest.mark.parametrize(
    "what", ["writer(wait_s=0, what='holding')", "service_lock('svc', wait_s=0, what='a capture')"]
)
def test_a_second_one_is_told_who_the_first_is_until_it_is_killed(what: str, bench: Any) -> None:
    """Promise 9: LockHeld names the process; after kill -9 the lock is free at once, and nothing is left to clean."""
    holder = start(bench, f"held = repository.{what}\nprint('ready', flush=True)\ntime.sleep(60)")
    try:
        wait_for_line(holder)
        take = eval(f"lambda: repository.{what}", {"repository": bench.repository})
        with pytest.raises(LockHeld) as caught:
            take()
        assert caught.value.pid == holder.pid
        assert caught.value.exit_status == 75
        assert str(holder.pid) in caught.value.message
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with take():
            pass
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout:
            holder.stdout.close()


def test_many_may_read_while_one_writes(bench: Any) -> None:
    """Readers never wait for a writer, nor for each other."""
    snapshot = bench.capture({"a": b"1"})
    with bench.repository.reader(), bench.repository.writer(wait_s=0, what="a test"), bench.open().reader() as reader:
        assert reader.item_entry(snapshot.items["main"].root) is not None


def test_a_failed_start_of_a_writer_gives_the_lock_back(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while it is opened must not lock everybody out."""
    shutil.move(bench.path / "packs", bench.path / "away")
    with pytest.raises(Exception, match="prepared for writing"):
        bench.repository.writer(wait_s=0, what="a test")
    shutil.move(bench.path / "away", bench.path / "packs")
    bench.capture({"a": b"1"})


def count_syncs(bench: Any, tmp_path: Path, files: int) -> int:
    script = f"""
        from recoverd.repository.records import ItemRecord, SnapshotDraft, SnapshotVerdict
        from recoverd.repository.trees import Entry
        import os
        with repository.writer(wait_s=0, what="a test") as writer:
            hashes = [writer.put(os.urandom(50)) for _ in range({files})]
            tree = writer.put_tree([Entry(str(n), "file", 0, 0, 0, "", "", 50, 0, x) for n, x in enumerate(hashes)])
            item = ItemRecord("directory", "/x", tree, tree, 1, 1, "ok")
            writer.commit([SnapshotDraft("svc", 0, "", "", SnapshotVerdict.OK, {{"main": item}})])
    """
    trace = tmp_path / "trace"
    command = ("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,sync,syncfs,sync_file_range", "-o", str(trace))
    process = start(bench, script, *command)
    process.communicate(timeout=60)
    assert process.returncode == 0
    return len(re.findall(r"sync\w*\(", trace.read_text()))


def test_durability_costs_a_fixed_number_of_syncs(bench: Any, tmp_path: Path) -> None:
    """However many files a snapshot holds, it takes the same few syncs: flash memory is thankful."""
    if (
        not shutil.which("strace")
        or subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], check=False).returncode
    ):
        pytest.skip("strace is not installed or may not trace")
    bench.capture({"a": b"1"})
    for prefix in range(256):
        # none is empty: the first pack in one costs a sync more, and where packs come to lie is chance
        (bench.path / "packs" / f"{prefix:02x}").mkdir(exist_ok=True)
        (bench.path / "packs" / f"{prefix:02x}" / "kept").touch()
    few, many = count_syncs(bench, tmp_path, 3), count_syncs(bench, tmp_path, 3000)
    assert few == many
    assert 4 <= few <= 8  # pack and record, their directories, and the catalog when it is closed
