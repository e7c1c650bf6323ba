"""The damage matrix (matrix.toml): each damage done for real to a document of each format, assessed and restored.

Promises 1 (good state is never rolled back), 4 (nothing is lost by a restore) and 7 (damage is never restored).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from recoverd.operations.restore_results import ServiceRestore
from recoverd.state.formats.compression import Compression, pack

MATRIX: dict[str, Any] = tomllib.loads(Path(__file__).with_name("matrix.toml").read_text())
FORMATS: dict[str, dict[str, Any]] = {one["key"]: one["keys"] for one in MATRIX["format"]}
KINDS = ("file", "directory")
PACKED = {"gzip": Compression.GZIP, "zstd": Compression.ZSTD}

OLD = {"version": 1, "tasks": [{"id": number, "title": f"task {number}"} for number in range(9)], "note": "first"}
NEW = {"version": 1, "title": "the second", "tasks": [{"id": number, "title": f"new {number}"} for number in range(9)]}
EMPTIED = {"version": 1, "tasks": []}
AHEAD = NEW | {"version": 2}


@dataclass(frozen=True)
class Cell:
    damage: str
    kind: str
    format: str
    expected: dict[str, str]
    by: str = ""  # what is declared to see it

    def __str__(self) -> str:
        return f"{self.damage}-{self.kind}-{self.format}" + (f"-with-{self.by}" if self.by else "")

    @property
    def keys(self) -> dict[str, Any]:
        """Of the state item."""
        declared: dict[str, Any] = MATRIX["keys"][self.by] if self.by else {}
        more: dict[str, Any] = declared.get(self.format, declared.get("all", {}))
        return FORMATS[self.format] | more


def cells() -> Iterator[Cell]:
    """Every cell, and once more with the keys declared that see what is not seen without."""
    for damage in MATRIX["damage"]:
        for kind in KINDS:
            for form, name in zip(FORMATS, damage.get(kind, ()), strict=False):
                cell = MATRIX["cell"][name]
                yield Cell(damage["key"], kind, form, cell)
                if "by" in cell:
                    yield Cell(damage["key"], kind, form, cell["declared"], cell["by"])


CELLS = list(cells())


def content(form: str, document: dict[str, Any]) -> bytes:
    if form == "lines":
        return b"".join(json.dumps(line).encode() + b"\n" for line in [document["version"], *document["tasks"]])
    if form == "opaque":
        body = b"\x93STATE" + bytes([document["version"]]) + json.dumps(document).encode() + b"\xff\x00\xff"
        return body + sha256(body).hexdigest()[:16].encode()  # which [keys.validate] looks at
    if form == "yaml":
        return yaml.safe_dump(document, sort_keys=False).encode()
    if form == "toml":
        head = [f"{key} = {json.dumps(value)}" for key, value in document.items() if key != "tasks"]
        tasks = [f"[[tasks]]\nid = {task['id']}\ntitle = {json.dumps(task['title'])}" for task in document["tasks"]]
        return "\n".join([*head, *tasks, ""]).encode()
    return pack(json.dumps(document).encode(), PACKED.get(form, Compression.NONE))


def test_every_cell_has_its_place() -> None:
    """No cell of the matrix is skipped silently: each damage names one for each format and each kind it fits."""
    for damage in MATRIX["damage"]:
        for kind in KINDS:
            if kind == "directory" or not damage["key"].startswith("item-"):
                assert len(damage[kind]) == len(FORMATS), damage["key"]
    assert len({str(cell) for cell in CELLS}) == len(CELLS)
    assert {cell.damage for cell in CELLS} == {*DAMAGES, *ELSEWHERE}


# -- damages of the bytes or of the name ---------------------------------------------------------------------


def _cut(house: Any, form: str, keep: Callable[[bytes], bytes]) -> None:
    house.document.write_bytes(keep(house.document.read_bytes()))


def _instead(house: Any, make: Callable[[Path], object]) -> None:
    house.document.unlink()
    make(house.document)


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"planted")


def _symlink(path: Path) -> None:
    """To a file that would pass: reading through it would be the mistake."""
    target = path.parent.parent / "elsewhere"
    target.write_bytes(content("json", OLD))
    path.symlink_to(target)


def _owner(house: Any) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(house.document, 54321, 54321)


def _file_for_directory(house: Any) -> None:
    shutil.rmtree(house.item)
    house.item.write_bytes(b"no directory")


DAMAGES: dict[str, Callable[[Any, str], object]] = {
    "missing": lambda house, form: house.document.unlink(),
    "item-missing": lambda house, form: shutil.rmtree(house.item),
    "item-file": lambda house, form: _file_for_directory(house),
    "empty": lambda house, form: _cut(house, form, lambda data: b""),
    "nul": lambda house, form: _cut(house, form, lambda data: bytes(len(data))),
    "nul-tail": lambda house, form: _cut(house, form, lambda data: data[: len(data) // 2] + bytes(len(data) // 2)),
    "half": lambda house, form: _cut(house, form, lambda data: data[: len(data) // 2]),
    "last-byte": lambda house, form: _cut(house, form, lambda data: data[:-1]),
    "half-old": lambda house, form: _cut(house, form, lambda data: data[: len(data) // 2] + _second_half_of_old(form)),
    "reset": lambda house, form: _cut(house, form, lambda data: content(form, EMPTIED)),
    "newer": lambda house, form: _cut(house, form, lambda data: content(form, AHEAD)),
    "owner": lambda house, form: _owner(house),
    "symlink": lambda house, form: _instead(house, _symlink),
    "fifo": lambda house, form: _instead(house, os.mkfifo),
    "directory": lambda house, form: _instead(house, _directory),
}


def _second_half_of_old(form: str) -> bytes:
    return content(form, OLD)[len(content(form, NEW)) // 2 :]


@pytest.mark.parametrize("cell", [one for one in CELLS if one.damage in DAMAGES], ids=str)
def test_damage(cell: Cell, build: Any) -> None:
    house = build(cell.kind, cell.keys, other=content(cell.format, OLD))
    good = _saved_twice(house, cell.format)
    DAMAGES[cell.damage](house, cell.format)
    before = look_at(house)

    item = house.assess()
    assert item.verdict.value == cell.expected["verdict"], item.problems
    assert look_at(house) == before, "an assessment changes nothing"
    assert bool(item.problems) == (cell.expected["verdict"] != "ok")
    result = house.restore()

    _holds(cell, result)
    if cell.expected["outcome"] == "untouched":
        assert look_at(house) == before
        assert not house.quarantined()
    else:
        _all_good(house, good, cell.format)
        lost = [what for what in before.values() if what not in look_at(house).values()]
        kept = house.quarantined().values()
        assert all(what in kept for what in lost), "nothing is lost by a restore"
        house.undo()
        assert look_at(house) == before, "and undo brings it back"


def _saved_twice(house: Any, form: str) -> bytes:
    """The older version and the newer one, the known-good, are in the repository."""
    for document in (OLD, NEW):
        house.write(content(form, document))
        assert house.snapshot() == "saved"
    return content(form, NEW)


def look_at(house: Any) -> dict[str, str | bytes]:
    """All that lies in the service's directory, by path."""
    found: dict[str, str | bytes] = house.contents()
    return found


