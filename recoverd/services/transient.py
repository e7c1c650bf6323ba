"""Starting a process from inside a unit that will end: in a transient unit of its own.

What a unit starts shares its cgroup and its confinement, and goes when a oneshot unit goes. So systemd is asked to run
recoverd once more, outside, and that starts the service the usual way (systemd-run(1)).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from recoverd.config.model import RunKind, Service
from recoverd.errors import ServiceError
from recoverd.services.limiting import VARIABLE, properties

_PATIENCE_S = 60.0


def start(service: Service, command: Sequence[str]) -> None:
    """Have `command` (recoverd with its global options) start the service; units start by themselves.

    A `command` service becomes the main process of its unit, which systemd stops at shutdown before recoverd.service
    takes its last capture. Raises ServiceError.
    """
    import subprocess

    run = service.run
    assert run is not None
    if run.kind is RunKind.SYSTEMD:
        return
    wanted = [*command, "confirm", "--only-start", service.name]
    unit = f"recoverd-run-{service.name.replace('@', ':').replace('~', ':')}"  # an @ would make it one of a template
    if run.kind is RunKind.COMMAND:
        kind = [f"--unit={unit}", "--property=Type=forking"]
        if service.limits.are_set:
            kind += [f"--property={one}" for one in properties(service.limits)]
            kind.append(f"--setenv={VARIABLE}=unit")
    else:
        kind = ["--property=Type=oneshot", "--property=RemainAfterExit=yes"]  # it may leave nothing, or anything
    options = ["--quiet", "--collect", "--property=After=recoverd.service", *kind]
    options += [f"--property=TimeoutStopSec={run.stop_timeout_s + 5:g}s", f"--description=Service {service.name}"]
    user = ["--user"] if os.geteuid() != 0 else []
    try:
        done = subprocess.run(
            ["systemd-run", *user, *options, "--", *wanted],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(f"{service.name} can't be started in a unit of its own: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise ServiceError(
            f"{service.name} can't be started in a unit of its own: {lines[-1] if lines else 'systemd refused it'}",
            hint=f"`journalctl -u {unit}` tells more",
        )
