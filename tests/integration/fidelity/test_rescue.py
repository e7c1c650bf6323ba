"""Promise 8: the data is yours without the tool. The rescue script reads what recoverd wrote, all by itself."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from blake3 import blake3

TOOLS = (
    "tar", "zstd", "jq", "b3sum", "xargs", "sort", "join", "comm", "od", "head", "tail", "wc", "cat",
    "mkdir", "mktemp", "rm", "mv", "cp", "id", "ls", "dirname", "grep", "printf",
)  # fmt: skip


@pytest.fixture(autouse=True)
def tools(house: Any) -> None:
    if not house.can_rescue():
        pytest.skip("tar, zstd, jq or b3sum is not installed")


@pytest.fixture(params=["dash", "busybox sh", "bash --posix"])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name.partition(" ")[0]) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def only_tools(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing can be called but the tools that the script names: no interpreter among them."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        path = shutil.which(tool)
        assert path is not None, tool
        (tmp_path / "bin" / tool).symlink_to(path)
    return {"PATH": str(tmp_path / "bin")}


def said(done: Any) -> tuple[int, str]:
    return done.returncode, done.stderr.decode()


def test_all_that_a_shell_must_understand(shell: str, house: Any) -> None:
    script = Path(__file__).parents[3] / "contrib" / "rescue" / "recoverd-rescue"
    subprocess.run([*shell.split(), "-n", script], check=True)
    assert house.rescue("sing", shell=shell).returncode == 64
    assert house.rescue(shell=shell).returncode == 64


def test_everything_comes_back(
    house: Any, rsync: str, built: Callable[..., None], shell: str, only_tools: dict[str, str]
) -> None:
    """As `restore --to` writes it: directories that are split, large files, links, attributes, owners, odd names; on a
    repository that can't be written, and with nothing called but the tools that are named."""
    built(house.live, many=4200 if shell == "dash" else 20)
    assert house.snapshot().verdict == "ok"
    (house.live / "empty").write_text("changed since")
    house.snapshot()
    _, there = house.extract()
    before = house.look(house.repository)
    env, path = only_tools, shutil.which(shell.partition(" ")[0]) or ""
    shell = " ".join([path, *shell.split()[1:]])
    listed = house.rescue("list", shell=shell, env=env)
    assert said(listed) == (0, "")
    assert [line.split("\t")[0] for line in listed.stdout.decode().splitlines()] == ["app/1", "app/2"]
    verified = house.rescue("verify", "app/2", shell=shell, env=env)
    assert (verified.stdout, *said(verified)) == (b"app/2: all objects are as they were written\n", 0, "")
    done = house.rescue("restore", "app/2", str(house.root / "rescued"), shell=shell, env=env)
    assert said(done) == (0, "")
    rescued = house.root / "rescued" / "app" / "main" / "live"
    assert house.differences(there, rescued) == []
    assert house.look(there, holes=False) == house.look(rescued, holes=False)
    assert (rescued / "sparse" / "large").stat().st_blocks * 512 < 2 << 20  # a hole of a block or more is one again
    assert house.look(house.repository) == before
    assert os.listdir(house.root / "rescued") == ["app"]
    assert house.rescue("restore", "app/2", str(house.root / "rescued"), shell=shell, env=env).returncode == 1


def test_a_plain_user(plain_house: Any, rsync: str, built: Callable[..., None], plainly: Any) -> None:
    """What is his comes back to him, without a word but that all will be his."""

    def work() -> None:
        built(plain_house.live)
        assert plain_house.snapshot().verdict == "ok"
        done = plain_house.rescue("restore", "app/1", str(plain_house.root / "rescued"), "main")
        assert said(done)[0] == 0, done.stderr
        assert said(done)[1].startswith("not root: ")
        rescued = plain_house.root / "rescued" / "app" / "main" / "live"
        assert plain_house.differences(plain_house.live, rescued) == []

    plainly(work)


def packs_by_size(house: Any) -> list[Path]:
    return sorted(house.repository.glob("packs/*/*.tar.zst"), key=lambda path: path.stat().st_size)