def _holds(cell: Cell, result: ServiceRestore) -> None:
    assert result.outcome == cell.expected["outcome"], result
    assert ({one.source for one in result.items} or {"none"}) == {cell.expected["source"]}, result
    assert result.exit_status == (0 if result.outcome in {"untouched", "restored"} else 1)


def _all_good(house: Any, good: bytes, form: str) -> None:
    """The document is its known-good version, the others are what they were, and nothing was added."""
    assert house.document.read_bytes() == good
    assert not house.document.is_symlink()
    for name, data in house.others.items():
        assert (house.item / name).read_bytes() == data
    if house.directory:
        assert {path.name for path in house.item.iterdir()} == {house.document.name, *house.others}


def test_a_wrong_owner_is_put_right_on_purpose(build: Any) -> None:
    """The content is whole, so nothing is restored by itself; asked for by name, the owner comes back too."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    house = build("file", FORMATS["json"])
    _saved_twice(house, "json")
    house.document.chmod(0o640)
    house.snapshot()
    os.chown(house.document, 54321, 54321)
    house.document.chmod(0o604)
    assert house.restore().outcome == "untouched"
    assert house.restore(snapshot="app/good").outcome == "restored"
    status = house.document.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o640)


# -- what can't be read ------------------------------------------------------------------------------------


def _strace(house: Any) -> tuple[str, ...]:
    """Every read of the document fails with EIO, as a dying disk does it."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: nothing here can make a read fail with EIO")
    options = ("-f", "-qq", "-o", "/dev/null", "-P", str(house.document))
    probe = ("strace", *options, "-e", "inject=read:error=EIO", "cat", str(house.document))
    done = subprocess.run(probe, capture_output=True, check=False)
    if b"Input/output error" not in done.stderr:
        pytest.skip(f"strace can't inject errors here: {done.stderr.decode(errors='replace').strip()}")
    return ("strace", *options, "-e", "inject=read,pread64,readv,preadv,preadv2:error=EIO")


