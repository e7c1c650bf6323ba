"""Packs are rewritten and merged: nothing that is needed is lost, whatever is damaged, in the way or interrupted."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from recoverd.repository import database, packs, reachability, repacking
from recoverd.repository.pack_check import check_pack
from recoverd.repository.packs import read_index
from recoverd.repository.pruning import AUTOMATIC, Pruned, foresee, prune
from recoverd.repository.reach_memory import Needed
from recoverd.repository.reachability import needed_by_all
from recoverd.repository.repack_plan import FAN, RepackLimits
from recoverd.repository.repacking import repack
from recoverd.repository.trees import EMPTY_TREE
from recoverd.repository.verifying import verify

EAGER = RepackLimits(young=0, waste_share=0)


def pruned(bench: Any, doomed: dict[str, list[int]], **options: Any) -> Pruned:
    with bench.repository.writer(wait_s=0, what="a prune") as writer:
        return prune(bench.repository, writer, doomed, **{"limits": EAGER, **options})


def noise(name: object, size: int = 2000) -> bytes:
    """Content that does not compress."""
    return random.Random(f"{name}").randbytes(size)


def sparse_pack(bench: Any) -> tuple[Any, Path]:
    """A snapshot that needs a little of an older one's pack, and that pack; the older snapshot is to go."""
    bench.capture({"kept": noise("kept"), "bulk": noise("bulk", 9000)})
    (pack,) = bench.packs()
    return bench.capture({"kept": noise("kept"), "bulk": b"new"}), pack


def every_object(bench: Any) -> dict[str, list[str]]:
    """Which packs hold each object, by their own indexes."""
    found: dict[str, list[str]] = {}
    for path in bench.packs():
        with path.open("rb") as file:
            name = path.name.removesuffix(packs.SUFFIX)
            for key in read_index(file.fileno(), name):
                found.setdefault(key, []).append(name)
    return found


def reachable(bench: Any) -> set[str]:
    """Every object that a snapshot needs: computed anew, by another walk than that of prune."""
    found: set[str] = set()
    with bench.repository.reader() as reader:
        waiting = [
            root
            for service in bench.repository.services()
            for snapshot in bench.repository.snapshots(service)
            for item in snapshot.items.values()
            for root in (item.root, item.good)
        ]
        while waiting:
            tree = waiting.pop()
            if tree not in found and tree != EMPTY_TREE:
                found.add(tree)
                for entry in reader.tree(tree):
                    found |= {x for x in (entry.hash, entry.blocks) if x is not None and entry.type != "dir"}
                    if entry.type == "dir":
                        waiting.append(entry.hash)
                    elif entry.blocks is not None:
                        found |= {x for x in reader.block_list(entry.blocks).runs if isinstance(x, str)}
    return found


def damage(path: Path, content: bytes) -> None:
    """Flip a bit of `content`, which does not compress, where it lies in a pack."""
    data = bytearray(path.read_bytes())
    at = data.find(content[100:140])
    assert at > 0
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_what_is_needed_of_a_sparse_pack_moves(bench: Any) -> None:
    """Bytes follow what is needed: the rest of an old pack goes; the figures told are those of the disk."""
    newer, pack = sparse_pack(bench)
    before = bench.repository.statistics()
    with bench.repository.reader() as reader:
        told = foresee(bench.repository, reader, {"svc": [1]})
    done = pruned(bench, {"svc": [1]})
    assert not pack.exists()
    assert bench.files(newer) == {"kept": noise("kept"), "bulk": b"new"}
    assert before.size_bytes - bench.repository.statistics().size_bytes == done.freed_bytes > 6000
    assert (told.packs.removed, told.packs.rewritten) == (done.packs.removed, done.packs.rewritten) == (0, 1)
    assert abs(told.freed_bytes - done.freed_bytes) < 600
    assert pruned(bench, {}) == Pruned((), 0)
    assert every_object(bench).keys() == reachable(bench)


