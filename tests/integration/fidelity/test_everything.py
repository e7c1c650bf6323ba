"""Everything that a file system can hold comes back (promise 4): compared with rsync, stat and the map of holes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.operations.export import ExportRequest, export
from recoverd.operations.import_ import ImportRequest, import_copies
from recoverd.operations.undo import UndoRequest, undo


def test_in_place_and_elsewhere(full: Any) -> None:
    """A wiped directory is the same again, and `restore --to` writes the same once more; nothing has changed since, and
    nothing was left out, so nothing is noted."""
    assert full.snapshot().verdict == "ok"
    kept = full.keep()
    result = full.restore()
    assert (result.outcome, result.reasons) == ("restored", ())
    full.same(kept, full.live)
    extracted, there = full.extract()
    assert extracted.notes == ()
    full.same(kept, there)
    assert full.snapshot().outcome == "unchanged"


def test_file_by_file(full: Any) -> None:
    """What is brought back name by name, here because a socket keeps the directory from being swapped whole."""
    assert full.snapshot().verdict == "ok"
    kept = full.keep()
    full.live.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(full.live / "socket"))
        assert full.restore(snapshot="app/1").outcome == "restored"
        (full.live / "socket").unlink()
    shutil.copystat(kept, full.live)  # of the directory itself only its names were replaced
    full.same(kept, full.live)


@pytest.mark.parametrize("where", ["", "below"])
def test_a_directory_s_own_mode_and_attributes(house: Any, where: str) -> None:
    """A restore that was asked for brings them back, and undo takes them back, with all that was changed there since;
    where a directory may hold what is no state, it is left as it is, and that is said."""
    directory = house.live / where
    directory.mkdir(exist_ok=True, mode=0o755)
    (house.live / "first").write_text("1")
    (directory / "file").write_text("1")
    directory.chmod(0o750)
    house.snapshot()
    directory.chmod(0o700)
    (directory / "file").write_text("2")
    result = house.restore(snapshot="app/1")
    assert (result.outcome, result.reasons) == ("restored", ())
    assert (oct(directory.stat().st_mode), (directory / "file").read_text()) == ("0o40750", "1")
    assert house.restore(snapshot="app/1").outcome == "untouched"
    undo(house.context, UndoRequest())
    assert (oct(directory.stat().st_mode), (directory / "file").read_text()) == ("0o40700", "2")
    os.mkfifo(directory / "fifo")
    result = house.restore(snapshot="app/1")
    assert result.outcome == "restored"
    assert result.reasons == (f"main{'/' if where else ''}{where}: the directory keeps its owner, mode and attributes",)
    assert (oct(directory.stat().st_mode), (directory / "file").read_text()) == ("0o40700", "1")


def test_through_an_archive(full: Any, tmp_path: Path) -> None:
    """An export is the same under GNU tar, but for holes, which tar finds out by blocks."""
    assert full.snapshot().verdict == "ok"
    export(full.context, ExportRequest("app/1", str(tmp_path / "export.tar")))
    into = tmp_path / "from tar"
    into.mkdir()
    flags = ["--xattrs", "--xattrs-include=*", "--delay-directory-restore", "--warning=no-timestamp"]
    subprocess.run(["tar", "-xpf", tmp_path / "export.tar", *flags, "-C", into], check=True)
    found = full.differences(full.live, into / "app" / "main" / "live")
    assert [line for line in found if not line.startswith("hL")] == []  # linked links: an archive has none
    with tarfile.open(tmp_path / "export.tar") as archive:
        assert sum(member.issparse() for member in archive) == 3


def test_an_imported_copy_brings_no_rights(house: Any) -> None:
    """Promise 12: files that take another owner by an import lose the rights of their first one, as by chown."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (house.live / "theirs").write_text("1")
    house.snapshot()
    copy = house.root / "copy-2026-01-01"
    copy.mkdir()
    for name, owner in (("planted", 12345), ("own", 0)):
        (copy / name).write_text("#!")
        os.chown(copy / name, owner, owner)
        (copy / name).chmod(0o6755)
    import_copies(house.context, ImportRequest("app", (str(copy),), item="main"))
    assert house.restore(snapshot="app/2").outcome == "restored"
    found = {name: (house.live / name).stat() for name in ("planted", "own")}
    assert {name: (one.st_uid, oct(one.st_mode & 0o7777)) for name, one in found.items()} == {
        "planted": (0, "0o755"),
        "own": (0, "0o6755"),
    }


def test_as_a_plain_user(plain_house: Any, rsync: str, built: Callable[..., None], plainly: Any) -> None:
    """The same for who is no root, groups of his and directories that are read-only for him among it."""

    def work() -> None:
        built(plain_house.live)
        if os.getgroups() == [100, 65534] or 100 in os.getgroups():
            for name in ("empty", "many/0007", "links"):
                os.chown(plain_house.live / name, -1, 100)
        plain_house.live.chmod(0o555)
        assert plain_house.snapshot().verdict == "ok"
        kept = plain_house.keep()
        result = plain_house.restore()
        assert (result.outcome, result.reasons) == ("restored", ())
        plain_house.same(kept, plain_house.live)
        extracted, there = plain_house.extract()
        assert extracted.notes == ()
        plain_house.same(kept, there)
        (plain_house.live / "read-only").chmod(0o755)
        (plain_house.live / "read-only" / "file").unlink()
        (plain_house.live / "read-only" / "file").symlink_to("elsewhere")
        (plain_house.live / "read-only").chmod(0o555)
        assert plain_house.restore().outcome == "restored"
        assert (plain_house.live / "read-only" / "file").read_bytes() == b"x"
        assert oct((plain_house.live / "read-only").stat().st_mode) == "0o40555"

    plainly(work)