def _without_access(house: Any) -> tuple[str, ...]:
    """Nobody may read the document; root too has lost the right to pass over that."""
    house.document.chmod(0)
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed: root reads everything")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


UNREADABLE: dict[str, tuple[Callable[[Any], tuple[str, ...]], str]] = {
    "eio": (_strace, "Input/output error"),
    "eacces": (_without_access, "Permission denied"),
}


@pytest.mark.parametrize("cell", [one for one in CELLS if one.damage in UNREADABLE], ids=str)
def test_unreadable(cell: Cell, build: Any) -> None:
    """A disk that fails now would lose more: nothing is restored over it, and the service does not start."""
    house = build(cell.kind, cell.keys, other=content(cell.format, OLD))
    good = _saved_twice(house, cell.format)
    prepare, words = UNREADABLE[cell.damage]
    before = prepare(house)

    status, result = house.command("restore", before=before)

    house.document.chmod(0o644)
    (service,) = result["services"]
    assert status == 1
    assert service["verdict_before"] == cell.expected["verdict"], service
    assert service["outcome"] == cell.expected["outcome"], service
    assert {one["source"] for one in service["items"]} == {cell.expected["source"]}
    assert any(words in reason for reason in service["reasons"]), service
    _all_good(house, good, cell.format)
    assert not house.quarantined()
    assert house.restore().outcome == "untouched", "once it can be read again it is ok as it always was"


# -- no room -----------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for few files."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=20", "recoverd-test", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("cell", [one for one in CELLS if one.damage == "enospc"], ids=str)
def test_a_full_disk_in_the_middle_of_a_restore(cell: Cell, build: Any, small: Path) -> None:
    """Bytes there are enough, so the check before passes; the inodes end after the staging directory."""
    house = build(cell.kind, cell.keys, other=content(cell.format, OLD), state=small / "state")
    good = _saved_twice(house, cell.format)
    house.write(b"")
    free = os.statvfs(small).f_ffree - 1
    fillers = [small / f"filler-{number}" for number in range(free)]
    for filler in fillers:
        filler.touch()
    before = look_at(house)
    assert house.assess().verdict.value == cell.expected["verdict"]

    result = house.restore()

    _holds(cell, result)
    assert any("No space left" in reason for reason in result.reasons), result
    assert look_at(house) == before, "a failed restore leaves everything as it was"
    assert not [path for path in small.rglob("*") if path.name.startswith(".recoverd-")], "and nothing behind"
    for filler in fillers:
        filler.unlink()
    assert house.restore().outcome == "restored"
    _all_good(house, good, cell.format)


ELSEWHERE = {*UNREADABLE, "enospc"}
