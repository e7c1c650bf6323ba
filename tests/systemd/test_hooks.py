"""What a command hook may do in each of recoverd's units: docs/recipes/hooks.md, "As a unit", to the letter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from recoverd.events import EventName
from recoverd.events.journal import message_id

Machine = Any  # of conftest.py, which test files can't import
TRIED = "/var/lib/recoverd/tried"
TRY = r"""#!/bin/sh
unit=$(sed 's,.*/,,' /proc/self/cgroup | tail -1)
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then said=yes; else said=no; fi; echo "$unit $name $said" >> TRIED; }
try own-directories touch /run/recoverd/from-hook
try systemctl systemctl restart pong.service
try logger logger -t hook hello
try network python3 -c 'import socket; socket.socket().bind(("127.0.0.1", 0))'
try write touch /var/log/from-hook
try become-another setpriv --reuid 65534 --clear-groups true
try setuid sh -c '[ "$(/usr/local/bin/as-nobody -u)" = 65534 ]'
try systemd-run systemd-run --quiet --collect --pipe --wait setpriv --reuid 65534 --clear-groups true
""".replace("TRIED", TRIED)
# the first column of the table is a unit, the others are what works there
MAY = {
    "recoverd.service": {"own-directories", "systemctl", "logger", "network", "systemd-run"},
    "recoverd-restore.service": {"own-directories", "systemctl", "logger", "write", "systemd-run"},
    "recoverd-confirm.service": {"own-directories", "systemctl", "logger", "network", "write", "systemd-run"},
}
HOOKS = """\
hooks:
  - {when: [snapshot.saved, restore.finished], command: [/usr/local/bin/try], timeout: 60s}
  - {when: [snapshot.saved], command: [setpriv, --reuid, "65534", --clear-groups, /bin/true], timeout: 60s}
"""


@pytest.fixture
def telling(house: Machine) -> Iterator[Machine]:
    house.write("/usr/local/bin/try", TRY, mode="755")
    house.write("/etc/systemd/system/pong.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
    house.sh("install -o nobody -m 4755 /usr/bin/id /usr/local/bin/as-nobody; systemctl daemon-reload").fine()
    house.run(["recoverd", "snapshot"]).fine()
    house.write("/etc/recoverd/recoverd.yaml", HOOKS)
    house.run(["recoverd", "units", "--install"]).fine()
    yield house
    house.sh(
        "systemctl stop recoverd.service app.service"
        "; rm -f /etc/recoverd/recoverd.yaml /usr/local/bin/try /usr/local/bin/as-nobody /var/log/from-hook"
        " /etc/systemd/system/pong.service"
        "; recoverd units --install; systemctl daemon-reload"
    )


def test_what_a_command_may_do(telling: Machine) -> None:
    """In each unit that tells hooks; by `systemd-run`, everything everywhere. What happens is in the journal, with all
    of its fields."""
    telling.run(["systemctl", "start", "recoverd.service"]).fine()
    telling.write("/srv/app/state.json", '{"counter": 5}')
    telling.sh("sleep 0.1; systemctl stop recoverd.service").fine()  # which saves what has changed, and tells
    found = telling.run(["recoverd", "--json", "check"])
    (check,) = [one for one in json.loads(found.out)["results"] if one["name"] == "hooks"]
    assert check["status"] == "WARNING"
    assert "hooks[1] (setpriv) was not told of" in check["message"]
    assert "setresuid failed: Operation not permitted" in check["message"]
    assert "hook hooks[1] (setpriv) was not told of 1 event" in telling.journal("-u", "recoverd.service")
    found = telling.run(["journalctl", "-o", "json", "-u", "recoverd.service", "RECOVERD_EVENT=snapshot.saved"]).fine()
    entry = json.loads(found.out.splitlines()[-1])
    told = ("RECOVERD_SERVICE", "RECOVERD_ITEM", "RECOVERD_PATH", "RECOVERD_FORMAT", "RECOVERD_FILES", "PRIORITY")
    assert [entry[name] for name in told] == ["app", "main", "/srv/app/state.json", "json", "1", "6"]
    assert entry["MESSAGE_ID"] == message_id(EventName.SNAPSHOT_SAVED)
    assert entry["_TRANSPORT"] == "journal"
    telling.run(["systemctl", "stop", "app.service"]).fine()
    telling.write("/srv/app/state.json", "")
    telling.run(["systemctl", "restart", "recoverd-restore.service"]).fine()
    telling.run(["systemctl", "restart", "recoverd-confirm.service"]).fine()
    lines = [line.split() for line in telling.read(TRIED).splitlines()]
    may = {unit: {name for where, name, said in lines if (where, said) == (unit, "yes")} for unit in MAY}
    assert may == MAY
    assert {name for _, name, _ in lines} >= {"become-another", "setuid"}
