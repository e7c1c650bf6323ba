"""Verify names all that is damaged and whom it hurts, reads what it says it reads, and is in nobody's way."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from recoverd.repository import objects, verify_record, verifying
from recoverd.repository.pruning import Pruned, prune
from recoverd.repository.records import Marks
from recoverd.repository.store import Repository
from recoverd.repository.trees import Entry
from recoverd.repository.verify_record import Damage
from recoverd.repository.verifying import Verified, choose, verify
from recoverd.system import durable

FILES = {"a": b"1" * 300, "b": b"2" * 3000, "c": b""}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


def everything(bench: Any) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in bench.path.rglob("*") if path.is_file()}


def verified(bench: Any, **options: Any) -> Verified:
    return verify(bench.reopen(), **options)


def test_a_whole_repository_is_whole_and_nothing_is_written_to_it(bench: Any) -> None:
    bench.capture(FILES)
    bench.capture({**FILES, "a": b"new"})
    before = everything(bench)
    found = verified(bench)
    assert found.damage == ()
    assert found.hurt == ()
    assert found.packs == found.of_packs == len(bench.packs())
    assert found.checked_bytes == sum(
        len(data) for path, data in before.items() if path.suffix in {".zst", ".json"} and path.name != "format.json"
    )
    assert found.objects >= 6  # four contents, and the trees of two snapshots
    assert everything(bench) == before


def test_no_damaged_byte_of_a_pack_goes_unnoticed(bench: Any, torture: Any) -> None:
    """Promise 7, for every kind of byte there is in a pack: frames, headers, padding, index, footer."""
    bench.capture(FILES)
    (pack,) = bench.packs()
    whole = pack.read_bytes()
    points = torture.sample(range(len(whole)), 40)
    for at in points:
        flip(pack, at)
        found = verified(bench)
        assert found.damage, f"byte {at} of {len(whole)}"
        assert all(one.pack == pack.name[:64] or one.object is not None for one in found.damage)
        pack.write_bytes(whole)
        assert verified(bench).damage == ()
    torture.tell(len(points), "flipped bytes of a pack", "each was named, and none once it was put right")


@pytest.mark.parametrize("damage", ["cut", "gone", "empty", "garbage", "directory", "link"])
def test_what_a_damaged_pack_held_is_named_with_snapshots_and_files(bench: Any, damage: str) -> None:
    first = bench.capture({"kept": b"k" * 100, "lost": b"x" * 50})
    (old,) = bench.packs()
    bench.capture({"kept": b"k" * 100, "other": b"y" * 50})
    damage_file(old, damage)
    found = verified(bench)
    kept, tree = (named(found, hash_) for hash_ in (blake3(b"k" * 100).hexdigest(), first.items["main"].root))
    assert (kept.snapshots, kept.files) == (("svc/2",), ("/srv/state/kept",))
    assert (tree.snapshots, tree.files) == (("svc/1",), ("/srv/state",))  # below it nobody knows what is lost
    assert found.hurt == ("svc/1", "svc/2")
    assert old.name[:64] in {kept.pack, tree.pack, *(one.pack for one in found.damage)}


def test_what_a_pack_that_can_not_be_opened_holds_is_named(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions or a bad disk: all that refers to it is hurt, also a snapshot whose own trees lie elsewhere."""
    bench.capture({"kept": b"k" * 100, "gone": b"x" * 50})
    (old,) = bench.packs()
    bench.capture({"kept": b"k" * 100, "other": b"y" * 50})

    def open_own_fd(path: str) -> int:
        if path.endswith(old.name):
            raise PermissionError(errno.EACCES, "Permission denied")
        return durable.open_own_fd(path)

    for module in (verifying, objects):
        if hasattr(module, "open_own_fd"):
            monkeypatch.setattr(module, "open_own_fd", open_own_fd)
    found = verified(bench)
    assert named(found, blake3(b"k" * 100).hexdigest()).snapshots == ("svc/2",)
    assert found.hurt == ("svc/1", "svc/2")
    monkeypatch.undo()
    assert verified(bench).damage == ()


def named(found: Verified, object_hash: str) -> Damage:
    (one,) = (one for one in found.damage if one.object == object_hash)
    return one


