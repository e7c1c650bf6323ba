"""Removing what dead processes left in staging: never what an intent names, never what a living process uses."""

from __future__ import annotations

import os

from recoverd.recovery import intents
from recoverd.recovery.evidence import PENDING_PREFIX
from recoverd.recovery.places import Place, empty, opened, parent_of, remove_place, remove_tree, reopen
from recoverd.recovery.staging import RECORD, read_record
from recoverd.system.durable import TEMPORARY_PREFIX, is_leftover
from recoverd.system.processes import ProcessIdentity, is_alive
from recoverd.system.walk import open_directory_at


def clean_leftovers(service: str, state_dir: str) -> None:
    """Remove stagings of this service whose process is gone, with their places beside targets.

    The caller holds the service's lock, and the service has no open intent. Raises OSError.
    """
    _clean_quarantine(os.path.join(state_dir, "quarantine", service))
    base_path = os.path.join(state_dir, "staging")
    try:
        base = os.open(base_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        unfinished = intents.open_intents(state_dir)
        named = {intent.id for intent in unfinished}
        unreadable = any(intent.problem for intent in unfinished)
        for name in sorted(os.listdir(base)):
            if not name.startswith(TEMPORARY_PREFIX) and name not in named and not unreadable:
                _clean(base, base_path, name, service)
        sweep(base)
    finally:
        os.close(base)
    try:
        records = os.open(os.path.join(state_dir, "intents"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        sweep(records)
    finally:
        os.close(records)


def _clean_quarantine(path: str) -> None:
    """Evidence of an undo that died before its intent was written: nothing came of it."""
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return
    for name in names:
        place = reopen(os.path.join(path, name), None)
        if place is not None:
            try:
                sweep(place.fd)
                for below in os.listdir(place.fd):
                    if below.startswith(PENDING_PREFIX):
                        os.unlink(below, dir_fd=place.fd)
            finally:
                place.close()


def sweep(dir_fd: int) -> None:
    """Remove the temporary files of dead processes from one of recoverd's own directories. Raises OSError."""
    for name in os.listdir(dir_fd):
        if is_leftover(name):
            remove_tree(dir_fd, name)


def _clean(base: int, base_path: str, name: str, service: str) -> None:
    try:
        fd = open_directory_at(base, name)
    except (FileNotFoundError, NotADirectoryError):
        return
    home = opened(os.path.join(base_path, name), fd)
    try:
        record = read_record(fd)
        if record is None:
            if not os.listdir(fd):
                remove_place(home)  # killed at the very end of its removal
            return
        if record.get("service") == service and not _is_alive(record.get("process")):
            places = record.get("places")
            for place in places if isinstance(places, list) else []:
                _clean_beside(str(place["path"]), str(place["inode"]))
            remove_place(home, last=RECORD)
    finally:
        home.close()


def _is_alive(value: object) -> bool:
    try:
        return isinstance(value, dict) and is_alive(ProcessIdentity.from_json(value))
    except ValueError:
        return False


def _clean_beside(path: str, inode: str) -> None:
    """A place beside a target; one whose inode was not recorded yet holds nothing and goes only if it is empty."""
    place: Place | None = reopen(path, int(inode) if inode else None)
    if place is None:
        return
    try:
        if inode:
            empty(place.fd)
        with parent_of(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)
    except OSError:
        if inode:
            raise
    finally:
        place.close()
