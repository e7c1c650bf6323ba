"""`export`: the known-good files as a plain tar, verified, the same bytes each time, complete or not at all."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3

from recoverd.errors import DamagedObject, RepositoryError, UsageError
from recoverd.operations.export import ExportRequest, export

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def contents(data: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                found[member.name] = file.read()
    return found


def test_known_good_files_are_exported_not_the_damaged_ones(house: House, tmp_path: Path) -> None:
    """Promise 2: bad state is never promoted; and what `tar` unpacks is what `restore --to` lays out."""
    good = house.write(1)
    house.snapshot()
    house.state.write_bytes(b"")
    task = house.write_task("task-000", description="newer")
    house.snapshot()
    target = tmp_path / "app.tar"
    result = export(house.context, ExportRequest("app/latest", str(target)))
    data = target.read_bytes()
    assert (result.snapshot, result.files, result.without, result.exit_status) == ("app/2", 101, (), 0)
    assert (result.size_bytes, result.blake3) == (len(data), blake3(data).hexdigest())
    found = contents(data)
    assert found["app/main/state.json"] == good
    assert found["app/tasks/tasks/task-000.json"] == task
    assert len(found) == 101
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", target, "-C", tmp_path / "out"], check=True)
    live, unpacked = os.stat(house.tasks / "task-050.json"), os.stat(tmp_path / "out/app/tasks/tasks/task-050.json")
    assert (live.st_mtime_ns, live.st_mode, live.st_uid) == (unpacked.st_mtime_ns, unpacked.st_mode, unpacked.st_uid)
    assert target.stat().st_mode & 0o777 == 0o600


def test_the_same_snapshot_gives_the_same_bytes(house: House) -> None:
    house.snapshot()
    first, second = io.BytesIO(), io.BytesIO()
    export(house.context, ExportRequest("app/1"), first)
    house.reopen()
    export(house.context, ExportRequest("app/good"), second)
    assert first.getvalue() == second.getvalue()


def test_links_and_holes_are_exported(house: House) -> None:
    house.change(state={"tasks": _opaque(house)})
    os.link(house.tasks / "task-000.json", house.tasks / "same.json")
    os.symlink("task-001.json", house.tasks / "link.json")
    with open(house.tasks / "big.json", "wb") as file:
        file.truncate(8 << 20)
        file.seek(5 << 20)
        file.write(b"data")
    house.snapshot()
    out = io.BytesIO()
    export(house.context, ExportRequest("app/1"), out)
    assert len(out.getvalue()) < 2 << 20
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        members = {Path(member.name).name: member for member in tar}
        big = tar.extractfile(members["big.json"])
        assert big is not None
        assert big.read() == (house.tasks / "big.json").read_bytes()
        assert members["link.json"].linkname == "task-001.json"
        assert members["task-000.json"].islnk()
        assert members["task-000.json"].linkname == "app/tasks/tasks/same.json"


def _opaque(house: House) -> object:
    from dataclasses import replace

    from recoverd.config.model import Format

    return replace(house.service.state["tasks"], format=Format.OPAQUE, schema=None, include=())


def test_damage_leaves_no_file_behind(house: House, tmp_path: Path) -> None:
    """Promise 7: damage is detected, never passed on as if it were whole."""
    house.snapshot()
    (pack,) = house.packs
    data = bytearray(pack.read_bytes())
    data[len(data) // 3] ^= 0xFF
    pack.chmod(0o600)
    pack.write_bytes(data)
    house.reopen()
    with pytest.raises(DamagedObject):
        export(house.context, ExportRequest("app/1", str(tmp_path / "app.tar")))
    assert not list(tmp_path.glob("*.tar"))
    assert not list(tmp_path.glob(".tmp-*"))


def test_nothing_is_overwritten(house: House, tmp_path: Path) -> None:
    house.snapshot()
    target = tmp_path / "app.tar"
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="exists already"):
        export(house.context, ExportRequest("app/1", str(target)))
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(FileNotFoundError):
        export(house.context, ExportRequest("app/1", str(tmp_path / "absent" / "app.tar")))


def test_what_was_never_good_is_told(house: House) -> None:
    """Degraded: exit status 3; nothing good at all: an error."""
    house.state.write_bytes(b"{")
    house.snapshot()
    out = io.BytesIO()
    result = export(house.context, ExportRequest("app/1"), out)
    assert (result.without, result.exit_status, result.files) == (("main",), 3, 100)
    house.change(state={"main": house.service.state["main"]})
    house.state.write_bytes(b"{{")
    house.snapshot()
    with pytest.raises(RepositoryError, match="holds no known-good state"):
        export(house.context, ExportRequest("app/2"), io.BytesIO())
