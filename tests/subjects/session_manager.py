"""A manager of background sessions, one directory per project, as careless with its files as many are.

session_manager.py --home DIR init PROJECT | add PROJECT ID | stop PROJECT ID | serve PROJECT
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def save(path: Path, document: Any) -> None:
    """The former version becomes PATH.backup, then the file is written in place: a kill leaves a part of it."""
    if path.exists():
        shutil.copyfile(path, f"{path}.backup")
    with path.open("w") as file:
        for letter in json.dumps(document, indent=2):
            file.write(letter)
            file.flush()


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


class Manager:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / ".config" / "claudectl" / "data.json"

    def directory(self, project: str) -> Path:
        return self.home / "src" / project / ".claudectl"

    def init(self, project: str) -> None:
        directory = self.directory(project)
        directory.mkdir(parents=True)
        about = {"id": project, "name": project, "path": str(directory.parent), "created_at": now()}
        save(directory / "project.json", about)
        save(directory / "sessions.json", {"sessions": []})
        self.data.parent.mkdir(parents=True, exist_ok=True)
        known = load(self.data) if self.data.exists() else {"projects": []}
        known["projects"].append({"id": project, "path": str(directory.parent)})
        save(self.data, known)

    def change(self, project: str, session: str, **fields: Any) -> None:
        path = self.directory(project) / "sessions.json"
        document = load(path)
        found = next((one for one in document["sessions"] if one["id"] == session), None)
        if found is None:
            found = {"id": session, "name": session, "project_id": project, "created_at": now()}
            document["sessions"].append(found)
        found.update(fields, updated_at=now())
        save(path, document)

    def serve(self, project: str) -> None:
        """Note every moment that the first session is still there, until somebody ends this."""
        first = load(self.directory(project) / "sessions.json")["sessions"][0]["id"]
        while True:
            self.change(project, first, seen_at=now())
            time.sleep(0.005)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, default=Path(os.path.expanduser("~")))
    parser.add_argument("action", choices=["init", "add", "stop", "serve"])
    parser.add_argument("project")
    parser.add_argument("session", nargs="?", default="")
    options = parser.parse_args(words)
    manager = Manager(options.home)
    match options.action:
        case "init":
            manager.init(options.project)
        case "add":
            manager.change(options.project, options.session, status="Active")
        case "stop":
            manager.change(options.project, options.session, status="Stopped")
        case "serve":
            manager.serve(options.project)


if __name__ == "__main__":
    main()
