"""The units that are the same on every machine but for a few words: pure functions from a layout to texts.

`contrib/systemd` holds what these give for the usual layout; a test compares them. Facts about systemd are those of
version 252: systemd.unit(5), systemd.service(5), systemd.exec(5).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from recoverd.values import dataclass

# What only reads state and writes into recoverd's own directories: `systemd-analyze security` says below 2.
# Not ProtectProc=: who holds a lock and which temporary file is a leftover is told by looking at other processes.
_CAPTURES = """\
CapabilityBoundingSet={capabilities}
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=yes
{network}DevicePolicy=closed
"""
_ALONE = "PrivateNetwork=yes\nRestrictAddressFamilies=AF_UNIX\nIPAddressDeny=any\n"
_IN_TOUCH = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
# What restores replaces files of any owner by rename: ProtectSystem= and its kin would put mounts in the way.
_RESTORES = """\
CapabilityBoundingSet={capabilities}
PrivateDevices=yes
RestrictAddressFamilies=AF_UNIX{network}
DevicePolicy=closed
"""
_READS = frozenset({"CAP_DAC_READ_SEARCH"})
_WRITES = _READS | {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETFCAP"}
# `validate` and what looks into databases run as the owner of the state, on a copy that is his, and end in time.
_BECOMES_OWNERS = frozenset({"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"})
_EVERY = """\
NoNewPrivileges=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID={setuid}
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are. Paths are absolute; `command` is recoverd with its global options."""

    command: tuple[str, ...]
    user: bool
    state_dir: str
    repository: str
    runtime_dir: str
    boot_timeout_s: float
    spare: str | None = None
    has_state_in_tmp: bool = False  # then /tmp can't be a private one
    keeps: bool = False  # the scheduler also restores state, starts and probes services: `watch`, `drill.cron`
    tells: bool = False  # hooks are declared, which may need the network
    validates: bool = False  # captures and restores start processes as the owners of state: `validate`, databases
    migrates: bool = False  # the same of restores alone: commands of `migrate`
    dumps: bool = False  # captures ask servers for dumps
    drills: bool = False  # and so does the scheduler: `drill.command`


def words(command: Sequence[str]) -> str:
    """A command line for Exec…=: quoted where it must be, with `%` and `$` meaning themselves (systemd.service(5))."""
    return " ".join(_word(word) for word in command)


def _word(word: str) -> str:
    plain = specifiers_escaped(word).replace("$", "$$")
    if plain and not any(character in plain for character in " \t\n\"'\\;"):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def specifiers_escaped(text: str) -> str:
    """Text in which systemd expands nothing."""
    return text.replace("%", "%%")


def path_word(path: str) -> str:
    """A path as one word of a list of paths."""
    text = specifiers_escaped(path)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if " " in text or "\\" in text else text


def static_units(layout: Layout) -> dict[str, str]:
    """File name -> text of every unit that names no service."""
    target = "default.target" if layout.user else "multi-user.target"
    return {
        "recoverd.service": _scheduler(layout, target),
        "recoverd-restore.service": _restore(layout, target),
        "recoverd-confirm.service": _confirm(layout, target),
        "recoverd-recover@.service": _recover(layout),
        "recoverd-snapshot.service": _oneshot(layout, "Saves the services that are due", "snapshot", "--due"),
        "recoverd-snapshot.timer": _timer("Saves the services that are due, every minute", "*:*:00"),
        "recoverd-check.service": _oneshot(layout, "Checks the health of saved state", "check"),
        "recoverd-check.timer": _timer("Checks the health of saved state, every hour", "hourly"),
    }


def tmpfiles(layout: Layout) -> str:
    """tmpfiles.d(5): directories that outlive single units. A RuntimeDirectory= goes with the first unit that ends."""
    lines = ["# Directories of recoverd"]
    shared = (f"{layout.runtime_dir}-blocked", f"{layout.runtime_dir}-resume")
    for path, mode in ((layout.runtime_dir, "0700"), *((one, "0755") for one in shared)):
        lines.append(f"d {path_word(path)} {mode} root root -")
    lines.append(f"d {path_word(layout.state_dir)} 0700 root root -")
    return "\n".join(lines) + "\n"


def _scheduler(layout: Layout, target: str) -> str:
    return f"""\
[Unit]
Description=Saves the state of services
After=recoverd-restore.service{"" if layout.user else " local-fs.target"}

