"""What can happen to a file of a repository: every kind of damage, made from a seeded random source."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Frames = list[dict[str, Any]]


@dataclass(frozen=True)
class Damage:
    """One damage of one file (or directory), named so that a failure can be read."""

    kind: str
    path: str  # below the base of the world
    what: str
    do: Callable[[Path], None]

    def __str__(self) -> str:
        return f"{self.kind} of {self.path} ({self.what})"


def part_of(path: str) -> str:
    """Which kind of repository file this is; each kind is damaged as often as the others."""
    parts = path.split("/")
    if parts[0] == "run":
        return "effective.json" if parts[-1].startswith("effective") else "runtime"
    if parts[1] in {"repository", "services", "quarantine"} and parts[-1].endswith(".json"):
        return parts[2] if parts[1] == "repository" and len(parts) > 3 else parts[-1] if len(parts) == 3 else parts[1]
    if parts[-1].endswith(".tar.zst"):
        return "packs"
    return "locks" if parts[-1].endswith("lock") else parts[-1] if len(parts) == 2 else "quarantine"


class Maker:
    """Makes damages of the files in `files` (path below the base -> bytes). `frames`: of packs, by path."""

    def __init__(self, files: dict[str, bytes], directories: list[str], frames: dict[str, Frames]) -> None:
        self.files = files
        self.directories = directories
        self.frames = frames
        self.parts: dict[str, list[str]] = {}
        for path in files:
            self.parts.setdefault(part_of(path), []).append(path)

    def damage(self, dice: random.Random, kinds: Sequence[str]) -> Damage:
        """One damage of one of these kinds. Every other time it is a pack that is hurt."""
        while True:
            kind = dice.choice(kinds)
            parts = [part for part in sorted(self.parts) if part != "packs"]
            part = "packs" if dice.random() < 0.5 else dice.choice(parts)
            path = dice.choice(self.directories if kind in OF_DIRECTORIES else self.parts[part])
            made = KINDS[kind](self, path, dice)
            if made is not None:
                return Damage(kind, path, *made)

    def bounds(self, path: str) -> list[int]:
        """Where the parts of a file begin: frames, tar headers, index, footer; lines and pages."""
        data = self.files[path]
        found = {0, len(data)}
        if path in self.frames:
            found |= {len(data) - 80, len(data) - 72, len(data) - 56, len(data) - 32}
            for frame in self.frames[path]:
                found |= {frame["offset"], frame["offset"] + 4, frame["offset"] + frame["length"]}
                found.add(frame["offset"] + frame["length"] - 4)  # the checksum of the frame
        elif "catalog" in path:
            found |= {0, 16, 24, 28, 96, 100, *range(0, len(data), 4096), *range(32, len(data), 4120)}
        else:
            found |= {at for at, byte in enumerate(data) if byte in b'":,{}[]\n'}
        return sorted(at for at in found if 0 <= at <= len(data))


Made = tuple[str, Callable[[Path], None]] | None


def _bytes(what: str, data: bytes) -> Made:
    def do(path: Path) -> None:
        status = path.stat()
        with path.open("r+b") as file:
            file.truncate(len(data))
            file.write(data)
        # what decays on a disk has the times that it had
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))

    return what, do


def _flip(maker: Maker, path: str, dice: random.Random) -> Made:
    data = bytearray(maker.files[path])
    if not data:
        return None
    near = dice.random() < 0.3
    at = min(dice.choice(maker.bounds(path)), len(data) - 1) if near else dice.randrange(len(data))
    bit = dice.randrange(8)
    data[at] ^= 1 << bit
    return _bytes(f"bit {bit} of byte {at}", bytes(data))


def _flips(maker: Maker, path: str, dice: random.Random) -> Made:
    data = bytearray(maker.files[path])
    if not data:
        return None
    places = [dice.randrange(len(data)) for _ in range(dice.randrange(2, 40))]
    for at in places:
        data[at] ^= 1 << dice.randrange(8)
    return _bytes(f"bytes {sorted(places)}", bytes(data))


def _zeros(maker: Maker, path: str, dice: random.Random) -> Made:
    data = bytearray(maker.files[path])
    if not data:
        return None
    at = dice.randrange(len(data))
    length = min(dice.choice((1, 8, 100, 512, 4096, 65536)), len(data) - at)
    data[at : at + length] = bytes(length)
    return _bytes(f"{length} zeros at {at}", bytes(data))


def _nul_tail(maker: Maker, path: str, dice: random.Random) -> Made:
    data = maker.files[path]
    if not data:
        return None
    at = dice.choice((0, dice.randrange(len(data))))
    return _bytes(f"zeros from {at}", data[:at] + bytes(len(data) - at))


def _truncate(maker: Maker, path: str, dice: random.Random) -> Made:
    data = maker.files[path]
    if not data:
        return None
    at = dice.randrange(len(data)) if dice.random() < 0.4 else dice.choice(maker.bounds(path)[:-1])
    return _bytes(f"cut at {at}", data[:at])


def _append(maker: Maker, path: str, dice: random.Random) -> Made:
    data = maker.files[path]
    more = dice.choice((b"\0", b"\n", bytes(512), dice.randbytes(dice.randrange(1, 5000)), data[-80:], data))
    return _bytes(f"{len(more)} bytes behind it", data + more)


def _overwrite(maker: Maker, path: str, dice: random.Random) -> Made:
    data = bytearray(maker.files[path])
    if not data:
        return None
    at = dice.randrange(len(data))
    noise = dice.randbytes(min(dice.choice((1, 4, 512, 4096)), len(data) - at))
    data[at : at + len(noise)] = noise
    return _bytes(f"{len(noise)} random bytes at {at}", bytes(data))


def _another(maker: Maker, path: str, dice: random.Random) -> Made:
    others = [one for one in maker.parts[part_of(path)] if one != path and maker.files[one] != maker.files[path]]
    if not others:
        return None
    other = dice.choice(others)
    return _bytes(f"it holds {other}", maker.files[other])


def _swap(maker: Maker, path: str, dice: random.Random) -> Made:
    others = [one for one in maker.parts[part_of(path)] if one != path]
    if not others:
        return None
    other = dice.choice(others)

    def do(file: Path) -> None:
        base = Path(str(file)[: -len(path) - 1])
        aside = file.with_name("aside")
        file.rename(aside)
        (base / other).rename(file)
        aside.rename(base / other)

    return f"changed places with {other}", do


def _delete(maker: Maker, path: str, dice: random.Random) -> Made:
    return "deleted", Path.unlink


def _duplicate(maker: Maker, path: str, dice: random.Random) -> Made:
    name = Path(path).name
    stem, dot, extension = name.partition(".")
    new = dice.choice((f"{name}.bak", f"copy-{name}", f"{stem[:-1]}{'8' if stem[-1:] == '9' else '9'}{dot}{extension}"))

    def do(file: Path) -> None:
        shutil.copy2(file, file.with_name(new))

    return None if str(Path(path).with_name(new)) in maker.files else (f"also as {new}", do)


def _directory(maker: Maker, path: str, dice: random.Random) -> Made:
    def do(file: Path) -> None:
        file.unlink()
        file.mkdir()
        (file / "inside").write_bytes(b"of somebody else")

    return "a directory lies there", do


def _symlink(maker: Maker, path: str, dice: random.Random) -> Made:
    target = dice.choice(("/dev/zero", "outside", "nowhere", ".", "/dev/full"))

    def do(file: Path) -> None:
        base = Path(str(file)[: -len(path) - 1])
        if target == "outside":  # the very bytes, but anybody may change them
            (base / "outside").write_bytes(file.read_bytes())
        file.unlink()
        file.symlink_to(base / "outside" if target == "outside" else target)

    return f"a link to {target}", do


def _fifo(maker: Maker, path: str, dice: random.Random) -> Made:
    def do(file: Path) -> None:
        file.unlink()
        os.mkfifo(file)

    return "a FIFO lies there", do


def _forbidden(maker: Maker, path: str, dice: random.Random) -> Made:
    mode = dice.choice((0o000, 0o200, 0o400))
    return f"mode {mode:04o}", lambda file: file.chmod(mode)


def _lost_directory(maker: Maker, path: str, dice: random.Random) -> Made:
    return "with all that was in it", shutil.rmtree


def _file_for_directory(maker: Maker, path: str, dice: random.Random) -> Made:
    def do(directory: Path) -> None:
        shutil.rmtree(directory)
        directory.write_bytes(b"not a directory")

    return "a file lies there", do


def _forbidden_directory(maker: Maker, path: str, dice: random.Random) -> Made:
    mode = dice.choice((0o000, 0o500, 0o400))
    return f"mode {mode:04o}", lambda directory: directory.chmod(mode)


KINDS: dict[str, Callable[[Maker, str, random.Random], Made]] = {
    "flipped bit": _flip,
    "flipped bits": _flips,
    "zeroed bytes": _zeros,
    "NUL tail": _nul_tail,
    "truncation": _truncate,
    "appended bytes": _append,
    "overwritten bytes": _overwrite,
    "another file": _another,
    "swapped files": _swap,
    "deletion": _delete,
    "duplicate": _duplicate,
    "directory": _directory,
    "symlink": _symlink,
    "FIFO": _fifo,
    "permissions": _forbidden,
    "lost directory": _lost_directory,
    "file for a directory": _file_for_directory,
    "permissions of a directory": _forbidden_directory,
}
OF_DIRECTORIES = {"lost directory", "file for a directory", "permissions of a directory"}
FORBIDDING = ("permissions", "permissions of a directory")  # root does not notice them
ORDINARY = (*(kind for kind in KINDS if kind not in FORBIDDING), *("flipped bit",) * 4, *("truncation",) * 2)
