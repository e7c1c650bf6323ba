"""Compression in a process beside this one: threads of Python hinder each other where there are many small steps.

Frames go there and come back in memory that both share; the pipes only tell where they lie. The process is a help and
no more: where it can't be started, ends or does not answer, what it had in hand is compressed here, to the same bytes.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from recoverd.repository.zstandard import Compressor
from recoverd.system.interpreter import start_module

if TYPE_CHECKING:
    import subprocess

_CHILD = "recoverd.repository.compression_child"
READY = b"\n"  # what the process says first
PLACE = struct.Struct("<II")  # what it is told of each frame: where in the shared memory, and how many bytes
LENGTH = struct.Struct("<I")  # what it answers: the bytes of what it made of it, which lies behind it
SHARED_BYTES = 8 * 1024 * 1024
DEADLINE_S = 60.0
START_BYTES = 4 * 1024 * 1024  # who compresses less is done before the process has begun

_TOGETHER = 8  # it has so many frames in hand before it is listened to: to write some at once costs half
_TOLD_TOGETHER = 4  # to wake it takes more than half as long as to copy a frame
_MOST_AT_ONCE = 500  # half of what one call takes

Write = Callable[[Sequence[memoryview | bytes]], None]


class _Place(NamedTuple):
    """Where a frame lies in the shared memory, and where the room ends that is kept for what is made of it."""

    at: int
    size: int
    end: int


class CompressionProcess:
    """Used by one thread, for one pack at a time. It is started when about `start_bytes` have passed by."""

    def __init__(self, level: int, *, start_bytes: int = START_BYTES, deadline_s: float = DEADLINE_S) -> None:
        self._level = level
        self._start_bytes = start_bytes
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._requests = self._answers = -1  # descriptors of its pipes
        self._poll = select.poll()  # for its answers
        self._shared: mmap.mmap | None = None
        self._is_ready = False
        self._is_over = len(os.sched_getaffinity(0)) < 2  # on one processor it would only take the time of this one
        self._waiting: deque[_Place] = deque()  # the frames given to it
        self._untold: list[bytes] = []  # of those that it does not know of yet
        self._heard = b""

    def takes(self, size: int) -> bool:
        """Whether a frame of `size` bytes may be given; the caller compresses it otherwise."""
        if self._process is None and not self._is_over:
            self._start_bytes -= size
            if self._start_bytes <= 0:
                self._start()
        elif not self._is_ready and not self._is_over:
            self._listen(0.0)
            self._is_ready = self._heard.startswith(READY)
            self._heard = self._heard[len(READY) :]
        return self._is_ready and not self._is_over and _room(size) <= SHARED_BYTES

    def give(self, parts: Sequence[bytes], size: int, write: Write) -> None:
        """Have a frame compressed that `takes` has said yes to. What is done is written, in the order it was given.

        Raises what `write` raises; after that there is only `close`.
        """
        waiting, room = self._waiting, _room(size)
        if len(waiting) >= _TOGETHER and not self._untold:
            self._collect(write, 0.0)
        at = waiting[-1].end if waiting and waiting[-1].end + room <= SHARED_BYTES else 0
        # not only with the oldest: who begins at 0 again may pass by that
        while any(one.at < at + room and at < one.end for one in waiting):
            self._collect(write, self._deadline_s)
        shared = self._shared
        assert shared is not None
        shared.seek(at)
        for part in parts:
            shared.write(part)
        waiting.append(_Place(at, size, at + room))
        self._untold.append(PLACE.pack(at, size))
        if len(self._untold) >= _TOLD_TOGETHER:
            self._tell()

    def finish(self, write: Write) -> None:
        """Have all written that was given. Raises what `write` raises; after that there is only `close`."""
        while self._waiting:
            self._collect(write, self._deadline_s)

    def close(self) -> None:
        """End it; what is not written is lost."""
        self._give_up()
        self._waiting.clear()
        self._shared = None  # not closed: who failed to write may still hold a part of it

    def _start(self) -> None:
        try:
            fd = os.memfd_create("recoverd-frames")
            try:
                os.ftruncate(fd, SHARED_BYTES)
                self._shared = mmap.mmap(fd, SHARED_BYTES)
                self._process = start_module(_CHILD, str(self._level), str(fd), pass_fds=(fd,))
            finally:
                os.close(fd)
        except OSError:
            self._is_over = True
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._poll.register(self._answers, select.POLLIN)

    def _tell(self) -> None:
        if self._untold and not self._is_over:
            told, self._untold = b"".join(self._untold), []
            try:
                os.write(self._requests, told)  # less than a pipe takes whole
            except OSError:  # it has ended, perhaps long ago
                self._give_up()

    def _collect(self, write: Write, within_s: float) -> None:
        """Write what is done, and wait for at least one frame if `within_s` is not 0."""
        if within_s:
            self._tell()
        self._listen(within_s)
        done = self._done()
        for first in range(0, len(done), _MOST_AT_ONCE):
            write(done[first : first + _MOST_AT_ONCE])
        if self._is_over and self._waiting:
            assert self._shared is not None
            compressor = Compressor(self._level)
            while self._waiting:
                one = self._waiting.popleft()
                write([compressor.frame([self._shared[one.at : one.at + one.size]])])

    def _done(self) -> list[memoryview]:
        """The frames that came back, in the order they were given."""
        assert self._shared is not None
        shared, done = memoryview(self._shared), []
        while len(self._heard) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._heard)
            begin = self._waiting[0].at + self._waiting[0].size if self._waiting else 0
            if not self._waiting or begin + length > self._waiting[0].end:
                self._give_up()
                break
            self._heard = self._heard[LENGTH.size :]
            self._waiting.popleft()
            done.append(shared[begin : begin + length])
        return done

    def _listen(self, within_s: float) -> None:
        """Hear what it says within that time. It is given up when it has ended, or should have said something."""
        if self._is_over:
            return
        if self._poll.poll(within_s * 1000):
            said = os.read(self._answers, 65536)
            self._heard += said
            if not said:
                self._give_up()
        elif within_s:
            self._give_up()

    def _give_up(self) -> None:
        self._is_over = True
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            self._requests = self._answers = -1


def _room(size: int) -> int:
    """What a frame of `size` bytes needs: for itself, and for what is made of it, by zstd's bound and its checksum."""
    return size + size + size // 256 + 1024