[Service]
Type=notify
ExecStart={words([*layout.command, "run"])}
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=60s
Restart=on-failure
RestartSec=10s
RestartPreventExitStatus=64 78
TimeoutStartSec=30s
TimeoutStopSec=5min
KillMode=mixed
{_runs(layout)}
[Install]
WantedBy={target}
"""


def _restore(layout: Layout, target: str) -> str:
    # Without default dependencies, so that it can stand before units that start early. A service that stays down (1)
    # is no failure of this unit, or it would run again with each start of any service; confirm tells of it.
    early = (
        "After=basic.target\n"
        if layout.user
        else "DefaultDependencies=no\n"
        "After=local-fs.target systemd-tmpfiles-setup.service systemd-sysusers.service\n"
        "Conflicts=shutdown.target\n"
        "Before=shutdown.target\n"
    )
    return f"""\
[Unit]
Description=Checks the state of services and repairs it before they start
{early}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={words([*layout.command, "restore", "--boot"])}
SuccessExitStatus=1 3 75
TimeoutStartSec={round(layout.boot_timeout_s + 30)}s
{_restores(layout, network="", private_network=True)}
[Install]
WantedBy={target}
"""


def _confirm(layout: Layout, target: str) -> str:
    return f"""\
[Unit]
Description=Proves that services are healthy, and falls back where restored state does not work
After={target}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={words([*layout.command, "confirm"])}
SuccessExitStatus=3
TimeoutStartSec=infinity
{_restores(layout, network=" AF_INET AF_INET6", private_network=False)}
[Install]
WantedBy={target}
"""


def _recover(layout: Layout) -> str:
    return f"""\
[Unit]
Description=Recovers the service of %i, which has failed
StartLimitIntervalSec=10min
StartLimitBurst=10

[Service]
Type=oneshot
ExecStart={words([*layout.command, "restore", "--unit"])} %i
SuccessExitStatus=3
TimeoutStartSec=infinity
{_restores(layout, network=" AF_INET AF_INET6", private_network=False)}"""


def _oneshot(layout: Layout, description: str, *arguments: str) -> str:
    # a warning of `check`, or another recoverd at work, is no failure of the unit
    success = {"check": "SuccessExitStatus=1\n", "snapshot": "SuccessExitStatus=3 75\n"}[arguments[0]]
    return f"""\
[Unit]
Description={description}

[Service]
Type=oneshot
ExecStart={words([*layout.command, *arguments])}
{success}{_captures(layout, captures=arguments[0] != "check")}"""


def _timer(description: str, calendar: str) -> str:
    return f"""\
[Unit]
Description={description}

[Timer]
OnCalendar={calendar}
AccuracySec=1s
Persistent=true

[Install]
WantedBy=timers.target
"""


def _captures(layout: Layout, *, captures: bool = True) -> str:
    """A user's manager can't confine: what it runs has no rights to give up. Without `captures` it only looks."""
    if layout.user:
        return ""
    paths = dict.fromkeys((layout.state_dir, layout.repository, layout.runtime_dir))
    if layout.spare is not None:  # the directory above: the spare is made when it is needed
        paths |= dict.fromkeys((os.path.dirname(layout.spare) if layout.spare.count("/") > 1 else layout.spare,))
    own = [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]
    writable = "".join(f"ReadWritePaths=-{path_word(path)}\n" for path in own)
    tmp = "" if layout.has_state_in_tmp else "PrivateTmp=yes\n"
    rights = _READS | _BECOMES_OWNERS if layout.validates and captures else _READS
    network = _IN_TOUCH if (layout.tells or layout.dumps) and captures else _ALONE
    text = _CAPTURES.format(capabilities=" ".join(sorted(rights)), network=network)
    return text + writable + tmp + _EVERY.format(setuid="yes")


def _runs(layout: Layout) -> str:
    """The scheduler only captures, unless it watches services, or rehearses restores."""
    if not layout.keeps:
        return _captures(layout)
    return _restores(layout, network=" AF_INET AF_INET6", private_network=False, drills=layout.drills)


def _restores(layout: Layout, *, network: str, private_network: bool, drills: bool = False) -> str:
    if layout.user:
        return ""
    rights = _WRITES | _BECOMES_OWNERS if layout.validates or layout.migrates or drills else _WRITES
    private = "PrivateNetwork=yes\nIPAddressDeny=any\n" if private_network else ""
    # files with a setuid bit come back with it
    text = _RESTORES.format(capabilities=" ".join(sorted(rights)), network=network)
    return text + private + _EVERY.format(setuid="no")
