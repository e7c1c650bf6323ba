"""One directory of anything that a file system can hold, a repository beside it, and an independent tool to compare."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Config, Format, ItemKind, Place, RepositoryConfig, Service, StateItem
from recoverd.events.stream import Events
from recoverd.operations.context import Context
from recoverd.operations.extract import ExtractRequest, ExtractResult, extract
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest, ServiceRestore
from recoverd.operations.snapshot import ServiceSnapshot, SnapshotRequest, snapshot

PAGE = 4096
MIB = 1 << 20
RESCUE = Path(__file__).parents[3] / "contrib" / "rescue" / "recoverd-rescue"


def data_pages(path: bytes) -> list[tuple[int, int]]:
    """Where the data of a file is, in pages."""
    found: list[tuple[int, int]] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        size, at = os.fstat(fd).st_size, 0
        while at < size:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start // PAGE, -(-at // PAGE)))
    finally:
        os.close(fd)
    return found


def look(base: Path, *, holes: bool = True) -> dict[bytes, tuple[object, ...]]:
    """What stat tells of a directory and of everything below, links not followed, and where the data of files is."""
    top = os.fsencode(base)
    found: dict[bytes, tuple[object, ...]] = {}

    def add(path: bytes) -> None:
        one = os.lstat(path)
        told: tuple[object, ...] = (stat.filemode(one.st_mode), one.st_uid, one.st_gid, one.st_mtime_ns)
        if not stat.S_ISDIR(one.st_mode):
            told += (one.st_size,)
        if holes and stat.S_ISREG(one.st_mode) and (os.geteuid() == 0 or one.st_mode & 0o400):
            sparse = one.st_blocks * 512 < one.st_size
            told += (sparse, data_pages(path) if sparse else None)
        found[os.path.relpath(path, top)] = told

    add(top)
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            add(os.path.join(directory, name))
    return found


def differences(a: Path, b: Path) -> list[str]:
    """What rsync would change to make one directory the other, in both directions."""
    said: list[str] = []
    for source, target in ((a, b), (b, a)):
        command = ["rsync", "-naAXH", "--checksum", "--itemize-changes", "--delete", f"{source}/", f"{target}/"]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        said += done.stdout.decode(errors="replace").splitlines()
    return said


def same(a: Path, b: Path) -> None:
    """Two directories hold the same in every respect: an independent tool, stat to the nanosecond, and holes say so."""
    assert differences(a, b) == []
    one, other = look(a), look(b)
    assert {name: told for name, told in one.items() if other.get(name) != told} == {}
    assert one.keys() == other.keys()


def remove(base: Path) -> None:
    """A directory, whatever its modes."""
    for directory, _, _ in os.walk(base):
        os.chmod(directory, 0o700)
    shutil.rmtree(base, ignore_errors=True)


@dataclass
class House:
    """One service whose whole state is the directory `live`."""

    root: Path
    item: StateItem

    same = staticmethod(same)
    differences = staticmethod(differences)
    look = staticmethod(look)
    remove = staticmethod(remove)

    @property
    def live(self) -> Path:
        return Path(self.item.path)

    @property
    def repository(self) -> Path:
        return self.root / "recoverd" / "repository"

    def change(self, **keys: Any) -> None:
        self.item = replace(self.item, **keys)

    @property
    def context(self) -> Context:
        service = Service("app", Place("test.yaml", 1, 1), state={"main": self.item})
        config = Config(
            state_dir=str(self.root / "recoverd"),
            repository=RepositoryConfig(str(self.repository)),
            services={"app": service},
        )
        return Context(config, Events([]), str(self.root / "runtime"), wait_s=5)

    def snapshot(self) -> ServiceSnapshot:
        return snapshot(self.context, SnapshotRequest()).services[0]

    def restore(self, **request: Any) -> ServiceRestore:
        return restore(self.context, RestoreRequest(**request)).services[0]

    def extract(self, directory: str = "out") -> tuple[ExtractResult, Path]:
        """`restore --to`: the result, and where `live` lies now."""
        target = self.root / directory
        return extract(self.context, ExtractRequest(str(target))), target / "app" / "main" / self.live.name

    def keep(self, name: str = "kept") -> Path:
        """The live directory itself, put aside: nothing is left in its place."""
        mode = stat.S_IMODE(self.live.stat().st_mode)
        self.live.chmod(0o700)
        target = self.live.rename(self.root / name)
        target.chmod(mode)
        return target

    def wipe(self) -> None:
        remove(self.live)

    @staticmethod
    def can_rescue() -> bool:
        return all(shutil.which(tool) for tool in ("tar", "zstd", "jq", "b3sum"))

    def rescue(self, *words: str, shell: str = "sh", env: dict[str, str] | None = None) -> Any:
        """The rescue script on this repository."""
        command = [*shell.split(), str(RESCUE), str(self.repository), *words]
        return subprocess.run(command, capture_output=True, check=False, env=env, cwd="/", timeout=300)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "live").mkdir(mode=0o755)
    yield House(tmp_path, StateItem("main", ItemKind.DIRECTORY, str(tmp_path / "live"), Format.OPAQUE))
    remove(tmp_path)


@pytest.fixture(scope="session")
def rsync() -> str:
    path = shutil.which("rsync")
    if path is None:
        pytest.skip("rsync is not installed")
    return path


# -- what a file system can hold --------------------------------------------------------------------------


def acl(*entries: tuple[int, int, int]) -> bytes:
    """A POSIX ACL as the kernel takes it: (tag, permissions, number)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, bits, number) for tag, bits, number in entries)


