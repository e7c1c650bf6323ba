"""Limits of a service's processes: by systemd, by a cgroup of version 2, else, weaker, by setrlimit(2).

Cgroups count all processes of a service together: cgroup v2 ("memory.max", "pids.max"), systemd.resource-control(5).
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING

from recoverd.config.keeping import Limits
from recoverd.errors import ServiceError
from recoverd.values import dataclass, replace

if TYPE_CHECKING:
    from recoverd.services.launching import Launch, LaunchSpec

VARIABLE = "RECOVERD_LIMITED"  # tells a start inside a transient unit that the unit has the limits
_CONTROLLERS = frozenset({"memory", "pids"})
_MOUNTS = "/proc/self/mountinfo"


class Form(StrEnum):
    """Who enforces the limits; the words in which `status` tells it."""

    NONE = ""
    UNIT = "its unit"
    SCOPE = "a scope of systemd"
    CGROUP = "a cgroup"
    RLIMIT = "setrlimit, for each process alone"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a service is about to be started."""

    in_limited_unit: bool  # in one that has the limits already
    has_systemd: bool  # its manager, the system's or the user's own, can be asked for a scope
    group_root: str | None  # where cgroup v2 is mounted, and may be written to


NOWHERE = Surroundings(in_limited_unit=False, has_systemd=False, group_root=None)


def forms(limits: Limits, around: Surroundings) -> tuple[Form, ...]:
    """What to try, strongest first; the last always works. Pure."""
    if not limits.are_set:
        return (Form.NONE,)
    if around.in_limited_unit:
        return (Form.UNIT,)
    strong = [form for form, there in ((Form.SCOPE, around.has_systemd), (Form.CGROUP, around.group_root)) if there]
    return (*strong, Form.RLIMIT)


def look_around() -> Surroundings:
    """How it is here and now."""
    from recoverd.services.systemctl import BOOTED

    user_manager = f"{os.environ.get('XDG_RUNTIME_DIR', '')}/systemd"
    has_manager = os.path.isdir(BOOTED) and (os.geteuid() == 0 or os.path.isdir(user_manager))
    return Surroundings(VARIABLE in os.environ, has_manager, _group_root())


def launch_within(limits: Limits, name: str, spec: LaunchSpec, log_fd: int) -> tuple[Launch, Form]:
    """A process of service `name` that waits for its release, within its limits; and who enforces them.

    The strongest form that can be had is taken. Raises ServiceError when the process can't be made at all.
    """
    *better, last = forms(limits, around := look_around() if limits.are_set else NOWHERE)
    for form in better:
        try:
            if form is Form.SCOPE:
                return _in_scope(limits, name, spec, log_fd), form
            return _in_group(around.group_root or "", limits, name, spec, log_fd), form
        except (ServiceError, OSError) as error:
            _tell("%s can't be limited by %s: %s", name, form.value, error)
    from recoverd.services.launching import Launch

    given = rlimits(limits) if last is Form.RLIMIT else {}
    return Launch(replace(spec, rlimits=given), log_fd), last


def _in_scope(limits: Limits, name: str, spec: LaunchSpec, log_fd: int) -> Launch:
    from recoverd.services.launching import Launch

    scoped = replace(spec, prefix=tuple(scope_command(name, limits)), prefix_env=scope_environment())
    return Launch(scoped, log_fd)


def _in_group(root: str, limits: Limits, name: str, spec: LaunchSpec, log_fd: int) -> Launch:
    from recoverd.services.launching import Launch

    group = make_group(root, name, limits)
    launch = Launch(spec, log_fd)
    try:
        enter_group(group, launch.identity.pid)
    except BaseException:
        launch.abandon()
        raise
    return launch


def properties(limits: Limits) -> list[str]:
    """The properties of a unit, systemd.resource-control(5)."""
    found = []
    if limits.memory_bytes is not None:
        found.append(f"MemoryMax={limits.memory_bytes}")
    if limits.tasks is not None:
        found.append(f"TasksMax={limits.tasks}")
    return found


def scope_command(name: str, limits: Limits) -> list[str]:
    """What to put before a command so that it runs in a scope of its own (systemd-run(1)), stopped at shutdown before
    the last capture."""
    user = ["--user"] if os.geteuid() != 0 else []
    given = [f"--property={one}" for one in (*properties(limits), "After=recoverd.service")]
    return ["systemd-run", *user, "--scope", "--quiet", "--collect", *given, f"--description=Service {name}", "--"]


def scope_environment() -> dict[str, str]:
    """What systemd-run needs to find its manager."""
    names = ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
    return {name: os.environ[name] for name in names if name in os.environ}


def make_group(root: str, name: str, limits: Limits) -> str:
    """The cgroup of a service, with these limits and no other. Raises OSError where the kernel does not let us."""
    controllers = [
        controller
        for controller, limit in (("memory", limits.memory_bytes), ("pids", limits.tasks))
        if limit is not None
    ]
    parent = os.path.join(root, "recoverd")
    group = os.path.join(parent, name)
    for above, below in ((root, parent), (parent, group)):
        _enable(above, controllers)
        os.makedirs(below, exist_ok=True)
    for file, limit in (("memory.max", limits.memory_bytes), ("pids.max", limits.tasks)):
        path = os.path.join(group, file)
        if limit is not None or os.path.exists(path):  # one that was set for a former run goes
            _write(path, "max" if limit is None else str(limit))
    return group


def enter_group(group: str, pid: int) -> None:
    """Raises OSError."""
    _write(os.path.join(group, "cgroup.procs"), str(pid))


def rlimits(limits: Limits) -> dict[str, int]:
    """By name of the resource, as setrlimit(2) has them."""
    found = {}
    if limits.memory_bytes is not None:
        found["RLIMIT_AS"] = limits.memory_bytes
    if limits.tasks is not None:
        found["RLIMIT_NPROC"] = limits.tasks
    return found


def _enable(directory: str, controllers: list[str]) -> None:
    path = os.path.join(directory, "cgroup.subtree_control")
    with open(path, encoding="ascii") as file:
        missing = set(controllers) - set(file.read().split())
    if missing:
        _write(path, " ".join(f"+{one}" for one in sorted(missing)))


def _controllers(root: str) -> set[str]:
    """Those that this hierarchy has: others may belong to one of version 1."""
    try:
        with open(os.path.join(root, "cgroup.controllers"), encoding="ascii") as file:
            return set(file.read().split())
    except OSError:
        return set()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def _group_root() -> str | None:
    """Where cgroup v2 is mounted read-write, for root; None where it is not (proc_pid_mountinfo(5))."""
    if os.geteuid() != 0:
        return None
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        words, kind = before.split(" "), after.split(" ")[0]
        if kind == "cgroup2" and "rw" in words[5].split(",") and words[3] == "/":
            return words[4] if _controllers(words[4]) >= _CONTROLLERS else None
    return None


def _tell(sentence: str, *words: object) -> None:
    import logging

    logging.getLogger("recoverd.services").warning(sentence, *words)
