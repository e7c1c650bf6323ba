"""Random lives: captures, prunes, rewritten packs, sudden deaths, lost and outdated catalogs (promises 3, 6 and 7).

After every step all snapshots read back bit for bit, and what prune remembers of reachability is compared with what
comes out when it is computed from nothing.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from recoverd.repository.pruning import prune
from recoverd.repository.reach_memory import mark_of
from recoverd.repository.reachability import needed_by_all
from recoverd.repository.repack_plan import RepackLimits

EAGER = RepackLimits(young=0, waste_share=0, copy_bytes=20_000, small_bytes=8_000)


def noise(name: object, size: int) -> bytes:
    return random.Random(f"{name}").randbytes(size)


class Life:
    """What a repository should hold, and what may happen to it."""

    def __init__(self, bench: Any, chance: random.Random, older: Path) -> None:
        self.bench = bench
        self.chance = chance
        self.older = older
        self.kept: dict[int, tuple[str, dict[str, bytes]]] = {}
        self.told: list[str] = []
        self.deeds = [self.capture] * 4 + [self.prune, self.prune, self.die, self.lose_catalog, self.older_catalog]

    def step(self) -> None:
        deed = self.chance.choice(self.deeds)
        self.told.append(deed.__name__)
        deed()
        self.check()

    def capture(self) -> None:
        """Contents and directories come and go and come back; sometimes a good tree is not the one that was found."""
        chance = self.chance
        files = {f"{n}": noise(f"{n} {chance.randrange(3)}", 500 * n) for n in range(chance.randrange(6))}
        with self.bench.repository.writer(wait_s=0, what="a test") as writer:
            below = self.bench.put(writer, files)
            # more than one list of blocks holds: some parts are the same again and again, and some are holes
            pieces = [[chance.choice([None, writer.put(noise(chance.randrange(4), 1000))])] * 32 for _ in range(3)]
            large = [*chain(*pieces), chance.choice([None, writer.put(noise(chance.randrange(4), 1000))])]
            blocks = writer.put_blocks(large, 1000, 97_000)
            entry = self.bench.file("large", "", 97_000)
            entry = type(entry)(**{**_fields(entry), "hash": None, "blocks": blocks, "block_size": 1000})
            good = writer.put_tree([below, entry])
            root = good if chance.random() < 0.7 else writer.put_tree([entry])
            made = self.bench.commit(writer, root, good)
        contents = {f"state/{name}": data for name, data in files.items()}
        contents["large"] = b"".join(bytes(1000) if x is None else self._block(x) for x in large)
        self.kept[made.sequence] = good, contents

    def _block(self, name: str) -> bytes:
        with self.bench.repository.reader() as reader:
            return bytes(reader.read(name))

    def prune(self) -> None:
        doomed = self._doomed()
        with self.bench.repository.writer(wait_s=0, what="a prune") as writer:
            done = prune(
                self.bench.repository, writer, {"svc": doomed}, limits=EAGER, automatic=self.chance.random() < 0.4
            )
        assert (done.kept_data, done.notes) == (None, ())
        for sequence in doomed:
            del self.kept[sequence]

    def die(self) -> None:
        """A prune of which nobody knows how far it came."""
        doomed = self._doomed()

        def work() -> None:
            with self.bench.repository.writer(wait_s=0, what="a prune") as writer:
                prune(self.bench.repository, writer, {"svc": doomed}, limits=EAGER)

        self.bench.dies(self.chance.randrange(50), work)
        self.bench.reopen()
        there = set(self.bench.repository.sequences("svc"))
        assert self.kept.keys() - set(doomed) <= there <= self.kept.keys()
        self.kept = {sequence: self.kept[sequence] for sequence in there}

    def lose_catalog(self) -> None:
        self.bench.repository.close()
        for path in self.bench.state_dir.glob("catalog.sqlite*"):
            path.unlink()
        self.bench.reopen()

    def older_catalog(self) -> None:
        """The catalog is one of the past, as after a power failure; this one is kept for another time."""
        self.bench.repository.close()
        catalog = self.bench.state_dir / "catalog.sqlite"
        if catalog.exists():
            shutil.copy(catalog, self.older.with_suffix(".new"))
            if self.older.exists():
                shutil.copy(self.older, catalog)
            self.older.with_suffix(".new").rename(self.older)
        self.bench.reopen()

    def _doomed(self) -> list[int]:
        return self.chance.sample(sorted(self.kept), self.chance.randrange(len(self.kept) + 1))

    def check(self) -> None:
        repository = self.bench.repository
        assert repository.sequences("svc") == sorted(self.kept), self.told
        for good, contents in self.kept.values():
            assert self.bench.files(good) == contents, self.told
        with repository.writer(wait_s=0, what="a test") as writer:
            needed = needed_by_all(repository, writer, {})
            figures = {one.name: one for one in repository.catalog.reach.figures(needed)}
        reachable = self.bench.reachable()
        assert needed.marks == {mark_of(bytes.fromhex(key)) for key in reachable}, self.told
        holding: dict[str, set[str]] = {name: set() for name in figures}
        for key, packs in self.bench.objects().items():
            for name in packs:
                holding[name].add(key)
        for name, one in figures.items():
            assert bool(one.live_bytes or one.copies) == bool(holding[name] & reachable), self.told
            assert not one.held

    def finish(self) -> None:
        """One more prune brings everything in order, whatever happened before."""
        with self.bench.repository.writer(wait_s=0, what="a prune") as writer:
            prune(self.bench.repository, writer, {}, limits=EAGER)
        self.check()
        objects = self.bench.objects()
        assert max(map(len, objects.values()), default=1) == 1
        assert not list(self.bench.state_dir.rglob(".tmp-*"))
        live = sum(path.stat().st_size for path in self.bench.packs())
        with self.bench.repository.writer(wait_s=0, what="a prune") as writer:
            prune(self.bench.repository, writer, {"svc": list(self.kept)}, limits=EAGER)
        assert not self.bench.packs()
        assert live > 0 or not self.kept


def _fields(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__match_args__}


def test_random_lives(make: Callable[[], Any], torture: Any, tmp_path: Path) -> None:
    """Promises 3, 6 and 7; the memory of prune is right after every step, or nothing may be deleted by it."""
    lives, steps = (150, 60) if torture.full else (4, 25)
    done: dict[str, int] = {}
    for number in range(lives):
        life = Life(make(), random.Random(torture.random.random()), tmp_path / f"older-{number}")
        for _ in range(steps):
            life.step()
        life.finish()
        for deed in life.told:
            done[deed] = done.get(deed, 0) + 1
    counted = ", ".join(f"{count} x {deed}" for deed, count in sorted(done.items()))
    torture.tell(sum(done.values()), "steps of random lives", f"all snapshots whole, memory right ({counted})")
