"""Whether a plain user's units run without a login. Else they end with the last logout, and no boot starts them."""

from __future__ import annotations

import os

from recoverd.config.model import Config

_LINGER = "/var/lib/systemd/linger"  # one empty file for each user, loginctl(1)


def lingers() -> bool:
    """Whether lingering is enabled for the user who calls."""
    import pwd

    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return os.path.exists(os.path.join(_LINGER, name))


def user_units_directory() -> str:
    """Where a user's own units are, systemd.unit(5)."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "systemd", "user")


def lingering_of(config: Config, *, uid: int) -> bool | None:
    """`lingers`, where it matters: a plain user has services that are units, or has recoverd's own; else None."""
    if uid == 0:
        return None
    has_units = any(service.run is not None and service.run.unit is not None for service in config.services.values())
    if not has_units and not os.path.exists(os.path.join(user_units_directory(), "recoverd.service")):
        return None
    return lingers()
