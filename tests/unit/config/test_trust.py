"""config.md: "When recoverd runs as root, a configuration file or schema that others can write is refused"."""

# ruff: noqa: E501 (a table read line by line)

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from recoverd.config import trust
from recoverd.config.loading import load
from recoverd.errors import ConfigError

Write = Callable[[Mapping[str, str]], Path]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files that belong to root")
OTHER = 12345


def refused(path: Path) -> str:
    with pytest.raises(trust.Unusable) as caught:
        trust.read(str(path), most_bytes=10, euid=0)
    return str(caught.value)


@needs_root
@pytest.mark.parametrize(
    ("mode", "uid", "gid", "why"),
    [
        (0o644, 0, 0, None),
        (0o664, 0, 0, None),  # of group root are those who may become root anyway
        (0o600, 0, OTHER, None),
        (0o664, 0, OTHER, f"can be written by group {OTHER}"),
        (0o666, 0, 0, "can be written by everybody"),
        (0o644, OTHER, 0, f"belongs to another user (uid {OTHER})"),
    ],
)
def test_the_file_itself(mode: int, uid: int, gid: int, why: str | None, write: Write) -> None:
    path = write({"a": "x"}) / "a"
    os.chown(path, uid, gid)
    path.chmod(mode)
    if why is None:
        assert trust.read(str(path), most_bytes=10, euid=0) == b"x"
    else:
        assert refused(path) == f"{why}, and recoverd runs as root"
    assert trust.read(str(path), most_bytes=10, euid=1000) == b"x"  # a plain user's files are that user's business


@needs_root
@pytest.mark.parametrize(
    ("mode", "uid", "why"),
    [(0o755, 0, None), (0o1777, 0, None), (0o777, 0, "can be written by everybody"), (0o755, OTHER, "belongs to another user"),
     (0o1777, OTHER, "belongs to another user")],
)  # fmt: skip
def test_the_directories_above(mode: int, uid: int, why: str | None, write: Write) -> None:
    """Who can write a directory can put another file in place, unless it is sticky and belongs to root, as /tmp."""
    root = write({"d/e/a": "x"})
    (root / "d").chmod(mode)
    os.chown(root / "d", uid, 0)
    if why is None:
        assert trust.read(str(root / "d/e/a"), most_bytes=10, euid=0) == b"x"
    else:
        assert refused(root / "d/e/a").startswith(f"lies in {root}/d, which {why}")


@needs_root
def test_links(write: Write) -> None:
    """A link is as good as all that leads to its target; a link of another user may point elsewhere tomorrow."""
    root = write({"bad/a": "x", "good/a": "x"})
    (root / "bad").chmod(0o777)
    (root / "good/to-bad").symlink_to("../bad/a")
    (root / "good/to-good").symlink_to(root / "good" / "." / "a")
    (root / "good/theirs").symlink_to("a")
    os.lchown(root / "good/theirs", OTHER, OTHER)
    (root / "good/loop").symlink_to("loop")
    assert trust.read(str(root / "good/to-good"), most_bytes=10, euid=0) == b"x"
    assert "which can be written by everybody" in refused(root / "good/to-bad")
    assert "leads through a symbolic link of another user" in refused(root / "good/theirs")
    assert refused(root / "good/loop") == "leads through too many symbolic links"


@needs_root
@pytest.mark.parametrize("what", ["file", "change", "schema"])
def test_each_kind_of_file_is_refused(what: str, write: Write) -> None:
    """The configuration, what changes it, and schemas: whoever writes one decides what root does."""
    root = write(
        {
            "conf.d/a.yaml": "services: {a: {state: {m: {file: /srv/a, schema: s.json}}}}\n",
            "conf.d/a.yaml.d/x.yaml": "{}\n",
            "conf.d/s.json": "{}",
        }
    )
    path = root / {"file": "conf.d/a.yaml", "change": "conf.d/a.yaml.d/x.yaml", "schema": "conf.d/s.json"}[what]
    load([str(root)], environ={}, euid=0, home="/root")
    path.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        load([str(root)], environ={}, euid=0, home="/root")
    assert [
        str(problem)
        for problem in caught.value.problems
        if "written by everybody, and recoverd runs as root" in str(problem)
    ]
    assert str(path) in str(caught.value.problems[0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root's files are trusted by root")
def test_root_refuses_the_files_of_a_plain_user(write: Write) -> None:
    assert refused(write({"a": "x"}) / "a").endswith(", and recoverd runs as root")


@pytest.mark.parametrize("euid", [os.geteuid(), 1000])
def test_only_regular_files_are_read(euid: int, tmp_path: Path) -> None:
    """A FIFO does not hang the load, a directory is no file, what is absent is told."""
    os.mkfifo(tmp_path / "fifo")
    for name, why in (
        ("fifo", "is no regular file"),
        (".", "is no regular file"),
        ("none", "can't be read: no such file"),
    ):
        with pytest.raises(trust.Unusable, match=why):
            trust.read(str(tmp_path / name), most_bytes=10, euid=euid)


def test_reading_is_bounded(write: Write) -> None:
    assert len(trust.read(str(write({"a": "x" * 100}) / "a"), most_bytes=10, euid=1000)) == 11
