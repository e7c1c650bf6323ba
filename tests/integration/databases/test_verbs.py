"""What else can be done with a database that is saved: every command, as an operator calls it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

RECOVERD = Path(sys.executable).with_name("recoverd")


def recoverd(house: Any, *words: str, status: int = 0) -> Any:
    """The JSON of a command."""
    done = subprocess.run(
        [str(RECOVERD), "--config", str(house.root / "recoverd.yaml"), "--json", *words],
        env=os.environ | {"RUNTIME_DIRECTORY": str(house.root / "run")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_every_command(house: Any, users_in: Callable[[Path], list[str]]) -> None:
    """A database is one document to all of them."""
    house.make("one", mode="wal")
    house.snapshot()
    house.kill(house.writer("two"))
    assert recoverd(house, "snapshot")["snapshots"][0]["outcome"] == "saved"
    assert [one["id"] for one in recoverd(house, "list")["snapshots"]] == ["app/2", "app/1"]
    (change,) = recoverd(house, "diff", "app/1", "app/2")["changes"]
    assert change["change"] == "changed"
    assert recoverd(house, "diff", "app/2")["changes"] == []
    assert recoverd(house, "assess")["services"][0]["verdict"] == "ok"
    assert recoverd(house, "drill")["services"][0]["outcome"] == "restored"
    assert recoverd(house, "verify")["damage"] == []
    paths = [one for one in recoverd(house, "check")["results"] if one["name"] == "state-path/store"]
    assert [one["status"] for one in paths] == ["OK"]
    archive = house.root / "app.tar"
    recoverd(house, "export", "app/2", str(archive))
    with tarfile.open(archive) as tar:
        member = tar.extractfile("app/store/store.db")
        assert member is not None
        (house.root / "out.db").write_bytes(member.read())
    assert users_in(house.root / "out.db") == ["one", "two"]
    recoverd(house, "clear", "app", "--live", "--yes")
    assert not os.listdir(house.live)
    assert recoverd(house, "restore", status=0)["services"][0]["outcome"] == "restored"
    with closing(sqlite3.connect(house.store)) as database:
        assert database.execute("SELECT count(*) FROM users").fetchone() == (2,)


def test_as_somebody_elses(house: Any, users_in: Callable[[Path], list[str]]) -> None:
    """Drills and imports too judge a database as its owner, who may not enter where they have it: for root alone."""
    if os.geteuid() != 0:
        pytest.skip("only root judges as somebody else")
    house.make("one")
    os.chown(house.store, 65534, 65534)
    house.live.chmod(0o755)
    house.snapshot()
    assert recoverd(house, "drill")["services"][0]["outcome"] == "restored"
    copies = house.root / "copies"
    copies.mkdir(0o700)
    house.make("two")
    house.store.rename(copies / "old.db")
    os.chown(copies / "old.db", 65534, 65534)
    assert recoverd(house, "import", "app", str(copies / "old.db"))["imports"][0]["verdict"] == "ok"
    (copies / "old.db-wal").write_bytes(b"x" * 100)
    refused = recoverd(house, "import", "app", str(copies / "old.db"), status=1)
    assert "its owner, user 65534, may not enter" in str(refused)
