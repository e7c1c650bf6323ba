"""Compression in a second process: the same bytes in the same order, also when that process dies, hangs or lies."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from blake3 import blake3

from recoverd.repository import compression
from recoverd.repository.compression import LENGTH, SHARED_BYTES, CompressionProcess
from recoverd.repository.packs import Index, PackWriter, read_frame, read_index
from recoverd.repository.zstandard import Compressor
from recoverd.system import interpreter
from tests.children import children_that_run


class Frames:
    """Frames of all sizes, given to a process; what is written is compared with what one compressor makes of them."""

    def __init__(self, seed: int, count: int, most: int) -> None:
        chance = random.Random(seed)
        self.given = [
            [chance.randbytes(chance.randrange(most) // 4), b"text " * (chance.randrange(most) // 7)]
            for _ in range(count)
        ]
        self.written: list[bytes] = []

    def give(self, process: CompressionProcess, number: int) -> None:
        """As a pack does it: by the process if that takes it, else behind what it has in hand."""
        parts = self.given[number]
        size = sum(map(len, parts))
        if process.takes(size):
            process.give(parts, size, self.write)
        else:
            process.finish(self.write)
            self.write([Compressor(3).frame(parts)])

    def write(self, frames: Sequence[memoryview | bytes]) -> None:
        self.written += [bytes(frame) for frame in frames]

    @property
    def expected(self) -> list[bytes]:
        compressor = Compressor(3)
        return [compressor.frame(parts) for parts in self.given]


@contextmanager
def at_work(*, deadline_s: float = 60.0) -> Iterator[CompressionProcess]:
    """One that has begun."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one processor, which needs no second process")
    process = CompressionProcess(3, start_bytes=1, deadline_s=deadline_s)
    try:
        until = time.monotonic() + 60
        while not process.takes(10):
            assert time.monotonic() < until
            time.sleep(0.005)
        yield process
    finally:
        process.close()


def helpers() -> list[psutil.Process]:
    return children_that_run("recoverd.repository.compression_child")


def unread_bytes(pipe: int) -> int:
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("most", [300, 20_000, 400_000])
def test_the_same_bytes_in_the_same_order(most: int) -> None:
    frames = Frames(most, 300, most)
    with at_work() as process:
        for number in range(300):
            frames.give(process, number)
        process.finish(frames.write)
    assert frames.written == frames.expected


def test_thousands_that_wait_are_written_in_calls_that_the_kernel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """writev takes 1,024 buffers; so many small frames come back when nobody has listened for a while."""
    monkeypatch.setattr(compression, "_TOGETHER", 100_000)
    frames, most = Frames(1, 3000, 20), [0]

    def write(done: Sequence[memoryview | bytes]) -> None:
        most[0] = max(most[0], len(done))
        frames.write(done)

    with at_work() as process:
        for number in range(3000):
            process.give(frames.given[number], sum(map(len, frames.given[number])), write)
        until = time.monotonic() + 60
        while unread_bytes(process._answers) < 2000 * LENGTH.size:
            assert time.monotonic() < until
            time.sleep(0.005)
        process.finish(write)
    assert frames.written == frames.expected
    assert most[0] == 500


@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
@pytest.mark.parametrize("at", [0, 1, 60, 199])
def test_what_a_process_that_ends_or_hangs_had_in_hand_is_compressed_here(signalled: signal.Signals, at: int) -> None:
    frames = Frames(at, 200, 100_000)
    with at_work(deadline_s=0.3) as process:
        for number in range(200):
            if number == at:
                (helper,) = helpers()
                os.kill(helper.pid, signalled)
            frames.give(process, number)
        process.finish(frames.write)
        assert not process.takes(10)
        assert not helpers()
    assert frames.written == frames.expected


