"""As whom a service runs, and with which environment."""

from __future__ import annotations

import os
import pwd

import pytest

from recoverd.config.model import Run, RunKind
from recoverd.errors import ServiceError
from recoverd.services.environment import DEFAULT_PATH, Account, build_environment, find_account

OWN = pwd.getpwuid(os.geteuid())
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def run(**keys: str) -> Run:
    return Run(RunKind.COMMAND, command=("/bin/true",), **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("user", [None, OWN.pw_name, str(OWN.pw_uid)])
def test_own_user_is_no_switch(user: str | None) -> None:
    """Whoever runs recoverd can name himself, as root or not, by name or number."""
    account = find_account(run() if user is None else run(user=user))
    assert account == Account(os.geteuid(), os.getegid(), None, OWN.pw_name, OWN.pw_dir)


@as_root
def test_other_users_and_groups() -> None:
    """Supplementary groups are the user's own; a user without an entry needs a group and has only that."""
    nobody = pwd.getpwnam("nobody")
    account = find_account(run(user="nobody"))
    assert (account.uid, account.gid, account.name) == (nobody.pw_uid, nobody.pw_gid, "nobody")
    assert account.groups == tuple(os.getgrouplist("nobody", nobody.pw_gid))
    assert find_account(run(user="nobody", group="1234")).gid == 1234
    assert find_account(run(user="54321", group="1234")) == Account(54321, 1234, (1234,), "54321", "/")
    with pytest.raises(ServiceError, match="user 54321 has no entry"):
        find_account(run(user="54321"))
    assert find_account(run(group="1234")).groups is not None


def test_numbers_out_of_range() -> None:
    """A number that is no user id is an error with a sentence, not an OverflowError."""
    with pytest.raises(ServiceError, match="has no entry"):
        find_account(run(user="9" * 30))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can become anybody")
def test_a_plain_user_stays_himself() -> None:
    """Naming somebody else is refused before anything is started."""
    with pytest.raises(ServiceError, match="can't start a service as user 0"):
        find_account(run(user="root"))


def test_environment_is_small_and_in_order() -> None:
    """Little is inherited; declared values win over that, and extra ones over declared."""
    account = Account(1000, 1000, None, "ann", "/home/ann")
    environ = {"PATH": "/opt/bin", "LANG": "de_DE.UTF-8", "SECRET": "x", "HOME": "/root"}
    made = Run(RunKind.COMMAND, command=("x",), env={"A": "1", "B": "1", "LANG": "C"})
    assert build_environment(made, account, environ=environ, extra_env={"B": "2"}) == {
        "PATH": "/opt/bin", "HOME": "/home/ann", "USER": "ann", "LOGNAME": "ann", "LANG": "C", "A": "1", "B": "2",
    }  # fmt: skip


def test_another_user_gets_the_default_path() -> None:
    """root's PATH is not the service user's; a missing one is filled in."""
    other = Account(1000, 1000, (1000,), "ann", "/home/ann")
    own = Account(0, 0, None, "root", "/root")
    assert build_environment(run(), other, environ={"PATH": "/root/bin"}, extra_env={})["PATH"] == DEFAULT_PATH
    assert build_environment(run(), own, environ={}, extra_env={})["PATH"] == DEFAULT_PATH
    assert build_environment(run(), own, environ={}, extra_env={})["LANG"] == "C.UTF-8"
