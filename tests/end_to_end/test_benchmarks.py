"""The benchmark can't rot: it is run, small, and what it shows and writes into the documentation is looked at."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pages
from benchmarks.results import Results, Row, Sample

ROOT = Path(__file__).resolve().parents[2]
FULL = ("documents", "few", "sqlite", "starting", "boot", "many")


def compare(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", *words],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def no_loop_device() -> str | None:
    """Why no file system of its own can be mounted here."""
    if os.geteuid() != 0:
        return "only root can mount a file system"
    if shutil.which("mkfs.ext4") is None:
        return "mkfs.ext4 is not installed"
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch, "image")
        with open(image, "wb") as file:
            file.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
        done = subprocess.run(["mount", "-o", "loop", str(image), scratch], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"no loop device can be mounted: {done.stderr.strip()}"
        subprocess.run(["umount", scratch], check=True)
    return None


def programs_without(place: Path, *names: str) -> str:
    """A PATH on which these programs are not installed."""
    place.mkdir()
    for directory in reversed(os.environ["PATH"].split(":")):
        for program in Path(directory).iterdir() if Path(directory).is_dir() else ():
            link = place / program.name
            if program.name not in names and os.access(program, os.X_OK):
                link.unlink(missing_ok=True)
                link.symlink_to(program.resolve())
    return str(place)


def test_a_small_run_measures_everything(tmp_path: Path) -> None:
    """All plans and phases, with a peer that is not installed: it is left out with the command that installs it."""
    reason = no_loop_device()
    if reason is not None:
        pytest.skip(reason)
    images = tmp_path / "images"
    images.mkdir()
    path = programs_without(tmp_path / "bin", "borg")
    done = compare("--quick", "--json", environment={"PATH": path, "TMPDIR": str(images)})
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["missing"]["borg"] == "not installed: apt-get install borgbackup"
    assert "borg is left out: not installed: apt-get install borgbackup\n" in done.stderr
    assert tuple(results["plans"]) == FULL
    rows = {(row["plan"], row["phase"], row["tool"]): row for row in results["rows"]}
    saves = ("first snapshot", "nothing changed", "1 % changed")
    for tool in {"recoverd", "recoverd with schema", "restic", "rsync --link-dest", "cp -a"} - set(results["missing"]):
        for phase in (*saves, "restore of everything"):
            row = rows["documents", phase, tool]
            assert len(row["samples"]) == 1
            assert row["samples"][0]["seconds"] > 0
            assert row["samples"][0]["peak_bytes"] > 1 << 20
            if phase != "nothing changed":
                assert row["samples"][0]["written_bytes"] > 0
    for tool in ("recoverd with schema, in process", "shutil.copytree, in process"):  # beside the store's own way
        for phase in ("first snapshot", "one document changed", "restore of everything"):
            assert rows["few", phase, tool]["samples"][0]["seconds"] > 0
    page = pages.write("<!-- figures: store -->\n<!-- end -->", Results.from_json(done.stdout))
    assert "backup and restore of 20 files" in " ".join(page.split())
    assert ("many", "one document changed", "recoverd") in rows
    assert rows["sqlite", "1 % changed, and somebody writes", "recoverd"]["samples"][0]["written_bytes"] > 0
    assert ("starting", "health of 5 services", "recoverd check") in rows
    for phase in ("good state", "damaged state"):
        assert rows["boot", phase, "recoverd restore --boot"]["samples"][0]["seconds"] > 0
    assert not any(tool == "borg" for _, _, tool in rows)
    if "the number of syncs" not in results["missing"]:
        assert rows["documents", "first snapshot", "recoverd"]["syncs"] > 0
        assert rows["few", "first snapshot", "recoverd, in process"]["syncs"] > 0
        assert rows["documents", "first snapshot", "cp -a"]["syncs"] == 0
    assert not list(images.iterdir())
    assert str(images) not in Path("/proc/self/mounts").read_text()


def sample(seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "peak_bytes": 40 << 20, "written_bytes": 3 << 20}


def kept(place: Path) -> Path:
    """Results as if they had been measured."""
    row = {"plan": "documents", "phase": "nothing changed", "syncs": 3}
    results = {
        "taken": "2026-11-21T03:12:45+00:00",
        "machine": {
            "processor": "A processor with quite a long name, as they have them nowadays",
            "cores": "2",
            "memory": "4 GiB",
            "kernel": "6.1.0",
            "file system": "ext4",
            "load before": "0.00",
        },
        "versions": {"recoverd": "1.2.3", "restic": "0.14.0"},
        "missing": {"borg": "not installed"},
        "rounds": 3,
        "settled": True,
        "floor_bytes": 8 << 20,
        "plans": {"documents": "10,000 documents"},
        "rows": [
            row | {"tool": "recoverd with schema, in process", "samples": [sample(1.5), sample(0.1), sample(0.2)]},
            row | {"tool": "recoverd", "samples": [sample(0.4)] * 3},
            row | {"tool": "restic", "samples": [sample(2.0)] * 3},
            row | {"tool": "cp -a", "samples": [sample(1234.5)] * 3, "syncs": None},
        ],
    }
    path = place / "results.json"
    path.write_text(json.dumps(results))
    return path


def test_the_table_shows_medians_ratios_and_what_was_missed(tmp_path: Path) -> None:
    """In 100 columns, and without colour where nobody looks."""
    done = compare("--from", str(kept(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    fields = {line[:35].strip(): line[46:].split() for line in done.stdout.splitlines()}
    median, size = ["200", "ms", "0.10", "0.00"], ["40.0", "MiB", "3.0", "MiB", "3"]
    assert fields["recoverd with schema, in process"] == median + size
    assert fields["restic"] == ["2.00", "s", "0.00", *size]
    assert fields["cp -a"] == ["1234.50", "s", "617", *size[:-1]]
    assert re.search(r"missed +documents: recoverd, nothing changed +0\.20 of restic, at most 0\.13", done.stdout)
    assert "borg is left out: not installed" in done.stdout


def test_one_plan_measured_by_itself_joins_the_others(tmp_path: Path) -> None:
    """Its rows replace those that were kept, the rest stays; the page says when; another machine is refused."""
    before = Results.from_json(kept(tmp_path).read_text())
    row = Row("boot", "good state", "recoverd restore --boot", (Sample(0.5, 30 << 20, None),), 4)
    machine = {**before.machine, "load before": "0.10"}
    now = replace(before, taken="2026-12-01T00:00:00+00:00", machine=machine, plans={"boot": "a boot"}, rows=(row,))
    once = before.with_plans_of(now)
    again = once.with_plans_of(replace(now, rows=(replace(row, syncs=5),)))
    assert again.rows == (*before.rows, replace(row, syncs=5))
    assert again.plans == {**before.plans, "boot": "a boot"}
    assert Results.from_json(again.to_json()) == again
    page = "<!-- figures: boot -->\n<!-- end -->"
    assert "2026-12-01 with recoverd 1.2.3, load before 0.10" in pages.write(page, again)
    assert "benchmarks/run --plan boot --write-docs" in pages.write(page, before)
    with pytest.raises(ValueError, match="cores is 4 now, and was 2"):
        before.with_plans_of(replace(now, machine={**machine, "cores": "4"}))
    with pytest.raises(ValueError, match="quick"):
        before.with_plans_of(replace(now, settled=False))


def test_the_store_s_own_figure_stands_beside_ours(tmp_path: Path) -> None:
    """first-systems: about 10 ms each for a hundred files; what its way and ours take here comes from the results."""
    before = Results.from_json(kept(tmp_path).read_text())
    page = "<!-- figures: store -->\n<!-- end -->"
    assert "benchmarks/run --plan few --write-docs" in pages.write(page, before)
    rows = [
        Row("few", phase, f"{tool}, in process", (Sample(seconds, 1 << 20, None),), syncs)
        for tool, syncs, times in (
            ("shutil.copytree", 0, (0.011, 0.012, 0.013)),
            ("recoverd with schema", 7, (0.021, 0.022, 0.023)),
        )
        for phase, seconds in zip(
            ("first snapshot", "one document changed", "restore of everything"), times, strict=True
        )
    ]
    few = replace(before, plans={**before.plans, "few": "100 documents in one directory"}, rows=(*before.rows, *rows))
    said = " ".join(pages.write(page, few).split())
    assert "backup and restore of 100 files: about 10 ms each" in said
    assert "`shutil.copytree`, as it does it, takes 11 ms and 13 ms" in said
    assert "21 ms for the first snapshot, 22 ms once one file changed, and 23 ms for the restore" in said
    assert "waits for the disk 7, 7 and 7 times" in said


def test_results_that_are_none_are_refused_with_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    for text in ("", "[]", '{"rows": [1]}', '{"rows": []}'):
        broken.write_text(text)
        done = compare("--from", str(broken))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"benchmarks: {broken} holds no results: ")
        assert done.stderr.count("\n") == 1


def test_a_plain_user_is_told_what_else_there_is() -> None:
    if os.geteuid() == 0:
        pytest.skip("root can mount a file system")
    done = compare("--quick")
    assert done.returncode == 2
    assert "`--on DIRECTORY`" in done.stderr


def test_no_figure_of_the_page_was_typed_by_hand() -> None:
    """docs/performance.md shows what benchmarks/results.json holds: `make docs` writes it."""
    command = [sys.executable, "-m", "benchmarks.pages", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