def damage_file(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 8])
        return
    path.unlink()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(b"\x28\xb5\x2f\xfd" * (len(data) // 4))
    elif how == "directory":
        path.mkdir()
    elif how == "link":
        elsewhere = path.parents[4] / "elsewhere"
        elsewhere.write_bytes(data)
        path.symlink_to(elsewhere)


def test_records_and_marks_that_are_damaged_are_named(bench: Any) -> None:
    bench.capture(FILES)
    bench.capture({"a": b"other"})
    bench.repository.set_marks("svc", 2, lambda _: Marks(proven_ns=5))
    flip(bench.path / "snapshots" / "svc" / "000000000001.json", 20)
    (bench.path / "marks" / "svc" / "000000000002.json").write_bytes(b"{")
    found = verified(bench)
    assert [(one.path, one.snapshots) for one in found.damage] == [
        ("snapshots/svc/000000000001.json", ("svc/1",)),
        ("marks/svc/000000000002.json", ("svc/2",)),
    ]
    assert "checksum" in found.damage[0].problem


def test_blocks_parts_of_directories_and_names_without_text(bench: Any) -> None:
    """All that a tree can lead to is followed: block lists, parts of large directories, directories in directories."""
    many = {f"{number:05}": b"" for number in range(5000)}
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        blocks = writer.put_blocks([writer.put(b"A" * 8), None, writer.put(b"B" * 3)], 8, 19)
        large = Entry("large", "file", 0o600, 0, 0, "", "", 19, 1, blocks=blocks, block_size=8)
        odd = Entry("\udcff", "file", 0o600, 0, 0, "", "", 3, 1, hash=writer.put(b"odd"))
        inner = writer.put_tree([large, odd])
        middle = writer.put_tree([Entry("inner", "dir", 0o700, 0, 0, "", "", 0, 1, hash=inner)])
        empty = writer.put(b"")
        files = [Entry(name, "file", 0o600, 0, 0, "", "", 0, 1, hash=empty) for name in many]
        wide = writer.put_tree([*files, Entry("x", "dir", 0o700, 0, 0, "", "", 0, 1, hash=middle)])
        root = writer.put_tree([Entry("state", "dir", 0o700, 0, 0, "", "", 0, 1, hash=wide)])
        writer.commit([bench.draft(root)])
    with bench.repository.reader() as reader:
        assert len(reader.tree(wide)) == 5001
    assert verified(bench).damage == ()
    for content, place in ((b"B" * 3, "large"), (b"odd", "\udcff")):
        bench.repository.catalog.trust.distrust(
            [(blake3(content).hexdigest(), pack.name[:64]) for pack in bench.packs()], 1
        )
        (found,) = verify(bench.repository, only=()).damage
        assert found.files == (f"/srv/state/x/inner/{place}",)
        bench.repository.close()
        (bench.state_dir / "catalog.sqlite").unlink()
        (bench.state_dir / "verify.json").unlink()
        bench.reopen().catalog.catch_up()


def test_a_damaged_copy_hurts_nobody_while_another_is_whole(bench: Any) -> None:
    bench.capture(FILES)
    (first,) = bench.packs()
    location = [(blake3(FILES["b"]).hexdigest(), first.name[:64])]
    bench.repository.catalog.trust.distrust(location, 1)
    bench.capture({"b": FILES["b"]})  # is stored once more
    flip(first, first.read_bytes().index(b"\x28\xb5\x2f\xfd") + 30)
    found = verified(bench)
    mine = [one for one in found.damage if one.object == blake3(FILES["b"]).hexdigest()]
    assert [(one.pack, one.snapshots, one.files) for one in mine] == [(first.name[:64], (), ())]
    assert "another copy is intact" in mine[0].problem


def test_an_object_of_another_size_than_its_file_is_named(bench: Any) -> None:
    """A tree may be whole and yet say what is not so: a restore refuses it, so it is damage."""
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        entry = Entry("f", "file", 0o600, 0, 0, "", "", 99, 1, hash=writer.put(b"short"))
        writer.commit([bench.draft(writer.put_tree([entry]))])
    (found,) = verified(bench).damage
    assert "has 5 bytes where 99 are expected" in found.problem
    assert found.files == ("/srv/f",)


# --- samples


@given(
    st.dictionaries(st.binary(min_size=1, max_size=8), st.integers(1, 1000), min_size=1, max_size=30),
    st.dictionaries(st.binary(min_size=1, max_size=8), st.integers(1, 1000), max_size=30),
    st.sampled_from([0.01, 0.05, 0.3, 1.0]),
)
def test_successive_samples_cover_everything_whatever_is_added(
    old: dict[bytes, int], new: dict[bytes, int], share: float
) -> None:
    """New packs starve no old ones: each sample goes on from the last one, and takes its share of what there is now."""
    packs = {blake3(key).hexdigest(): size for key, size in old.items()}
    later = {blake3(key).hexdigest(): size for key, size in new.items()}
    waiting, position, seen = set(packs), "", 0
    while waiting:
        if later:
            name, size = later.popitem()
            packs[name] = size
        chosen, _ = choose(packs, position, share)
        assert chosen
        assert sum(packs[name] for name in chosen) >= share * sum(packs.values()) or len(chosen) == len(packs)
        assert len(set(chosen)) == len(chosen)
        waiting -= set(chosen)
        position = chosen[-1]
        seen += 1
        assert seen <= 2 * len(packs) + 2


def test_samples_go_on_where_the_last_process_stopped(bench: Any) -> None:
    for number in range(12):
        bench.capture({"a": bytes([number]) * 2000})
    flip(bench.packs()[7], 100)
    found: list[Damage] = []
    read = 0
    while not found and read < 12:
        one = verified(bench, sample=0.01)
        assert one.packs == 1
        found, read = list(one.damage), read + 1
    assert read == 8  # packs are read in the order of their names
    assert {one.pack for one in found} == {bench.packs()[7].name[:64]}
    # what was found is not forgotten by samples that read other packs, nor with the catalog
    assert {one.object for one in verified(bench, sample=0.01).damage} == {one.object for one in found}
    bench.repository.close()
    (bench.state_dir / "catalog.sqlite").unlink()
    assert {one.object for one in verified(bench, sample=0.01).damage} >= {one.object for one in found}
    flip(bench.packs()[7], 100)
    assert verified(bench).damage == ()
    assert verify_record.load(str(bench.state_dir), bench.repository.id).damage == ()


def test_a_sample_finds_what_is_missing_from_a_pack_that_it_did_not_read(bench: Any) -> None:
    """What a tree refers to is looked up with the tree."""
    bench.capture({"a": b"only here" * 100})
    (gone,) = bench.packs()
    bench.capture({"a": b"only here" * 100, "b": b"new"})
    gone.unlink()
    found = {one.object: one for one in verified(bench, sample=0.01).damage}
    assert found[blake3(b"only here" * 100).hexdigest()].snapshots == ("svc/2",)


# --- in nobody's way


def during(bench: Any, act: Callable[[Repository], Pruned]) -> tuple[Verified, Pruned]:
    """Verify, and meanwhile act as another process would."""
    results: list[Pruned] = []

    def told(_: int) -> None:
        if not results:
            results.append(act(bench.open()))

    return verify(bench.repository, told=told), results[0]


def test_captures_go_on_meanwhile_and_a_prune_leaves_the_data(bench: Any) -> None:
    first = bench.capture(FILES)
    bench.capture({"a": b"x" * 99})

    def act(other: Repository) -> Pruned:
        with other.writer(wait_s=0, what="a test") as writer:
            (made,) = writer.commit([bench.draft(bench.put(writer, {"new": b"n" * 100}))])
            result = prune(other, writer, {"svc": [first.sequence]})
        other.close()
        assert made.id == "svc/3"
        return result

    before = bench.packs()
    found, pruned = during(bench, act)
    assert pruned.kept_data is not None
    assert set(before) < set(bench.packs())
    assert found.damage == ()
    assert verified(bench).damage == ()


# --- what is known to be damaged is stored anew


def test_what_is_known_to_be_damaged_is_stored_once_more(bench: Any) -> None:
    """Else every later snapshot would refer to the damaged copy: the repository would believe that it has it."""
    bench.capture(FILES)
    (pack,) = bench.packs()
    flip(pack, pack.read_bytes().index(b"\x28\xb5\x2f\xfd") + 30)
    assert verified(bench).damage
    second = bench.capture(FILES)
    assert bench.files(second) == FILES
    bench.reopen()
    assert bench.files(second) == FILES
    assert not any("svc/2" in one.snapshots for one in verified(bench).damage)


def test_a_read_that_fails_is_remembered_too(bench: Any) -> None:
    first = bench.capture(FILES)
    (pack,) = bench.packs()
    flip(pack, pack.read_bytes().index(b"\x28\xb5\x2f\xfd") + 30)
    with pytest.raises(Exception, match="object"):
        bench.files(first)
    bench.reopen()
    assert bench.repository.catalog.trust.known_damage()


def test_damage_that_nothing_refers_to_any_more_is_forgotten(bench: Any) -> None:
    bench.capture({"a": b"gone" * 100})
    (pack,) = bench.packs()
    bench.capture({"b": b"kept" * 100})
    pack.unlink()
    assert verified(bench).hurt == ("svc/1",)
    assert bench.repository.catalog.trust.known_damage()
    (bench.path / "snapshots" / "svc" / "000000000001.json").unlink()
    assert verified(bench).damage == ()
    assert not bench.repository.catalog.trust.known_damage()


def test_a_pack_of_another_version_is_told_and_never_touched(bench: Any) -> None:
    """An older recoverd neither calls it damaged beyond use, nor takes it for one that nothing needs."""
    bench.capture(FILES)
    (pack,) = bench.packs()
    data = pack.read_bytes().replace(b"recoverd pack 1\n", b"recoverd pack 2\n")
    name = blake3(data).hexdigest()
    pack.unlink()
    newer = bench.path / "packs" / name[:2] / f"{name}.tar.zst"
    newer.parent.mkdir(exist_ok=True)
    newer.write_bytes(data)
    bench.reopen()
    told = next(one for one in verify(bench.repository).damage if one.pack == name and one.object is None)
    assert "version" in told.problem
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        prune(bench.repository, writer, {"svc": [1]})
    assert newer.read_bytes() == data
