"""The model of a disk that loses what it may: what it must keep, and that it does lose the rest.

The attacks are worth as much as this model: where it were too kind, a missing fsync would pass.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.lost_writes import choices as model
from tests.crash.lost_writes.disk import Choice, Disk, File


def images(disk: Disk, seeds: int = 300) -> set[tuple[tuple[str, bytes], ...]]:
    """All that cuts by chance leave of the files."""
    return {files(disk, model.torn(str(seed))) for seed in range(seeds)}


def files(disk: Disk, choice: Choice) -> tuple[tuple[str, bytes], ...]:
    return tuple(sorted((path, data) for path, (node, data) in disk.image(choice).items() if isinstance(node, File)))


@pytest.fixture
def disk() -> Disk:
    """`file` holds b"old" durably; `one` and `two` are durable, empty directories."""
    made = Disk()
    made.create("file")
    made.write("file", 0, b"old")
    made.make_directory("one")
    made.make_directory("two")
    made.sync()
    return made


def test_without_any_sync_a_written_and_renamed_file_is_empty_or_zeros_in_some_image(disk: Disk) -> None:
    """The classic: write, rename, cut."""
    disk.create("new")
    disk.write("new", 0, b"new")
    disk.rename("new", "file")
    assert files(disk, model.NAMES) == (("file", b""),)
    assert files(disk, model.ZEROS) == (("file", b"\0\0\0"),)
    assert files(disk, model.NOTHING) == (("file", b"old"),)
    assert files(disk, model.EVERYTHING) == (("file", b"new"),)


def test_a_synced_file_that_is_renamed_leaves_old_or_new_and_never_none(disk: Disk) -> None:
    """What every atomic replacement stands on; without a sync of the directory it is not said which."""
    disk.create("new")
    disk.write("new", 0, b"new")
    disk.sync("new")
    disk.rename("new", "file")
    found = images(disk)
    assert {dict(one)["file"] for one in found} == {b"old", b"new"}
    assert any("new" in dict(one) for one in found)
    disk.sync("")
    assert images(disk) == {(("file", b"new"),)}


def test_sync_of_a_file_does_not_make_its_name_durable(disk: Disk) -> None:
    disk.create("new")
    disk.write("new", 0, b"new")
    disk.sync("new")
    assert {"new" in dict(one) for one in images(disk)} == {True, False}
    assert files(disk, model.NOTHING) == (("file", b"old"),)


def test_sync_of_a_directory_does_not_make_data_durable(disk: Disk) -> None:
    disk.create("new")
    disk.write("new", 0, b"new")
    disk.sync("")
    assert {dict(one)["new"] for one in images(disk)} == {b"", b"\0\0\0", b"new"}


def test_a_new_directory_needs_the_sync_of_the_one_above(disk: Disk) -> None:
    """Else it is lost with all in it, however well that was synced."""
    disk.make_directory("new")
    disk.create("new/file")
    disk.sync("new/file")
    disk.sync("new")
    assert "new/file" not in dict(files(disk, model.NOTHING))
    disk.sync("")
    assert "new/file" in dict(files(disk, model.NOTHING))


def test_a_rename_to_a_free_name_may_leave_both_names_or_none(disk: Disk) -> None:
    disk.rename("file", "one/file")
    found = {tuple(name for name, _ in one) for one in images(disk)}
    assert found == {(), ("file",), ("one/file",), ("file", "one/file")}
    disk.sync("")
    assert files(disk, model.NOTHING) == ()
    disk.sync("one")
    assert images(disk) == {(("one/file", b"old"),)}


def test_a_removed_name_comes_back_until_its_directory_is_synced(disk: Disk) -> None:
    disk.remove("file")
    assert images(disk) == {(), (("file", b"old"),)}
    disk.sync("")
    assert images(disk) == {()}


def test_later_changes_survive_where_earlier_ones_do_not(disk: Disk) -> None:
    """A record that outlives the pack it needs."""
    disk.create("one/pack")
    pack = disk.serial
    disk.create("two/record")
    assert [name for name, _ in files(disk, model.late(pack + 1))] == ["file", "two/record"]
    assert ("one/pack", "two/record") in {tuple(name for name, _ in one)[1:] for one in images(disk)}
    assert ("two/record",) in {tuple(name for name, _ in one)[1:] for one in images(disk)}


def test_sectors_are_lost_one_by_one(disk: Disk) -> None:
    disk.write("file", 0, b"a" * 512 + b"b" * 512 + b"c" * 512)
    found = {dict(one)["file"] for one in images(disk)}
    assert b"old" in found
    assert b"a" * 512 + bytes(512) + b"c" * 512 in found
    assert b"old" + bytes(509) + b"b" * 512 + b"c" * 512 in found
    disk.sync("file")
    assert len(images(disk)) == 1


def test_overwritten_bytes_and_truncations_come_back(disk: Disk) -> None:
    disk.write("file", 0, b"new")
    disk.truncate("file", 1)
    assert {dict(one)["file"] for one in images(disk)} == {b"old", b"new", b"o", b"n"}


def test_an_exchange_happens_as_a_whole_and_needs_both_directories(disk: Disk) -> None:
    disk.create("one/new")
    disk.write("one/new", 0, b"new")
    disk.sync()
    disk.exchange("file", "one/new")
    before, after = (("file", b"old"), ("one/new", b"new")), (("file", b"new"), ("one/new", b"old"))
    assert images(disk) == {before, after}
    disk.sync("one")
    assert images(disk) == {before, after}
    disk.sync("")
    assert images(disk) == {after}


def test_a_directory_is_never_found_under_two_names(disk: Disk) -> None:
    disk.create("one/file")
    disk.sync()
    disk.rename("one", "two/one")
    found = {tuple(name for name, _ in one)[1:] for one in images(disk)}
    assert found == {("one/file",), ("two/one/file",)}
    disk.sync("two")
    disk.sync("")
    assert files(disk, model.NOTHING) == (("file", b"old"), ("two/one/file", b""))


def test_what_is_durable_after_an_exchange_implies_the_exchange(disk: Disk) -> None:
    """A later change that is durable can't stand on one that never was."""
    disk.create("one/new")
    disk.sync()
    disk.exchange("file", "one/new")
    disk.sync("one")
    disk.remove("one/new")
    disk.sync("one")
    assert images(disk) == {(("file", b""),)}


