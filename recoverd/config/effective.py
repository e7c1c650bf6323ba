"""The loaded configuration as JSON, so that `check` and its kin start without parsing YAML or checking schemas.

`decode_if_current` gives it back only as long as loading again would give the same: the same request, the same
places with the same files in them, the same content, the same variables of the environment, still trusted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import recoverd
from recoverd.config import matching, places, trust
from recoverd.config.database_model import DatabaseRules
from recoverd.config.dump_model import Dump
from recoverd.config.hook_model import Hook
from recoverd.config.in_flight_model import InFlight
from recoverd.config.keeping import Limits, Watch
from recoverd.config.migration_model import MigrationStep, VersionRule
from recoverd.config.model import (
    Autosave,
    CheckThresholds,
    Computed,
    Config,
    Consistency,
    Drill,
    FailedService,
    Format,
    Guards,
    Health,
    Initial,
    ItemKind,
    LogConfig,
    OnChange,
    Place,
    Probe,
    ProbeKind,
    QuarantineConfig,
    Rebuild,
    RepositoryConfig,
    Restore,
    Retention,
    Run,
    RunKind,
    SchemaSource,
    Secret,
    Service,
    Span,
    StateItem,
    Validation,
    VerifyConfig,
)
from recoverd.config.process_model import Instances, Processes
from recoverd.config.sources import SourceFile, Sources, digest, search_digest

_REVISION = 6
_Decoder = Callable[[Any], Any]


def encode(
    config: Config, sources: Sources, paths: Sequence[str] | None, *, euid: int, home: str, prefix: str = ""
) -> bytes:
    """JSON of a configuration that was loaded strictly, with what it was made of and what was asked for."""
    document = {
        "recoverd": recoverd.__version__,
        "revision": _REVISION,
        "request": _request(paths, euid, home, prefix),
        "search": sources.search,
        "environment": dict(sources.environment),
        "files": [
            [file.path, file.digest, file.size_bytes, str(file.mtime_ns), str(file.inode)] for file in sources.files
        ],
        "config": _plain(config),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def decode_if_current(
    data: bytes,
    paths: Sequence[str] | None,
    *,
    environ: Mapping[str, str],
    euid: int,
    home: str,
    prefix: str = "",
) -> Config | None:
    """The configuration in `data`; None when it must be loaded again, or when `data` is not what `encode` wrote."""
    try:
        document = json.loads(data.decode("utf-8", "surrogateescape"))
        if document["recoverd"] != recoverd.__version__ or document["revision"] != _REVISION:
            return None
        if document["request"] != _request(paths, euid, home, prefix):
            return None
        if any(environ.get(name) != value for name, value in document["environment"].items()):
            return None
        search = places.find(paths, environ=environ, euid=euid, home=home, prefix=prefix)
        if search_digest(search) != document["search"]:
            return None
        for path, known, size_bytes, mtime_ns, inode in document["files"]:
            if not _is_current(SourceFile(path, known, size_bytes, int(mtime_ns), int(inode)), euid):
                return None
        config: Config = _config(document["config"])
        return config if matching.is_current(config.matches, euid=euid) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _request(paths: Sequence[str] | None, euid: int, home: str, prefix: str) -> dict[str, Any]:
    return {
        "paths": [os.path.abspath(path) for path in paths] if paths else None,
        "euid": euid,
        "home": home,
        "prefix": prefix,
    }


def _is_current(file: SourceFile, euid: int) -> bool:
    if file.digest is None:
        return not os.path.lexists(file.path)
    try:
        status = os.stat(file.path)
        if (status.st_size, status.st_mtime_ns, status.st_ino) != (file.size_bytes, file.mtime_ns, file.inode):
            return False
        # also a change within one tick of the clock, or with its time set back, must not go unseen
        return digest(trust.read(file.path, most_bytes=file.size_bytes, euid=euid)) == file.digest
    except (OSError, trust.Unusable):
        return False


def _plain(value: Any) -> Any:
    if names := getattr(value, "__match_args__", None):  # an object of the model
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value


def _object(cls: type, **decoders: _Decoder) -> _Decoder:
    """A decoder of one class; fields that are not named are taken as they are, null only where None is meant."""

    def decode(value: Any) -> Any:
        keys = {
            key: decoders[key](each) if key in decoders and each is not None else each for key, each in value.items()
        }
        return cls(**keys)

    return decode


def _list(decoder: _Decoder) -> _Decoder:
    return lambda value: tuple(decoder(each) for each in value)


def _by_name(decoder: _Decoder) -> _Decoder:
    return lambda value: {name: decoder(each) for name, each in value.items()}


def _text_or_secret(value: Any) -> Any:
    return Secret(**value) if isinstance(value, dict) else value


_place = _object(Place)
_span = _object(Span)
_schema = _object(SchemaSource, directories=tuple, place=_place)
_item = _object(
    StateItem,
    kind=ItemKind,
    format=Format,
    schema=_schema,
    include=tuple,
    exclude=tuple,
    allow=frozenset,
    guards=_object(Guards, require=tuple),
    version=_object(VersionRule),
    migrate=_list(_object(MigrationStep, patch=tuple, command=tuple)),
    validate=_object(Validation, command=tuple),
    siblings=tuple,
    rebuild=_object(Rebuild, compute=_by_name(_object(Computed)), command=tuple),
    initial=_object(Initial),
    dump=_object(Dump, save=tuple, load=tuple),
    database=_object(DatabaseRules, require_tables=tuple, assertions=tuple),
)
_run = _object(Run, kind=RunKind, command=tuple, env=_by_name(_text_or_secret), start=tuple, stop=tuple, status=tuple)
_retention = _object(
    Retention,
    tags=_list(tuple),
    within=_span,
    within_hourly=_span,
    within_daily=_span,
    within_weekly=_span,
    within_monthly=_span,
    within_yearly=_span,
)
_hook = _object(Hook, when=tuple, command=tuple, webhook=_text_or_secret, headers=_by_name(_text_or_secret))
_service = _object(
    Service,
    place=_place,
    run=_run,
    after=tuple,
    state=_by_name(_item),
    consistency=_object(Consistency, before=_list(tuple), after=_list(tuple)),
    autosave=_object(Autosave, on_change=_object(OnChange)),
    retention=_retention,
    restore=_object(Restore, fallback=tuple),
    health=_object(Health, probes=_list(_object(Probe, kind=ProbeKind, command=tuple))),
    limits=_object(Limits),
    watch=_object(Watch),
    drill=_object(Drill, command=tuple),
    check=_object(CheckThresholds),
    processes=_object(Processes),
    instances=_object(Instances, command=tuple),
    in_flight=_list(_object(InFlight, show=tuple)),
    hooks=_list(_hook),
)
_config = _object(
    Config,
    repository=_object(RepositoryConfig),
    services=_by_name(_service),
    failed=_list(_object(FailedService, problems=tuple)),
    quarantine=_object(QuarantineConfig),
    verify=_object(VerifyConfig),
    log=_object(LogConfig, debug=tuple),
    matches=_by_name(tuple),
    hooks=_list(_hook),
)
