"""Decides, with the second reader and the model, what a damage may cost, and looks whether it costs more."""

from __future__ import annotations

import base64
import json
import random
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.damage.repository.damages import Damage
    from tests.damage.repository.oracle import Repository
    from tests.damage.repository.world import Done, Kept, World

Items = dict[str, dict[str, "Kept"]]
TARGETS = {"app": (("main", ""), ("tasks", "t1.json")), "media": (("data", ""),)}
OF_DAMAGE = re.compile(
    r"damage|can't be read|is gone|other bytes|not in the repository|can't be used|renamed|no JSON|not a "
)


@dataclass(frozen=True)
class Candidate:
    """A snapshot that a document, or a whole service, can come from, and the objects that takes."""

    snapshot: str
    needs: frozenset[str]
    items: Items
    rejected: bool = False


@dataclass
class Judge:
    world: World
    oracle: Repository
    kept: Any  # the class of the model's files
    loose: bool = False  # this damage may make the whole repository unusable, until somebody mends it
    needs: dict[str, set[str]] = field(default_factory=dict)  # of all a snapshot holds
    good: dict[str, set[str]] = field(default_factory=dict)  # of what a restore takes
    candidates: dict[tuple[str, tuple[str, str] | None], list[Candidate]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    pack_of: dict[str, str] = field(default_factory=dict)
    answers: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    archives: dict[str, str] = field(default_factory=dict)
    surely: set[str] = field(default_factory=set)
    perhaps: set[str] = field(default_factory=set)
    readable: set[str] = field(default_factory=set)
    remembered: set[str] = field(default_factory=set)  # damaged records of which the catalog may hold the right bytes

    # --- while all is well

    def learn(self) -> None:
        """Read the whole repository with the second reader: it must hold what the model says."""
        self.oracle.look()
        assert not self.oracle.unreadable
        assert self.oracle.records.keys() == self.world.model.keys()
        for name, pack in self.oracle.packs.items():
            assert pack.frames is not None, name
            self.oracle.known[name], self.sizes[name] = pack.frames, pack.size
            self.pack_of |= dict.fromkeys(pack.objects, name)
        for snapshot, record in self.oracle.records.items():
            self.needs[snapshot], self.good[snapshot] = set(), set()
            for item, one in record["items"].items():
                assert self.files(one["root"]) == self.model(self.world.model[snapshot][item]), (snapshot, item)
                assert self.files(one["good"]) == self.model(self.world.good[snapshot][item]), (snapshot, item)
                self.good[snapshot] |= self.oracle.needs(one["good"])
                self.needs[snapshot] |= self.oracle.needs(one["root"]) | self.oracle.needs(one["good"])
        for service, targets in (*TARGETS.items(), ("pair", (None,))):
            for target in targets:
                found = [self.candidate(name, target) for name in self.newest_first(service)]
                self.candidates[service, target] = [one for one in found if one is not None]
        self.look()
        asked: list[tuple[str, ...]] = []
        for snapshot in self.needs:
            service, _, number = snapshot.partition("/")
            pairs = [f"{service}/{other}" for other in range(1, int(number))]
            asked += [("show", snapshot), ("show", "--good", snapshot), *(("diff", one, snapshot) for one in pairs)]
            asked.append(("export", snapshot, str(self.world.base / snapshot.replace("/", "-"))))
        for done in self.world.run(*asked):
            assert done.status == 0, done
            if done.words[0] == "export":
                self.archives[done.words[1]] = done.json["blake3"]
            else:
                self.answers[done.words] = essence(done)

    def newest_first(self, service: str) -> list[str]:
        """All its snapshots, as they were before the damage."""
        names = [name for name in self.needs if name.partition("/")[0] == service]
        return sorted(names, key=lambda name: -int(name.partition("/")[2]))

    def candidate(self, snapshot: str, target: tuple[str, str] | None) -> Candidate | None:
        record, good = self.oracle.records[snapshot], self.world.good[snapshot]
        rejected = snapshot in self.world.rejected
        if target is None:
            if record["verdict"] != "ok":
                return None
            needs = {one for item in record["items"].values() for one in self.oracle.needs(item["good"])}
            return Candidate(snapshot, frozenset(needs), good, rejected)
        item, document = target
        tree = record["items"][item]["good"]
        top = self.oracle.entries(tree)[0]["name"]
        entry, trees = self.oracle.find(tree, [top, *([document] if document else [])])
        if entry is None:
            return None
        found = {document: good[item][document]} if document else good[item]
        return Candidate(snapshot, frozenset(trees | self.oracle.needs_of(entry)), {item: found}, rejected)

    def files(self, tree: str) -> dict[str, Any]:
        """What a tree holds, as the model has it: by path below the item."""
        found: dict[str, Any] = {}
        for path, entry in self.oracle.files(tree):
            mtime_ns = 0 if entry["type"] == "dir" else int(entry["mtime_ns"])
            attributes = tuple(
                (one["name"], base64.b64decode(one["value64"]))
                for one in entry.get("xattrs", ())
                if one["name"].startswith("user.")
            )
            found[path.partition("/")[2]] = self.kept(
                0o777 if entry["type"] == "symlink" else int(entry["mode"], 8),
                mtime_ns,
                self.oracle.content(entry) if entry["type"] == "file" else None,
                entry.get("target"),
                attributes,
                entry.get("hard_link", 0),
            )
        return self.model(found)

    @staticmethod
    def model(files: dict[str, Any]) -> dict[str, Any]:
        """With names instead of numbers for files that have several."""
        groups: dict[Any, tuple[str, ...]] = {}
        for path in sorted(files):
            groups[files[path].group] = (*groups.get(files[path].group, ()), path)
        return {
            path: replace(one, group=groups[one.group] if one.group and len(groups[one.group]) > 1 else 0)
            for path, one in files.items()
        }

    # --- after a damage

    def look(self) -> None:
        """What can still be read."""
        self.oracle.look()
        self.surely, self.perhaps = self.oracle.surely(self.sizes), self.oracle.perhaps()
        self.readable = set(self.oracle.records)
        self.remembered = {name for name in self.oracle.unreadable if self.looks_whole(name)}

    def looks_whole(self, snapshot: str) -> bool:
        """Whether a record has the size and time that it had, as after a flipped bit."""
        service, _, number = snapshot.partition("/")
        name = f"var/repository/snapshots/{service}/{int(number):012d}.json"
        one, path = self.world.image.get(name), self.world.base / name
        if one is None or one.data is None or not path.is_file() or path.is_symlink():
            return False
        status = path.stat()
        return (status.st_size, status.st_mtime_ns) == (len(one.data), one.mtime_ns)

    def intact(self, snapshot: str) -> bool:
        return snapshot in self.readable and self.needs[snapshot] <= self.surely

    def hurt(self) -> set[str]:
        return {name for name in self.needs if not self.intact(name)}

    def options(self, service: str, target: tuple[str, str] | None, *, marks: bool) -> tuple[list[Candidate], bool]:
        """What a restore may take, best first, and whether it must take one of them."""
        found = []
        for one in self.candidates[service, target]:
            known = one.snapshot in self.readable | self.remembered
            if known and one.needs <= self.perhaps and (marks or not one.rejected):
                found.append(one)
                if one.snapshot in self.readable and one.needs <= self.surely and not one.rejected:
                    return found, True
        return found, False

    def restored(self, service: str, done: Done, damage: Damage) -> None:
        """A restore in place took the newest that can be read, or nothing and changed nothing."""
        assert_said(done)
        marks = "/marks/" in damage.path or damage.path.endswith("/marks")
        before = {item: self.model(found) for item, found in self.image(service).items()}
        now = {item: self.model(found) for item, found in self.world.look(service).items()}
        targets: tuple[tuple[str, str] | None, ...] = TARGETS.get(service, (None,))
        if self.loose and done.status != 0:
            assert now == before, f"{damage}: it failed, and changed state"
            return
        options = {target: self.options(service, target, marks=marks) for target in targets}
        result = next(one for one in done.json["services"] if one["service"] == service)
        if result["outcome"] != "restored":
            assert now == before, f"{damage}: {result['outcome']}, and state is changed"
            assert not all(sure for _, sure in options.values()), f"{damage}: {done.told}"
            nothing = not any(found for found, _ in options.values())
            assert done.status == 1 or (nothing and result["outcome"] == "untouched"), f"{damage}: {done}"
            return
        assert done.status == 0, f"{damage}: {done}"
        for target, (found, _) in options.items():
            chosen = [one for one in found if self.equal(one, now)]
            assert chosen, f"{damage}: {service} {target} is none of {[one.snapshot for one in found]}: {done.told}"
            newest = next(one for one in self.candidates[service, target] if marks or not one.rejected)
            if newest.items not in [one.items for one in chosen]:
                assert OF_DAMAGE.search(done.told), f"{damage}: an older version, and no word why: {done.told}"
        replaced = {(item, path) for (item, path) in (target or ("", "") for target in targets)}
        for item in now if service == "app" else ():
            rest = {path: one for path, one in now[item].items() if (item, path) not in replaced}
            kept = {path: one for path, one in before[item].items() if (item, path) not in replaced}
            assert rest == kept, f"{damage}: what was ok is changed"

    def equal(self, candidate: Candidate, now: Items) -> bool:
        for item, found in candidate.items.items():
            wanted = self.model(found)
            there = now[item] if "" in found else {path: now[item].get(path) for path in found}
            if wanted != there:
                return False
        return True

    def image(self, service: str) -> Items:
        """What lay there before, damaged as it was."""
        found: Items = {}
        for item, path in self.world.items[service].items():
            below = f"live/{service}/{path}"
            found[item] = {
                name[len(below) :].lstrip("/"): one
                for name, one in self.world.image.items()
                if name == below or name.startswith(below + "/")
            }
        return found

    # --- commands that only read

    def question(self, dice: random.Random) -> tuple[tuple[str, ...], Callable[[Done, Damage], None]]:
        """A command that only reads, and what judges its answer."""
        snapshot = dice.choice(sorted(self.needs))
        service = snapshot.partition("/")[0]
        out = str(self.world.base / "out")
        kind = dice.randrange(12)
        words: tuple[str, ...]
        if kind == 0:
            return ("list",), self.listed
        if kind == 1:
            return ("check",), lambda done, damage: assert_said(done, check=True)
        if kind == 2:
            return ("assess", service), lambda done, damage: assert_said(done)
        if kind == 3:
            item, files = dice.choice(sorted(self.world.model[snapshot].items()))
            regular = [name for name in sorted(files) if files[name].data is not None and "\udcff" not in name]
            path = dice.choice(regular)
            words = ("show", snapshot, f"{item}/{path}" if path else item)
            return words, lambda done, damage: self.shown(snapshot, files[path], done, damage)
        if kind in {4, 5}:
            words = dice.choice(sorted(self.answers))
            return words, lambda done, damage: self.answered(words, done, damage)
        if kind == 6:
            return ("export", snapshot, out), lambda done, damage: self.exported(snapshot, done, damage)
        if kind == 7:
            words = ("restore", "--snapshot", snapshot, "--to", out)
            return words, lambda done, damage: self.extracted({service: [snapshot]}, done, damage)
        if kind == 8:
            return ("verify",), self.verified
        if kind == 9:
            return ("verify", "--heal"), self.healed
        if kind == 10:
            return ("verify", "--sample", f"{dice.randrange(1, 101)}%"), lambda done, damage: assert_said(done)
        names = {one: self.newest_first(one) for one in sorted(self.world.items)}
        return ("restore", "--to", out), lambda done, damage: self.extracted(names, done, damage)

    def verified(self, done: Done, damage: Damage) -> None:
        """All that is hurt is named, and nothing else."""
        assert_said(done)
        if self.loose and done.status == 1 and "error" in done.json:
            return
        named = set(done.json["snapshots"]) | {name for one in done.json["damage"] for name in one["snapshots"]}
        records = set(self.oracle.records)
        hurt = {name for name in records & self.needs.keys() if not self.needs[name] <= self.perhaps}
        assert hurt | self.oracle.unreadable <= named, f"{damage}: {done}"
        if "/marks/" not in damage.path:
            assert not {name for name in named & records if self.needs[name] <= self.surely}, f"{damage}: {done}"
        assert done.status == (1 if done.json["damage"] else 0), f"{damage}: {done}"
        for name in hurt:
            lost = {one for one in self.needs[name] if one not in self.perhaps}
            told = {one["object"] for one in done.json["damage"]} | {one["pack"] for one in done.json["damage"]}
            assert lost & told or told & {self.pack_of[one] for one in lost}, f"{damage}: {name}: {done}"

    def healed(self, done: Done, damage: Damage) -> None:
        """Where it says that nothing is damaged any more, that is so. Asked after all other commands."""
        assert_said(done)
        if done.status == 0:
            for name in self.readable & self.needs.keys():
                assert self.needs[name] <= self.surely, f"{damage}: {name} is not whole: {done}"

    def refused(self, snapshots: list[str], done: Done, damage: Damage) -> bool:
        """Whether it failed as it may: what it asks for is hurt, and it says so."""
        assert_said(done)
        if done.status == 0:
            return False
        assert self.loose or not all(self.intact(one) for one in snapshots), f"{damage}: {done}"
        assert done.status in {1, 64}, f"{damage}: {done}"
        assert done.json["error"]["message"], f"{damage}: {done}"
        return True

    def listed(self, done: Done, damage: Damage) -> None:
        """Every record that can be read is listed as it is, and those that can't are told."""
        assert_said(done)
        if self.loose and done.status == 1 and "error" in done.json:
            return
        found = {one["id"]: one for one in done.json["snapshots"]}
        assert self.readable <= found.keys() <= self.readable | self.remembered, f"{damage}: {done}"
        for name in self.readable:
            one, record = found[name], self.oracle.records[name]
            assert (one["time"], one["verdict"]) == (record["time"], record["verdict"]), f"{damage}: {done}"
        unreadable = self.oracle.unreadable - found.keys()
        assert (done.status == 1) is bool(unreadable), f"{damage}: {done}"
        for name in unreadable:
            assert any(name in told for told in done.json["unreadable"]), f"{damage}: {name} is not named: {done}"

    def shown(self, snapshot: str, one: Kept, done: Done, damage: Damage) -> None:
        if not self.refused([snapshot], done, damage):
            assert base64.b64decode(done.json["content_base64"]) == one.data, f"{damage}: other bytes"

    def answered(self, words: tuple[str, ...], done: Done, damage: Damage) -> None:
        snapshots = [word for word in words if word in self.needs]
        if not self.refused(snapshots, done, damage):
            assert essence(done) == self.answers[words], f"{damage}: {done}"

    def exported(self, snapshot: str, done: Done, damage: Damage) -> None:
        out = self.world.base / "out"
        if self.refused([snapshot], done, damage):
            assert not out.exists(), f"{damage}: an archive of a damaged snapshot"
            return
        assert done.json["blake3"] == self.archives[snapshot], f"{damage}: {done}"
        with tarfile.open(out) as archive:
            assert len(archive.getnames()) > 0

    def extracted(self, wanted: dict[str, list[str]], done: Done, damage: Damage) -> None:
        """`wanted`: for each service the snapshots that may be taken, best first."""
        out = self.world.base / "out"
        picture = self.world.picture(out)
        usable = {
            service: [one for one in names if one in self.readable | self.remembered and self.good[one] <= self.perhaps]
            for service, names in wanted.items()
        }
        everything = [names[0] for names in usable.values() if names]
        assert_said(done)
        if done.status != 0:
            sure = all(any(self.intact(one) for one in names) for names in wanted.values())
            assert self.loose or not sure, f"{damage}: {done}"
        for service, names in usable.items():
            for item, path in self.world.items[service].items():
                below = f"{service}/{item}/{path}"
                found = {
                    name[len(below) :].lstrip("/"): one
                    for name, one in picture.items()
                    if name == below or name.startswith(below + "/")
                }
                if not found and done.status != 0:
                    continue
                right = [one for one in names if self.model(self.world.good[one][item]) == self.model(found)]
                sets = f"readable {sorted(self.readable)}, remembered {sorted(self.remembered)}"
                assert right, f"{damage}: {below} is of no snapshot that may be taken ({names}; {sets}): {done}"
        assert not [name for name in picture if "/.tmp-" in f"/{name}"], f"{damage}: leftovers of {everything}"


def essence(done: Done) -> dict[str, Any]:
    """An answer without the marks of snapshots, which may be damaged without anything being lost."""
    document = done.json
    for one in (document.get("snapshot"), *document.get("snapshots", ())):
        for key in ("pinned", "proven", "rejected", "kept_by", "confirmed") if one is not None else ():
            one.pop(key, None)
    return document


def assert_said(done: Done, *, check: bool = False) -> None:
    """A known exit status, one JSON document, and never a traceback or a fault of recoverd's own."""
    assert done.status in ({0, 1, 2, 3} if check else {0, 1, 3, 64}), done
    assert "Traceback" not in done.err, done
    assert "fault of recoverd's own" not in done.told, done
    json.loads(done.out)
