"""State that really broke, as public issue trackers tell it: each case with its own files, formats and damage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Files = Mapping[str, bytes]


def document(**keys: Any) -> bytes:
    return json.dumps(keys, indent=2).encode()


def lines(count: int) -> bytes:
    return b"".join(
        json.dumps({"id": n, "type": "EndDevice", "name": f"lamp {n}"}).encode() + b"\n" for n in range(count)
    )


@dataclass(frozen=True)
class Case:
    """`files` is known-good, `damage` what became of some of them; then the verdict, and how a restore ends."""

    name: str
    files: Files
    damage: Files
    verdict: str = "corrupt"
    outcome: str = "restored"
    item: str = ""  # a file item of this name; "": a directory item
    keys: Mapping[str, Any] = field(default_factory=lambda: {"format": "json"})

    def __str__(self) -> str:
        return self.name


STORAGE = {
    "auth": document(version=1, key="auth", data={"users": [{"id": "1", "name": "owner"}]}),
    "core.device_registry": document(version=1, key="core.device_registry", data={"devices": [{"name": "lamp"}]}),
}
DATABASE = lines(260)
MOSQUITTO = b"\x00\xb5\x00mosquitto db" + bytes(range(256)) * 4
KUBELET = b'{"policyName":"none","defaultCpuSet":"","checksum":1353318690}'
FASTRESUME = b"d10:file-priorityli1ee9:info-hash20:01234567890123456789e"
CONFIG_PHP = b"<?php\n$CONFIG = array (\n  'instanceid' => 'oc1',\n  'dbtype' => 'mysql',\n  'secret' => 'x',\n);\n"
VERSIONED = {"type": "object", "required": ["version"], "properties": {"version": {"const": "1"}}}

CASES = [
    Case("home-assistant-57343-auth-is-0-bytes", STORAGE, {"auth": b""}),
    Case(
        "home-assistant-150728-nuls-inside-strings",
        STORAGE,
        {"core.device_registry": STORAGE["core.device_registry"].replace(b"lamp", b"la\0\0")},
    ),
    Case(
        "matter-server-977-invalid-json",
        {"chip.json": document(fabrics=[1])},
        {"chip.json": b'{"fabrics": [1,'},
        item="chip.json",
    ),
    Case(
        "matter-server-977-reset-to-blank",
        {"chip.json": document(fabrics=[1])},
        {"chip.json": b"{}"},
        item="chip.json",
        keys={"format": "json", "schema": {"required": ["fabrics"]}},
    ),
    Case(
        "pm2-2971-an-empty-list-passes-without-a-schema",
        {"dump.pm2": b'[{"name": "api"}]'},
        {"dump.pm2": b"[]"},
        verdict="ok",
        outcome="untouched",
        item="dump.pm2",
    ),
    Case(
        "pm2-2971-an-empty-list-fails-a-schema-that-says-so",
        {"dump.pm2": b'[{"name": "api"}]'},
        {"dump.pm2": b"[]"},
        item="dump.pm2",
        keys={"format": "json", "schema": {"type": "array", "minItems": 1}},
    ),
    Case(
        "zigbee2mqtt-28657-16-kB-became-561-bytes",
        {"database.db": DATABASE},
        {"database.db": DATABASE[:561]},
        item="database.db",
        keys={"format": "json-lines"},
    ),
    Case(
        "zigbee2mqtt-11106-an-empty-secondary-file",
        {"state.json": b'{"0x1": {"state": "ON"}}', "coordinator_backup.json": document(pan_id="1a62")},
        {"coordinator_backup.json": b""},
    ),
    Case(
        "node-red-819-its-only-backup-is-overwritten-too",
        {"flows.json": b'[{"id": "1"}]', "flows_cred.json": b'{"$": "x"}', ".flows.json.backup": b'[{"id": "1"}]'},
        {"flows.json": b"", ".flows.json.backup": b""},
    ),
    Case(
        "moby-17618-many-files-0-bytes-or-first-byte-nul",
        {f"{n:02d}/config.v2.json": document(ID=n) for n in range(20)},
        {f"{n:02d}/config.v2.json": b"" if n % 2 else b"\0" + document(ID=n)[1:] for n in range(3, 9)},
    ),
    Case(
        "consul-1221-services-and-checks",
        {"services/a": document(ID="a"), "services/b": document(ID="b"), "checks/a": document(CheckID="a")},
        {"services/b": b"", "checks/a": b""},
    ),
    Case(
        "openhab-2136-the-backups-are-0-bytes-too",
        {
            f"{below}{name}.json": document(name=name)
            for below in ("", "backup/1690000000--")
            for name in ("Item", "Thing")
        },
        {f"{below}{name}.json": b"" for below in ("", "backup/1690000000--") for name in ("Item", "Thing")},
    ),
    Case(
        "kubernetes-84783-one-trailing-quote",
        {"cpu_manager_state": KUBELET},
        {"cpu_manager_state": KUBELET + b'"'},
        item="cpu_manager_state",
    ),
    Case(
        "mosquitto-2639-all-nul",
        {"mosquitto.db": MOSQUITTO},
        {"mosquitto.db": bytes(len(MOSQUITTO))},
        item="mosquitto.db",
        keys={"format": "opaque"},
    ),
    Case(
        "mosquitto-189-all-nul-beside-its-new-file",
        {"mosquitto.db": MOSQUITTO, "mosquitto.db.new": MOSQUITTO[:100]},
        {"mosquitto.db": bytes(len(MOSQUITTO)), "mosquitto.db.new": b""},
        keys={"format": "opaque"},
    ),
    Case(
        "qbittorrent-13000-fastresume-0-bytes",
        {"1.fastresume": FASTRESUME, "2.fastresume": FASTRESUME},
        {"2.fastresume": b""},
        keys={"format": "opaque", "include": ["*.fastresume"]},
    ),
    Case(
        "transmission-650-nuls",
        {"settings.json": document(port=9091)},
        {"settings.json": bytes(20)},
        item="settings.json",
    ),
    Case(
        "transmission-7730-0-bytes",
        {"settings.json": document(port=9091)},
        {"settings.json": b""},
        item="settings.json",
    ),
    Case(
        "nextcloud-18620-only-one-key-left-is-not-seen-in-opaque-state",
        {"config.php": CONFIG_PHP},
        {"config.php": b"<?php\n$CONFIG = array (\n  'instanceid' => 'oc1',\n);\n"},
        verdict="ok",
        outcome="untouched",
        item="config.php",
        keys={"format": "opaque"},
    ),
    Case(
        "nextcloud-18620-only-one-key-left-and-a-guard",
        {"config.php": CONFIG_PHP},
        {"config.php": b"<?php\n$CONFIG = array (\n  'instanceid' => 'oc1',\n);\n"},
        verdict="reset",
        outcome="untouched",
        item="config.php",
        keys={"format": "opaque", "guards": {"max_shrink": "30%"}},
    ),
    Case(
        "pm2-2653-an-empty-list-and-a-guard",
        {"dump.pm2": b'[{"name": "api"}]'},
        {"dump.pm2": b"[]"},
        verdict="reset",
        outcome="untouched",
        item="dump.pm2",
        keys={"format": "json", "guards": {"min_items": {"": 1}}},
    ),
    Case(
        "zigbee2mqtt-28657-whole-lines-are-left-and-a-guard",
        {"database.db": DATABASE},
        {"database.db": DATABASE[: DATABASE.index(b"\n", 561) + 1]},
        verdict="reset",
        outcome="untouched",
        item="database.db",
        keys={"format": "json-lines", "guards": {"max_shrink": "90%"}},
    ),
    Case(
        "kubernetes-135711-an-upgrade-with-its-version-declared",
        {"memory_manager_state": document(version="1", entries={})},
        {"memory_manager_state": document(version="2", entries={}, more=True)},
        verdict="newer",
        outcome="untouched",
        item="memory_manager_state",
        keys={"format": "json", "schema": VERSIONED, "version": {"field": "version", "current": "1"}},
    ),
    Case(
        "mosquitto-2639-garbage-and-its-first-bytes-declared",
        {"mosquitto.db": MOSQUITTO},
        {"mosquitto.db": b"\x17" * len(MOSQUITTO)},
        item="mosquitto.db",
        keys={"format": "opaque", "magic": "hex:00b500"},
    ),
    Case(
        "redis-5177-a-bad-tail-and-a-tool-that-sees-it",
        {"appendonly.aof": b"*1\r\nPING\r\nEND\r\n"},
        {"appendonly.aof": b"*1\r\nPING\r\nEN"},
        item="appendonly.aof",
        keys={"format": "opaque", "validate": {"command": ["grep", "-q", "END", "{path}"]}},
    ),
    Case(
        "adguard-729-an-empty-file-exists",
        {"AdGuardHome.yaml": b"bind_port: 80\n"},
        {"AdGuardHome.yaml": b""},
        item="AdGuardHome.yaml",
        keys={},
    ),
    Case(
        "adguard-753-nuls-in-the-log",
        {"querylog.json": lines(9)},
        {"querylog.json": lines(9) + b"\0\0\0\0" + lines(1)},
        item="querylog.json",
        keys={"format": "json-lines"},
    ),
    Case(
        "zwave-js-4122-truncated",
        {"cache.json": document(nodes={"1": {}}), "cache.metadata.jsonl": lines(9)},
        {"cache.json": document(nodes={"1": {}})[:9], "cache.metadata.jsonl": lines(9)[:-9]},
        keys={},
    ),
    Case(
        "redis-a-dump-of-0-bytes",
        {"dump.rdb": b"REDIS0011\xfa"},
        {"dump.rdb": b""},
        item="dump.rdb",
        keys={"format": "opaque"},
    ),
    Case(
        "syncthing-a-certificate-of-nuls",
        {"cert.pem": b"-----BEGIN"},
        {"cert.pem": bytes(10)},
        item="cert.pem",
        keys={},
    ),
]


def _write(house: Any, case: Case, files: Files) -> None:
    for name, data in files.items():
        path = house.document if case.item else house.item / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case, build: Any) -> None:
    """What broke is found and brought back, what did not break keeps what was written last, and nothing is lost."""
    house = build("file" if case.item else "directory", case.keys, name=case.item or "-", others=())
    _write(house, case, case.files)
    assert house.snapshot() == "saved"
    _write(house, case, case.damage)

    assert house.assess().verdict.value == case.verdict
    result = house.restore()

    assert result.outcome == case.outcome
    there = case.files if case.outcome == "restored" else {**case.files, **case.damage}
    for name, data in there.items():
        assert (house.document if case.item else house.item / name).read_bytes() == data, name
    if case.outcome == "restored":
        assert set(case.damage.values()) <= set(house.quarantined().values())
        assert {one.document for one in result.items} == ({""} if case.item else set(case.damage))
    else:
        assert house.restore(snapshot="app/good").outcome == "restored", "on purpose it comes back all the same"
        assert house.document.read_bytes() == case.files[case.item]


def test_tailscale_20515_a_valid_temporary_file_beside_it_is_the_newest_state(build: Any) -> None:
    """Live 0 bytes beside a valid temporary file: that is what was written last, so it comes back, and it stays."""
    house = build("file", {"format": "json"}, name="tailscaled.state")
    house.write(document(profile="one"))
    house.snapshot()
    temporary = house.document.with_name("tailscaled.state.tmp1234")
    temporary.write_bytes(document(profile="newer"))
    house.write(b"")
    result = house.restore()
    assert (result.outcome, result.items[0].source) == ("restored", "sibling")
    assert house.document.read_bytes() == document(profile="newer")
    assert temporary.read_bytes() == document(profile="newer")


def test_openhab_core_2136_backups_of_0_bytes_are_no_candidates(build: Any) -> None:
    """jellyfin#17111 likewise: what lies beside it is damaged as well, so the snapshot's version comes back."""
    house = build("file", {"format": "json", "siblings": ["backup/*--{name}"]}, name="users.json")
    house.write(document(user="one"))
    house.snapshot()
    backups = house.document.with_name("backup")
    backups.mkdir()
    for number, data in enumerate((b"", bytes(40), b'{"user": "tw')):
        (backups / f"160000000{number}--users.json").write_bytes(data)
    house.write(b"")
    result = house.restore()
    assert (result.outcome, result.items[0].source) == ("restored", "snapshot")
    assert house.document.read_bytes() == document(user="one")