def test_a_sync_covers_what_was_there_when_it_began(disk: Disk) -> None:
    """Another thread writes on while it lasts."""
    disk.write("file", 0, b"new")
    begun = disk.begin_sync("file")
    disk.write("file", 3, b"er")
    disk.end_sync(begun)
    assert files(disk, model.NOTHING) == (("file", b"new"),)
    assert files(disk, model.EVERYTHING) == (("file", b"newer"),)


@pytest.mark.parametrize("act", [lambda disk: disk.sync(), lambda disk: disk.end_sync(disk.begin_sync())])
def test_a_sync_of_everything_leaves_nothing_to_lose(disk: Disk, act: Callable[[Disk], None]) -> None:
    disk.make_directory("one/deep")
    disk.create("one/deep/file")
    disk.write("one/deep/file", 4096, b"x")
    disk.rename("file", "two/file")
    act(disk)
    assert images(disk) == {(("one/deep/file", bytes(4096) + b"x"), ("two/file", b"old"))}
    assert [
        choice.title for choice in (model.REMOVALS, model.CREATIONS) if files(disk, choice) not in images(disk)
    ] == []


def test_removed_names_only_and_new_names_only(disk: Disk) -> None:
    """What was removed is gone while what replaces it is not there yet, and the reverse."""
    disk.create("new")
    disk.remove("file")
    assert files(disk, model.REMOVALS) == ()
    assert files(disk, model.CREATIONS) == (("file", b"old"), ("new", b""))
