"""The service's own checking tool, run on a private copy of a document, as the user whose file it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from recoverd.config.model import Validation
from recoverd.recovery.places import remove_tree
from recoverd.recovery.private_copies import may_enter, sweep
from recoverd.state.verdicts import Verdict
from recoverd.system.processes import is_alive, own_identity
from recoverd.values import dataclass, replace

if TYPE_CHECKING:
    from recoverd.services.commands import Ran

_OWN = re.compile(r"recoverd-validate-([0-9]{1,10})-([0-9]{1,20})-[0-9a-f]{8}")
_FOR_ALL = "/var/tmp"  # noqa: S108 - what is made there is private
_NOT_RUN = frozenset({126, 127})  # what shells and env say of a program that can't be executed, or is not there


@dataclass(frozen=True, slots=True)
class Invalid:
    """Why the tool did not call a document valid: `corrupt` if it said so, `unreadable` if it could not be asked."""

    verdict: Verdict
    sentence: str


def validate(validation: Validation, name: str, blocks: Iterable[bytes], *, uid: int) -> Invalid | None:
    """Run the command on a copy of a document, made of `blocks`; None when it exits with status 0.

    The copy has the last part of the document's `name`, in a directory that only the owner `uid` (and root) can
    enter. A tool that is missing, takes too long or is killed says nothing about the document.
    """
    try:
        with PrivateCopy(name, uid) as copy:
            for block in blocks:
                copy.write(block)
            return copy.judged(validation)
    except OSError as error:
        return _not_asked(validation, error)


class PrivateCopy:
    """A copy of a document for its tool, as `validate` makes it. Raises OSError where it can't be made."""

    def __init__(self, name: str, uid: int) -> None:
        self._name = name
        self._uid = uid

    def __enter__(self) -> PrivateCopy:
        import tempfile  # late: few documents have such a tool

        base = tempfile.gettempdir()
        if os.geteuid() == 0 and not may_enter(base, self._uid):  # TMPDIR may be for root alone
            base = _FOR_ALL
        base_fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sweep(base_fd, _is_left)
        finally:
            os.close(base_fd)
        self._directory = os.path.join(base, _own_name())
        os.mkdir(self._directory, 0o700)
        self._path = os.path.join(self._directory, self._name)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = open(os.open(self._path, flags, 0o600), "wb")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk was told when it was written to
            self._file.close()
        self._remove()

    def _remove(self) -> None:
        """With whatever the tool, or the user whose tool it is, has put there."""
        base, name = os.path.split(self._directory)
        with suppress(OSError):
            fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                remove_tree(fd, name)
            finally:
                os.close(fd)

    def write(self, block: bytes) -> None:
        self._file.write(block)

    def judged(self, validation: Validation) -> Invalid | None:
        """What the tool says of all that was written."""
        from recoverd.services.commands import run_command

        self._file.flush()
        if os.geteuid() == 0:
            os.fchown(self._file.fileno(), self._uid, -1)
        self._file.close()
        if os.geteuid() == 0:
            os.chown(self._directory, self._uid, -1)
        command = [word.replace("{path}", self._path) for word in validation.command]
        try:
            environment = _environment(self._directory)
            ran = run_command(command, timeout_s=validation.timeout_s, env=environment, uid=self._uid)
        except OSError as error:
            return _not_asked(validation, error)
        if ran.status == 0:
            return None
        program = validation.command[0]
        if ran.status is None or ran.status < 0 or ran.status in _NOT_RUN:
            return Invalid(Verdict.UNREADABLE, f"could not be validated: {program} {_ending(ran)}")
        return Invalid(Verdict.CORRUPT, f"is refused by {program}: it {_ending(ran)}")


def _not_asked(validation: Validation, error: OSError) -> Invalid:
    sentence = f"could not be validated: {validation.command[0]} can't be run: {error.strerror or error}"
    return Invalid(Verdict.UNREADABLE, sentence)


def _ending(ran: Ran) -> str:
    said = "".join(letter if letter.isprintable() else "?" for letter in ran.last_line)
    return f"{ran.ending}: {said}" if said else ran.ending


def _environment(directory: str) -> dict[str, str]:
    """Little of our own: what the tool writes goes where its copy goes."""
    path = os.environ.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": directory, "TMPDIR": directory, "LANG": os.environ.get("LANG") or "C.UTF-8"}


def _own_name() -> str:
    """Short: tools make sockets there, and the path of one has 107 bytes at most."""
    identity = own_identity()
    return f"recoverd-validate-{identity.pid}-{identity.start_ticks}-{os.urandom(4).hex()}"


def _is_left(name: str) -> bool:
    """Whether a directory is that of a process that is gone."""
    found = _OWN.fullmatch(name)
    return found is not None and not is_alive(replace(own_identity(), pid=int(found[1]), start_ticks=int(found[2])))
