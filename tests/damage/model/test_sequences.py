"""Promises 1 to 7 through any sequence of what services, operators, power losses, disks and clocks do.

The model is plain dicts: what lies there, what each snapshot must hold, what was good in any capture. Once a file
of the repository was damaged, a second reader of the format says which snapshots are still whole.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from recoverd.errors import DamagedObject, LockHeld, UsageError

if TYPE_CHECKING:
    from tests.damage.model.conftest import House

MAIN = ""
NAMES = ("a.json", "b.json", "c.json")
DAMAGES = (b"", b"{", bytes(64), b'{"id": 5, "version": "2"}', b"[]", b'{"id": "x"} {"id": "x"}')
HOUR_NS = 3600 * 10**9
TORTURE, SAMPLE = 2000, 12

documents = st.sampled_from((MAIN, *NAMES))
tasks = st.sampled_from(NAMES)


def test_promises_hold_through_any_sequence(houses: Callable[[], House], torture: Any) -> None:
    done = {"sequences": 0, "steps": 0}

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.house = houses()
            self.live: dict[str, tuple[bytes, bool]] = {}  # content, whether it is ok
            self.known: dict[str, bytes] = {}  # what each snapshot must carry forward
            self.ever: dict[str, set[bytes]] = {}  # all that was ok in any capture
            self.accepted: dict[str, bytes | None] = {}  # damage that is left alone; None: that it is missing
            self.snapshots: dict[int, tuple[dict[str, bytes], dict[str, bytes]]] = {}  # as found, and known-good
            self.counts: set[int] = set()  # snapshots that are ok or partial
            self.pinned: set[int] = set()
            self.replaced: dict[str, tuple[bytes, bool] | None] | None = None  # what an undo puts back
            self.damaged = False  # something in the repository was
            self.count = 0

        @initialize(disk=st.booleans())
        def begin(self, disk: bool) -> None:
            self.disk_decays = disk
            done["sequences"] += 1

        def teardown(self) -> None:
            try:
                self.look_into_all()
            finally:
                self.house.close()

        # --- what the service does

        def put(self, name: str, content: bytes, ok: bool) -> None:
            self.house.write(name, content)
            self.live[name] = content, ok

        @rule(name=documents)
        def write(self, name: str) -> None:
            self.count += 1
            keys = {"version": "1"} if name == MAIN else {"id": name}
            self.put(name, self.house.json(**keys, n=self.count), ok=True)

        @rule(name=documents, damage=st.sampled_from(DAMAGES))
        def make_invalid(self, name: str, damage: bytes) -> None:
            self.put(name, damage, ok=False)

        @rule(name=documents)
        def truncate(self, name: str) -> None:
            if name in self.live and len(self.live[name][0]) > 1:
                self.put(name, self.live[name][0][: len(self.live[name][0]) // 3], ok=False)

        @rule(name=documents)
        def delete(self, name: str) -> None:
            if self.live.pop(name, None) is not None:
                self.house.delete(name)

        @rule(old=tasks, new=tasks)
        def rename(self, old: str, new: str) -> None:
            if old in self.live and old != new:
                self.house.rename(old, new)
                self.live[new] = self.live.pop(old)

        @rule(name=documents)
        def touch(self, name: str) -> None:
            if name in self.live:
                self.house.touch(name)

        # --- what recoverd does

        def wrong(self) -> set[str]:
            """The documents that are not ok, whatever was accepted."""
            missing = {MAIN} if MAIN in self.known and MAIN not in self.live else set()
            return {name for name, (_, ok) in self.live.items() if not ok} | missing

        def wanted(self) -> set[str]:
            """Those that a restore replaces."""
            content = {name: self.live[name][0] if name in self.live else None for name in self.wrong()}
            return {name for name, data in content.items() if name not in self.accepted or self.accepted[name] != data}

        def captured(self) -> None:
            """Live state was captured, if it differed from the newest snapshot."""
            for name in NAMES:
                if name not in self.live:
                    self.known.pop(name, None)  # services delete documents
            for name, (content, ok) in self.live.items():
                if ok:
                    self.known[name] = content
                    self.ever.setdefault(name, set()).add(content)
            self.sync()

        def sync(self, *, pruned: bool = True) -> None:
            """Snapshots that are new hold live state; those that are gone went because they could."""
            listed = self.house.listed()
            present = {one.snapshot.sequence: one for one in listed.snapshots}
            gone = self.snapshots.keys() - present.keys()
            if not self.damaged:
                assert not listed.unreadable
                assert pruned or not gone, gone
                assert not gone & self.pinned, f"pinned snapshots are gone: {gone & self.pinned}"
                newest = max(self.counts | {n for n, one in present.items() if one.snapshot.verdict.counts}, default=0)
                assert not newest or newest in present, "the newest known-good snapshot is gone"
                for sequence in gone:
                    del self.snapshots[sequence]
            root = {name: content for name, (content, _) in self.live.items()}
            for sequence in sorted(present.keys() - self.snapshots.keys()):
                assert sequence > max(self.snapshots, default=0), "a sequence was used twice"
                self.snapshots[sequence] = root, dict(self.known)
            self.counts = {n for n, one in present.items() if one.snapshot.verdict.counts}
            self.pinned &= present.keys()

        @rule(full_read=st.booleans())
        def snapshot(self, full_read: bool) -> None:
            done["steps"] += 1
            before = dict(self.snapshots)
            wrong = self.wrong()
            made = self.house.snapshot(full_read=full_read)
            if self.damaged:
                assert made.outcome in {"saved", "unchanged", "invalid", "failed"}, made
            elif made.outcome != "unchanged":
                assert made.outcome == ("invalid" if made.verdict == "invalid" else "saved"), made
                assert (made.verdict == "ok") is not bool(wrong), made
            elif before:
                assert self.house.snapshot().outcome == "unchanged"
            self.captured()

        @rule(hours=st.sampled_from((0, 0, 1, 5, 30, 24 * 40, -2, -24 * 3)))
        def prune(self, hours: int) -> None:
            """Also with a clock that is set forward or back."""
            done["steps"] += 1
            self.house.late_ns += hours * HOUR_NS
            self.house.prune()
            if self.snapshots:
                self.sync()

        @precondition(lambda self: self.snapshots and not self.damaged)
        @rule(which=st.integers(0, 9), pinned=st.booleans())
        def pin(self, which: int, pinned: bool) -> None:
            sequence = sorted(self.snapshots)[which % len(self.snapshots)]
            self.house.pin(f"app/{sequence}", pinned)
            self.pinned = self.pinned | {sequence} if pinned else self.pinned - {sequence}

        @precondition(lambda self: self.live or self.known)
        @rule()
        def restore(self) -> None:
            done["steps"] += 1
            self.check_restore(self.house.restore)

        def check_restore(self, work: Callable[[], Any]) -> None:
            wanted, before = self.wanted(), self.house.live()
            held = (
                {name for n in self.house.whole() for name in self.house.contents(n, "good")} if self.damaged else set()
            )
            result = work()
            after = self.house.live()
            assert "fault of recoverd" not in str(result.reasons), result
            if result.outcome not in {"restored", "degraded"}:
                assert after == before, f"{result}, and state is changed"
                if not self.damaged:
                    assert result.outcome == ("blocked" if wanted else "untouched"), result
                    assert not wanted or wanted - self.known.keys(), f"{result} although all have a known-good version"
                elif result.outcome != "untouched":
                    assert wanted - held, f"{result} although whole snapshots hold {held}"
                return
            assert result.exit_status == 0, result
            assert wanted, f"{result}: what was good is replaced"
            assert after.keys() == before.keys() | wanted
            for name, (content, inode) in after.items():
                if name not in wanted:
                    assert (content, inode) == before[name], f"{name} was good, or accepted"
                elif name in self.known and not self.damaged:
                    assert content == self.known[name], f"{name} is not its newest good version"
                else:
                    assert content in self.ever[name], f"{name} was never good"
            self.put_aside({name: self.live.get(name) for name in wanted}, after)
            self.captured()

        def put_aside(self, old: dict[str, tuple[bytes, bool] | None], after: dict[str, tuple[bytes, int]]) -> None:
            """Live state was replaced; what was there is in quarantine, byte by byte."""
            self.replaced = old
            for name in old:
                self.live.pop(name, None)
                if name in after:
                    self.live[name] = after[name][0], True
            kept = {path.read_bytes() for path in (self.house.root / "var" / "quarantine").rglob("*") if path.is_file()}
            for beside in self.house.root.glob("state/**/.recoverd-*/**/*"):
                kept |= {beside.read_bytes()} if beside.is_file() else set()
            assert {one[0] for one in old.values() if one is not None} <= kept, "what was replaced is lost"

        @precondition(lambda self: self.snapshots and not self.damaged)
        @rule(which=st.integers(0, 9))
        def restore_a_snapshot(self, which: int) -> None:
            """On purpose, also over good state: exactly its known-good documents."""
            done["steps"] += 1
            sequence = sorted(self.snapshots)[which % len(self.snapshots)]
            good = dict(self.snapshots[sequence][1])
            if MAIN in self.live and MAIN not in good:
                good[MAIN] = self.live[MAIN][0]  # the snapshot has no version of it: it is left alone
            before = dict(self.live)
            result = self.house.restore(f"app/{sequence}")
            after = self.house.live()
            if result.outcome == "failed":  # it holds nothing good
                assert not self.snapshots[sequence][1], result
                assert {name: content for name, (content, _) in after.items()} == {n: c for n, (c, _) in before.items()}
                return
            assert result.exit_status == 0, result
            now = {name: content for name, (content, _) in after.items()}
            if now != good:  # a directory item of which nothing was ever good is left alone too
                assert not any(name in self.snapshots[sequence][1] for name in NAMES), (now, good)
            changed = {name for name in now.keys() | before.keys() if now.get(name) != before.get(name, (None,))[0]}
            if result.outcome == "restored":
                self.put_aside({name: before.get(name) for name in changed}, after)
            self.captured()

        @precondition(lambda self: self.snapshots)
        @rule(which=st.integers(0, 10))
        def restore_to(self, which: int) -> None:
            """Into a directory: a snapshot by name, or the newest."""
            sequences = sorted(self.snapshots)
            sequence = sequences[which] if which < len(sequences) else None
            whole = self.house.whole() if self.damaged else set(sequences)
            try:
                _, out = self.house.extract(None if sequence is None else f"app/{sequence}")
            except (DamagedObject, UsageError):
                assert self.damaged
                assert sequence not in whole
                return
            found = {path.name: path.read_bytes() for path in out.glob("app/tasks/tasks/*")}
            if (out / "app" / "main").exists():
                found[MAIN] = (out / "app" / "main" / "state.json").read_bytes()
            may = [self.snapshots[n][1] for n in ([sequence] if sequence is not None else sequences)]
            if self.damaged:
                assert all(content in self.ever[name] for name, content in found.items()), found
                return
            assert found in may, (found, may)
            if sequence is None:
                newest = next((self.snapshots[n][1] for n in reversed(sequences) if self.snapshots[n][1]), {})
                # an empty directory may be what is good, but only of the very newest
                assert found == newest or found == self.snapshots[sequences[-1]][1] == {}

        @precondition(lambda self: self.replaced is not None and not self.damaged)
        @rule()
        def undo(self) -> None:
            done["steps"] += 1
            assert self.replaced is not None
            before = self.replaced
            gone = {name: self.live.get(name) for name in before}
            if all(one is None for one in (*before.values(), *gone.values())):
                return
            self.house.undo()
            for name, one in before.items():
                self.live.pop(name, None)
                if one is not None:
                    self.live[name] = one
            assert {n: c for n, (c, _) in self.house.live().items()} == {n: c for n, (c, _) in self.live.items()}
            self.replaced = gone
            self.remember_accepted()

        def remember_accepted(self) -> None:
            self.accepted = {name: self.live[name][0] if name in self.live else None for name in self.wrong()}

        @precondition(lambda self: (self.live or self.known) and not self.damaged)
        @rule()
        def accept(self) -> None:
            done["steps"] += 1
            self.house.accept()
            self.captured()
            self.remember_accepted()
            if self.snapshots:
                self.pinned.add(max(self.snapshots))

        # --- what goes wrong

        @precondition(lambda self: not self.damaged)
        @rule(what=st.sampled_from(("snapshot", "restore", "prune", "verify")), point=st.integers(0, 90))
        def crash(self, what: str, point: int) -> None:
            """A process is killed, and the next one does what it wanted to do."""
            if (what in {"prune", "verify"} and not self.snapshots) or (what == "restore" and not self.known):
                return
            done["steps"] += 1
            work: Callable[[], Any] = getattr(self.house, what)
            if what == "restore":
                # what is live afterwards is of before or of after; a second run makes it that of after
                wanted = {name: self.live.get(name) for name in self.wanted()}
                before = self.house.live()
                self.house.die(work, point)
                result = self.house.restore()
                after = self.house.live()
                assert result.outcome in {"restored", "untouched", "blocked"}, result
                for name in after.keys() | before.keys():
                    if name not in wanted or result.outcome == "blocked":
                        assert after.get(name) == before.get(name), f"{name}: {result}"
                    else:
                        assert after[name][0] in self.ever[name], f"{name}: {result}"
                        assert name not in self.known or after[name][0] == self.known[name], f"{name}: {result}"
                if wanted and result.outcome != "blocked":
                    self.put_aside(wanted, after)
                    self.captured()
                self.sync()
            else:
                self.house.die(work, point)
                if what == "snapshot":
                    self.captured()
                self.sync()
                work()
                self.sync()
            assert not list(self.house.repository.rglob(".tmp-*")) or what in {"restore", "verify"}

        @rule()
        def lose_the_catalog(self) -> None:
            self.house.lose_the_catalog()

        @precondition(lambda self: self.snapshots and not self.damaged)
        @rule(other=st.sampled_from(("snapshot", "prune", "verify")), mine=st.sampled_from(("snapshot", "restore")))
        def two_at_once(self, other: str, mine: str) -> None:
            """Another process works on the same service."""
            done["steps"] += 1

            def work() -> None:
                with suppress(LockHeld):
                    getattr(self.house, other)()

            before, newest = dict(self.live), max(self.snapshots, default=0)
            wait = self.house.at_once(work)
            try:
                if mine == "restore":
                    self.check_restore(self.house.restore)
                else:
                    self.house.snapshot()
            finally:
                wait()
            came = [one.snapshot.sequence for one in self.house.listed().snapshots if one.snapshot.sequence > newest]
            if mine == "restore" and other == "snapshot" and came:
                self.house.readable()
                found = self.house.contents(max(came), "root")
                if found == {name: content for name, (content, _) in before.items()} and before != self.live:
                    after, self.live = self.live, before  # it was captured before it was restored
                    self.captured()
                    self.live = after
                    return
            self.captured() if "snapshot" in {other, mine} else self.sync()

        @precondition(lambda self: self.snapshots and self.disk_decays)
        @rule(seed=st.integers(0, 2**32))
        def damage_the_repository(self, seed: int) -> None:
            dice = random.Random(seed)
            self.house.learn()
            files = sorted(
                (path for path in self.house.repository.glob("[ps]*/*/*") if path.is_file()),
                key=lambda path: (path.stat().st_mtime_ns, path.name),
            )
            if not files:
                return  # all that there was to damage is gone
            path, kind = dice.choice(files), dice.randrange(4)
            data = bytearray(path.read_bytes())
            self.house.reopen()
            self.damaged = True
            if kind == 0 or not data:
                path.unlink()
                if path.suffix == ".json":  # who has lost the catalog as well can't know that there was such a number
                    self.snapshots.pop(int(path.stem), None)
            elif kind == 1:
                path.write_bytes(data[: dice.randrange(len(data))])
            else:
                for _ in range(1 if kind == 2 else 30):
                    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
                path.write_bytes(data)

        @precondition(lambda self: self.snapshots)
        @rule(heal=st.booleans())
        def verify(self, heal: bool) -> None:
            """It names what the second reader finds hurt, and says that all is well only where it is."""
            done["steps"] += 1
            hurt = {f"app/{sequence}" for sequence in self.house.readable() - self.house.whole()}
            result = self.house.verify(heal=heal)
            if not self.damaged:
                assert not result.damage, result
            if not heal:
                assert hurt <= set(result.snapshots), (hurt, result)
            elif result.exit_status == 0:
                assert self.house.readable() == self.house.whole()

        def look_into_all(self) -> None:
            """Every snapshot that is whole holds, byte by byte, what the model says; without damage all are whole."""
            whole = self.house.whole() if self.snapshots else set()
            assert self.damaged or whole == self.snapshots.keys()
            for sequence in whole & self.snapshots.keys():
                root, good = self.snapshots[sequence]
                assert self.house.contents(sequence, "root") == root, sequence
                found = self.house.contents(sequence, "good")
                assert self.damaged or found == good, sequence
                assert all(content in self.ever[name] for name, content in found.items()), sequence

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=TORTURE if torture.full else SAMPLE,
            stateful_step_count=30 if torture.full else 20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    torture.tell(done["sequences"], f"sequences with {done['steps']} operations", "all promises held")
