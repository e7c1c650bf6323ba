"""Whatever tree is drawn comes back the same (promise 4), in place, elsewhere, and by the rescue script (promise 8)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAME = st.one_of(
    st.binary(min_size=1, max_size=20), st.binary(min_size=255, max_size=255), st.sampled_from([b"a", b"b", b"-", b" "])
).filter(lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b".."))
TIME = st.integers(-(2**31) * 10**9, 2**33 * 10**9)
MODE = st.sampled_from([0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1777, 0o400, 0o555, 0o2775])
PAGES = st.lists(st.sampled_from([b"", b"x", b"\0", b"y" * 4096, bytes(4096)]), max_size=4)
FILE = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["file", "file", "file", "sparse", "large", "symlink", "hard link", "directory"]),
        "data": PAGES,
        "mode": MODE,
        "time": TIME,
        "owner": st.sampled_from([0, 0, 0, 1, 54321]),
        "attributes": st.dictionaries(
            st.binary(min_size=1, max_size=8).filter(lambda b: b"\0" not in b), st.binary(max_size=40), max_size=2
        ),
        "target": st.one_of(NAME, st.just(b"../../../etc/passwd"), st.just(b"/etc/passwd"), st.just(b".")),
        "place": st.integers(0, 5),
    }
)
TREE = st.lists(st.tuples(NAME, FILE), max_size=14)


def build(base: Path, tree: list[tuple[bytes, dict[str, Any]]]) -> None:
    """Each thing in one of the directories that came before it."""
    directories = [os.fsencode(base)]
    files: list[bytes] = []
    dressed: list[tuple[bytes, dict[str, Any]]] = []
    for name, one in tree:
        path = os.path.join(directories[one["place"] % len(directories)], name)
        if os.path.lexists(path):
            continue
        kind = one["kind"]
        if kind == "hard link" and files:
            os.link(files[one["place"] % len(files)], path, follow_symlinks=False)
            continue
        if kind == "directory":
            os.mkdir(path)
            directories.append(path)
        elif kind == "symlink":
            os.symlink(one["target"], path)
            files.append(path)
        else:
            with open(path, "wb") as file:
                for data in one["data"]:
                    file.write(data if kind == "file" else data.replace(b"\0", b"z"))  # holes are where zeros are
                    if kind != "file":
                        file.seek(8192 if kind == "sparse" else 700_000, os.SEEK_CUR)
                file.truncate()
            files.append(path)
        dressed.append((path, one))
    for path, one in reversed(dressed):
        link = os.path.islink(path)
        if os.geteuid() == 0:
            os.chown(path, one["owner"], one["owner"], follow_symlinks=False)
        if not link:
            for key, value in one["attributes"].items():
                os.setxattr(path, b"user." + key, value)
            os.chmod(path, one["mode"] | (0o500 if os.path.isdir(path) else 0))
    for path, one in reversed(dressed):
        os.utime(path, ns=(0, one["time"]), follow_symlinks=False)


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(TREE)
def test_a_tree(house: Any, rsync: str, tree: list[tuple[bytes, dict[str, Any]]]) -> None:
    """Names, kinds, links, owners, modes, times, attributes and holes; the rescue script writes holes of small files,
    and of less than a block, as zeros."""
    for name in os.listdir(house.root):
        house.remove(house.root / name)
    house.live.mkdir()
    (house.live / "is always there").touch()
    build(house.live, tree)
    assert house.snapshot().verdict == "ok"
    kept = house.keep()
    result = house.restore()
    assert (result.outcome, result.reasons) == ("restored", ())
    house.same(kept, house.live)
    extracted, there = house.extract()
    assert extracted.notes == ()
    house.same(kept, there)
    if not house.can_rescue():
        return
    done = house.rescue("restore", "app/1", str(house.root / "rescued"))
    assert (done.returncode, done.stderr) == (0, b"")
    rescued = house.root / "rescued" / "app" / "main" / "live"
    assert house.differences(kept, rescued) == []
    assert house.look(kept, holes=False) == house.look(rescued, holes=False)
