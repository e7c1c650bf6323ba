#!/usr/bin/python3
"""Keeps numbers in an SQLite database in WAL mode. `keeps_sqlite.py FILE [add NUMBER | list]`.

Without a word it is the service: it makes a database where there is none, refuses to start on a damaged one, and holds
it open until it is killed, so that what is added stays in FILE-wal.
"""

from __future__ import annotations

import signal
import sqlite3
import sys
from contextlib import closing

path, *words = sys.argv[1:]
with closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as database:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    if not words:
        database.execute("CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY)")
        database.execute("CREATE TABLE IF NOT EXISTS ballast AS SELECT randomblob(200000) AS bytes")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for table in ("numbers", "ballast"):
            database.execute(f"SELECT * FROM {table}").fetchall()
        signal.pause()
    elif words[0] == "add":
        database.execute("INSERT OR IGNORE INTO numbers VALUES (?)", (int(words[1]),))
    else:
        print(*(number for (number,) in database.execute("SELECT number FROM numbers ORDER BY number")))
