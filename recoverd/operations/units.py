"""The systemd units of a configuration: the static ones, and one drop-in for each configured unit. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from recoverd.config.model import Config, RunKind, Service
from recoverd.operations.unit_files import Layout, specifiers_escaped, static_units, tmpfiles
from recoverd.values import dataclass

MARK = "# Written by `recoverd units --install`, which replaces this file; your own keys belong into another one.\n"
DROP_IN = "50-recoverd.conf"
_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108 - what PrivateTmp= hides


@dataclass(frozen=True, slots=True)
class Directories:
    """Where files go. `tmpfiles` is None for a user's units."""

    units: str
    tmpfiles: str | None


def layout_of(config: Config, command: Sequence[str], runtime_dir: str, *, user: bool) -> Layout:
    """The words in which static units differ. `command` is recoverd with its global options, by absolute path."""
    items = [item for service in config.services.values() for item in service.state.values()]
    return Layout(
        command=tuple(command),
        user=user,
        state_dir=config.state_dir,
        repository=config.repository.path,
        spare=config.repository.spare,
        runtime_dir=runtime_dir,
        boot_timeout_s=config.boot_timeout_s,
        has_state_in_tmp=any(item.path.startswith(_TEMPORARY) for item in items),
        tells=bool(config.hooks) or any(service.hooks for service in config.services.values()),
        keeps=any(_is_kept(service) for service in config.services.values()),
        validates=any(item.validate or item.dump or item.database for item in items),
        migrates=any(step.command for item in items for step in item.migrate),
        dumps=any(item.dump is not None for item in items),
        drills=any(bool(one.drill and one.drill.cron and one.drill.command) for one in config.services.values()),
    )


def _is_kept(service: Service) -> bool:
    """Whether the scheduler writes state for it: into its place, or into a scratch directory."""
    if service.drill is not None and service.drill.cron is not None:
        return True
    runs = service.run is not None and service.run.kind is not RunKind.SYSTEMD
    return service.watch is not None and (runs or service.instances is not None)


def render(
    config: Config,
    layout: Layout,
    directories: Directories,
    *,
    gate_boot: bool = False,
    mount_points: Iterable[str] = (),
) -> dict[str, str]:
    """Path -> text of everything that belongs to this configuration. `mount_points` are those of this machine."""
    texts = dict(static_units(layout))
    mounts = _mount_units(config, mount_points)
    if mounts and not layout.user:
        # Requires= would let one dead disk keep every service down.
        names = " ".join(mounts)
        texts[f"recoverd-restore.service.d/{DROP_IN}"] = f"[Unit]\nWants={names}\nAfter={names}\n"
    spare = " ".join(_mounts_of([config.repository.spare], mount_points) if config.repository.spare is not None else ())
    if spare and not layout.user:
        # the last capture may need it: it is unmounted after the scheduler has ended, also with `nofail`
        texts[f"recoverd.service.d/{DROP_IN}"] = f"[Unit]\nWants={spare}\nAfter={spare}\n"
    for unit, services in _by_unit(config).items():
        texts[f"{unit}.d/{DROP_IN}"] = _drop_in(config, layout, services)
    if gate_boot and not layout.user:
        texts[f"boot-complete.target.d/{DROP_IN}"] = (
            "[Unit]\nRequires=recoverd-confirm.service\nAfter=recoverd-confirm.service\n"
        )
    files = {os.path.join(directories.units, name): MARK + text for name, text in texts.items()}
    if directories.tmpfiles is not None:
        files[os.path.join(directories.tmpfiles, "recoverd.conf")] = MARK + tmpfiles(layout)
    return files


def unit_name(name: str) -> str:
    """The full name of a unit: `.service` is what systemctl adds where no type is given."""
    types = (".service", ".socket", ".timer", ".path", ".mount", ".target", ".slice", ".scope", ".swap", ".automount")
    return name if name.endswith(types) else f"{name}.service"


def services_of_unit(config: Config, unit: str) -> list[Service]:
    """The enabled services that a unit runs."""
    return _by_unit(config).get(unit_name(unit), [])


def _by_unit(config: Config) -> dict[str, list[Service]]:
    units: dict[str, list[Service]] = {}
    for service in config.services.values():
        if service.enabled and service.run is not None and service.run.kind is RunKind.SYSTEMD and service.run.unit:
            units.setdefault(unit_name(service.run.unit), []).append(service)
    return units


def _drop_in(config: Config, layout: Layout, services: Sequence[Service]) -> str:
    """Repaired before it starts, stopped before the last capture, recovered when it gave up, held back when blocked.

    Assert, not Condition: with that, what requires the unit would start all the same. With Restart=always and no
    start limit, OnFailure= would never fire.
    """
    after = ["recoverd-restore.service", "recoverd.service"]
    for service in services:
        for name in service.after:
            other = config.services.get(name)
            if other is not None and other.run is not None and other.run.unit:
                after.append(unit_name(other.run.unit))
    asserts = "".join(
        f"AssertPathExists=!{specifiers_escaped(path)}\n"
        for service in services
        for path in (
            os.path.join(f"{layout.runtime_dir}-blocked", service.name),
            os.path.join(layout.state_dir, "intents", f"{service.name}.json"),
        )
    )
    return (
        "[Unit]\n"
        "Wants=recoverd-restore.service\n"
        f"After={' '.join(dict.fromkeys(after))}\n"
        "OnFailure=recoverd-recover@%n.service\n"
        "StartLimitIntervalSec=10min\n"
        "StartLimitBurst=5\n"
        f"{asserts}"
    )


def _mount_units(config: Config, mount_points: Iterable[str]) -> list[str]:
    """The mount units that hold state of services, or the spare, in the order of their names."""
    paths = [item.path for service in config.services.values() for item in service.state.values() if item.path]
    return _mounts_of([*paths, *filter(None, [config.repository.spare])], mount_points)


def _mounts_of(paths: Sequence[str], mount_points: Iterable[str]) -> list[str]:
    """The mount units that hold these paths; the root is always there."""
    holding = {
        point
        for point in mount_points
        if point != "/" and any(path == point or path.startswith(f"{point}/") for path in paths)
    }
    return sorted(f"{escape_path(point)}.mount" for point in holding)


def escape_path(path: str) -> str:
    """A path as systemd names its units (systemd.unit(5), "String Escaping for Inclusion in Unit Names")."""
    parts = [part for part in path.split("/") if part]
    plain = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")
    escaped = []
    for number, part in enumerate(parts):
        text = ""
        for place, byte in enumerate(os.fsencode(part)):
            first = number == 0 and place == 0
            text += chr(byte) if byte in plain and not (first and byte == ord(".")) else f"\\x{byte:02x}"
        escaped.append(text)
    return "-".join(escaped) or "-"
