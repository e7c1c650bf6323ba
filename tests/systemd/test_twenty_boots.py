"""Twenty boots of one machine with real services of all kinds; ten of them after PID 1 was killed and files were
damaged in all the ways in which such services are known to fail or to start empty.

The services' drop-ins are the samples that recoverd ships. Each boot writes something new, which must be there after
the next one: from the file where that is whole (promise 1), from a snapshot where it is not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Machine = Any  # of conftest.py, which test files can't import
SAMPLES = Path(__file__).parents[2] / "config" / "conf.d"
HEALTH = {"within": "8s", "stable_for": "300ms"}
CONTROL = """\
#!/bin/sh
# Starts, stops and looks for the program that recoverd does not know itself.
set -eu
pid=$(cat /run/controlled.pid 2>/dev/null || echo 0)
case $1 in
start) setsid /usr/local/bin/app /srv/controlled/state.json >/dev/null 2>&1 & echo $! >/run/controlled.pid ;;
stop) kill "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done ;;
status) kill -0 "$pid" 2>/dev/null && grep -q app "/proc/$pid/cmdline" ;;
esac
"""
REDIS_LOG = "/usr/bin/redis-server --port 6380 --dir /var/lib/redis-log --appendonly yes --save ''"
DATABASE = "/usr/local/bin/database /srv/database/store.db"
UNITS = {
    "database": f"ExecStart={DATABASE}",
    "app": "ExecStart=/usr/local/bin/app /srv/app/state.json\nRestart=on-failure\nRestartSec=100ms",
    "redis-log": f"User=redis\nExecStart={REDIS_LOG}",
    "node-red": "ExecStart=/usr/bin/node /opt/node-red/node_modules/node-red/red.js --userDir /var/lib/node-red",
}
SIMPLE = ("app", "detached", "controlled")
KINDS = ("empty", "missing", "half", "tail", "garbage", "nul")
LOG = [
    ("appendonlydir/*.incr.aof", "empty"),
    ("appendonlydir/*.incr.aof", "half"),
    ("appendonlydir/*.manifest", "half"),
    ("appendonlydir/*.manifest", "missing"),
    ("appendonlydir/*.incr.aof", "garbage"),
    ("appendonlydir/*.base.rdb", "garbage"),
    ("appendonlydir/*.manifest", "nul"),
    ("appendonlydir/*.base.rdb", "empty"),
]
FLOWS = [("flows.json", kind) for kind in KINDS]
SECRET = [(".config.runtime.json", kind) for kind in KINDS]
SETTINGS = [("settings.js", kind) for kind in ("half", "missing", "garbage", "empty", "nul")]
STORE = ("half", "empty", "missing", "garbage", "nul")  # SQLite has no checksums: it sees no damage within a row
DAMAGED = ("redis", "redis-log", "mosquitto", "node-red", "database")
PLACES = {"database": "srv/database"}  # of the others: var/lib


def damages(at: int) -> dict[str, list[tuple[str, str]]]:
    """What the crash number `at` does to the files of each service; ten of them do all that is known."""
    return {
        "redis": [("dump.rdb", KINDS[at % 6])],
        "mosquitto": [("mosquitto.db", KINDS[at % 6])],
        "redis-log": [LOG[at % 8]],
        "database": [("store.db", STORE[at % 5])],  # its -wal stays, with the newest of what was written
        "node-red": [FLOWS[at % 6], SECRET[(at + 1) % 6], *SETTINGS[at : at + 1]],
    }


def damage(path: Path, kind: str, chance: random.Random) -> None:
    """What is left of a file; its owner stays, as after a power cut."""
    whole = path.read_bytes()
    assert whole
    if kind == "missing":
        path.unlink()
        return
    left = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "tail": whole[:-20] + bytes(20),
        "garbage": chance.randbytes(len(whole)),
        "nul": bytes(len(whole)),
    }
    path.write_bytes(left[kind])


def configuration() -> str:
    """The samples, with a second Redis that keeps a log, and services of each driver; probes ask for data."""
    services: dict[str, Any] = {}
    for name in ("mosquitto", "redis", "node-red"):
        services |= yaml.safe_load((SAMPLES / f"{name}.yaml").read_text())["services"]
    log = json.loads(json.dumps(services["redis"]))
    services["redis-log"] = log | {"root": "/var/lib/redis-log", "run": {"systemd": "redis-log.service"}}
    for name, port in (("redis", "6379"), ("redis-log", "6380")):
        asks = ["sh", "-c", f'[ "$(redis-cli -p {port} --raw exists boot/0)" = 1 ]']
        services[name]["health"] = {"probes": [{"command": asks}]}
    services["database"] = {
        "run": {"systemd": "database.service"},
        "state": {"main": {"sqlite": "/srv/database/store.db", "require_tables": ["numbers"]}},
        "autosave": {"every": "5m"},
        "health": {"probes": [{"command": [*DATABASE.split(), "list"]}]},
    }
    for one in services.values():
        one["health"] |= HEALTH
    kinds: dict[str, Any] = {
        "app": {"systemd": "app.service"},
        "detached": {"command": ["/usr/local/bin/app", "/srv/detached/state.json"]},
        "controlled": {"control": {verb: ["/usr/local/bin/control", verb] for verb in ("start", "stop", "status")}},
    }
    for name, run in kinds.items():
        main = {"file": f"/srv/{name}/state.json", "format": "json", "schema": {"required": ["counter"]}}
        services[name] = {"run": run, "state": {"main": main}, "autosave": {"every": "5m"}, "health": HEALTH}
    return json.dumps({"services": services})


class House:
    """The machine with all services, their data, and what it must be."""

    def __init__(self, machine: Machine, subjects: Path) -> None:
        self.machine = machine
        self.boots = 0
        machine.write("/etc/hosts", "127.0.0.1 localhost\n")
        for name, subject in (("app", "counts_starts.py"), ("database", "keeps_sqlite.py")):
            machine.write(f"/usr/local/bin/{name}", (subjects / subject).read_text(), mode="755")
        machine.write("/usr/local/bin/control", CONTROL, mode="755")
        for name, lines in UNITS.items():
            text = f"[Unit]\nStartLimitBurst=3\n[Service]\n{lines}\n[Install]\nWantedBy=multi-user.target\n"
            machine.write(f"/etc/systemd/system/{name}.service", text)
        for name in SIMPLE:
            machine.write(f"/srv/{name}/state.json", '{"counter": 0}')
        machine.sh("install -d -o redis -g redis /var/lib/redis-log; install -d /var/lib/node-red /srv/database")
        units = [f"{name}.service" for name in (*UNITS, "redis-server", "mosquitto")]
        machine.run(["systemctl", "enable", "-q", "--now", *units]).fine()
        machine.write("/etc/recoverd/conf.d/all.yaml", configuration())
        machine.run(["recoverd", "config", "validate"]).fine()
        machine.run(["recoverd", "units", "--install"], timeout=120).fine()
        machine.run(["recoverd", "start", "detached", "controlled"]).fine()
        machine.wait_for(self.answers, "the services")

    def answers(self) -> bool:
        script = "redis-cli ping; redis-cli -p 6380 ping; curl -sf http://127.0.0.1:1880/flows; "
        script += f"mosquitto_pub -h 127.0.0.1 -t any -m any && {DATABASE} list"
        return bool(self.machine.sh(script).status == 0)

    def write(self) -> None:
        """Something new in each service, on the disk, and captured."""
        n = self.boots
        nodes = [{"id": f"tab{i}", "type": "tab", "label": f"boot {i}"} for i in range(n + 1)]
        broker = {"id": "broker", "type": "mqtt-broker", "broker": "localhost", "credentials": {"user": f"user{n}"}}
        self.machine.write("/tmp/flows.json", json.dumps([*nodes, broker]))
        self.machine.sh(
            f"redis-cli set boot/{n} {n}; redis-cli save; redis-cli -p 6380 set boot/{n} {n};"
            f"{DATABASE} add {n};"
            f"mosquitto_pub -h 127.0.0.1 -r -t boot/{n} -m {n}; pkill -USR1 -x mosquitto;"
            "curl -sf -H 'Content-Type: application/json' -d @/tmp/flows.json http://127.0.0.1:1880/flows"
        ).fine()
        self.machine.wait_for(lambda: f"boot/{n}" in self.saved_by_mosquitto(), "mosquitto to save")
        self.machine.wait_for(lambda: self.credentials().get("user") == f"user{n}", "the credentials")
        done = self.machine.run(["recoverd", "snapshot"], timeout=120)
        assert done.status == 0, done.out

    def saved_by_mosquitto(self) -> str:
        return str(self.machine.sh("tr -cd '[:print:]' </var/lib/mosquitto/mosquitto.db").out)

    def credentials(self) -> Any:
        return json.loads(self.machine.sh("curl -sf http://127.0.0.1:1880/credentials/mqtt-broker/broker").out)

    def settled(self) -> None:
        """Both phases of the boot have come to their end."""
        states = {"active", "failed"}
        self.machine.wait_for(
            lambda: self.machine.show("recoverd-confirm.service", "ActiveState") in states, "confirm", 120
        )

    def data(self) -> dict[str, Any]:
        """What the services themselves say that they have."""
        n = self.boots
        topics = self.machine.sh(f"mosquitto_sub -h 127.0.0.1 -t 'boot/#' -C {n + 1} -W 5 -F %t").out.split()
        flows = json.loads(self.machine.sh("curl -sf http://127.0.0.1:1880/flows").out)
        return {
            "redis": sorted(self.machine.sh("redis-cli --raw keys 'boot/*'").out.split()),
            "redis-log": sorted(self.machine.sh("redis-cli -p 6380 --raw keys 'boot/*'").out.split()),
            "mosquitto": sorted(topics),
            "node-red": [one["label"] for one in flows if one["type"] == "tab"],
            "credentials": self.credentials().get("user"),
            "database": self.machine.sh(f"{DATABASE} list").out.split(),
        }

    def expected(self) -> dict[str, Any]:
        keys = sorted(f"boot/{i}" for i in range(self.boots + 1))
        flows = [f"boot {i}" for i in range(self.boots + 1)]
        brought = dict.fromkeys(("redis", "redis-log", "mosquitto"), keys)
        numbers = [str(i) for i in range(self.boots + 1)]
        return {**brought, "node-red": flows, "credentials": f"user{self.boots}", "database": numbers}

    def must_be(self, outcome: str) -> None:
        """All is up after a boot, has its data, and was restored, or left alone."""
        self.settled()
        self.machine.wait_for(self.answers, "the services")
        print(self.machine.journal("-b", "-n", "2000"))
        assert self.data() == self.expected()
        assert set(self.outcomes().values()) == {outcome}
        simple = [self.machine.read(f"/srv/{name}/state.json") for name in SIMPLE]
        assert all(json.loads(text)["counter"] == 0 for text in simple)

    def outcomes(self) -> dict[str, str]:
        """What both phases of this boot did to each service."""
        said = self.machine.journal(
            "-b", "-u", "recoverd-restore.service", "-u", "recoverd-confirm.service", "-n", "1000"
        )
        return {
            name: "restored" if f" {name}: restored" in said or f"{name}: went back" in said else "untouched"
            for name in DAMAGED
        }


@pytest.fixture
def house(fresh_machine: Callable[[], Machine]) -> Iterator[House]:
    machine = fresh_machine()
    if not machine.exists("/opt/node-red/node_modules/node-red/red.js"):
        pytest.skip("node-red could not be installed: there is no npm, or it has no registry")
    yield House(machine, Path(__file__).parents[1] / "subjects")


@pytest.mark.timeout(1200)
def test_every_service_comes_back_with_its_data(house: House, torture: Any) -> None:
    """Promises 1 and 10 on a whole machine: what was saved is there after each boot; nothing is restored in vain."""
    house.write()
    crashes = list(range(10)) if torture.full else sorted(torture.random.sample(range(10), 2))
    for number in crashes:
        house.machine.reboot()  # in order: nothing is damaged, nothing may be restored
        house.must_be("untouched")
        house.boots += 1
        house.write()

        with house.machine.crash() as disk:
            for service, some in damages(number).items():
                for pattern, kind in some:
                    (path,) = (disk / PLACES.get(service, f"var/lib/{service}")).glob(pattern)
                    damage(path, kind, torture.random)
        print(damages(number))
        house.must_be("restored")
        house.boots += 1
        house.write()
    torture.tell(
        2 * len(crashes), "boots of a real systemd", f"{len(crashes)} after a crash with damage: all data there"
    )
