"""The child of one capture, `python -m recoverd.state.databases.child`: copies a database, then judges the copy.

It reads one JSON object from its standard input and answers with one line after each of the two; where no target is
named it judges the database in its place, if that can be done without a lock. All that SQLite does
with bytes that belong to a service happens here: with the rights of their owner, with bounded memory, and until an
alarm ends it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import sys
from contextlib import closing
from typing import Any

from recoverd.state.databases.checking import judge
from recoverd.state.databases.copying import Unreadable, copy_database, copy_file, opened_in_place

_MEMORY_BYTES = 2 << 30  # of addresses; SQLite's own heap is bounded closer


def main() -> None:
    asked = json.loads(sys.stdin.buffer.readline())
    signal.alarm(asked["deadline_s"])
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if os.geteuid() == 0:
            _become(asked["uid"], asked["gid"])
    except PermissionError:  # units that were installed before there was a database to look at
        why = f"can't be looked at as its owner: recoverd may not become user {asked['uid']} here"
        _answer({"outcome": "unreadable", "why": f"{why}; run `recoverd units --install` again"})
        return
    if asked["target"] is None:
        _judge_in_place(asked)
        return
    copied = _copied(asked)
    _answer(copied)
    if copied["outcome"] == "copied" and copied["damage"] is None:
        with closing(sqlite3.connect(asked["target"])) as database:
            _answer(_judged(database, asked))


def _judge_in_place(asked: dict[str, Any]) -> None:
    try:
        os.fchdir(asked["directory"])
        with opened_in_place(asked["name"]) as database:
            if database is not None:
                _answer({"outcome": "in place"})
                _answer(_judged(database, asked))
                return
    except (OSError, sqlite3.Error):
        pass  # whatever it is, a copy shows
    _answer({"outcome": "copy"})


def _judged(database: sqlite3.Connection, asked: dict[str, Any]) -> dict[str, Any]:
    return judge(database, asked["check"], asked["require_tables"], asked["assert"])


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _copied(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        if asked["file"] is not None:
            done = copy_file(asked["file"], asked["target"])
        else:
            os.fchdir(asked["directory"])
            done = copy_database(asked["name"], asked["target"])
    except FileNotFoundError:
        return {"outcome": "gone"}
    except Unreadable as error:
        return {"outcome": "unreadable", "why": str(error)}
    except OSError as error:
        return {"outcome": "unreadable", "why": f"can't be read: {error.strerror or error}"}
    return {"outcome": "copied", "how": done.how.value, "damage": done.damage}


def _answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
