"""A repository with a history, live state that is damaged, a model of what each snapshot holds, and commands on it.

Everything lies below one directory. `reset` brings all of it back as it was, touching only what differs.
"""

from __future__ import annotations

import faulthandler
import importlib
import io
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

DEADLINE_S = 60
PLAIN_USER = 65534

CONFIG = """
state_dir: {base}/var
services:
  app:
    root: {base}/live/app
    state:
      main:
        file: state.json
        format: json
        schema: {{type: object, required: [version, counter], properties: {{version: {{const: "1"}}}}}}
      tasks: {{directory: tasks, include: ["*.json"], format: json, schema: {{type: object, required: [id]}}}}
    retention: {{last: 50, keep_invalid: 50}}
  media:
    state:
      data: {{directory: {base}/live/media/data, exclude: ["*.tmp"]}}
    retention: {{last: 50}}
  pair:
    root: {base}/live/pair
    state:
      index: {{file: index.json, format: json}}
      journal: {{file: journal.jsonl, format: json-lines}}
    restore: {{scope: service}}
    retention: {{last: 50}}
"""


@dataclass(frozen=True)
class Done:
    """What became of a command."""

    words: tuple[str, ...]
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def told(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Kept:
    """One name as it was: for a regular file its bytes."""

    mode: int
    mtime_ns: int
    data: bytes | None = None
    target: str | None = None
    xattrs: tuple[tuple[str, bytes], ...] = ()
    group: int = 0  # names of one file have the same number here


Steps = Sequence[Callable[["World"], tuple[str, ...] | None]]


@dataclass
class World:
    base: Path
    image: dict[str, Kept] = field(default_factory=dict)  # all below `base`, by path
    stamps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    model: dict[str, dict[str, dict[str, Kept]]] = field(default_factory=dict)  # snapshot -> item -> path -> content
    good: dict[str, dict[str, dict[str, Kept]]] = field(default_factory=dict)  # the same, known-good
    rejected: set[str] = field(default_factory=set)
    user: int | None = None  # who runs recoverd, and owns all of it; None: who runs the tests

    plain_user: ClassVar[int] = PLAIN_USER
    items: ClassVar[dict[str, dict[str, str]]] = {
        "app": {"main": "state.json", "tasks": "tasks"},
        "media": {"data": "data"},
        "pair": {"index": "index.json", "journal": "journal.jsonl"},
    }

    @staticmethod
    def picture(path: Path) -> dict[str, Kept]:
        return picture(path)

    @property
    def repository(self) -> Path:
        return self.base / "var" / "repository"

    @property
    def live(self) -> Path:
        return self.base / "live"

    # --- commands

    def run(self, *commands: tuple[str, ...]) -> list[Done]:
        """Run commands one after the other in a child of this process, as the command line would.

        A command that takes longer than the deadline, or a child that dies, fails the test.
        """
        where = self.base / "told"
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                with open(where, "wb") as file:
                    faulthandler.dump_traceback_later(DEADLINE_S, exit=True, file=file)
                    if self.user is not None:
                        os.setgroups([])
                        os.setresgid(self.user, self.user, self.user)
                        os.setresuid(self.user, self.user, self.user)
                    told = [self._command(words) for words in commands]
                    faulthandler.cancel_dump_traceback_later()
                    modules = [name for name in sys.modules if name.partition(".")[0] != "__main__"]
                    file.write(json.dumps({"told": told, "modules": modules}).encode())
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        answer = where.read_bytes()
        assert status == 0, f"{commands}: {status}: {answer.decode()}"
        return [Done(words, *one) for words, one in zip(commands, json.loads(answer)["told"], strict=True)]

    def warm(self) -> None:
        """Import here what commands import, so that no child has to."""
        for line in ("list", "check", "restore", "snapshot", "prune", "verify", "show app/1", "diff app/1"):
            shutil.rmtree(self.base / "run")  # so that the configuration is parsed
            self.run(tuple(line.split()))
            for name in json.loads((self.base / "told").read_bytes())["modules"]:
                with suppress(ImportError):
                    importlib.import_module(name)
            self.reset()

    def _command(self, words: tuple[str, ...]) -> tuple[int, str, str]:
        from recoverd.cli.main import main

        out = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="surrogateescape")
        err = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="surrogateescape")
        real = sys.stdout, sys.stderr
        os.environ["RUNTIME_DIRECTORY"] = str(self.base / "run")
        try:
            sys.stdout, sys.stderr = out, err
            try:
                status = main(["--config", str(self.base / "etc"), "--wait", "1s", "--json", *words])
            except BaseException as error:
                import traceback

                status = 70
                err.write("Traceback of " + repr(error) + traceback.format_exc())
        finally:
            sys.stdout, sys.stderr = real
        texts = []
        for stream in (out, err):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode(errors="replace"))
        return status, texts[0], texts[1]

    # --- the history

    def build(self, steps: Steps) -> None:
        (self.base / "etc").mkdir()
        (self.base / "etc" / "recoverd.yaml").write_text(CONFIG.format(base=self.base))
        for name in ("app/tasks", "media/data/sub/empty", "pair", "media/data/deep/er"):
            (self.live / name).mkdir(parents=True)
        for step in steps:
            told = step(self)
            if told is not None:
                self.capture(*told)
        for path in (self.live / "app" / "state.json", self.live / "app" / "tasks" / "t1.json"):
            path.write_bytes(b"")
        (self.live / "pair" / "index.json").write_bytes(b"{")
        (self.live / "pair" / "journal.jsonl").write_bytes(bytes(40))
        shutil.rmtree(self.live / "media" / "data")
        self._own()
        self.image = picture(self.base)
        self.stamps = self._stamps()

    def capture(self, *services: str, expected: int = 0) -> None:
        """A snapshot of some services, and what the model knows of it."""
        self._own()
        time.sleep(0.03)
        (done,) = self.run(("snapshot", *services))
        assert done.status == expected, done
        for one in done.json["snapshots"]:
            assert one["id"] is not None, one
            items = self.look(one["service"])
            self.model[one["id"]] = items
            before = self.good.get(f"{one['service']}/{int(one['id'].rpartition('/')[2]) - 1}", {})
            self.good[one["id"]] = {
                name: before[name] if found == {"": BAD} else found for name, found in plain(items).items()
            }

    def _own(self) -> None:
        if self.user is not None:
            os.chown(self.base, self.user, self.user)
            for name, _ in walk(self.base):
                os.chown(self.base / name, self.user, self.user, follow_symlinks=False)

    def look(self, service: str) -> dict[str, dict[str, Kept]]:
        """What lies below each item of a service now."""
        below = self.live / service
        return {item: picture(below / path) for item, path in self.items[service].items()}

    def reject(self, snapshot: str, item: str) -> None:
        """As a restore leaves it on which the service was not healthy."""
        self.rejected.add(snapshot)
        name = f"marks/{snapshot.partition('/')[0]}/{int(snapshot.partition('/')[2]):012d}.json"
        path = self.repository / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"marks": 1, "rejected": {item: "not healthy"}}, separators=(",", ":")) + "\n")

    # --- back to the beginning

    def reset(self) -> None:
        """Bring everything below `base` back as the image has it."""
        now = self._stamps()
        wrong = {name for name in now.keys() | self.stamps.keys() if now.get(name) != self.stamps.get(name)}
        for name in sorted(wrong, reverse=True):
            path = self.base / name
            if name in now and (name not in self.image or not _is_directory(path) or self.image[name].data is not None):
                remove(path)
        links: dict[int, Path] = {}
        touched = {os.path.dirname(name) for name in wrong} | wrong
        for name in sorted(self.image):
            one, path = self.image[name], self.base / name
            if name in wrong and not os.path.lexists(path):
                put(path, one, links)
                if self.user is not None:
                    os.chown(path, self.user, self.user, follow_symlinks=False)
            if one.group:
                links.setdefault(one.group, path)
        for name in sorted(touched & self.image.keys(), reverse=True):
            one, path = self.image[name], self.base / name
            if one.data is None and one.target is None:
                path.chmod(one.mode)
        if (
            wrong
        ):  # the next damage gets another ctime than what was put here: the kernel's clock has ticks of 1 to 10 ms
            time.sleep(0.011)
        self.stamps |= {name: stamp for name, stamp in self._stamps().items() if name in touched}
        self.stamps = {name: stamp for name, stamp in self.stamps.items() if name in self.image}

    def _stamps(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for name, status in walk(self.base):
            if stat.S_ISDIR(status.st_mode):
                found[name] = (0, status.st_mode, status.st_uid)
            else:
                found[name] = (status.st_ino, status.st_mode, status.st_size, status.st_ctime_ns, status.st_uid)
        return found


BAD = Kept(0, 0)


def plain(items: dict[str, dict[str, Kept]]) -> dict[str, dict[str, Kept]]:
    """The items, where one whose file holds what no schema takes is `BAD`."""
    return {name: {"": BAD} if "" in found and found[""].data == b"{" else found for name, found in items.items()}


def walk(base: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every name below a directory, directories before what is in them; nothing is followed."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            names = os.listdir(base / below)
        except (PermissionError, NotADirectoryError):
            continue
        for name in names:
            path = f"{below}/{name}" if below else name
            status = os.lstat(base / path)
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                waiting.append(path)


def picture(base: Path) -> dict[str, Kept]:
    """What lies at a path ("" in the result) and below it. {} where nothing is."""
    try:
        status = base.lstat()
    except OSError:
        return {}
    found = {"": status} | (dict(walk(base)) if stat.S_ISDIR(status.st_mode) else {})
    return {name: kept(base / name if name else base, one) for name, one in found.items()}


def kept(path: Path, status: os.stat_result) -> Kept:
    mode, mtime_ns = stat.S_IMODE(status.st_mode), 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
    if stat.S_ISLNK(status.st_mode):
        return Kept(mode, mtime_ns, target=os.readlink(path))
    attributes: tuple[tuple[str, bytes], ...] = ()
    with suppress(OSError):
        names = sorted(name for name in os.listxattr(path) if name.startswith("user."))
        attributes = tuple((name, os.getxattr(path, name)) for name in names)
    data = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
    group = status.st_ino if data is not None and status.st_nlink > 1 else 0
    return Kept(mode, mtime_ns, data, xattrs=attributes, group=group)


def put(path: Path, one: Kept, links: dict[int, Path]) -> None:
    if one.target is not None:
        path.symlink_to(one.target)
        os.utime(path, ns=(one.mtime_ns, one.mtime_ns), follow_symlinks=False)
    elif one.data is None:
        path.mkdir()
        path.chmod(one.mode)
    elif one.group in links:
        path.hardlink_to(links[one.group])
    else:
        path.write_bytes(one.data)
        for name, value in one.xattrs:
            os.setxattr(path, name, value)
        path.chmod(one.mode)
        os.utime(path, ns=(one.mtime_ns, one.mtime_ns))


def remove(path: Path) -> None:
    if _is_directory(path):
        path.chmod(0o700)
        for name in os.listdir(path):
            remove(path / name)
        path.rmdir()
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def new_world(steps: Steps, user: int | None = None) -> World:
    """In memory where that can be, for nothing here is about the disk."""
    memory = "/dev/shm"
    place = memory if os.access(memory, os.W_OK) else None
    world = World(Path(tempfile.mkdtemp(prefix="recoverd-damage-", dir=place)), user=user)
    world.build(steps)
    world.warm()
    return world
