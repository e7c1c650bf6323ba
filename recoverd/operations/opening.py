"""Opening a context: the configuration (from its cache where that still holds), the log, the directories."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from recoverd.config.model import Config
from recoverd.config.sources import digest
from recoverd.errors import ConfigProblem
from recoverd.events import logs
from recoverd.events.stream import Events
from recoverd.operations.context import DEFAULT_WAIT_S, Context
from recoverd.repository import layout
from recoverd.system import durable

LOADED = "effective.json"  # in the state directory: what the running scheduler has loaded


def open_context(
    paths: Sequence[str] | None = None,
    *,
    wait_s: float = DEFAULT_WAIT_S,
    debug: tuple[str, ...] = (),
    level: str | None = None,
    tolerant: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Context:
    """Load the configuration at `paths` (or the usual places) and set up the log.

    With `tolerant` a broken drop-in costs only its own services. Raises ConfigError, UsageError.
    """
    environ = os.environ if environ is None else environ
    euid, home = os.geteuid(), os.path.expanduser("~")
    cache = _cache_path(environ, euid, paths)
    config = _cached(cache, paths, environ, euid, home)
    problems: tuple[ConfigProblem, ...] = ()
    if config is None:
        from recoverd.config import effective
        from recoverd.config.loading import load

        loaded = load(paths, environ=environ, euid=euid, home=home, strict=not tolerant)
        config, problems = loaded.config, loaded.problems
        if not problems:
            _save(cache, effective.encode(config, loaded.sources, paths, euid=euid, home=home))
    logs.set_up(config.log, level=level, debug=debug, environment=environ)
    context = Context(
        config,
        Events(),
        runtime_directory(environ, euid, config.state_dir),
        wait_s=wait_s,
        problems=problems,
    )
    if config.hooks or any(service.hooks for service in config.services.values()):
        from recoverd.operations.hooks import hooks_of

        context.hooks = hooks_of(config, environ)
    context.log_to(logs.log_sink)
    return context


def note_loaded(context: Context, paths: Sequence[str] | None, environ: Mapping[str, str] | None = None) -> None:
    """Note in the state directory which files the scheduler works from, for `check`. Best effort."""
    environ = os.environ if environ is None else environ
    try:
        with durable.open_own(_cache_path(environ, os.geteuid(), paths)) as file:
            durable.write_path(os.path.join(context.state_dir, LOADED), file.read())
    except OSError:
        pass  # without it `check` can't tell, and says nothing


def runtime_directory(environ: Mapping[str, str], euid: int, state_dir: str) -> str:
    """$RUNTIME_DIRECTORY, else /run/recoverd for root, recoverd below the runtime directory of a plain user."""
    return _volatile(environ, euid) or os.path.join(state_dir, "run")


def _volatile(environ: Mapping[str, str], euid: int) -> str | None:
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return given
    if euid == 0:
        return "/run/recoverd"
    given = environ.get("XDG_RUNTIME_DIR", "")
    if not given and os.path.isdir(user_runtime_directory(euid)):
        given = user_runtime_directory(euid)
    return os.path.join(given, "recoverd") if given else None


def user_runtime_directory(euid: int) -> str:
    """What XDG_RUNTIME_DIR is for the units of a user, pam_systemd(8); neither cron nor su sets it."""
    return f"/run/user/{euid}"


def _cache_path(environ: Mapping[str, str], euid: int, paths: Sequence[str] | None) -> str:
    """The cache of a configuration: one file per request, as `--config` may name others."""
    directory = _volatile(environ, euid)
    if directory is None:
        caches = environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        directory = os.path.join(caches, "recoverd")
    request = json.dumps([os.path.abspath(path) for path in paths] if paths else None)
    return os.path.join(directory, f"effective-{digest(request.encode())[:16]}.json")


def _cached(path: str, paths: Sequence[str] | None, environ: Mapping[str, str], euid: int, home: str) -> Config | None:
    from recoverd.config.effective import decode_if_current

    try:
        fd = durable.open_own_fd(path)
    except OSError:
        return None
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if status.st_uid != euid or status.st_mode & 0o022:
            return None  # not what we wrote
        return decode_if_current(file.read(), paths, environ=environ, euid=euid, home=home)


def _save(path: str, data: bytes) -> None:
    """Replace the cache; a reboot may lose it, so nothing is synced."""
    directory = os.path.dirname(path)
    temporary = os.path.join(directory, durable.temporary_name())
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        layout.remove_leftovers(directory)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        pass  # the next command parses again


def changed_since_loaded(state_dir: str) -> tuple[str, ...]:
    """The configuration files that differ from what the scheduler noted; new files count through their directory."""
    try:
        with durable.open_own(os.path.join(state_dir, LOADED)) as file:
            files = json.loads(file.read())["files"]
        changed = []
        for path, known, *_ in files:
            try:
                with open(path, "rb") as one:
                    now: str | None = digest(one.read())
            except OSError:
                now = None
            if now != known:
                changed.append(str(path))
        return tuple(changed)
    except (OSError, ValueError, KeyError, TypeError):
        return ()