def test_small_packs_become_one_which_tar_reads(bench: Any) -> None:
    """A snapshot every 30 s does not leave a million files, and promise 8 holds for what was merged: whole frames and
    single objects, blocks and trees."""
    contents = {"large": noise("large", 200_000), **{f"{n}": noise(n, 9000) for n in range(12)}}
    bench.capture({name: contents[name] for name in contents if name == "large" or int(name) < 8})
    for number in range(8, 12):
        snapshot = bench.capture({name: x for name, x in contents.items() if name == "large" or int(name) <= number})
    for number in range(FAN):
        bench.capture({"a": noise(number)}, service=f"other{number}")
    shared = bench.files(snapshot)
    done = pruned(bench, {})
    assert done.packs.rewritten >= FAN
    assert len(bench.packs()) == 13 - done.packs.rewritten + done.packs.written
    assert bench.files(snapshot) == shared == contents
    for path in bench.packs():
        with path.open("rb") as file:
            assert check_pack(file.fileno(), path.name.removesuffix(packs.SUFFIX)).intact
        listed = subprocess.run(["tar", "--zstd", "-tf", path], capture_output=True, check=True, text=True)
        assert len(set(listed.stdout.split())) == len(listed.stdout.split())


def test_frames_are_copied_whole_only_if_all_of_them_is_needed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compressed twice that need not be; and no dead object comes along."""
    whole: list[int] = []
    real = packs.PackWriter.add_frame

    def noted(self: packs.PackWriter, frame: bytes, size: int, objects: Any) -> None:
        whole.append(len(objects))
        real(self, frame, size, objects)

    monkeypatch.setattr(packs.PackWriter, "add_frame", noted)
    bench.capture({"dead": noise("dead", 500_000), "a": noise("a", 150_000), "b": noise("b"), "c": noise("c")})
    kept = bench.capture({"a": noise("a", 150_000), "b": noise("b")})
    pruned(bench, {"svc": [1]})
    assert whole == [1]
    assert bench.files(kept) == {"a": noise("a", 150_000), "b": noise("b")}
    assert every_object(bench).keys() == reachable(bench)


def test_a_frame_that_lost_its_checksum_is_read_and_not_copied(bench: Any) -> None:
    """One bit of a frame's header says whether a checksum follows: without it the bytes are still there, and right by
    their own hashes. No pack that is written anew gets such a frame."""
    newer, pack = sparse_pack(bench)
    with pack.open("rb") as file:
        starts = {one.frame_offset for one in read_index(file.fileno(), pack.name.removesuffix(packs.SUFFIX)).values()}
    data = bytearray(pack.read_bytes())
    for start in starts:
        assert data[start + 4] & 4
        data[start + 4] ^= 4
    pack.write_bytes(data)
    bench.reopen()
    assert bench.files(newer) == {"kept": noise("kept"), "bulk": b"new"}
    (report,) = verify(bench.reopen()).damage
    assert report.pack == pack.name.removesuffix(packs.SUFFIX) and report.object is None
    pruned(bench, {"svc": [1]})
    assert bench.files(newer) == {"kept": noise("kept"), "bulk": b"new"}
    for path in set(bench.packs()) - {pack}:
        subprocess.run(["zstd", "--test", "--quiet", path], check=True)


def test_a_damaged_object_never_moves(bench: Any) -> None:
    """Promise 7: its pack stays as it is, byte by byte, and is named; nothing else suffers; when nobody needs it any
    more it goes like any other."""
    newer, pack = sparse_pack(bench)
    for number in range(FAN):
        bench.capture({"a": noise(number)}, service=f"other{number}")
    intact = pack.read_bytes()
    damage(pack, noise("kept"))
    before = pack.read_bytes()
    for _ in range(2):
        done = pruned(bench, {"svc": [1]})
        assert pack.name[:20] in " ".join(done.notes)
        assert done.kept_data is None
        assert pack.read_bytes() == before
    assert len(bench.packs()) < FAN
    for number in range(FAN):
        assert bench.files(bench.repository.newest(f"other{number}")) == {"a": noise(number)}
    pack.write_bytes(intact)  # the disk had a bad day
    assert bench.files(newer) == {"kept": noise("kept"), "bulk": b"new"}
    pruned(bench, {"svc": [2]})
    assert not pack.exists()


def test_what_is_damaged_between_the_look_and_the_copy_does_not_move(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 7: what is written is checked as it is written, too. Nothing is left behind, and nothing is deleted."""
    newer, pack = sparse_pack(bench)
    intact = pack.read_bytes()
    real = repacking._checked

    def then_damaged(*arguments: Any) -> Any:
        found = real(*arguments)
        damage(pack, noise("kept"))
        return found

    monkeypatch.setattr(repacking, "_checked", then_damaged)
    before = bench.packs()
    done = pruned(bench, {"svc": [1]})
    assert "left as they are" in " ".join(done.notes)
    assert bench.packs() == before
    assert not bench.temporaries()
    pack.write_bytes(intact)
    assert bench.files(newer) == {"kept": noise("kept"), "bulk": b"new"}