NOBODY_AT_ALL = 0xFFFFFFFF
ACCESS = acl(
    (1, 7, NOBODY_AT_ALL), (2, 7, 12345), (4, 4, NOBODY_AT_ALL), (16, 7, NOBODY_AT_ALL), (32, 4, NOBODY_AT_ALL)
)
DEFAULT = acl((1, 7, NOBODY_AT_ALL), (2, 5, 999), (4, 5, NOBODY_AT_ALL), (16, 5, NOBODY_AT_ALL), (32, 0, NOBODY_AT_ALL))
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep


@dataclass
class Builder:
    """Makes things below a directory, by names of bytes."""

    base: bytes

    def path(self, name: bytes) -> bytes:
        path = os.path.join(self.base, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def file(self, name: bytes, data: bytes = b"x", mode: int = 0o644) -> bytes:
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)
        return path

    def sparse(self, name: bytes, size: int, pieces: dict[int, bytes]) -> bytes:
        path = self.path(name)
        with open(path, "wb") as file:
            for at, data in pieces.items():
                file.seek(at)
                file.write(data)
            file.truncate(size)
        return path

    def directory(self, name: bytes, mode: int = 0o755) -> bytes:
        path = os.path.join(self.base, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        return path

    def attribute(self, name: bytes, key: str | bytes, value: bytes) -> None:
        os.setxattr(os.path.join(self.base, name), key, value, follow_symlinks=False)

    def own(self, name: bytes, uid: int, gid: int) -> None:
        path = os.path.join(self.base, name)
        mode = os.lstat(path).st_mode
        os.chown(path, uid, gid, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(path, stat.S_IMODE(mode))

    def date(self) -> None:
        """A time to the nanosecond of its own for each name, and then for the base."""
        now = 1_600_000_000_000_000_001
        for directory, names, files in os.walk(self.base, topdown=False):
            for name in sorted(files + names):
                now += 1_234_567_891
                os.utime(os.path.join(directory, name), ns=(now, now), follow_symlinks=False)
        os.utime(self.base, ns=(now, 1_500_000_000_123_456_789))


NAMES = (
    b"new\nline", b"\xff\xfe not UTF-8", b"x" * 255, b"-rf", b"trailing ", b" leading", b"back\\slash",
    b"\x01\x7f\xc2\x80",
    "ü\U0001f600".encode(), "u\u0308".encode(), b"a:b", b"tab\t", b"%s%n", b"'quotes\"", b"$(id)`id`", b"*?[a-z]", b"#",
    b"..dots", b"...",
)  # fmt: skip


def everything(base: Path, *, many: int = 20) -> None:
    """One of each thing that the user who asks can make here, and a directory of so `many` files."""
    make = Builder(os.fsencode(base))
    as_root = os.geteuid() == 0
    for name in NAMES:
        make.file(b"names/" + name, name)
    for mode in (0o644, 0o600, 0o400, 0o4755, 0o2755, 0o6711, 0o1644, 0o777, 0o7777, *([0] if as_root else [])):
        make.file(b"modes/%04o" % mode, b"%o" % mode, mode)
    make.file(b"empty", b"")
    make.directory(b"directories/empty")
    make.directory(b"directories/sticky", 0o1777)
    make.file(b"directories/inherits group/file")
    make.directory(b"directories/inherits group", 0o2775)
    # hard links, within a directory and across, of small and large files and of links
    for name, again in ((b"one", b"two"), (b"large", b"deep/er/large"), (b"one", b"deep/one"), (b"link", b"deep/link")):
        if name == b"link":
            os.symlink("one", make.path(b"links/link"))
        elif not os.path.lexists(make.path(b"links/" + name)):
            make.file(b"links/" + name, os.urandom(2 * MIB + 5) if name == b"large" else b"linked")
        os.link(make.path(b"links/" + name), make.path(b"links/" + again), follow_symlinks=False)
    make.file(b"links/also elsewhere")
    os.link(make.path(b"links/also elsewhere"), os.fsencode(base) + b".elsewhere")
    for name, target in (
        (b"dangling", b"nowhere"), (b"absolute", b"/etc/passwd"), (b"long", b"x" * 4095), (b"odd", b"\xff\n"),
        (b"directory", b"../directories"), (b"self", b"."), (b"up", b"../../../.."),
    ):  # fmt: skip
        os.symlink(target, make.path(b"symlinks/" + name))
    make.sparse(b"sparse/small", 65536, {8192: b"abc"})
    make.sparse(b"sparse/one hole", 100_000, {})
    make.sparse(b"sparse/large", 10 * MIB, {3 * MIB: b"q" * 5000})
    make.sparse(b"sparse/fine", 4 * MIB, dict.fromkeys(range(0, 4 * MIB, 131072), b"z" * PAGE))
    make.sparse(b"sparse/tail", 3 * MIB + 17, {0: b"head"})
    make.sparse(b"sparse/large hole", 5 * MIB, {})
    make.file(b"solid/zeros", bytes(65536))
    make.file(b"solid/many zeros", bytes(3 * MIB))
    for number in range(many):
        make.file(b"many/%04d" % number, b"%d" % (number % 7))
    for name in (b"attributes/file", b"attributes/large"):
        make.file(name, b"" if name.endswith(b"file") else bytes(range(256)) * 5000, 0o640)
        make.attribute(name, "user.note", b"\0\xffv")
        make.attribute(name, "user.empty", b"")
        make.attribute(name, "user.100%=all", b"1")
        make.attribute(name, b"user.\xff\xfe", b"odd name")
        make.attribute(name, "user.long", b"v" * 1500)
    make.directory(b"attributes/directory")
    make.attribute(b"attributes/directory", "user.note", b"of a directory")
    make.directory(b"acl/default")
    make.attribute(b"acl/default", "system.posix_acl_default", DEFAULT)
    make.file(b"acl/default/inherits")
    make.directory(b"acl/default/below")
    os.removexattr(make.file(b"acl/default/plain"), "system.posix_acl_access")
    for path in (make.file(b"acl/file"), make.directory(b"acl/directory")):
        os.setxattr(path, "system.posix_acl_access", ACCESS)
    if as_root:
        make.attribute(b"attributes/file", "trusted.note", b"t")
        make.attribute(b"symlinks/dangling", "trusted.note", b"of a link")
        for number, name in enumerate((b"modes/4755", b"modes/2755", b"modes/7777", b"links/large", b"empty")):
            make.own(name, 54321 + number, 12345 + number)
        make.own(b"symlinks/absolute", 7, 8)
        make.own(b"directories/empty", 33, 33)
        make.file(b"capable", b"#!", 0o755)
        make.attribute(b"capable", "security.capability", CAPABILITY)
        make.attribute(b"modes/4755", "security.capability", CAPABILITY)
    make.file(b"read-only/file")
    make.file(b"read-only/below/file", b"y", 0o400)
    make.date()
    for name, mtime_ns in ((b"names/-rf", (1 << 33) * 10**9 + 7), (b"names/...", 0), (b"names/#", -86_400_000_000_001)):
        os.utime(make.path(name), ns=(0, mtime_ns))
    make.directory(b"read-only/below", 0o555)
    make.directory(b"read-only", 0o555)
    base.chmod(0o750)


@pytest.fixture
def full(house: House, rsync: str) -> House:
    """The house with everything in it."""
    everything(house.live)
    return house


@pytest.fixture
def built() -> Callable[..., None]:
    """What `full` holds, for other directories."""
    return everything


# -- as somebody else -------------------------------------------------------------------------------------

NOBODY, HIS_OTHER_GROUP = 65534, 100


def as_plain_user(work: Callable[[], None]) -> None:
    """Do it as nobody, who has one more group, in a process of its own; as who asks, when that is no root."""
    if os.geteuid() != 0:
        work()
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([NOBODY, HIS_OTHER_GROUP])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "see stderr"


@pytest.fixture
def plain_house() -> Iterator[House]:
    """A house of a plain user, outside of root's own temporary directory. The interpreter may lie where he has no
    access, so all that is imported late is imported by a round of its own first."""
    root = Path(tempfile.mkdtemp(prefix="recoverd-plain-"))
    directory = StateItem("main", ItemKind.DIRECTORY, str(root / "warm"), Format.OPAQUE)
    warm = House(root / "first", directory)
    warm.live.mkdir(parents=True)
    (warm.live / "file").write_text("1")
    warm.snapshot()
    warm.wipe()
    warm.restore()
    warm.extract()
    one = House(root, replace(directory, path=str(root / "live")))
    one.live.mkdir()
    if os.geteuid() == 0:
        os.chown(root, NOBODY, NOBODY)
        os.chown(one.live, NOBODY, NOBODY)
    yield one
    remove(root)


@pytest.fixture
def plainly() -> Callable[[Callable[[], None]], None]:
    return as_plain_user
