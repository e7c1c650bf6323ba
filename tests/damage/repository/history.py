"""What happened to the services of the world, step by step; a step may tell which services are captured after it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.damage.repository.world import World


def noise(name: str, size: int) -> bytes:
    """Bytes that no compressor makes smaller."""
    return random.Random(name).randbytes(size)


def _app(world: World, counter: int, **tasks: int) -> None:
    document = {"version": "1", "counter": counter, "padding": noise(f"app {counter}", 400).hex()}
    (world.live / "app" / "state.json").write_text(json.dumps(document))
    for name, value in tasks.items():
        _task(world, name, value)


def _task(world: World, name: str, value: int) -> None:
    text = json.dumps({"id": name, "value": value, "text": hashlib.sha256(f"{name}{value}".encode()).hexdigest() * 4})
    (world.live / "app" / "tasks" / f"{name}.json").write_text(text)


def _pair(world: World, number: int) -> None:
    (world.live / "pair" / "index.json").write_text(json.dumps({"entries": number, "padding": "i" * number}))
    lines = [json.dumps({"n": n, "of": number}) for n in range(number)]
    (world.live / "pair" / "journal.jsonl").write_text("\n".join(lines) + "\n")


def _first(world: World) -> tuple[str, ...]:
    _app(world, 1, **{f"t{n}": n for n in range(12)})
    _pair(world, 3)
    data = world.live / "media" / "data"
    with (data / "big.bin").open("wb") as file:  # three blocks, a hole, and the rest
        file.write(b"a" * (1 << 20) + noise("big", 5000) + b"b" * ((1 << 20) - 5000))
        file.seek(5 << 20)
        file.write(noise("end", 3000))
    (data / "photo").write_bytes(noise("photo", 140_000))  # larger than a frame, smaller than a block
    for n in range(8):
        (data / "sub" / f"song {n}").write_bytes(noise(f"song {n}", 3000))
    (data / "sub" / "again").hardlink_to(data / "sub" / "song 0")
    (data / "link").symlink_to("sub/song 1")
    (data / "deep" / "er" / "note").write_text("the same in two services\n")
    (data / os.fsdecode(b"odd \xff\n")).write_bytes(b"odd")
    (data / "copy of t1").write_bytes((world.live / "app" / "tasks" / "t1.json").read_bytes())
    with suppress(OSError):
        os.setxattr(data / "photo", "user.tag", b"holiday")
    (data / "sub" / "song 2").chmod(0o4750)
    return ("app", "media", "pair")


def _second(world: World) -> tuple[str, ...]:
    _app(world, 2, t1=100)
    _pair(world, 5)
    return ("app", "pair")


def _third(world: World) -> tuple[str, ...]:
    with (world.live / "media" / "data" / "big.bin").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed")
        file.seek(32 << 20)  # from now on its blocks need two lists, and one of both
        file.write(noise("far", 2000))
    (world.live / "media" / "data" / "sub" / "song 3").write_bytes(noise("song 3 again", 4000))
    return ("media",)


def _fourth(world: World) -> tuple[str, ...]:
    _app(world, 3, t2=200, t1=300)
    (world.live / "media" / "data" / "new").write_bytes(noise("new", 200_000))
    _pair(world, 8)
    return ("app", "media", "pair")


def _partial(world: World) -> None:
    (world.live / "app" / "state.json").write_bytes(b"{")
    _task(world, "t3", 500)
    world.capture("app", expected=3)


def _fifth(world: World) -> tuple[str, ...]:
    _app(world, 5, t1=600)
    return ("app",)


def _invalid(world: World) -> None:
    (world.live / "app" / "state.json").write_bytes(b"{")
    world.capture("app", expected=1)


def _marks(world: World) -> None:
    """Pins, a rejection, and a restore and its undo: quarantine, and what the service's record remembers."""
    (world.live / "pair" / "index.json").write_bytes(b"")
    time.sleep(0.03)
    for words in (("pin", "app/2", "media/1"), ("restore", "pair"), ("undo",)):
        (done,) = world.run(words)
        assert done.status == 0, done
    world.reject("pair/3", "index")


STEPS: tuple[Callable[[World], tuple[str, ...] | None], ...] = (
    _first,
    _second,
    _third,
    _fourth,
    _partial,
    _marks,
    _fifth,
    _invalid,
)