def test_tmux_continuum_166_the_link_comes_back_with_the_save_it_named(build: Any) -> None:
    """An empty save was promoted. A fresh empty file may be right, so nothing happens by itself; on purpose it does."""
    house = build("directory", {}, others=())
    house.item.mkdir()
    (house.item / "save-1").write_bytes(b"pane 0\n")
    (house.item / "last").symlink_to("save-1")
    house.snapshot()
    (house.item / "save-2").write_bytes(b"")
    (house.item / "last").unlink()
    (house.item / "last").symlink_to("save-2")
    assert house.restore().outcome == "untouched"
    house.snapshot()
    assert house.restore(snapshot="app/1").outcome == "restored"
    assert (house.item / "last").readlink() == Path("save-1")
    assert not (house.item / "save-2").exists()
    assert b"" in house.quarantined().values()


def test_kubernetes_135711_an_upgrade_misread_as_corruption_can_be_undone(build: Any) -> None:
    """A schema that pins the version can't tell a newer document from a damaged one. What it replaced comes back with
    `undo`, and stays."""
    house = build("file", {"format": "json", "schema": VERSIONED}, name="memory_manager_state")
    house.write(document(version="1", entries={}))
    house.snapshot()
    upgraded = document(version="2", entries={}, more=True)
    house.write(upgraded)
    assert house.restore().outcome == "restored"
    house.undo()
    assert house.document.read_bytes() == upgraded
    assert house.restore().outcome == "untouched"


