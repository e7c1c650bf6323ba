"""The host-wide keys: from the files to the model."""

from __future__ import annotations

import os

from recoverd.config.items import Own, is_inside
from recoverd.config.model import LogConfig, QuarantineConfig, RepositoryConfig, VerifyConfig
from recoverd.config.sections import Context, Section, normal_path
from recoverd.config.wording import suggest


def state_directory(host: Section) -> str:
    """`state_dir`, else $STATE_DIRECTORY (systemd.exec(5): the first of several), else the usual place."""
    context = host.context
    if host.has("state_dir"):
        return host.file_path("state_dir") or _usual_directory(context)
    given = (context.sources.ask(context.environ, "STATE_DIRECTORY") or "").split(":")[0]
    return normal_path(given) if os.path.isabs(given) else _usual_directory(context)


def _usual_directory(context: Context) -> str:
    if context.euid == 0:
        return "/var/lib/recoverd"
    data = context.sources.ask(context.environ, "XDG_DATA_HOME") or ""
    base = data if os.path.isabs(data) else os.path.join(context.home, ".local", "share")
    return normal_path(os.path.join(base, "recoverd"))


def repository(host: Section, state_dir: str) -> RepositoryConfig:
    section = host.section("repository")
    path = section.file_path("path") or os.path.join(state_dir, "repository")
    for what, mine in (("repository", path), ("state_dir", state_dir)):
        if mine == "/":
            host.problem(what, "can't be the root directory")
    if path == state_dir:
        section.problem("path", "must not be `state_dir` itself: it holds snapshots and nothing else")
    max_bytes = section.size_or_none("max_bytes")
    if max_bytes == 0:
        section.problem("max_bytes", "must be more than 0: a repository without any byte keeps nothing")
    min_free_bytes, min_free_share = _min_free(section)
    return RepositoryConfig(
        path,
        section.integer("compression", RepositoryConfig("").compression),
        spare=_spare(section, path, state_dir),
        max_bytes=max_bytes,
        min_free_bytes=min_free_bytes,
        min_free_share=min_free_share,
    )


def _spare(section: Section, path: str, state_dir: str) -> str | None:
    """`spare`: a place of its own, so that nothing that befalls the repository's directory befalls it too."""
    if not section.has("spare"):
        return None
    spare = section.expanded("spare")
    if spare is None:
        return None
    if not spare.startswith("/"):
        section.problem("spare", f"{spare} is relative: give the whole path of a place on another file system")
        return None
    if ".." in spare.split("/"):
        section.problem("spare", f"{spare} must not contain ..: say where the place really is")
        return None
    spare = normal_path(spare)
    if spare == "/":
        section.problem("spare", "can't be the root directory")
    elif spare == path:
        section.problem("spare", "must not be the repository itself: it is for when that can't be written")
    elif is_inside(spare, path):
        section.problem("spare", f"must not lie in the repository ({path}): what befalls that would befall it too")
    elif is_inside(path, spare):
        section.problem("spare", f"must not contain the repository ({path}): it holds snapshots and nothing else")
    elif spare == state_dir or is_inside(state_dir, spare):
        section.problem("spare", f"must not be or contain `state_dir` ({state_dir}): it holds snapshots only")
    return spare


def _min_free(section: Section) -> tuple[int | None, float | None]:
    """`min_free` as a size, or as a share; (None, None) where it is absent."""
    text = section.text("min_free")
    if text is None or not text.endswith("%"):
        return section.size_or_none("min_free"), None
    share = section.percentage_or_none("min_free")
    if share == 1.0:
        section.problem("min_free", "must be less than 100%: the repository itself needs room")
    return None, share


def prune_cron(host: Section) -> str | None:
    """When the repository is pruned, besides after snapshots; None: never."""
    section = host.section("prune")
    return section.crontab_or_none("cron")


def own_directories(state_dir: str, repository: RepositoryConfig) -> tuple[Own, ...]:
    """What no service may declare as its state."""
    spare = (Own("the spare repository", repository.spare),) if repository.spare is not None else ()
    return (Own("the repository", repository.path), *spare, Own("the state directory", state_dir))


def timezone(host: Section) -> str:
    name = host.text("timezone", "UTC") or ""
    if name == "UTC":  # known without the system's time zone data
        return name
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        known = zoneinfo.available_timezones()
        hint = suggest(name, known) if known else "; this machine has no time zone data (package tzdata)"
        host.problem("timezone", f'there is no time zone "{name}"{hint}')
    return name


def quarantine(host: Section) -> QuarantineConfig:
    section, usual = host.section("quarantine"), QuarantineConfig()
    return QuarantineConfig(section.duration("keep", usual.keep_s), section.size_or_none("max_bytes"))


def verify(host: Section) -> VerifyConfig:
    section, usual = host.section("verify"), VerifyConfig()
    sample = section.percentage_or_none("sample")
    every_s = section.duration("every", usual.every_s, positive=True)
    return VerifyConfig(every_s, usual.sample if sample is None else sample)


def log(host: Section) -> LogConfig:
    section, usual = host.section("log"), LogConfig()
    return LogConfig(
        format=str(section.text("format", usual.format)),
        level=str(section.text("level", usual.level)),
        debug=section.texts("debug"),
    )
