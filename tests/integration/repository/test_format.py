"""Promise 8: a reader that was written from docs/repository-format.md alone reads everything.

Nothing of recoverd is used here to read; what is read is compared with what was put in.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from recoverd.repository.trees import Entry


def unpack(repository: Path, into: Path) -> dict[str, bytes]:
    into.mkdir()
    for pack in repository.glob("packs/*/*.tar.zst"):
        assert blake3(pack.read_bytes()).hexdigest() + ".tar.zst" == pack.name
        assert pack.parent.name == pack.name[:2]
        subprocess.run(["tar", "--zstd", "-xf", pack, "-C", into], check=True)
    found = {path.name: path.read_bytes() for path in into.iterdir() if path.name != "index.json"}
    assert all(blake3(data).hexdigest() == name for name, data in found.items())
    return found


def directory(objects: dict[str, bytes], tree: str) -> list[dict[str, Any]]:
    document = json.loads(objects[tree])
    assert document["tree"] == 1
    if "parts" in document:
        return [entry for part in document["parts"] for entry in json.loads(objects[part])["entries"]]
    return list(document["entries"])


def content(objects: dict[str, bytes], entry: dict[str, Any]) -> bytes:
    if "hash" in entry:
        return objects[entry["hash"]]
    blocks = json.loads(objects[entry["blocks"]])
    size = blocks["block_size"]
    data = b"".join(bytes(size * run) if isinstance(run, int) else objects[run] for run in blocks["list"])
    return data[: int(blocks["size"])]


def restore(objects: dict[str, bytes], tree: str) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    for entry in directory(objects, tree):
        name = base64.b64decode(entry["name64"]) if "name64" in entry else entry["name"].encode()
        if entry["type"] == "dir":
            found[name] = restore(objects, entry["hash"])
        elif entry["type"] == "symlink":
            found[name] = entry["target"]
        else:
            found[name] = content(objects, entry)
            assert len(found[name]) == int(entry["size"])
    return found


def entry(name: bytes, **fields: Any) -> Entry:
    common: dict[str, Any] = {"type": "file", "mode": 0o640, "uid": 5, "gid": 6, "user": "ä", "group": "g", "size": 0}
    return Entry(os.fsdecode(name), **{**common, "mtime_ns": 7, **fields})


def test_a_stranger_reads_every_kind_of_entry(bench: Any, tmp_path: Path) -> None:
    """Odd names, links, holes, blocks, large and empty directories."""
    if not (shutil.which("tar") and shutil.which("zstd")):
        pytest.skip("tar and zstd are not installed")
    block = os.urandom(200_000)
    many = {b"%05d" % number: b"%d" % (number % 3) for number in range(6000)}
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        blocks = writer.put_blocks([writer.put(block), None, None, writer.put(b"end")], 200_000, 600_003)
        large = writer.put_tree([entry(name, hash=writer.put(data), size=len(data)) for name, data in many.items()])
        tree = writer.put_tree(
            [
                entry(b"odd \xff\n", hash=writer.put(b"odd"), size=3),
                entry('ünïcödé €𝄞 \x7f"\\'.encode(), hash=writer.put(b""), xattrs=(("user.a", b"\0"),)),
                entry(b"db", blocks=blocks, block_size=200_000, size=600_003, sparse=True),
                entry(b"link", type="symlink", target="../x"),
                entry(b"many", type="dir", hash=large),
                entry(b"none", type="dir", hash=writer.put_tree([])),
            ]
        )
        writer.commit([bench.draft(writer.put_tree([entry(b"state", type="dir", hash=tree)]))])
    record = json.loads((bench.path / "snapshots/svc/000000000001.json").read_bytes())
    assert json.loads((bench.path / "format.json").read_bytes())["format"] == 1
    found = restore(unpack(bench.path, tmp_path / "objects"), record["items"]["main"]["good"])
    assert found == {
        b"state": {
            b"odd \xff\n": b"odd",
            'ünïcödé €𝄞 \x7f"\\'.encode(): b"",
            b"db": block + bytes(400_000) + b"end",
            b"link": "../x",
            b"many": many,
            b"none": {},
        }
    }


def test_the_index_is_found_as_the_page_says(bench: Any) -> None:
    """Footer, index, frame, object: by the numbers of the page, with zstd alone."""
    if not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    bench.capture({"a": b"the content"})
    (pack,) = bench.packs()
    data = pack.read_bytes()

    def frame(offset: int, length: int) -> bytes:
        part = data[offset : offset + length]
        return bytes(subprocess.run(["zstd", "-dc"], input=part, capture_output=True, check=True).stdout)

    magic, following, what, offset, length, size, digest = struct.unpack("<II16sQQQ32s", data[-80:])
    assert (magic, following, what) == (0x184D2A5E, 72, b"recoverd pack 1\n")
    assert offset + length == len(data) - 80
    index = frame(offset, length)[512 : 512 + size]
    assert blake3(index).digest() == digest
    (only,) = json.loads(index)["frames"]
    archive = frame(only["offset"], only["length"])
    assert len(archive) == only["size"]
    for place in only["objects"]:
        assert blake3(archive[place["offset"] : place["offset"] + place["size"]]).hexdigest() == place["hash"]
    assert blake3(b"the content").hexdigest() in {place["hash"] for place in only["objects"]}


def test_parts_begin_where_the_page_says(bench: Any, tmp_path: Path) -> None:
    """Another writer must split a large directory at the same names, or nothing would be shared."""
    if not (shutil.which("tar") and shutil.which("zstd")):
        pytest.skip("tar and zstd are not installed")
    names = [f"{number:06}" for number in range(9000)]
    bench.capture(dict.fromkeys(names, b"x"))
    objects = unpack(bench.path, tmp_path / "objects")
    (split,) = [json.loads(data) for data in objects.values() if data.startswith(b'{"tree":1,"parts"')]
    starts = [json.loads(objects[part])["entries"][0]["name"] for part in split["parts"]]
    assert starts == [
        name
        for name in names
        if name == names[0] or int.from_bytes(blake3(name.encode()).digest()[:2], "little") % 1024 == 0
    ]