def test_damage_is_named_and_the_rest_is_restored(house: Any, torture: Any) -> None:
    """Promise 7: wherever a bit of a pack is turned, no file comes back with other bytes than it had, what is missing
    is named, and the exit status says so."""
    for number in range(60):
        (house.live / f"small-{number:02d}").write_bytes(os.urandom(3000))
    (house.live / "below").mkdir()
    (house.live / "below" / "large").write_bytes(os.urandom(3 << 20))
    house.snapshot()
    (pack,) = packs_by_size(house)
    whole = pack.read_bytes()
    before = {str(p.relative_to(house.live)): p.read_bytes() for p in house.live.rglob("*") if p.is_file()}
    spots = torture.sample(range(0, len(whole), max(1, len(whole) // 100)), 4)
    hurt = 0
    for number, at in enumerate(spots):
        pack.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        target = house.root / f"rescued-{number}"
        done = house.rescue("restore", "app/1", str(target))
        base = target / "app" / "main" / "live"
        found = {str(p.relative_to(base)): p.read_bytes() for p in base.rglob("*") if p.is_file()}
        assert found.items() <= before.items()
        missing = before.keys() - found.keys()
        if missing and base.exists():
            hurt += 1
            assert all(f"main/live/{name}" in done.stderr.decode() for name in missing)
        assert done.returncode == (1 if missing or b"damaged" in done.stderr else 0)
        house.remove(target)
    pack.write_bytes(whole)
    assert hurt
    torture.tell(len(spots), "flipped bits read by the rescue script", f"{hurt} hurt files, each named")


def test_a_lost_pack_takes_only_its_own(house: Any) -> None:
    """What only a lost pack had is missing; what another one holds too is found there."""
    (house.live / "old").write_text("old")
    house.snapshot()
    first = set(packs_by_size(house))
    (house.live / "new").write_text("new")
    house.snapshot()
    for pack in first:
        pack.unlink()
    done = house.rescue("verify", "app/2")
    assert done.returncode == 1
    assert b"main/live/old: " in done.stderr
    assert b"main/live/new" not in done.stderr
    done = house.rescue("restore", "app/2", str(house.root / "rescued"))
    assert done.returncode == 1
    assert [path.name for path in (house.root / "rescued" / "app" / "main" / "live").iterdir()] == ["new"]


def test_a_damaged_record_is_none(house: Any) -> None:
    """No byte of a record can change unseen; others are still listed."""
    for number in (1, 2):
        (house.live / "file").write_text(f"{number}")
        house.snapshot()
    record = house.repository / "snapshots" / "app" / "000000000001.json"
    record.write_bytes(record.read_bytes().replace(b'"verdict":"ok"', b'"verdict":"no"', 1))
    listed = house.rescue("list", "app")
    assert listed.returncode == 1
    assert listed.stderr.decode() == f"damaged: {record}\n"
    assert [line.split(b"\t")[0] for line in listed.stdout.splitlines()] == [b"app/2"]
    assert house.rescue("restore", "app/1", str(house.root / "rescued")).returncode == 1
    assert house.rescue("restore", "app/2", str(house.root / "rescued")).returncode == 0
    assert house.rescue("restore", "app/3", str(house.root / "other")).returncode == 1
    (house.repository / "format.json").write_text('{"format": 2, "hash": "blake3"}')
    assert b"another format" in house.rescue("list").stderr


def test_a_file_of_many_blocks_comes_back(house: Any) -> None:
    """Its list is stored in parts; some are the same, some a hole, and the last one is short."""
    long = house.live / "long"
    with long.open("wb") as file:
        for at in (0, 31, 64):
            file.seek(at << 20)
            file.write(os.urandom(5000))
        file.truncate((66 << 20) + 17)
    (house.live / "shorter").write_bytes(long.read_bytes()[: 33 << 20])
    assert house.snapshot().verdict == "ok"
    done = house.rescue("restore", "app/1", str(house.root / "rescued"))
    assert done.returncode == 0, done.stderr
    for name in ("long", "shorter"):
        rescued = house.root / "rescued" / "app" / "main" / "live" / name
        assert rescued.read_bytes() == (house.live / name).read_bytes()
    assert (house.root / "rescued" / "app" / "main" / "live" / "long").stat().st_blocks * 512 < 5 << 20


# -- prepared repositories --------------------------------------------------------------------------------


class Prepared:
    """A repository as nobody's tool writes it: whatever is asked for, with all hashes right."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects: dict[str, bytes] = {}

    def put(self, data: bytes | list[dict[str, Any]]) -> str:
        if isinstance(data, list):
            data = json.dumps({"tree": 1, "entries": data}, separators=(",", ":")).encode()
        content = blake3(data).hexdigest()
        self.objects[content] = data
        return content

    def entry(self, name: str, kind: str = "file", **more: Any) -> dict[str, Any]:
        common = {"name": name, "type": kind, "mode": "0644", "uid": os.geteuid(), "gid": os.getegid()}
        common |= {"user": "", "group": "", "mtime_ns": "1"}
        if kind == "file" and "hash" not in more:
            common |= {"size": "4", "hash": self.put(b"evil")}
        return common | more

    def write(self, entries: list[dict[str, Any]], item: str = "main") -> None:
        root = self.put(entries)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, data in self.objects.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            for name, kind in (
                ("../outside", tarfile.REGTYPE),
                ("f" * 64, tarfile.SYMTYPE),
                ("/tmp/x", tarfile.FIFOTYPE),
            ):
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, "/etc/passwd"
                archive.addfile(member)
        pack = zstd.compress(packed.getvalue())
        name = blake3(pack).hexdigest()
        (self.path / "packs" / name[:2]).mkdir(parents=True)
        (self.path / "packs" / name[:2] / f"{name}.tar.zst").write_bytes(pack)
        (self.path / "format.json").write_text('{"format": 1, "hash": "blake3"}')
        record = {"snapshot": 1, "service": "app", "sequence": 1, "items": {item: {"root": root, "good": root}}}
        text = json.dumps(record, separators=(",", ":"), sort_keys=True)
        checksum = blake3(f"{text}\n".encode()).hexdigest()
        (self.path / "snapshots" / "app").mkdir(parents=True)
        (self.path / "snapshots" / "app" / "000000000001.json").write_text(f'{text[:-1]},"checksum":"{checksum}"}}\n')


@pytest.fixture
def prepared(house: Any) -> Prepared:
    return Prepared(house.repository)


ESCAPES: dict[str, Callable[[Prepared], list[dict[str, Any]]]] = {
    "a path": lambda p: [p.entry("../outside")],
    "an absolute path": lambda p: [p.entry("/tmp/outside-of-the-rescue")],
    "the directory above": lambda p: [p.entry("..", "dir", hash=p.put([p.entry("outside")]))],
    "a path in base64": lambda p: [{**p.entry("x"), "name": None, "name64": "Li4vb3V0c2lkZQ=="}],
    "two spellings of one name": lambda p: [
        p.entry("d", "symlink", target="../../.."),
        {**p.entry("d", "dir", hash=p.put([p.entry("outside")])), "name": None, "name64": "ZA=="},
    ],
    "a link, and a directory of its name": lambda p: [
        p.entry("d", "symlink", target="../../.."),
        p.entry("d", "dir", hash=p.put([p.entry("outside")])),
    ],
    "text for the shell": lambda p: [p.entry("x", mtime_ns="1'; touch outside; '")],
    "a mode for the shell": lambda p: [p.entry("x", mode="$(touch outside)")],
    "a length that is not that of the bytes": lambda p: [p.entry("x", size="0", hash=p.put(member_of_an_archive()))],
}


def member_of_an_archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("outside"))
    return packed.getvalue()


@pytest.mark.parametrize("kind", ESCAPES)
def test_nothing_is_written_outside(house: Any, prepared: Prepared, kind: str) -> None:
    """Promise 12: whatever a record and its trees say, nothing is written but below the directory that was named; what
    is no tree is lost, and said to be."""
    prepared.write(ESCAPES[kind](prepared))
    (house.root / "deep" / "er").mkdir(parents=True)
    before = house.look(house.repository)
    done = house.rescue("restore", "app/1", str(house.root / "deep" / "er" / "rescued"))
    assert done.returncode == 1
    assert b"damaged or missing" in done.stderr
    assert house.look(house.repository) == before
    assert sorted(path.name for path in (house.root / "deep" / "er").iterdir()) == ["rescued"]
    assert not [name for base, names, files in os.walk(house.root) for name in (*names, *files) if "outside" in name]
    assert not os.path.lexists("/tmp/outside-of-the-rescue")


def test_names_say_nothing_to_shell_or_terminal(house: Any, prepared: Prepared) -> None:
    """Names of damaged files are told, and move no cursor; names of whole ones are no commands."""
    names = ["$(touch outside)", "`touch outside`", "';touch outside;'", "%n%s\\000", "\x1b[2J\x9b2J"]
    lost = prepared.entry("\x1b[2J\x9b2J\n lost", hash="0" * 64, size="1")
    prepared.write([*(prepared.entry(name) for name in names), lost])
    done = house.rescue("restore", "app/1", str(house.root / "rescued"))
    assert done.returncode == 1
    assert b"\x1b" not in done.stderr
    assert "\x9b" not in done.stderr.decode()
    assert b" lost" in done.stderr
    assert sorted(path.name for path in (house.root / "rescued" / "app" / "main").iterdir()) == sorted(names)
    assert prepared.path.exists()


def test_an_item_is_a_name(house: Any, prepared: Prepared) -> None:
    """Promise 12: also the items of a record lead nowhere else."""
    prepared.write([prepared.entry("x")], item="../../outside")
    assert house.rescue("restore", "app/1", str(house.root / "rescued")).returncode == 1
    assert not (house.root / "outside").exists()


def listed(prepared: Prepared, content: bytes, size: int = 1) -> tuple[str, list[str]]:
    """Puts a file of blocks of 8 bytes with a list of `size` levels; its hash, and those of the parts of the top."""
    step = 8 * 32 ** (size - 1)
    pieces = [content[at : at + step] for at in range(0, len(content), step)]
    below = [prepared.put(one) if size == 1 else listed(prepared, one, size - 1)[0] for one in pieces]
    head, key = (1, "list") if size == 1 else (2, "parts")
    document = {"blocks": head, "block_size": 8, "size": str(len(content)), key: below}
    return prepared.put(json.dumps(document, separators=(",", ":")).encode()), below


@pytest.mark.parametrize(
    "kind", ["a part is lost", "a part of a part is lost", "a part of another place", "what is no part"]
)
def test_lists_that_do_not_lead_to_a_file(house: Any, prepared: Prepared, kind: str) -> None:
    """Promise 7: such a file is named and not written, whatever its list says, and all others are."""
    blocks = [os.urandom(8) for _ in range(4)]
    content = b"".join(blocks[byte % 4] for byte in os.urandom(1500))
    top, below = listed(prepared, content, 3)
    _, parts = listed(prepared, content[: 8 * 1024], 2)
    other = os.urandom(8 * 40)
    whole = prepared.entry("other", hash=None, size=str(len(other)), blocks=listed(prepared, other, 2)[0], block_size=8)
    if kind == "a part is lost":
        del prepared.objects[below[0]]
    elif kind == "a part of a part is lost":
        del prepared.objects[parts[5]]
    elif kind == "a part of another place":
        top = prepared.put(prepared.objects[top].replace(below[1].encode(), below[0].encode()))
    else:
        top = prepared.put(prepared.objects[top].replace(below[1].encode(), b"a" * 64))
    hurt = prepared.entry("hurt", hash=None, size=str(len(content)), blocks=top, block_size=8)
    for entry in (whole, hurt):
        del entry["hash"]
    prepared.write([whole, hurt])
    done = house.rescue("restore", "app/1", str(house.root / "rescued"))
    assert done.returncode == 1
    assert done.stderr.decode().count("damaged or missing") == done.stderr.decode().count('"main/hurt: ') == 1
    assert {one.name: one.read_bytes() for one in (house.root / "rescued" / "app" / "main").iterdir()} == {
        "other": other
    }