@pytest.mark.parametrize("answer", [LENGTH.pack(2**32 - 1), LENGTH.pack(100_000_000) * 30, b"abc", b""])
def test_what_it_says_is_checked(answer: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A length behind the room of its frame, half a one, and none at all."""
    script = tmp_path / "liar.py"
    script.write_text(
        f"import os, time\nos.write(1, b'\\n')\nos.read(0, 1)\nos.write(1, {answer!r})\ntime.sleep(100)\n"
    )
    monkeypatch.setattr(interpreter, "command_of", lambda *_: [sys.executable, "-S", str(script)])
    frames = Frames(3, 100, 50_000)
    with at_work(deadline_s=0.3) as process:
        for number in range(100):
            frames.give(process, number)
        process.finish(frames.write)
    assert frames.written == frames.expected


@pytest.mark.parametrize("done", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("seed", [0, 3])
def test_what_waits_is_not_written_over(seed: int, done: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Large and small frames by turns, of which the process finishes some: the rooms go around and leave gaps."""
    script = tmp_path / "lazy.py"
    script.write_text(
        "import os, sys, time\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from recoverd.repository import compression_child as child\n"
        "frames = iter(range(sys.maxsize))\n"
        "class Compressor(child.Compressor):\n"
        "    def compress(self, content):\n"
        f"        time.sleep(100 if next(frames) >= {done} else 0)\n"
        "        return super().compress(content)\n"
        "child.Compressor = Compressor\n"
        "child.main()\n"
    )
    monkeypatch.setattr(interpreter, "command_of", lambda _, *words: [sys.executable, "-S", str(script), *words])
    frames, chance = Frames(0, 0, 0), random.Random(seed)
    for number in range(30):
        size = chance.choice([20_000, 400_000, 1_500_000, 2_900_000])
        frames.given.append([b"%d " % number * (size // 3)])
    with at_work(deadline_s=0.3) as process:
        for number in range(30):
            frames.give(process, number)
        process.finish(frames.write)
    assert frames.written == frames.expected


def test_an_answer_that_nobody_waits_for_is_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "eager.py"
    script.write_text(f"import os, time\nos.write(1, b'\\n' + {LENGTH.pack(5)!r} * 30)\ntime.sleep(100)\n")
    monkeypatch.setattr(interpreter, "command_of", lambda *_: [sys.executable, "-S", str(script)])
    written: list[bytes] = []
    with at_work(deadline_s=0.3) as process:
        process.give([b"text"], 4, lambda frames: written.extend(map(bytes, frames)))
        process.finish(lambda frames: written.extend(map(bytes, frames)))
        assert not process.takes(10)
    assert len(written) == 1  # what it is, the hashes of what is in it tell who reads it


@pytest.mark.parametrize("command", [["/nowhere/python"], ["/bin/false"], ["/bin/echo", "hello"]])
def test_one_that_never_begins_is_done_without(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "command_of", lambda *_: command)
    frames, process = Frames(4, 50, 10_000), CompressionProcess(3, start_bytes=1)
    try:
        for number in range(50):
            frames.give(process, number)
            time.sleep(0.002)
        assert not process.takes(10)
    finally:
        process.close()
    assert frames.written == frames.expected


def test_little_work_starts_nothing() -> None:
    process = CompressionProcess(3, start_bytes=1_000_000)
    try:
        assert not any(process.takes(9_999) for _ in range(100))
        assert not helpers()
    finally:
        process.close()


def test_one_processor_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    process = CompressionProcess(3, start_bytes=1)
    assert not any(process.takes(10_000) for _ in range(100))
    assert not helpers()


def test_what_does_not_fit_is_not_taken() -> None:
    with at_work() as process:
        assert process.takes(SHARED_BYTES // 4)
        assert not process.takes(SHARED_BYTES // 2)


def test_a_pack_is_the_same_file(tmp_path: Path) -> None:
    """Begun by the thread, gone on with by the process, ended by the thread; and the next pack by the process again."""
    chance = random.Random(5)
    objects = [chance.randbytes(chance.randrange(3000)) + b"x" * chance.randrange(30_000) for _ in range(400)]
    with at_work() as process:
        made: list[tuple[str, Index]] = []
        for given in (None, process, process):
            fd = os.open(tmp_path / f"{len(made)}", os.O_RDWR | os.O_CREAT)
            writer = PackWriter(fd, compression=3, process=given)
            for data in objects:
                writer.add(blake3(data).hexdigest(), data)
            name, index = writer.finish(sync=True)
            assert blake3((tmp_path / f"{len(made)}").read_bytes()).hexdigest() == name
            assert read_index(fd, name) == index
            made.append((name, index))
            os.close(fd)
    assert made[0] == made[1] == made[2]


def test_what_was_given_can_be_read_back(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "pack", os.O_RDWR | os.O_CREAT)
    with at_work() as process:
        writer = PackWriter(fd, compression=3, process=process)
        for number in range(50):
            data = b"%d" % number * 5000
            key = blake3(data).hexdigest()
            writer.add(key, data)
            if number % 7 == 0:
                found = writer.locate(key)
                assert read_frame(fd, found)[found.offset : found.offset + found.size] == data
        writer.finish()
    os.close(fd)


def test_a_full_disk_is_an_error_and_stays_one() -> None:
    """Promise 6: behind a frame that was not written nothing is, although there were room again."""
    fd = os.open("/dev/full", os.O_WRONLY)
    with at_work() as process:
        writer = PackWriter(fd, compression=3, process=process)
        with pytest.raises(OSError, match="No space"):
            for number in range(200):
                writer.add(blake3(b"%d" % number).hexdigest(), os.urandom(200_000))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fd)
        os.close(null)
        with pytest.raises(OSError, match="No space"):
            writer.add("a" * 64, os.urandom(200_000))
        with pytest.raises(OSError, match="No space"):
            writer.locate("a" * 64)
        with pytest.raises(OSError, match="No space"):
            writer.finish()
        writer.close()
    os.close(fd)


_STORES = """
import os, sys, time
from recoverd.repository.compression import CompressionProcess
process = CompressionProcess(3, start_bytes=1)
while not process.takes(10):
    time.sleep(0.005)
process.give([b"0123456789"], 10, print)
print("given", flush=True)
time.sleep(100)
"""


def test_it_ends_with_who_started_it() -> None:
    """Promise 5: `kill -9` leaves no process behind."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one processor, which needs no second process")
    with subprocess.Popen([sys.executable, "-c", _STORES], stdout=subprocess.PIPE) as stores:
        assert stores.stdout is not None
        assert stores.stdout.readline() == b"given\n"
        (started,) = psutil.Process(stores.pid).children()
        stores.kill()
        psutil.wait_procs([started], timeout=10)
        assert not started.is_running()
