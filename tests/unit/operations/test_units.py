"""Rendering units: words, paths and names as systemd reads them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from recoverd.config.database_model import DatabaseRules
from recoverd.config.dump_model import Dump
from recoverd.config.hook_model import Hook
from recoverd.config.keeping import Watch
from recoverd.config.migration_model import MigrationStep
from recoverd.config.model import Config, Drill, ItemKind, Place, RepositoryConfig, Run, RunKind, Service, StateItem
from recoverd.operations.unit_files import words
from recoverd.operations.units import Directories, escape_path, layout_of, render, services_of_unit

PLACE = Place("test.yaml", 1, 1)
DIRECTORIES = Directories("/etc/systemd/system", "/etc/tmpfiles.d")


def service(name: str, unit: str, path: str, **more: object) -> Service:
    item = StateItem("main", ItemKind.FILE, path)
    one = Service(name, PLACE, run=Run(RunKind.SYSTEMD, unit=unit), state={"main": item})
    return replace(one, **more)  # type: ignore[arg-type]


def config(*services: Service, state_dir: str = "/var/lib/recoverd") -> Config:
    return Config(state_dir, RepositoryConfig(f"{state_dir}/repository"), {one.name: one for one in services})


def rendered(given: Config, *, user: bool = False, **more: object) -> dict[str, str]:
    layout = layout_of(given, ["/usr/bin/recoverd"], "/run/recoverd", user=user)
    return render(given, layout, DIRECTORIES, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["/usr/bin/recoverd", "run"], "/usr/bin/recoverd run"),
        (["/a b/recoverd"], '"/a b/recoverd"'),
        (["100%", "$HOME"], "100%% $$HOME"),
        (['say "x"', "back\\slash"], '"say \\"x\\"" "back\\\\slash"'),
    ],
)
def test_words_reach_the_program_as_they_are(command: list[str], text: str) -> None:
    """systemd.service(5): quotes, backslashes, specifiers and variables."""
    assert words(command) == text


@pytest.mark.parametrize("path", ["/srv/data", "/", "/mnt/my-disk", "/a b", "/.hidden/x", "/srv/ä", "/x//y/"])
def test_paths_are_named_as_systemd_names_them(path: str) -> None:
    """Held against systemd-escape itself."""
    if shutil.which("systemd-escape") is None:
        pytest.skip("systemd-escape is not installed")
    done = subprocess.run(["systemd-escape", "--path", path], capture_output=True, text=True, check=True)
    assert escape_path(path) == done.stdout.strip()


def test_a_unit_is_held_back_for_each_of_its_services() -> None:
    """Flag and intent of every service that it runs; `after` becomes the order of units."""
    one, two = service("one", "app", "/srv/1"), service("two", "app.service", "/srv/2", after=("db",))
    text = rendered(config(one, two, service("db", "db.service", "/srv/3"), state_dir="/var/lib/100%"))[
        "/etc/systemd/system/app.service.d/50-recoverd.conf"
    ]
    for name in ("one", "two"):
        assert f"AssertPathExists=!/run/recoverd-blocked/{name}\n" in text
        assert f"AssertPathExists=!/var/lib/100%%/intents/{name}.json\n" in text
    assert "After=recoverd-restore.service recoverd.service db.service\n" in text
    assert text.count("OnFailure=") == 1


def test_only_enabled_services_of_units_get_drop_ins() -> None:
    off = service("off", "off.service", "/srv/1", enabled=False)
    state_only = replace(service("state", "x", "/srv/2"), run=None)
    assert not [path for path in rendered(config(off, state_only)) if path.endswith("50-recoverd.conf")]


def test_disks_that_hold_state_are_waited_for_and_not_required() -> None:
    """RequiresMountsFor= would let one dead mount fail everything."""
    given = config(service("one", "app", "/srv/data/app/state.json"))
    files = rendered(given, mount_points=["/", "/srv/data", "/srv/dat", "/boot"])
    text = files["/etc/systemd/system/recoverd-restore.service.d/50-recoverd.conf"]
    assert text.endswith("[Unit]\nWants=srv-data.mount\nAfter=srv-data.mount\n")
    assert "Requires" not in text


def test_state_below_tmp_is_not_hidden_from_captures() -> None:
    """With PrivateTmp= it would look as if it were missing."""
    path = "/etc/systemd/system/recoverd.service"
    assert "PrivateTmp=yes" in rendered(config(service("one", "app", "/srv/x")))[path]
    assert "PrivateTmp" not in rendered(config(service("one", "app", "/tmp/x")))[path]


def test_a_users_units_ask_for_nothing_that_only_root_can_have() -> None:
    files = rendered(config(service("one", "app", "/home/me/x")), user=True)
    for text in files.values():
        assert "CapabilityBoundingSet" not in text and "multi-user.target" not in text and "local-fs" not in text


def test_services_are_found_by_their_unit() -> None:
    given = config(service("one", "app", "/srv/1"), service("two", "b.service", "/srv/2"))
    assert [one.name for one in services_of_unit(given, "app.service")] == ["one"]
    assert [one.name for one in services_of_unit(given, "b")] == ["two"]
    assert services_of_unit(given, "nothing") == []


def test_the_spare_is_writable_and_mounted_until_the_last_capture_is_done() -> None:
    """A nofail mount is not held back by local-fs.target; and a capture makes the spare where it is not there yet."""
    given = config(service("one", "app", "/srv/1"))
    given = replace(given, repository=replace(given.repository, spare="/mnt/usb/recoverd"))
    files = rendered(given, mount_points=["/", "/mnt/usb", "/mnt/us"])
    units = "/etc/systemd/system"
    assert "ReadWritePaths=-/mnt/usb\n" in files[f"{units}/recoverd.service"]
    for unit in ("recoverd.service", "recoverd-restore.service"):
        (drop_in,) = (text for path, text in files.items() if path.startswith(f"{units}/{unit}.d/"))
        assert "Wants=mnt-usb.mount\nAfter=mnt-usb.mount\n" in drop_in
    without = rendered(config(service("one", "app", "/srv/1")), mount_points=["/", "/mnt/usb"])
    assert not [path for path in without if path.startswith(f"{units}/recoverd.service.d/")]


def test_a_scheduler_that_brings_services_back_may_do_so() -> None:
    """What only captures is confined to its own directories; what restores, starts and probes services can't be."""
    path, plain = "/etc/systemd/system/recoverd.service", config(service("one", "app", "/srv/x"))
    assert "ProtectSystem=strict" in rendered(plain)[path]
    for kind, confined in ((RunKind.COMMAND, False), (RunKind.CONTROL, False), (RunKind.SYSTEMD, True)):
        run = Run(kind, unit="app.service" if kind is RunKind.SYSTEMD else None)
        watched = replace(plain.services["one"], run=run, watch=Watch())
        text = rendered(config(watched))[path]
        assert ("ProtectSystem=strict" in text) is confined
        assert ("PrivateNetwork=yes" in text) is confined
        assert "CAP_SETUID" not in text
    tried = replace(plain.services["one"], drill=Drill(cron="0 4 * * *", command=("/bin/true",)))
    assert "CAP_SETGID CAP_SETUID" in rendered(config(tried))[path]
    by_hand = replace(plain.services["one"], drill=Drill(command=("/bin/true",)))
    assert "ProtectSystem=strict" in rendered(config(by_hand))[path]


