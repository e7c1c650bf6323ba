"""The units: what contrib ships, what the command writes, and that systemd has nothing to say against them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from recoverd.operations.unit_files import Layout, static_units, tmpfiles

Machine = Any  # of conftest.py, which test files can't import
CONTRIB = Path(__file__).parents[2] / "contrib" / "systemd"
USUAL = Layout(
    ("/usr/bin/recoverd",), False, "/var/lib/recoverd", "/var/lib/recoverd/repository", "/run/recoverd", 90.0
)
CAPTURING = ("recoverd.service", "recoverd-snapshot.service", "recoverd-check.service")
RESTORING = ("recoverd-restore.service", "recoverd-confirm.service", "recoverd-recover@.service")


def test_what_is_shipped_is_what_the_command_writes() -> None:
    """contrib/systemd can't drift from the code."""
    shipped = {path.name: path.read_text() for path in CONTRIB.glob("recoverd*")}
    assert shipped == static_units(USUAL)
    assert (CONTRIB / "tmpfiles.d" / "recoverd.conf").read_text() == tmpfiles(USUAL)


def test_systemd_finds_nothing_wrong(quiet: Machine) -> None:
    """`systemd-analyze verify` is silent for every unit that is shipped and every drop-in that is written."""
    for name, text in static_units(USUAL).items():
        quiet.write(f"/root/shipped/{name}", text)
    quiet.write("/root/shipped/recoverd-recover@app.service", static_units(USUAL)["recoverd-recover@.service"])
    names = " ".join(f"/root/shipped/{name}" for name in static_units(USUAL) if "@" not in name)
    done = quiet.sh(f"systemd-analyze verify --recursive-errors=no {names} /root/shipped/recoverd-recover@app.service")
    assert (done.status, done.out, done.err) == (0, "", "")
    written = quiet.run(["systemd-analyze", "verify", "--recursive-errors=no", "app.service", "other.service"])
    assert (written.status, written.out, written.err) == (0, "", "")


@pytest.mark.parametrize(("names", "most"), [(CAPTURING, 2.0), (RESTORING, 4.0)])
def test_units_are_confined(quiet: Machine, names: tuple[str, ...], most: float) -> None:
    """Exposure below 2 for what only captures, below 4 for what restores, as systemd itself counts it."""
    for name in names:
        quiet.write(f"/root/shipped/{name}", static_units(USUAL)[name])
        done = quiet.run(["systemd-analyze", "security", "--offline=true", "--no-pager", f"/root/shipped/{name}"])
        found = re.search(r"exposure level for \S+: ([0-9.]+)", done.fine().out)
        assert found is not None and float(found[1]) < most, f"{name}: {done.out.splitlines()[-1]}"


def test_installing_again_changes_nothing_and_removing_leaves_nothing(quiet: Machine) -> None:
    """Idempotent; removed is exactly what was written, and somebody's own drop-in beside ours stays."""
    quiet.write("/etc/systemd/system/app.service.d/mine.conf", "[Unit]\nDescription=mine\n")
    again = json.loads(quiet.run(["recoverd", "--json", "units", "--install"]).fine().out)
    assert {one["action"] for one in again["changes"]} == {"unchanged"}
    assert quiet.show("app.service", "Wants").split() == ["recoverd-restore.service"]
    assert quiet.run(["recoverd", "units", "--remove"]).fine().err == ""
    left = quiet.sh("find /etc/systemd /etc/tmpfiles.d -name '*recoverd*' -o -path '*50-recoverd*'").fine().out
    assert left == ""
    assert quiet.exists("/etc/systemd/system/app.service.d/mine.conf")
    assert quiet.show("app.service", "Wants") == ""
    quiet.run(["rm", "-r", "/etc/systemd/system/app.service.d"]).fine()
    assert "nothing to remove" in quiet.run(["recoverd", "units", "--remove"]).fine().out
    quiet.run(["recoverd", "units", "--install"]).fine()


def test_a_file_of_somebody_else_is_never_overwritten(quiet: Machine) -> None:
    """Nothing at all is written when one of the places is taken, and the error says which."""
    quiet.run(["recoverd", "units", "--remove"]).fine()
    taken = "/etc/systemd/system/recoverd-confirm.service"
    quiet.write(taken, "[Service]\nExecStart=/bin/true\n")
    done = quiet.run(["recoverd", "units", "--install"]).fine(1)
    assert taken in done.err and "nothing was written" in done.err
    assert quiet.read(taken) == "[Service]\nExecStart=/bin/true\n"
    assert not quiet.exists("/etc/systemd/system/recoverd.service")
    quiet.run(["rm", taken]).fine()
    quiet.run(["recoverd", "units", "--install"]).fine()


def test_a_service_that_is_not_declared_any_more_loses_its_drop_in(quiet: Machine) -> None:
    """Installing brings the drop-ins in line with the configuration."""
    declared = quiet.read("/etc/recoverd/conf.d/test.yaml")
    quiet.write("/etc/recoverd/conf.d/test.yaml", declared.partition("  other:")[0])
    quiet.run(["recoverd", "units", "--install"]).fine()
    assert not quiet.exists("/etc/systemd/system/other.service.d")
    assert quiet.exists("/etc/systemd/system/app.service.d/50-recoverd.conf")
    quiet.write("/etc/recoverd/conf.d/test.yaml", declared)
    quiet.run(["recoverd", "units", "--install"]).fine()


def test_gating_the_boot_is_asked_for(quiet: Machine) -> None:
    """One service must not roll back the operating system unasked."""
    assert "recoverd-confirm.service" not in quiet.show("boot-complete.target", "Requires")
    quiet.run(["recoverd", "units", "--install", "--gate-boot"]).fine()
    assert "recoverd-confirm.service" in quiet.show("boot-complete.target", "Requires")
    quiet.run(["recoverd", "units", "--install"]).fine()
    assert "recoverd-confirm.service" not in quiet.show("boot-complete.target", "Requires")
