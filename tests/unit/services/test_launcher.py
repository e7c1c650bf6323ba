"""The parts of the launcher that can run in this process; the rest is tested from the outside."""

from __future__ import annotations

import ast
import json
import os
import sys
import threading
from pathlib import Path

import pytest

from recoverd.services import launcher


def test_read_line_waits_for_the_whole_line() -> None:
    """A specification larger than a pipe comes in pieces; one that breaks off is nothing."""
    for text, expected in ((b"x" * 200_000 + b"\n", b"x" * 200_000 + b"\n"), (b"half", b""), (b"", b"")):
        reading, writing = os.pipe()

        def write(fd: int = writing, data: bytes = text) -> None:
            with open(fd, "wb") as file:
                file.write(data)

        thread = threading.Thread(target=write)
        thread.start()
        assert launcher.read_line(reading) == expected
        thread.join()
        os.close(reading)


def test_report_is_one_line() -> None:
    """Names of odd bytes survive."""
    reading, writing = os.pipe()
    launcher.report(writing, text="a\nb\udcff", pid=3)
    os.close(writing)
    line = launcher.read_line(reading)
    os.close(reading)
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"text": "a\nb\udcff", "pid": 3}


def test_find_program(tmp_path: Path) -> None:
    """A bare name is looked up as by a shell: what is no executable file is passed over."""
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        (directory / "sub").mkdir(parents=True)
    (first / "tool").write_text("")
    (second / "tool").write_text("")
    (second / "tool").chmod(0o755)
    path = f"/nowhere:{first}:{second}"
    assert launcher.find_program("tool", path) == str(second / "tool")
    assert launcher.find_program("./tool", path) == "./tool"
    for missing in ("sub", "other"):
        with pytest.raises(FileNotFoundError):
            launcher.find_program(missing, path)


def test_imports_only_what_is_light() -> None:
    """It runs without site packages, so it must import nothing of recoverd, and little else."""
    tree = ast.parse(Path(launcher.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert (
        names
        <= {"__future__", "errno", "fcntl", "json", "os", "resource", "signal", "typing"}
        <= set(sys.stdlib_module_names)
    )