def test_what_saves_dumps_may_reach_the_servers_and_become_their_users() -> None:
    """A dump is asked of a server over a socket, as the user who may; what captures stays alone otherwise."""
    dump = StateItem("backup", ItemKind.DUMP, "", dump=Dump(("save",), ("load",)))
    plain = rendered(config(service("one", "one.service", "/srv/1")))
    units = rendered(config(service("one", "one.service", "", state={"backup": dump})))
    for name in ("recoverd.service", "recoverd-snapshot.service"):
        path = f"{DIRECTORIES.units}/{name}"
        assert "PrivateNetwork=yes" in plain[path] and "CAP_SETUID" not in plain[path]
        assert "AF_INET AF_INET6" in units[path] and "PrivateNetwork" not in units[path]
        assert "CAP_SETUID" in units[path] and "IPAddressDeny" not in units[path]
    check = f"{DIRECTORIES.units}/recoverd-check.service"
    assert units[check] == plain[check]
    assert "CAP_SETUID" in units[f"{DIRECTORIES.units}/recoverd-confirm.service"]


@pytest.mark.parametrize("where", ["host", "service"])
def test_those_that_tell_hooks_may_use_the_network(where: str) -> None:
    """And only those: the first phase of a boot leaves webhooks to the second."""
    hook = Hook(("*",), webhook="https://x")
    one = service("one", "app", "/srv/1", hooks=(hook,) if where == "service" else ())
    with_hooks = replace(config(one), hooks=(hook,) if where == "host" else ())
    told, silent = rendered(with_hooks), rendered(config(service("one", "app", "/srv/1")))
    for name in ("recoverd.service", "recoverd-snapshot.service"):
        path = f"/etc/systemd/system/{name}"
        assert "PrivateNetwork=" not in told[path]
        assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n" in told[path]
        assert "PrivateNetwork=yes\n" in silent[path]
        assert "IPAddressDeny=any\n" in silent[path]
    restore = "/etc/systemd/system/recoverd-restore.service"
    assert told[restore] == silent[restore]
    assert "PrivateNetwork=yes\n" in told[restore]
    check = "/etc/systemd/system/recoverd-check.service"
    assert told[check] == silent[check]


def test_what_restores_may_run_the_command_of_a_migration() -> None:
    """As the owner of the state; what only captures never does."""
    plain = config(service("one", "app", "/srv/x"))
    (item,) = plain.services["one"].state.values()
    migrating = replace(item, migrate=(MigrationStep("1", "2", command=("upgrade",)),))
    files = rendered(config(replace(plain.services["one"], state={"main": migrating})))
    units = "/etc/systemd/system"
    assert "CAP_SETGID CAP_SETUID" in files[f"{units}/recoverd-restore.service"]
    assert "CAP_SETUID" not in files[f"{units}/recoverd.service"]
    assert "CAP_SETUID" not in rendered(plain)[f"{units}/recoverd-restore.service"]


def test_what_looks_into_databases_becomes_their_owner() -> None:
    """Captures and restores need the right to; `check` looks into nothing."""
    plain = service("web", "web.service", "/srv/web/a.db")
    item = StateItem("main", ItemKind.SQLITE, "/srv/web/a.db", database=DatabaseRules())

    def may(given: Service) -> set[str]:
        units = rendered(config(given))
        return {name.rpartition("/")[2] for name, text in units.items() if "CAP_SETUID" in text}

    assert may(plain) == set()
    found = may(replace(plain, state={"main": item}))
    assert {"recoverd.service", "recoverd-restore.service", "recoverd-confirm.service"} <= found
    assert not any("check" in name for name in found)
