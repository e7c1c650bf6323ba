"""A dump waits in a file without a name: all of it comes back, or none, and nothing is left of it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.dump_model import Dump
from recoverd.config.model import Format, ItemKind, StateItem, Validation
from recoverd.recovery import dump_files
from recoverd.recovery.dump_files import DumpFile
from recoverd.recovery.dump_saving import NoDump, said
from recoverd.services.commands import Ran
from recoverd.system import mounts


def item(save: str, *, validate: str | None = None, **dump: Any) -> StateItem:
    return StateItem(
        "database",
        ItemKind.DUMP,
        "",
        Format.OPAQUE,
        validate=None if validate is None else Validation(("/bin/sh", "-c", validate, "{path}")),
        dump=Dump(("/bin/sh", "-c", save), ("true",), timeout_s=60.0, **dump),
    )


def content(file: DumpFile) -> bytes:
    found = bytearray()
    file.replay(found.extend)
    return bytes(found)


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    """What a full disk does to whoever writes, for a plain user's tests too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("size_bytes", [0, 1, (1 << 18) - 1, 1 << 18, (5 << 20) + 3])
def test_all_of_it_comes_back_as_often_as_it_is_asked_for(tmp_path: Path, size_bytes: int) -> None:
    """A capture that is tried again needs no second dump."""
    rows = tmp_path / "rows"
    rows.write_bytes(os.urandom(size_bytes))
    with DumpFile(item(f"echo asked >> {tmp_path}/asked; cat {rows}")) as file:
        (tmp_path / "state").mkdir()
        file.fill(str(tmp_path / "state"))
        assert os.listdir(tmp_path / "state") == []
        assert content(file) == content(file) == rows.read_bytes()
        assert file.replay(lambda _: None).size_bytes == size_bytes
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_file_systems_without_nameless_files_do_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open(2): O_TMPFILE is not to be had everywhere; then the name goes at once."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # as older kernels take it: EISDIR
    with DumpFile(item("echo row")) as file:
        file.fill(str(tmp_path))
        assert os.listdir(tmp_path) == []
        assert content(file) == b"row\n"


def test_what_can_not_be_written_is_no_dump(tmp_path: Path) -> None:
    """A disk that is full in the middle fails the dump, and gets its room back at once."""
    before = descriptors()
    with DumpFile(item("head -c 3000000 /dev/zero; echo END")) as file, files_no_larger_than(1 << 20):
        file.fill(str(tmp_path))
        assert descriptors() == before
        assert file.unwritten is not None
        with pytest.raises(NoDump, match=f"can't be put into {tmp_path}: File too large"):
            content(file)


def test_the_last_room_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at again and again while an endless dump is written, not only at its beginning."""
    rooms = iter([(100 << 20, 10 << 30), (70 << 20, 10 << 30), (63 << 20, 10 << 30)])
    monkeypatch.setattr(mounts, "free_bytes", lambda _: next(rooms))
    with DumpFile(item("exec cat /dev/zero")) as file:
        file.fill(str(tmp_path))
        with pytest.raises(NoDump, match="No space left"):
            content(file)


def test_a_place_that_is_gone_fails_the_dump_before_anybody_is_asked(tmp_path: Path) -> None:
    with DumpFile(item(f"echo asked > {tmp_path}/asked")) as file:
        file.fill(str(tmp_path / "nowhere"))
        assert file.unwritten is not None
        with pytest.raises(NoDump, match="No such file"):
            content(file)
    assert not (tmp_path / "asked").exists()


def test_what_is_cut_or_fails_is_none_and_the_next_one_counts(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    how = item(f"cat {tmp_path}/rows; exit $(cat {tmp_path}/status)", max_bytes=10)
    with DumpFile(how) as file:
        for rows, status, words in (("a row", 3, "exited with status 3"), ("many more rows", 0, "max_bytes")):
            (tmp_path / "rows").write_text(rows)
            (tmp_path / "status").write_text(str(status))
            file.fill(str(tmp_path / "state"))
            assert file.unwritten is None
            with pytest.raises(NoDump, match=words):
                content(file)
        (tmp_path / "rows").write_text("a row")
        file.fill(str(tmp_path / "state"))
        assert content(file) == b"a row"


def test_its_own_tool_sees_all_of_it_once(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    seen = tmp_path / "seen"
    seen.touch()
    seen.chmod(0o666)
    with DumpFile(item("echo row 1", validate=f'cat "$0" >> {seen}; exit 1')) as file:
        file.fill(str(tmp_path / "state"))
        assert content(file) == b"row 1\n"
        saved = file.replay(lambda _: None)
        assert saved.invalid is not None and "is refused by /bin/sh" in saved.invalid.sentence
    assert seen.read_text() == "row 1\n"


def test_damage_while_it_waits_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: every byte is covered by a hash, also on the way into the repository."""
    opened: list[int] = []
    nameless = dump_files._nameless

    def noted(directory: str) -> int:
        opened.append(nameless(directory))
        return opened[-1]

    monkeypatch.setattr(dump_files, "_nameless", noted)
    with DumpFile(item("echo a row")) as file:
        file.fill(str(tmp_path))
        os.pwrite(opened[0], b"b", 0)
        with pytest.raises(NoDump, match="was damaged"):
            content(file)


def test_the_last_words_are_those_that_tell_what_is_wrong() -> None:
    """The first error and what follows it; pg_restore ends with advice and the statement. Without one, the last two."""
    for output, words in (
        ("loading\nERROR:  a view depends on it\nDETAIL:  names\nHINT:  CASCADE\nCommand was: DROP", "ERROR:  a view"),
        ("pg_dump: error: connection failed: FATAL:  no database\n", "pg_dump: error: connection failed"),
        ("one\ntwo\n\nthree\n", "two three"),
        ("0 errors, terror\nthree\nfour", "three four"),
    ):
        told = said(Ran(1, output, 5.0))
        assert told.startswith(f"exited with status 1: {words}"), told
        assert "Command was" not in told
    assert len(said(Ran(1, "error: " + "x" * 10_000, 5.0))) < 500
    assert said(Ran(0, "", 5.0)) == Ran(0, "", 5.0).ending