def test_what_a_plain_user_can_t_give(plain_house: Any, plainly: Any) -> None:
    """Files of others come back as his own, without rights that were not his, and the result says so."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of others")
    for number in range(3):
        path = plain_house.live / f"theirs-{number}"
        path.write_text("1")
        os.chown(path, 1, 1)
        path.chmod(0o6755)
    os.setxattr(plain_house.live / "theirs-0", "trusted.note", b"1")
    assert plain_house.snapshot().verdict == "ok"
    for path in (plain_house.root, *plain_house.root.rglob("*")):
        if plain_house.live not in (path, *path.parents):
            os.chown(path, 65534, 65534)

    def work() -> None:
        extracted, there = plain_house.extract()
        found = sorted((one.name, one.stat().st_uid, oct(one.stat().st_mode & 0o7777)) for one in there.iterdir())
        assert found == [(f"theirs-{number}", 65534, "0o755") for number in range(3)]
        assert extracted.notes == (
            "main: theirs-0 and 2 more: can't be given to the group daemon here: Operation not permitted",
            "main: theirs-0 and 2 more: can't be given to the user daemon here",
            "main: theirs-0: the attribute trusted.note can't be set here: Operation not permitted",
            "main: theirs-0 and 2 more: its setuid or setgid bit is left out: its owner is not the one that it was",
        )

    plainly(work)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


SPECIAL: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a socket": bind,
    "a character device": lambda path: os.mknod(path, 0o020644, os.makedev(10, 255)),
    "a block device": lambda path: os.mknod(path, 0o060644, os.makedev(240, 255)),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_noted_and_never_opened(house: Any, kind: str, tmp_path: Path) -> None:
    """A FIFO would hang whoever opens it, a device may do anything: a trace of all system calls has no open of it, and
    the restore leaves it where it is."""
    if "device" in kind and os.geteuid() != 0:
        pytest.skip("only root can make devices")
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    (house.live / "file").write_text("1")
    SPECIAL[kind](house.live / "special-one")
    declared = {
        "state_dir": str(house.root / "recoverd"),
        "services": {"app": {"state": {"main": {"directory": str(house.live)}}}},
    }
    (tmp_path / "recoverd.yaml").write_text(json.dumps(declared))
    trace = tmp_path / "trace"

    def run(*words: str) -> str:
        watch = ["strace", "-f", "-qq", "-A", "-o", str(trace), "-e", "trace=%file"]
        command = [*watch, sys.executable, "-m", "recoverd", "--config", str(tmp_path / "recoverd.yaml"), *words]
        env = {**os.environ, "RUNTIME_DIRECTORY": str(house.root / "runtime")}
        return subprocess.run(command, capture_output=True, check=True, env=env, timeout=120).stdout.decode()

    run("snapshot")
    assert f"special-one: is {kind}: not captured" in run("-v", "assess")
    (house.live / "file").unlink()
    run("restore", "--snapshot", "app/1")
    seen = [line for line in trace.read_text().splitlines() if "special-one" in line]
    assert seen, "the trace saw nobody look at it"
    assert [line for line in seen if "open" in line] == []
    assert (house.live / "file").read_text() == "1"
    assert os.path.lexists(house.live / "special-one")


def test_what_is_replaced_under_the_walk(house: Any) -> None:
    """Files that grow, shrink, vanish, and become directories, links or FIFOs while they are captured: every capture
    ends, nothing is torn and ok at once, and what is ok is something that was written."""
    names = [house.live / f"file-{number}" for number in range(40)]
    whole = {b"%d" % number * 3000 for number in range(10)}
    done = threading.Event()

    def busy() -> None:
        turn = 0
        while not done.is_set():
            path = names[turn % len(names)]
            kind = turn % 7
            turn += 1
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
            if kind == 0:
                path.mkdir()
            elif kind == 1:
                path.symlink_to("file-0")
            elif kind == 2:
                os.mkfifo(path)
            elif kind > 3:
                temporary = path.with_suffix(".tmp")
                temporary.write_bytes(b"%d" % (turn % 10) * 3000)
                temporary.rename(path)

    worker = threading.Thread(target=busy)
    worker.start()
    try:
        made = [house.snapshot() for _ in range(4)]
    finally:
        done.set()
        worker.join()
    assert all(one.outcome in {"saved", "unchanged", "invalid"} for one in made), made
    house.wipe()
    house.live.mkdir()
    last = [one.id for one in made if one.id is not None][-1]
    house.restore(snapshot=last)
    contents = {path.read_bytes() for path in house.live.iterdir() if path.is_file() and not path.is_symlink()}
    assert contents <= whole
