"""The service's own checking tool, run on a private copy of a document, as the user whose file it is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from recoverd.config.model import Validation
from recoverd.state.verdicts import Verdict
from recoverd.values import dataclass

if TYPE_CHECKING:
    from recoverd.services.commands import Ran

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
    import shutil
    import tempfile  # late, as the next: few documents have such a tool

    from recoverd.services.commands import run_command

    program = validation.command[0]
    try:
        directory = tempfile.mkdtemp(prefix="recoverd-validate-")
        try:
            path = os.path.join(directory, name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as copy:
                copy.writelines(blocks)
                if os.geteuid() == 0:
                    os.fchown(copy.fileno(), uid, -1)
            if os.geteuid() == 0:
                os.chown(directory, uid, -1)
            command = [word.replace("{path}", path) for word in validation.command]
            ran = run_command(command, timeout_s=validation.timeout_s, env=_environment(directory), uid=uid)
        finally:
            # by descriptors, through no link; TemporaryDirectory of older Pythons would chmod what a link leads to
            shutil.rmtree(directory, ignore_errors=True)
    except OSError as error:
        sentence = f"could not be validated: {program} can't be run: {error.strerror or error}"
        return Invalid(Verdict.UNREADABLE, sentence)
    if ran.status == 0:
        return None
    if ran.status is None or ran.status < 0 or ran.status in _NOT_RUN:
        return Invalid(Verdict.UNREADABLE, f"could not be validated: {program} {_ending(ran)}")
    return Invalid(Verdict.CORRUPT, f"is refused by {program}: it {_ending(ran)}")


def _ending(ran: Ran) -> str:
    said = "".join(letter if letter.isprintable() else "?" for letter in ran.last_line)
    return f"{ran.ending}: {said}" if said else ran.ending


def _environment(directory: str) -> dict[str, str]:
    """Little of our own: what the tool writes goes where its copy goes."""
    path = os.environ.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": directory, "TMPDIR": directory, "LANG": os.environ.get("LANG") or "C.UTF-8"}
