"""`recoverd init`: a commented recoverd.yaml and an empty repository. What is there already stays as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from recoverd.config.places import SYSTEM
from recoverd.errors import StateError, UsageError
from recoverd.operations.opening import open_context
from recoverd.repository.layout import FORMAT_NAME
from recoverd.repository.store import Repository
from recoverd.system import durable
from recoverd.values import dataclass

NAME = "recoverd.yaml"
TEMPLATE = """\
# Host-wide configuration of recoverd. Every key is optional; what is commented out shows the default or an example.
# `recoverd config schema` describes all keys, `recoverd config validate` checks every file, and `recoverd config
# show` tells where each value comes from. Services usually stand in files of their own: conf.d/NAME.yaml.
version: 1

# Where recoverd keeps its own records, and where the snapshots live.
# state_dir: /var/lib/recoverd
# repository: {path: /var/lib/recoverd/repository, compression: 3}

# The time zone of the periods that retention counts, and of crontab expressions.
# timezone: UTC

# For all services; a service's own keys win, mapping by mapping.
defaults:
  autosave:
    every: 30s        # a snapshot each time this much has passed, if anything changed
    jitter: 3s        # up to this much later, so that services do not save all at once
    on_shutdown: true # and one when the scheduler is told to stop
    # cron: "0 4 * * *" # at these times too, as in crontab
  retention:
    last: 10          # the newest ten,
    hourly: 24        # the newest of each of 24 hours,
    daily: 14         # and of each of 14 days

# services:
#   notes:
#     root: /var/lib/notes
#     run: {command: [/usr/bin/notes, --serve]}
#     state:
#       main: {file: state.json, format: json}
#       tasks: {directory: tasks, include: ["*.json"], format: json}
#     health: {within: 30s, probes: [{http: "http://127.0.0.1:3000/health"}]}
"""


@dataclass(frozen=True, slots=True)
class InitResult:
    configuration: str
    written: bool  # False: it was there already, and stays as it is
    repository: str
    created: bool

    exit_status: int = 0

    def to_json(self) -> dict[str, Any]:
        """`{"configuration": {"path", "written"}, "repository": {"path", "created"}}`."""
        return {
            "configuration": {"path": self.configuration, "written": self.written},
            "repository": {"path": self.repository, "created": self.created},
        }


def init(paths: Sequence[str] | None = None, *, environ: Mapping[str, str] | None = None) -> InitResult:
    """Write the configuration where recoverd looks for it (or at the one path of `paths`), create the repository.

    Raises UsageError, StateError, ConfigError (of a configuration that is there already), RepositoryError.
    """
    environ = os.environ if environ is None else environ
    path = _target(paths, environ)
    try:
        written = _write_new(path)
    except OSError as error:
        where = error.filename or path
        raise StateError(
            f"{where} can't be written: {error.strerror or error}", hint="run it as root, or name a place with --config"
        ) from None
    context = open_context(paths, environ=environ, level="error")
    repository = context.config.repository.path
    created = not os.path.lexists(os.path.join(repository, FORMAT_NAME))
    if created and context.config.repository.spare is not None:
        Repository.create(repository, compression=context.config.repository.compression)  # also one that was lost
    context.repository(create=True)
    return InitResult(path, written, repository, created)


def _target(paths: Sequence[str] | None, environ: Mapping[str, str]) -> str:
    if paths:
        if len(paths) > 1:
            raise UsageError("`recoverd init` writes one file", hint="give --config once")
        path = os.path.abspath(paths[0])
        return os.path.join(path, NAME) if os.path.isdir(path) or paths[0].endswith("/") else path
    if os.geteuid() == 0:
        return os.path.join(SYSTEM, NAME)
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(home, "recoverd", NAME)


def _write_new(path: str) -> bool:
    """Write the template unless something, whatever it is, has that name."""
    if os.path.lexists(path):
        return False
    durable.make_directories(os.path.dirname(path), mode=0o755)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o644), "wb") as file:
        file.write(TEMPLATE.encode())
        file.flush()
        os.fsync(file.fileno())
    return True
