"""Systemd units and drop-ins, generated from the configuration. Without an option, shows what would be written.

--install writes them, enables recoverd's own and reloads systemd; run it again when services or their units change.
--remove takes away exactly what was written. Files that recoverd did not write are never touched.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from recoverd.cli.opening import context_of, own_command
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import plural, printable
from recoverd.errors import NOTHING_DECLARED, UsageError

if TYPE_CHECKING:
    from recoverd.operations.unit_installing import UnitsResult
    from recoverd.operations.units import Directories


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--install", action="store_true", help="write, enable, reload")
    what.add_argument("--remove", action="store_true", help="take away what --install wrote")
    parser.add_argument("--user", action="store_true", help="for the service manager of this user")
    parser.add_argument(
        "--gate-boot",
        action="store_true",
        help="a boot counts as complete only when services are proven; a failed one may roll back the system",
    )


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.operations.lingering import lingers
    from recoverd.operations.opening import user_runtime_directory
    from recoverd.operations.unit_installing import UnitsResult, install, mount_points, remove
    from recoverd.operations.units import layout_of, render

    user = bool(options.user)
    if not user and os.geteuid() != 0 and (options.install or options.remove):
        raise UsageError(
            "only root can write units for the whole system", hint="`recoverd units --user` is for your own services"
        )
    if user and os.geteuid() == 0:
        raise UsageError(
            "--user is for plain users: the services of root are those of the whole system", hint="leave --user out"
        )
    if user and options.gate_boot:
        raise UsageError("--gate-boot is for the whole system, not for a user's services", hint="leave --user out")
    directories = _directories(user)
    if options.remove:
        return _tell(remove(directories, user=user), terminal, user=user)
    context = context_of(options, terminal)
    if not context.config.services:
        terminal.warn(f"no service is declared, so there is no drop-in for any unit: {NOTHING_DECLARED}")
    runtime = context.runtime_dir
    if user:  # that of the units, which may not be there yet
        given = os.environ.get("XDG_RUNTIME_DIR") or user_runtime_directory(os.geteuid())
        runtime = os.path.join(given, "recoverd")
    layout = layout_of(context.config, own_command(options.config), runtime, user=user)
    files = render(context.config, layout, directories, gate_boot=options.gate_boot, mount_points=mount_points())
    if user and not lingers():
        terminal.warn(
            "your services end when you log out, and do not start at boot: `loginctl enable-linger` allows it"
        )
    result = install(files, directories, user=user) if options.install else UnitsResult("show", files)
    return _tell(result, terminal, user=user)


def _directories(user: bool) -> Directories:
    from recoverd.operations.lingering import user_units_directory
    from recoverd.operations.units import Directories

    if not user:
        return Directories("/etc/systemd/system", "/etc/tmpfiles.d")
    return Directories(user_units_directory(), None)


def _tell(result: UnitsResult, terminal: Terminal, *, user: bool) -> int:
    if terminal.json:
        terminal.print_json(
            "units",
            action=result.action,
            files=[{"path": path, "text": text} for path, text in sorted(result.files.items())],
            changes=[{"path": one.path, "action": one.action} for one in result.changes],
            enabled=list(result.enabled),
            notes=list(result.notes),
        )
        return 0
    if result.action == "show":
        for path, text in sorted(result.files.items()):
            terminal.write(f"{terminal.style(f'# {printable(path)}', 'bold')}\n{text}\n")
        return 0
    for one in result.changes:
        if one.action != "unchanged":
            terminal.print(f"{one.action} {printable(one.path)}")
    same = sum(one.action == "unchanged" for one in result.changes)
    if same:
        terminal.say(f"{plural(same, 'file')} unchanged")
    if not result.changes:
        terminal.say("there is nothing to remove")
    for name in result.enabled:
        terminal.say(f"enabled {name}")
    for note in result.notes:
        terminal.say(note)
    if result.enabled:
        manager = "systemctl --user" if user else "systemctl"
        terminal.say(f"they start at the next boot; to begin now: {manager} start recoverd.service")
    return 0
