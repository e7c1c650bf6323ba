"""Services to be restored while that is disturbed: three items of different kinds, a process that starts on nothing
but whole state, and a model of what lies there before and afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recoverd.recovery.places import PLACE_PREFIX
from tests.crash.calls.house import Told, Warm, is_held

CONFIG = """\
version: 1
state_dir: {made}/state
services:
  app:
    state:
      main: {{file: {live}/state.json, format: json, schema: {{type: object, required: [generation]}}}}
      tasks: {{directory: {live}/tasks, format: json{include}}}
      third: {{file: {live}/third, format: {third}}}
    run: {{command: [/bin/sh, {base}/service, {live}/state.json, {live}/tasks/a.json, {live}/tasks/sub/c.json, {live}/third]}}
    health: {{within: 20s, stable_for: 20ms}}
    restore: {{scope: {scope}}}
    retention: {{last: 20}}
"""  # noqa: E501 - one line is one line of YAML
SERVICE = """\
first=
for file; do
  IFS= read -r line <"$file" || exit 3
  line=${{line#*'"generation": '}}
  number=${{line%%[!0-9]*}}
  [ -n "$number" ] && [ "${{first:=$number}}" = "$number" ] || exit 3
done
exec sleep {marker}
"""
NEWEST = 2  # generation of the newest snapshot; live state is of that one too
NOREPLACE, EXCHANGE = 1, 2  # flags of renameat2(2)
TORN, EMPTY, NULS = b'{"generation": ', b"", b"\0" * 40
Tree = dict[str, tuple[Any, ...]]  # path -> ("dir", mode) or ("file", mode, mtime_ns, content)
Seen = tuple[Tree, Counter[bytes]]  # live state, and the contents in quarantine


@dataclass(frozen=True, slots=True)
class Variant:
    """One restore that is disturbed."""

    damage: Callable[[Restored], object]  # what is done to live state of the newest generation
    words: tuple[str, ...] = ("restore",)
    brings: int = NEWEST  # the generation that is there afterwards
    third: str = "opaque"
    include: str = ""
    scope: str = "item"
    refused: int = 0  # flags of renameat2 that the disk does not know
    other_disk: bool = False  # live state lies on another file system than the state directory
    running: bool = False  # the service runs before
    good: bool = False  # what is there before is good: no restore needs to replace it
    killed_before: str = ""  # a restore before this one was killed at the middle one of these calls


def documents(house: Restored) -> None:
    """A document of each item, two of the directory."""
    house.put("state.json", TORN)
    house.put("tasks/a.json", EMPTY)
    house.put("tasks/sub/c.json", NULS)
    house.put("third", NULS if house.variant.third == "opaque" else house.read("third") + TORN)


def planted(house: Restored) -> None:
    """The file is gone, and something else lies where the directory was: it is swapped as a whole."""
    house.put("state.json", None)
    shutil.rmtree(house.live / "tasks")
    house.put("tasks", b"this is no directory")
    house.put("third", NULS)


def gone(house: Restored) -> None:
    """Nothing is left of two items: they are created anew."""
    shutil.rmtree(house.live / "tasks")
    house.put("state.json", None)
    house.put("third", NULS)


def ahead(house: Restored) -> None:
    """One damaged document, all else good and newer than any snapshot, with documents that none has."""
    house.write(NEWEST + 1)
    house.put("tasks/sub/new.json", b'{"generation": 3}')
    house.put("tasks/a.json", EMPTY)


def otherwise(house: Restored) -> None:
    """Good state, with one more document; the directory has another mode, so that it comes back as a whole, if it is
    all declared.
    """
    if not house.variant.include:
        os.chmod(house.live / "tasks", 0o700)
    house.put("tasks/more.json", b'{"generation": 2}')


def restored_before(house: Restored) -> None:
    """An old snapshot was restored over good state, which an undo brings back."""
    otherwise(house)
    house.before = tree_of(house.live)
    house.run("restore", "--snapshot", "app/1").fine()


INCLUDE = ', include: ["**/*.json"]'
VARIANTS = {
    "a restore": Variant(documents),
    "a restore without exchange": Variant(documents, refused=EXCHANGE),
    "a restore by links": Variant(documents, refused=EXCHANGE | NOREPLACE, third="json-lines"),
    "a restore on another disk": Variant(documents, other_disk=True, third="json-lines"),
    "a restore file by file": Variant(ahead, include=INCLUDE, scope="service"),
    "a restore of a whole directory": Variant(planted),
    "a restore of a whole directory without exchange": Variant(planted, refused=EXCHANGE),
    "a restore of what is gone": Variant(gone, third="json-lines", other_disk=True),
    "a restore of a whole service": Variant(ahead, scope="service", third="json-lines"),
    "a restore over good state": Variant(
        otherwise, ("restore", "--snapshot", "app/1"), brings=0, running=True, good=True
    ),
    "a restore over good state, file by file": Variant(
        otherwise, ("restore", "--snapshot", "app/1"), brings=0, running=True, good=True, include=INCLUDE
    ),
    "an undo": Variant(restored_before, ("undo",), running=True, good=True),
    "an undo without exchange": Variant(
        restored_before, ("undo",), running=True, good=True, include=INCLUDE, refused=EXCHANGE
    ),
    "a restore after one that was killed": Variant(documents, scope="service", killed_before="renameat2"),
    "a restore after one that was killed without exchange": Variant(
        planted, scope="service", killed_before="renameat2", refused=EXCHANGE
    ),
}
SAMPLE = ("a restore", "a restore without exchange", "a restore over good state", "an undo")


def tree_of(path: Path) -> Tree:
    """All that lies below a path, without what recoverd keeps beside its targets."""
    found: Tree = {}
    for one in sorted(path.rglob("*")):
        name = str(one.relative_to(path))
        if name.startswith(PLACE_PREFIX):
            continue
        status = one.lstat()
        mode = stat.S_IMODE(status.st_mode)
        found[name] = ("dir", mode) if one.is_dir() else ("file", mode, status.st_mtime_ns, one.read_bytes())
    return found


class Restored:
    """One variant: its configuration, its history, and the world that each point begins with."""

    def __init__(self, base: Path, warm: Warm, variant: Variant) -> None:
        self.base, self._warm, self.variant = base, warm, variant
        self.made, self.template = base / "made", base / "template"
        self.made.mkdir(parents=True)
        self._elsewhere = Path(tempfile.mkdtemp(prefix="recoverd-", dir="/dev/shm")) if variant.other_disk else None
        self.live = (self._elsewhere or base) / "live"
        self._marker = f"864000.{random.SystemRandom().randrange(10**9):09}"  # tells its processes from all others
        text = CONFIG.format(
            made=self.made, live=self.live, base=base, include=variant.include, third=variant.third, scope=variant.scope
        )
        (base / "recoverd.yaml").write_text(text)
        (base / "service").write_text(SERVICE.format(marker=self._marker))
        self.generations: list[Tree] = []
        self.before: Tree = {}  # what an undo brings back
        for number in range(NEWEST + 1):
            self.write(number)
            self.generations.append(tree_of(self.live))
            self.run("snapshot").fine()
        if not variant.running or variant.words == ("undo",):
            variant.damage(self)
        self.end_service()
        shutil.copytree(self.made, self.template / "made", symlinks=True)
        shutil.copytree(self.live, self.template / "live", symlinks=True)
        self._killed_at = 0
        if variant.killed_before:
            self.use()
            points = [n for n, call in enumerate(self.act().fine().calls, 1) if call.startswith(variant.killed_before)]
            self._killed_at = points[len(points) // 2]

    def close(self) -> None:
        self.end_service()
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere)

    # -- live state

    def write(self, generation: int) -> None:
        """All documents of one generation, with modes and times of its own."""
        pad = "x" * 5000
        for number, name in enumerate(("state.json", "tasks/a.json", "tasks/b.json", "tasks/sub/c.json", "third")):
            data = json.dumps({"generation": generation, "name": name, "pad": pad}).encode() + b"\n"
            self.put(name, data, mtime_s=1_700_000_000 + generation * 100 + number)
            os.chmod(self.live / name, 0o640 + (number == 1) * 0o20)
        self.put("tasks/kept.txt", b"nobody declared this", mtime_s=1_600_000_000)
        if not self.variant.include:
            (self.live / "tasks" / "kept.txt").unlink()

    def put(self, name: str, data: bytes | None, *, mtime_s: int = 1_710_000_000) -> None:
        path = self.live / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            path.unlink()
            return
        path.write_bytes(data)
        os.utime(path, ns=(0, mtime_s * 1_000_000_000))

    def read(self, name: str) -> bytes:
        return (self.live / name).read_bytes()

    # -- points

    def use(self) -> None:
        """The world as it is before the restore."""
        self.end_service()
        for path, name in ((self.made, "made"), (self.live, "live")):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(self.template / name, path, symlinks=True, copy_function=_copy)
        for stray in self.live.parent.glob(f"{PLACE_PREFIX}*"):
            shutil.rmtree(stray)
        if self.variant.running:
            self.run("restore").fine()
            if self.variant.words != ("undo",):
                self.variant.damage(self)

    def interrupt(self) -> None:
        """The restore before this one, if there is to be one: it was killed."""
        if self._killed_at:
            assert self.act(fault="kill", at=self._killed_at).status == -signal.SIGKILL

    def run(self, *words: str, **fault: Any) -> Told:
        request = {
            "words": ["--config", str(self.base / "recoverd.yaml"), "--wait", "0ms", "--json", *words],
            "environment": {"RUNTIME_DIRECTORY": str(self.made / "run")},
        }
        return self._warm.ask(request | fault)

    def act(self, **fault: Any) -> Told:
        root = os.pathsep.join((str(self.made), str(self.live), str(self.live.parent / PLACE_PREFIX)))
        return self.run(*self.variant.words, root=root, refused=self.variant.refused, **fault)

    # -- what is there

    def seen_state(self) -> Tree:
        return tree_of(self.live)

    def seen(self) -> Seen:
        return self.seen_state(), self.quarantined()

    @property
    def intent(self) -> Path:
        return self.made / "state" / "intents" / "app.json"

    def quarantined(self) -> Counter[bytes]:
        """Every content that is kept, each time that it is; it must be where the evidence says."""
        found: Counter[bytes] = Counter()
        beside: set[str] = set()
        for one in sorted((self.made / "state" / "quarantine").glob("app/*")):
            evidence = json.loads((one / "evidence.json").read_bytes())
            places = [one, *(Path(place["path"]) for place in evidence["places"][1:])]
            beside |= {str(place) for place in places[1:]}
            for step in evidence["steps"]:
                assert (step["old"] is None) == (step["quarantined"] is None)
                assert step["old"] is None or os.path.lexists(step["quarantined"]), step
            for place in places:
                found += Counter(x.read_bytes() for x in place.rglob("*") if x.is_file() and x != one / "evidence.json")
        assert {str(path) for path in self.live.parent.rglob(f"{PLACE_PREFIX}*")} == beside
        return found

    def leftovers(self, *, pruned: bool = False) -> list[str]:
        """What nobody needs any more; what a capture or a record leaves goes with the next one, or the next prune."""
        state = self.made / "state"
        later = set() if pruned else {state / "repository", state / "services", self.made / "run"}
        found = [*state.glob("intents/*"), *state.glob("staging/*"), *self.live.rglob(".tmp-*")]
        found += [path for path in self.made.rglob(".tmp-*") if not later & set(path.parents)]
        return [str(path) for path in found]

    def held_locks(self) -> list[str]:
        """Locks that somebody holds now: nobody should."""
        return [str(path) for path in self.made.rglob("*lock") if path.is_file() and is_held(path)]

    # -- the service

    def processes(self) -> list[int]:
        """Those of the service, from its script on."""
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and self._is_service(entry)]

    def _is_service(self, pid: str) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return self._marker.encode() in words or f"/bin/sh\0{self.base}/service\0".encode() in words

    def end_service(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.001)


def _copy(source: str, target: str) -> None:
    """Packs and records are never written to in place."""
    if "/repository/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


@contextlib.contextmanager
def restored(base: Path, warm: Warm, variant: Variant) -> Iterator[Restored]:
    house = Restored(base, warm, variant)
    try:
        yield house
    finally:
        house.close()