def test_borgmatic_738_restoring_nothing_is_no_success(build: Any) -> None:
    """State that is damaged and was never saved: exit status 1, not started, nothing changed."""
    house = build("file", {"format": "json"})
    house.write(b"{")
    result = house.restore()
    assert (result.outcome, result.exit_status) == ("blocked", 1)
    assert house.document.read_bytes() == b"{"


def test_home_assistant_119970_what_a_restore_does_not_hold_does_not_stay(build: Any) -> None:
    """A whole snapshot restored on purpose: old and new are not mixed; what it lacks went to quarantine."""
    house = build("directory", {"format": "json"}, others=())
    _write(house, Case("", {}, {}), {"a.json": document(n=1), "b.json": document(n=1)})
    house.snapshot()
    _write(house, Case("", {}, {}), {"b.json": document(n=2), "c.json": document(n=2)})
    house.snapshot()
    assert house.restore(snapshot="app/1").outcome == "restored"
    assert sorted(path.name for path in house.item.iterdir()) == ["a.json", "b.json"]
    assert (house.item / "b.json").read_bytes() == document(n=1)
    assert list(house.quarantined().values()).count(document(n=2)) == 2


SERVICES: dict[str, tuple[str, bytes]] = {
    "mosquitto": ("mosquitto.db", MOSQUITTO),
    "redis": ("dump.rdb", b"REDIS0011\xfa\tredis-ver"),
    "node-red": ("flows.json", b'[{"id": "1", "type": "tab"}]'),
    "pm2": ("dump.pm2", b'[{"name": "api"}]'),
    "transmission": ("settings.json", document(port=9091)),
    "syncthing": ("config.xml", b'<configuration version="37"></configuration>'),
}
HARM: dict[str, Callable[[Path, bytes], object]] = {
    "missing": lambda path, data: path.unlink(),
    "empty": lambda path, data: path.write_bytes(b""),
    "nul": lambda path, data: path.write_bytes(bytes(len(data))),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("service", SERVICES)
def test_services_that_would_start_empty_are_repaired_before_they_do(service: str, harm: str, build: Any) -> None:
    """Measured on real services: on these damages they start "successfully" without their data and overwrite it."""
    name, data = SERVICES[service]
    house = build("file", {}, name=name)
    house.write(data)
    house.snapshot()
    HARM[harm](house.document, data)
    assert house.restore().outcome == "restored"
    assert house.document.read_bytes() == data
