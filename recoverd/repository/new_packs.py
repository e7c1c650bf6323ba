"""A pack file on its way to the disk: temporary while it grows, synced, then renamed to what it is called for good."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from recoverd.repository.packs import SUFFIX, Index, PackWriter
from recoverd.system import durable
from recoverd.values import dataclass

if TYPE_CHECKING:
    from recoverd.repository.compression import CompressionProcess


@dataclass(slots=True)
class NewPack:
    """`writer` while it grows, then `name`, `index` and `size`. All methods raise OSError."""

    directory: int  # descriptor of packs/
    temporary: str
    fd: int
    writer: PackWriter | None
    name: str = ""
    index: Index | None = None
    size: int = 0

    @staticmethod
    def begin(directory: int, *, compression: int, process: CompressionProcess | None = None) -> NewPack:
        """An empty one in `directory`, the descriptor of packs/. `compression` is a zstd level; `process` may help."""
        temporary = durable.temporary_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600, dir_fd=directory)
        return NewPack(directory, temporary, fd, PackWriter(fd, compression=compression, process=process))

    @property
    def is_open(self) -> bool:
        """Whether objects can be added."""
        return self.writer is not None and not self.writer.ended

    def end(self) -> None:
        """Let it be completed and brought to the disk while other work goes on."""
        assert self.writer is not None
        self.writer.end(sync=True)

    def finish(self) -> None:
        """Complete the file and bring it to the disk, still under its temporary name. Harmless when done twice."""
        if self.writer is None:
            return
        self.name, self.index = self.writer.finish(sync=True)
        self.size = os.fstat(self.fd).st_size
        self.writer = None
        os.close(self.fd)

    def place(self) -> None:
        """Give the finished file its name, durably."""
        directory = self.name[:2]
        try:
            os.mkdir(directory, 0o700, dir_fd=self.directory)
        except FileExistsError:
            pass
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(directory, flags, dir_fd=self.directory)
        try:
            if not os.listdir(fd):  # new, or who made it was killed before its name was durable
                durable.fsync_directory(self.directory)
            os.rename(self.temporary, self.name + SUFFIX, src_dir_fd=self.directory, dst_dir_fd=fd)
            durable.fsync_directory(fd)
        finally:
            os.close(fd)

    def discard(self) -> None:
        """Close it, and delete it unless it has its name. Raises nothing."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
            os.close(self.fd)
        try:
            os.unlink(self.temporary, dir_fd=self.directory)
        except OSError:
            pass  # it has its name, or is left to the next writer