def test_while_it_is_unknown_what_is_needed_files_stay_few_and_nothing_is_lost(bench: Any) -> None:
    """A record that can't be read keeps all data, perhaps for weeks: small packs are merged with everything in them."""
    damaged = bench.capture({"a": noise("a")})
    record = Path(bench.repository.record_path("svc", damaged.sequence))
    good = record.read_bytes()
    record.write_bytes(good[:-5])
    before = set(every_object(bench))
    for number in range(40):
        bench.capture({"a": noise(number, 300)})
        before |= every_object(bench).keys()
        done = pruned(bench, {"svc": [number + 1]} if number else {}, automatic=True, limits=AUTOMATIC)
        assert "svc/1" in (done.kept_data or "svc/1")
        assert not done.packs.removed
    assert "svc/1" in (pruned(bench, {}).kept_data or "")
    assert every_object(bench).keys() == before
    assert len(bench.packs()) < 2 * FAN
    record.write_bytes(good)
    assert pruned(bench, {}).kept_data is None
    assert every_object(bench).keys() == reachable(bench) < before
    assert bench.files(damaged) == {"a": noise("a")}


def test_a_copy_is_deleted_only_if_the_other_one_is_whole(bench: Any) -> None:
    """A prune that died before it deleted leaves objects in two packs: the next one clears up, but not by deleting the
    only intact copy."""
    newer, pack = sparse_pack(bench)
    os.unlink(bench.repository.record_path("svc", 1))
    name = pack.name.removesuffix(packs.SUFFIX)
    before = set(bench.packs())
    with bench.repository.writer(wait_s=0, what="a prune that dies") as writer:
        needed = needed_by_all(bench.repository, writer, {})
        repack(bench.repository.packs_path, bench.repository.catalog, writer, [name], needed)
    (copy,) = set(bench.packs()) - before
    intact = copy.read_bytes()
    damage(copy, noise("kept"))
    pruned(bench, {})
    assert bench.files(newer) == {"kept": noise("kept"), "bulk": b"new"}
    copy.write_bytes(intact)
    bench.repository.close()
    (bench.state_dir / "catalog.sqlite").unlink()
    bench.reopen()
    pruned(bench, {})
    assert bench.files(newer) == {"kept": noise("kept"), "bulk": b"new"}
    assert not pack.exists()
    assert max(map(len, every_object(bench).values())) == 1


