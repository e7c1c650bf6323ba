"""A store of sessions, conversations and chains of focus: one file each, in three encodings.

    python conversation_store.py --base DIR [--fill N] [--every SECONDS] [--slow-write MILLISECONDS] [--once]

    DIR/sessions/sess-<id>.json  DIR/conversations/conv-<id>.json  DIR/focus/chain-<id>.json

Each file is indented JSON, compact JSON or JSON in gzip; which, is found by its content. It loads all, skips what it
can't read, adds conversations until there are N (their encodings take turns), and saves all every SECONDS, each file in
its encoding, the naive way: truncated, then written piece by piece without fsync, so that a kill in the middle tears
it. What it did it tells in lines of JSON: event (load, save, error), path, format, bytes, seconds, items. SIGTERM saves
all and ends it; with --once it ends after the first save.
"""

from __future__ import annotations

import argparse
import gzip
import json
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

KINDS = {"sessions": "sess", "conversations": "conv", "focus": "chain"}
ENCODINGS = ("indented", "compact", "gzip")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encoded(document: Any, encoding: str) -> bytes:
    if encoding == "indented":
        return json.dumps(document, indent=2).encode()
    compact = json.dumps(document, separators=(",", ":")).encode()
    return gzip.compress(compact, mtime=0) if encoding == "gzip" else compact


def decoded(data: bytes) -> tuple[Any, str]:
    """The document and its encoding, by the content alone. Raises ValueError, EOFError, OSError."""
    if data[:2] == b"\x1f\x8b":
        return json.loads(gzip.decompress(data)), "gzip"
    return json.loads(data), "indented" if b"\n" in data else "compact"


class Store:
    def __init__(self, base: Path, slow_write_s: float) -> None:
        self.base = base
        self.slow_write_s = slow_write_s
        self.documents: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self.encodings: dict[str, str] = {}

    def path(self, kind: str, name: str) -> Path:
        return self.base / kind / f"{KINDS[kind]}-{name}.json"

    def tell(self, event: str, path: Path, began: float, **more: Any) -> None:
        line = {"event": event, "path": str(path), "seconds": round(time.monotonic() - began, 4), **more}
        print(json.dumps(line), flush=True)

    def load_all(self) -> None:
        began, size, items = time.monotonic(), 0, 0
        for kind, prefix in KINDS.items():
            (self.base / kind).mkdir(parents=True, exist_ok=True)
            for path in sorted((self.base / kind).glob(f"{prefix}-*.json")):
                data = path.read_bytes()
                try:
                    document, encoding = decoded(data)
                    self.documents[kind][document["id"]] = document
                except (ValueError, EOFError, OSError, TypeError, KeyError) as error:
                    self.tell("error", path, began, error=str(error))
                    continue
                self.encodings[document["id"]] = encoding
                size, items = size + len(data), items + 1
        self.tell("load", self.base, began, bytes=size, items=items)

    def fill(self, count: int) -> None:
        found = self.documents["conversations"]
        for number in range(len(found), count):
            name = f"{number:03d}"
            talk = [{"role": "user", "content": f"message {step} of {number}"} for step in range(10)]
            times = {"created_at": now(), "updated_at": now()}
            found[name] = {"id": name, "title": f"Talk {number}", "session_id": "s1", "messages": talk, **times}
            self.encodings[name] = ENCODINGS[number % len(ENCODINGS)]
        times = {"created_at": now(), "updated_at": now()}
        self.documents["sessions"].setdefault("s1", {"id": "s1", "name": "first", "status": "active", **times})
        self.documents["focus"].setdefault("f1", {"id": "f1", "name": "main", "focuses": [{"file": "a.go"}]})

    def save_all(self) -> None:
        began, size, items = time.monotonic(), 0, 0
        for kind, documents in self.documents.items():
            for name, document in documents.items():
                data = encoded(document, self.encodings.setdefault(name, "indented"))
                self.write(self.path(kind, name), data)
                size, items = size + len(data), items + 1
        self.tell("save", self.base, began, bytes=size, items=items)

    def write(self, path: Path, data: bytes) -> None:
        piece = max(1, len(data) // 4)
        with path.open("wb", buffering=0) as out:
            for start in range(0, len(data), piece):
                time.sleep(self.slow_write_s / 4)
                out.write(data[start : start + piece])


def main() -> int:
    parser = argparse.ArgumentParser(description="a store of conversations, one file each")
    parser.add_argument("--base", type=Path, required=True, metavar="DIR")
    parser.add_argument("--fill", type=int, default=0, metavar="N", help="how many conversations there are to be")
    parser.add_argument("--every", type=float, default=300.0, metavar="S", help="seconds between two saves of all")
    parser.add_argument("--slow-write", type=float, default=0.0, metavar="MS", help="what each file takes to write")
    parser.add_argument("--once", action="store_true", help="end after the first save")
    options = parser.parse_args()

    store = Store(options.base, options.slow_write / 1000)
    store.load_all()
    store.fill(options.fill)
    asked_to_stop = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        asked_to_stop.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    store.save_all()
    while not options.once and not asked_to_stop.wait(options.every):
        for talk in store.documents["conversations"].values():
            talk["updated_at"] = now()
        store.save_all()
    if asked_to_stop.is_set():
        store.save_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
