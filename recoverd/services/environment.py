"""As whom a service runs, and with which environment."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping

from recoverd.config.model import Run, Secret
from recoverd.errors import ConfigError, ServiceError
from recoverd.values import dataclass

START_ID = "RECOVERD_START_ID"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    """A user with primary group. `groups` None: the one that recoverd runs as, nothing is switched."""

    uid: int
    gid: int
    groups: tuple[int, ...] | None
    name: str
    home: str


def find_account(run: Run) -> Account:
    """Who the service runs as. Raises ServiceError for an unknown user or group, or one recoverd can't become."""
    own = os.geteuid()
    entry = _user(run.user) if run.user is not None else None
    if run.user is None:
        uid = own
    elif entry is not None:
        uid = entry.pw_uid
    elif run.user.isdecimal():
        uid = int(run.user)
    else:
        raise ServiceError(f"there is no user {run.user!r}", hint="create the user, or correct run.user")
    if entry is None:
        entry = _user(str(uid))
    if run.group is not None:
        gid = _group(run.group)
    elif uid == own:
        gid = os.getegid()
    elif entry is not None:
        gid = entry.pw_gid
    else:
        raise ServiceError(f"user {uid} has no entry among the users, so no group", hint="set run.group too")
    name, home = (entry.pw_name, entry.pw_dir) if entry is not None else (str(uid), "/")
    if (uid, gid) == (own, os.getegid()):
        return Account(uid, gid, None, name, home)
    if own != 0:
        raise ServiceError(
            f"recoverd runs as user {own} and can't start a service as user {uid}, group {gid}",
            hint="run recoverd as root, or leave out run.user and run.group",
        )
    groups = tuple(os.getgrouplist(entry.pw_name, gid)) if entry is not None else (gid,)
    return Account(uid, gid, groups, name, home)


def build_environment(
    run: Run, account: Account, *, environ: Mapping[str, str], extra_env: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the service: little of recoverd's own `environ`, then what is declared, then `extra_env`.

    A service that runs as somebody else does not inherit the PATH of recoverd's user.
    Raises ServiceError when a secret can't be had.
    """
    inherited = environ.get("PATH") if account.groups is None else None
    env = {
        "PATH": inherited or DEFAULT_PATH,
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "LANG": environ.get("LANG") or "C.UTF-8",
    }
    for name, value in run.env.items():
        if isinstance(value, Secret):
            env[name] = _fetch(name, value, environ)
        else:
            env[name] = value
    env.update(extra_env)
    return env


def _fetch(name: str, secret: Secret, environ: Mapping[str, str]) -> str:
    from recoverd.config.secrets import resolve

    try:
        return resolve(secret, environ)
    except ConfigError as error:
        sentences = "; ".join(problem.sentence for problem in error.problems)
        raise ServiceError(f"its variable {name} has no value: {sentences}", hint=error.hint) from error


def _user(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        pass
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else None
    except (KeyError, OverflowError):
        return None


def _group(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if group.isdecimal():
            return int(group)
        raise ServiceError(f"there is no group {group!r}", hint="create the group, or correct run.group") from None
