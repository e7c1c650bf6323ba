"""The documents that are saved and restored: JSON of 0.5 to 4 KB, the same ones in each run."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

SCHEMA = {
    "type": "object",
    "required": ["id", "state", "notes"],
    "properties": {"id": {"type": "integer"}, "state": {"enum": ["new", "done"]}, "notes": {"type": "string"}},
}


class Documents:
    """`count` documents spread evenly over `directories` below `root`."""

    def __init__(self, root: Path, count: int, directories: int, seed: int = 1) -> None:
        self.root = root
        self._chance = random.Random(seed)
        width = len(str(count))
        self._paths = [
            root / f"part-{number % directories:04d}" / f"document-{number:0{width}d}.json" for number in range(count)
        ]
        self._untouched = list(range(count))
        self._chance.shuffle(self._untouched)

    def write(self) -> None:
        for place in sorted({path.parent for path in self._paths}):
            place.mkdir(parents=True)
        for number in range(len(self._paths)):
            self._write(number)

    def change(self, count: int) -> None:
        """Write `count` documents anew, none of which was changed before."""
        for _ in range(count):
            self._write(self._untouched.pop())

    def _write(self, number: int) -> None:
        words = self._chance.randbytes(self._chance.randrange(190, 1680)).hex(" ", 5)
        document = {"id": number, "state": self._chance.choice(["new", "done"]), "notes": words}
        self._paths[number].write_text(json.dumps(document))

    @property
    def count(self) -> int:
        return len(self._paths)


def fingerprint(root: Path) -> str:
    """A hash of all names and bytes below `root`: a restore that brings less or other bytes back counts for nothing."""
    total = hashlib.sha256()
    for place, directories, names in os.walk(root):
        directories.sort()
        for name in sorted(names):
            path = Path(place, name)
            total.update(f"{path.relative_to(root)}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
