"""State items: which paths a service's state has, and which paths no service may declare."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recoverd.config.database_model import COMPANIONS
from recoverd.config.databases import build_database
from recoverd.config.dumps import build_dump
from recoverd.config.migrations import build_migrations
from recoverd.config.model import Format, ItemKind, Place, StateItem
from recoverd.config.origins import build_initial, build_rebuild, build_siblings
from recoverd.config.schema_files import load_schema
from recoverd.config.sections import Section, normal_path
from recoverd.config.selection import Selection
from recoverd.config.signs import build_guards, build_magic, build_name_field, build_validation, build_version
from recoverd.errors import StateError
from recoverd.values import dataclass

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
LONGEST_NAME = 128
# Replacing one of these would take the machine down with it, or everything of everybody.
_SYSTEM = frozenset(
    f"/{path}"
    for path in (
        *(
            "",
            "bin",
            "boot",
            "dev",
            "etc",
            "home",
            "lib",
            "lib32",
            "lib64",
            "lost+found",
            "media",
            "mnt",
            "opt",
            "proc",
        ),
        *("root", "run", "sbin", "srv", "sys", "tmp", "usr", "var", "etc/systemd", "etc/systemd/system", "run/user"),
        *("usr/bin", "usr/lib", "usr/lib64", "usr/libexec", "usr/local", "usr/local/bin", "usr/local/etc"),
        *("usr/local/lib", "usr/local/sbin", "usr/local/share", "usr/sbin", "usr/share", "var/cache", "var/lib"),
        *("var/lib/systemd", "var/local", "var/log", "var/mail", "var/opt", "var/run", "var/spool", "var/tmp"),
    )
)
_KERNEL = ("/proc", "/sys", "/dev")


@dataclass(frozen=True, slots=True)
class Claim:
    """A path that a service declares as its state."""

    service: str
    item: str
    kind: ItemKind
    path: str
    place: Place
    selection: Selection | None = None  # of a directory

    def covers(self, inner: Claim) -> bool:
        """Whether anything of `inner`, whose path lies in this one, is this item's as well."""
        if self.selection is None or inner.kind is ItemKind.DIRECTORY:
            return True
        relative = inner.path[len(self.path.rstrip("/")) + 1 :]
        beside = COMPANIONS if inner.kind is ItemKind.SQLITE else ()
        return any(self.selection.covers(relative + ending) for ending in ("", *beside))


@dataclass(frozen=True, slots=True)
class Own:
    """A directory of recoverd itself."""

    what: str
    path: str


def is_inside(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies in it; both absolute and normal."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def why_no_name(name: str) -> str | None:
    """Why a service or state item can't have this name: it becomes part of file names and of SERVICE/SEQUENCE."""
    if len(name) > LONGEST_NAME:
        return f"a name has at most {LONGEST_NAME} characters"
    if NAME.match(name):
        return None
    lower = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).lstrip("._-")
    hint = f'; "{lower}" would do' if NAME.match(lower) else ""
    return f"a name has lower-case letters, digits and . _ - and starts with a letter or digit{hint}"


def build_item(
    item: Section, name: str, root: str | None, own: Sequence[Own]
) -> tuple[StateItem, Place, Selection | None] | None:
    """The state item, the place of its path, and what a directory covers; None where a problem was reported here or
    before."""
    if reason := why_no_name(name):
        item.problem(None, reason)
    if item.section("dump").present:
        return (*build_dump(item, name), None)
    if item.has("max_bytes"):
        item.problem("max_bytes", "is for dumps: other state is captured whatever its size")
    kind = next((kind for kind in ItemKind if kind is not ItemKind.DUMP and item.has(kind)), None)
    if kind is None:
        return None
    document_format = Format(item.text("format") or Format.AUTO)
    schema = load_schema(item)
    if kind is ItemKind.FILE:
        for key in ("include", "exclude"):
            if item.has(key):
                item.problem(key, "is for directory items: a file has nothing to select from")
    if schema is not None and document_format is Format.OPAQUE:
        item.problem(
            "schema", "an opaque file has nothing that a schema could check: give its format, or take this out"
        )
    include, exclude = _patterns(item, "include"), _patterns(item, "exclude")
    path = _state_path(item, kind, root, own)
    if path is None:
        return None
    version = build_version(item)
    built = StateItem(
        name=name,
        kind=kind,
        path=path,
        format=document_format,
        schema=schema,
        include=include,
        exclude=exclude,
        optional=item.flag("optional", default=False),
        allow=frozenset(item.texts("allow")),
        guards=build_guards(item),
        version=version,
        migrate=build_migrations(item, version),
        name_field=build_name_field(item, kind),
        magic=build_magic(item),
        validate=build_validation(item),
        siblings=build_siblings(item, kind),
        rebuild=build_rebuild(item, kind),
        initial=build_initial(item, kind),
        database=build_database(item, kind),
    )
    return built, item.place(kind), Selection(include, exclude) if kind is ItemKind.DIRECTORY else None


def _patterns(item: Section, key: str) -> tuple[str, ...]:
    usable = []
    for pattern in item.texts(key):
        if pattern.startswith("/") or ".." in pattern.split("/"):
            item.problem(key, f'"{pattern}" must lie below the directory: patterns start there, without / and ..')
            continue
        try:
            Selection((pattern,))
        except StateError as error:
            item.problem(key, error.message)
            continue
        usable.append(pattern)
    return tuple(usable)


def _state_path(item: Section, kind: ItemKind, root: str | None, own: Sequence[Own]) -> str | None:
    path = item.expanded(kind)
    if path is None:
        return None
    if ".." in path.split("/"):
        item.problem(kind, f"{path} must not contain ..: say where the state really is")
        return None
    if kind is not ItemKind.DIRECTORY and path.endswith("/"):
        item.problem(kind, f"{path} is a directory by its name: use `directory`")
        return None
    if not path.startswith("/"):
        if root is None:
            if not item.context.is_touched((*item.path[:2], "root")):
                item.problem(kind, f"{path} is relative, and the service has no `root`: give one, or the whole path")
            return None
        path = f"{root}/{path}"
    path = normal_path(path)
    if kind is ItemKind.SQLITE and path.endswith(COMPANIONS):
        item.problem(kind, f"{path} is what SQLite keeps beside a database: give the database itself")
        return None
    if reason := _why_forbidden(path, own):
        item.problem(kind, reason)
        return None
    return path


def _why_forbidden(path: str, own: Sequence[Own]) -> str | None:
    if path in _SYSTEM:
        return f"{path} is a system directory, not the state of a service"
    for directory in _KERNEL:
        if is_inside(path, directory) and not is_inside(path, "/dev/shm"):  # noqa: S108 (named, not used)
            return f"{path} lies in {directory}, which the kernel makes: there is nothing to save"
    for mine in own:
        if is_inside(path, mine.path):
            return f"{path} is or lies in {mine.what} of recoverd itself ({mine.path})"
        if is_inside(mine.path, path):
            return f"{path} contains {mine.what} of recoverd itself ({mine.path})"
    return None
