"""What is done for captures before they hold anybody: services that have dumps are asked for them.

That may take minutes. So it happens before the repository's lock is asked for, with the lock of the service alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from recoverd.config.model import Service
from recoverd.errors import ServiceError
from recoverd.operations.consistency import held_still
from recoverd.operations.context import Context
from recoverd.operations.dump_asking import dump_look, may_ask
from recoverd.operations.making_room import make_room
from recoverd.recovery.dump_looks import DO_NOT_ASK, DumpLook
from recoverd.values import dataclass, field, replace

if TYPE_CHECKING:
    from recoverd.operations.snapshot import SnapshotRequest
    from recoverd.recovery.dump_files import DumpFile


@dataclass(slots=True)
class _Taken:
    """The dumps of one service. `still`: what ends, once it is captured, that it is held still for that."""

    look: DumpLook = DO_NOT_ASK
    files: ExitStack = field(default_factory=ExitStack)
    still: ExitStack = field(default_factory=ExitStack)
    late: list[str] = field(default_factory=list)
    error: ServiceError | None = None  # why it could not be held still
    seconds: float = 0.0


class DumpsTaken:
    """The dumps of all services of a capture that are to be asked; what is left of them goes at the end of the block.

    The caller holds the locks of `services`.
    """

    def __init__(self, context: Context, services: Sequence[Service], request: SnapshotRequest) -> None:
        self._context, self._request = context, request
        self._held = frozenset(service.name for service in services)
        self._services = [service for service in services if may_ask(service, request)]
        self._taken: dict[str, _Taken] = {}

    def __enter__(self) -> DumpsTaken:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._taken):
            self._forget(name)

    def take(self) -> None:
        """Ask those services whose dumps are not at hand. Whatever they do is no error: the capture tells."""
        for service in self._services:
            if service.name not in self._taken:
                self._take(service)

    def wait_s(self) -> float:
        """How long the capture waits for the repository: what took long to take is not given up so soon."""
        return max(self._context.wait_s, sum(one.seconds for one in self._taken.values()))

    def seconds(self, service: Service) -> float:
        """How long this service was asked."""
        taken = self._taken.get(service.name)
        return 0.0 if taken is None else taken.seconds

    def look(self, service: Service) -> DumpLook:
        """How the capture looks at the dumps of this service."""
        taken = self._taken.get(service.name)
        return DO_NOT_ASK if taken is None else taken.look

    @contextmanager
    def held_still(self, service: Service) -> Iterator[list[str]]:
        """As `consistency.held_still`, for a capture: where the service was asked for dumps, it is held still since
        then. A dump that goes with files as they were is of no use to another try, so that one asks again."""
        taken = self._taken.get(service.name)
        if taken is None:
            with held_still(service, dry_run=self._request.dry_run) as late:
                yield late
            return
        try:
            if taken.error is not None:
                raise taken.error
            with taken.still:
                yield taken.late
        finally:
            if service.consistency.before or service.consistency.after:
                self._forget(service.name)

    def _take(self, service: Service) -> None:
        from recoverd.recovery.dump_files import DumpFile  # late: few services have dumps

        began_s = time.monotonic()
        taken = self._taken[service.name] = _Taken()
        try:
            taken.late = taken.still.enter_context(held_still(service, dry_run=self._request.dry_run))
        except ServiceError as error:
            taken.error = error
            return
        look = dump_look(self._context, service, self._request)
        if look.ask:
            files: dict[str, DumpFile] = {}
            for name in service.dumps:
                files[name] = taken.files.enter_context(DumpFile(service.state[name]))
                self._fill(files[name])
            look = replace(look, taken=files)
        taken.look, taken.seconds = look, time.monotonic() - began_s

    def _fill(self, file: DumpFile) -> None:
        directories = self._directories()
        file.fill(directories[0])
        if file.unwritten is not None and self._may_help(file.unwritten, directories[0]):
            file.fill(directories[0])
        for directory in directories[1:]:
            if file.unwritten is None:
                return
            file.fill(directory)

    def _may_help(self, trouble: OSError, directory: str) -> bool:
        """Whether there is more room now: old snapshots on the same disk may have gone."""
        if self._request.dry_run:
            return False
        try:
            is_shared = os.stat(directory).st_dev == os.stat(self._context.config.repository.path).st_dev
        except OSError:
            return False
        return is_shared and make_room(self._context, trouble, self._held)

    def _directories(self) -> list[str]:
        """recoverd's own: the state directory; else the spare's, which is there when that is lost."""
        found = [self._context.state_dir]
        if self._context.config.repository.spare is not None:
            from recoverd.operations.spare import state_of

            found += [path for path in [state_of(self._context.config.repository.spare)] if os.path.isdir(path)]
        return found

    def _forget(self, name: str) -> None:
        taken = self._taken.pop(name)
        taken.still.close()
        taken.files.close()