def test_nothing_is_copied_while_packs_cannot_be_deleted(bench: Any) -> None:
    """While somebody reads, copies would only pile up."""
    sparse_pack(bench)
    before = bench.packs()
    with bench.repository.reader():
        for _ in range(3):
            done = pruned(bench, {"svc": [1]})
            assert str(os.getpid()) in (done.kept_data or "")
            assert bench.packs() == before
    assert pruned(bench, {}).packs.rewritten == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_without_room_nothing_is_lost(bench: Any, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A full disk: what nothing needs is deleted before anything is copied; then it says what is missing."""
    newer, pack = sparse_pack(bench)
    bench.capture({"x": noise("x")}, service="dead")
    dead = set(bench.packs()) - {pack}
    with bench.repository.writer(wait_s=0, what="a prune") as writer, monkeypatch.context() as patch:

        def full(fd: int, data: bytes) -> None:
            os.write(fd, data[:10])
            raise OSError(code, os.strerror(code))

        patch.setattr(packs, "write_all", full)
        try:
            done = prune(bench.repository, writer, {"svc": [1], "dead": [1]}, limits=EAGER)
        except Exception as error:
            assert code == errno.EIO
            assert os.strerror(code) in str(error)
        else:
            assert "no room" in " ".join(done.notes)
            assert done.packs.removed == 1
    assert len(dead & set(bench.packs())) == 1
    assert pack.exists()
    assert not bench.temporaries()
    assert bench.files(newer) == {"kept": noise("kept"), "bulk": b"new"}
    assert pruned(bench, {}).packs.rewritten == 1


def test_the_catalog_is_not_believed_when_something_is_deleted(bench: Any) -> None:
    """A catalog that is wrong about what lies where deletes nothing that is needed; it is put right."""
    import sqlite3

    first = bench.capture({"a": noise("a")})
    bench.capture({"b": noise("b")})
    bench.repository.close()
    with sqlite3.connect(bench.state_dir / "catalog.sqlite") as database:
        database.execute("UPDATE objects SET hash = randomblob(32)")
    database.close()
    bench.reopen()
    for _ in range(2):
        pruned(bench, {"svc": [2]})
        assert bench.files(first) == {"a": noise("a")}
    assert every_object(bench).keys() == reachable(bench)


def test_what_is_remembered_of_trees_is_checked(bench: Any) -> None:
    """A bit that flips in the memory of what trees refer to costs another read, and no data."""
    import sqlite3

    first = bench.capture({"a": noise("a")})
    bench.capture({"b": noise("b")})
    pruned(bench, {})
    bench.repository.close()
    with sqlite3.connect(bench.state_dir / "catalog.sqlite") as database:
        database.execute("UPDATE reach SET leaves = randomblob(length(leaves)), nodes = randomblob(length(nodes))")
        assert database.execute("SELECT count(*) FROM reach").fetchone() == (4,)
    database.close()
    bench.reopen()
    pruned(bench, {"svc": [2]})
    assert bench.files(first) == {"a": noise("a")}


def test_an_automatic_prune_looks_only_when_enough_has_changed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: beside a thousand objects one more snapshot is not worth a look at all of them; a few are."""
    bench.capture({f"{n}": b"%d" % n for n in range(4500)})
    looked: list[int] = []
    real = reachability.needed_by_all

    def counted(*arguments: Any) -> Needed:
        looked.append(1)
        return real(*arguments)

    monkeypatch.setattr("recoverd.repository.pruning.needed_by_all", counted)
    for number in range(6):
        bench.capture({"a": noise(number, 10)}, service="other")
        done = pruned(bench, {"other": list(range(1, number + 1))}, automatic=True, limits=AUTOMATIC)
        assert len(done.removed) == (number > 0)
    assert len(looked) == 3
    assert pruned(bench, {}).packs.removed == 1


def test_the_catalog_gives_back_what_is_free(bench: Any) -> None:
    """Its size follows what is there; each prune gives back a bounded piece."""
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        for number in range(4):
            files = {f"{number}-{n}": b"%d %d" % (number, n) for n in range(6000)}
            writer.commit([bench.draft(bench.put(writer, files))])
    bench.repository.close()
    grown = (bench.state_dir / "catalog.sqlite").stat().st_size
    pauses = 0
    while (bench.state_dir / "catalog.sqlite").stat().st_size > grown / 2:
        pruned(bench, {"svc": [1, 2, 3, 4]})
        bench.repository.close()
        pauses += 1
        assert pauses < 10
    assert pauses > 1


@pytest.mark.parametrize("anew", [False, True])
def test_a_catalog_that_cannot_be_written_is_not_believed(
    bench: Any, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    """Promise 6: what was just deleted is not taken for stored when the catalog could not be told so, neither in the
    same session nor by the next writer."""
    import sqlite3

    bench.capture({"a": noise("a")})
    kept = bench.capture({"b": noise("b")})
    monkeypatch.setattr(database, "PATIENCE_MS", 20)
    bench.reopen()
    busy = sqlite3.connect(bench.state_dir / "catalog.sqlite", isolation_level=None)
    try:
        with bench.repository.writer(wait_s=0, what="a test") as writer:
            busy.execute("BEGIN IMMEDIATE")
            assert prune(bench.repository, writer, {"svc": [1]}).packs.removed == 1
            if not anew:
                (again,) = writer.commit([bench.draft(bench.put(writer, {"a": noise("a")}))])
        if anew:
            bench.reopen()
            again = bench.capture({"a": noise("a")})
    finally:
        busy.execute("ROLLBACK")
        busy.close()
    bench.reopen()
    assert bench.files(again) == {"a": noise("a")}
    assert bench.files(kept) == {"b": noise("b")}
    assert every_object(bench).keys() == reachable(bench)
    with bench.repository.writer(wait_s=0, what="a test"):
        pass
    bench.repository.close()
    with sqlite3.connect(bench.state_dir / "catalog.sqlite") as told:
        assert told.execute("SELECT count(*) FROM packs").fetchone() == (2,)
    told.close()
