"""A real PostgreSQL, dumped, damaged and loaded through recoverd's own command line, declared as in the sample."""

from __future__ import annotations

import io
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from recoverd.cli.main import main

SAMPLE = Path(__file__).parents[3] / "config" / "conf.d" / "postgresql.yaml"
_BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path("/nowhere"))
_ROWS = 500


def _server_user() -> pwd.struct_passwd | None:
    """Who the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


pytestmark = pytest.mark.skipif(
    not (_BIN / "initdb").exists() or _server_user() is None, reason="PostgreSQL (package postgresql-15) is not here"
)


@dataclass
class Server:
    """A cluster in a directory of its own, to be reached through a socket there."""

    base: Path
    user: pwd.struct_passwd

    @property
    def data(self) -> Path:
        return self.base / "data"

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        switched = os.geteuid() == 0
        done = subprocess.run(
            command,
            check=False,
            text=True,
            capture_output=True,
            cwd="/",
            env={"PATH": f"{_BIN}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.base)},
            timeout=300,
            user=self.user.pw_uid if switched else None,
            group=self.user.pw_gid if switched else None,
            extra_groups=[] if switched else None,
        )
        assert done.returncode == 0 or not check, done
        return done

    @contextmanager
    def started(self, *command: str) -> Iterator[None]:
        """Runs as the server's user for the time of the block."""
        switched = os.geteuid() == 0
        process = subprocess.Popen(
            command,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self.user.pw_uid if switched else None,
            extra_groups=[] if switched else None,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def control(self, *words: str) -> None:
        log = str(self.base / "log")
        options = f"-c listen_addresses='' -c unix_socket_directories={self.base} -c fsync=off"
        self.run(str(_BIN / "pg_ctl"), "-D", str(self.data), "-w", "-t", "240", "-l", log, "-o", options, *words)

    def sql(self, text: str, database: str = "app") -> str:
        command = (str(_BIN / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.base))
        return self.run(*command, "-d", database, "-c", text).stdout.strip()

    def customers(self) -> int:
        return int(self.sql("SELECT count(*) FROM customers"))

    def checksum(self) -> str:
        """Of all that the two tables hold."""
        everything = "SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM {} t"
        return self.sql(everything.format("customers")) + self.sql(everything.format("orders"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A cluster that runs, without databases of ours."""
    user = _server_user()
    assert user is not None
    base = Path(tempfile.mkdtemp(prefix="rpg-", dir="/tmp"))
    if os.geteuid() == 0:
        os.chown(base, user.pw_uid, user.pw_gid)
    one = Server(base, user)
    try:
        one.run(str(_BIN / "initdb"), "-D", str(one.data), "-U", user.pw_name, "-A", "trust", "-E", "UTF8", "-N")
        one.control("start")
        yield one
    finally:
        one.run(str(_BIN / "pg_ctl"), "-D", str(one.data), "-m", "immediate", "-w", "stop", check=False)
        shutil.rmtree(base, ignore_errors=True)


@dataclass
class House:
    """The sample's service, with this server."""

    root: Path
    server: Server
    config: Path

    def recoverd(self, *words: str, status: int = 0) -> dict[str, Any]:
        """What a command says as JSON; it runs in this process, which costs a start less."""
        said = io.StringIO()
        with redirect_stdout(said):
            ended = main(["--config", str(self.config), "--json", *words])
        assert ended == status, said.getvalue()
        document: dict[str, Any] = json.loads(said.getvalue())
        return document

    def declare(self, **dump: Sequence[str]) -> None:
        """Other tools from now on."""
        document = yaml.safe_load(self.config.read_text())
        document["services"]["postgresql-app"]["state"]["database"]["dump"] |= dump
        self.config.write_text(yaml.safe_dump(document))


@pytest.fixture
def house(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A database with customers and orders, and one snapshot of it."""
    for name in ("XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "run"))
    server.sql("CREATE DATABASE app", "postgres")
    server.sql(
        "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, note bytea);"
        "CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers (id), cents bigint);"
        f"INSERT INTO customers SELECT n, 'customer \\. ' || n || E'\\n\\ttab', decode(md5(n::text), 'hex')"
        f" FROM generate_series(1, {_ROWS}) n;"
        f"INSERT INTO orders (customer, cents) SELECT id, 9223372036854775807 - id FROM customers"
    )
    document = yaml.safe_load(SAMPLE.read_text())
    service = document["services"]["postgresql-app"]
    service["run"] = {
        "control": {
            "start": ["true"],
            "stop": ["true"],
            "status": [str(_BIN / "pg_isready"), "--quiet", "--host", str(server.base)],
        }
    }
    dump = service["state"]["database"]["dump"]
    for key in ("save", "load"):
        program, *words = dump[key]
        dump[key] = [str(_BIN / program), *words[:-1], f"--host={server.base}", words[-1]]
    dump["user"] = server.user.pw_name
    if "--restrict-key" not in server.run(str(_BIN / "pg_dump"), "--help").stdout:
        dump["save"] = [word for word in dump["save"] if not word.startswith("--restrict-key")]
    service["health"] = {
        "within": "60s",
        "stable_for": "0s",
        "probes": [{"command": [str(_BIN / "pg_isready"), "--quiet", "--host", str(server.base)]}],
    }
    document["state_dir"] = str(tmp_path / "state")
    config = tmp_path / "recoverd.yaml"
    config.write_text(yaml.safe_dump(document))
    config.chmod(0o600)
    one = House(tmp_path, server, config)
    (first,) = one.recoverd("snapshot")["snapshots"]
    assert (first["outcome"], first["verdict"]) == ("saved", "ok"), first
    yield one
    server.sql("DROP DATABASE app WITH (FORCE)", "postgres")


def test_a_dropped_table_comes_back(house: House) -> None:
    """What its validate command misses is damage: dumped to quarantine, loaded from the known-good dump, proven."""
    server, before = house.server, house.server.checksum()
    assert house.recoverd("snapshot")["snapshots"][0]["outcome"] == "unchanged"
    assert house.recoverd("restore")["services"][0]["outcome"] == "untouched"
    server.sql("DROP TABLE customers CASCADE")
    server.sql("CREATE TABLE remains (id int); INSERT INTO remains VALUES (7)")
    (assessed,) = house.recoverd("assess", status=1)["services"]
    assert assessed["verdict"] == "corrupt"
    assert house.recoverd("snapshot", status=1)["snapshots"][0]["outcome"] == "invalid"
    (result,) = house.recoverd("confirm")["services"]
    assert result["outcome"] == "restored" and result["healthy"], result
    (item,) = result["items"]
    assert (item["source"], item["candidate"], item["verdict_before"]) == (
        "snapshot",
        "postgresql-app/1",
        "corrupt",
    )
    assert server.checksum() == before
    # the constraint between the two came back with them
    broken = "INSERT INTO orders (customer, cents) VALUES (100000, 1)"
    psql = (str(_BIN / "psql"), "-X", "-h", str(server.base), "-d", "app", "-c", broken)
    assert server.run(*psql, check=False).returncode != 0
    quarantined = Path(item["quarantine"]) / "database"
    assert "CREATE TABLE public.remains" in quarantined.read_text()
    assert house.recoverd("assess")["services"][0]["verdict"] == "ok"
    assert house.recoverd("restore")["services"][0]["outcome"] == "untouched"


def test_deleted_rows_are_nobodys_business_until_somebody_asks(house: House) -> None:
    """Promise 1: a valid database is not rolled back. An explicit restore brings the rows, an undo takes them back."""
    server, before = house.server, house.server.checksum()
    server.sql("DELETE FROM orders WHERE customer > 400; DELETE FROM customers WHERE id > 400")
    later = server.checksum()
    assert house.recoverd("restore")["services"][0]["outcome"] == "untouched"
    assert server.customers() == 400
    assert house.recoverd("snapshot")["snapshots"][0]["outcome"] == "saved"
    (change,) = house.recoverd("diff", "postgresql-app/1", "postgresql-app/2")["changes"]
    assert (change["item"], change["change"]) == ("database", "changed")
    (result,) = house.recoverd("restore", "--snapshot", "postgresql-app/1")["services"]
    assert result["outcome"] == "restored", result
    assert server.customers() == _ROWS and server.checksum() == before
    house.recoverd("undo")
    assert server.checksum() == later
    command = (sys.executable, "-m", "recoverd", "--config", str(house.config), "show", "postgresql-app/1", "database")
    assert b"CREATE TABLE public.customers" in subprocess.run(command, capture_output=True, check=True).stdout
    assert house.recoverd("drill")["services"][0]["outcome"] == "restored"


def test_half_emptied_is_told_and_the_good_dump_stays(house: House) -> None:
    """The sample's guard: a service that came up nearly empty does not push the known-good dump out."""
    server = house.server
    server.sql("TRUNCATE orders; DELETE FROM customers WHERE id > 3")
    (assessed,) = house.recoverd("assess", status=1)["services"]
    assert assessed["verdict"] == "reset"
    house.recoverd("snapshot", status=1)
    house.recoverd("restore", "--snapshot", "postgresql-app/good")
    assert server.customers() == _ROWS


def test_a_load_that_fails_in_the_middle_leaves_the_database_as_it_was(house: House) -> None:
    """Promise 5, by the loader's single transaction: an error on the last line of a dump undoes all before it."""
    server = house.server
    directory = house.root / "out"
    directory.mkdir()
    house.recoverd("restore", "postgresql-app", "--to", str(directory))
    file = directory / "postgresql-app" / "database" / "database"
    # the last statements are wrong, and the dump's last line is in its place
    text = file.read_text()
    file.write_text(
        text.replace(
            "--\n-- PostgreSQL database dump complete", "SELECT 1/0;\n\n--\n-- PostgreSQL database dump complete"
        )
    )
    server.sql("UPDATE customers SET name = 'changed since' WHERE id = 1")
    before = server.checksum()
    (result,) = house.recoverd("restore", "postgresql-app", "--from", str(directory), status=1)["services"]
    assert result["outcome"] == "failed"
    assert any("division by zero" in reason for reason in result["reasons"]), result
    assert server.checksum() == before


def test_a_server_that_is_down_makes_no_snapshot(house: House) -> None:
    """pg_dump's own last words, exit status 1, and the known-good dump where it was."""
    house.declare(save=[str(_BIN / "pg_dump"), f"--host={house.root}", "app"])
    (made,) = house.recoverd("snapshot", status=1)["snapshots"]
    assert made["outcome"] == "failed" and "connection to server" in made["error"], made
    (listed,) = house.recoverd("list")["snapshots"]
    assert listed["id"] == "postgresql-app/1"


def test_custom_format_goes_through_pg_restore(house: House) -> None:
    """The binary format of pg_dump, judged by `pg_restore --list`, as the contract has it."""
    server, before = house.server, house.server.checksum()
    host = f"--host={server.base}"
    document = yaml.safe_load(house.config.read_text())
    item = document["services"]["postgresql-app"]["state"]["database"]
    item["dump"]["save"] = [str(_BIN / "pg_dump"), "-Fc", host, "app"]
    item["dump"]["load"] = [
        str(_BIN / "pg_restore"),
        "--clean",
        "--if-exists",
        "--single-transaction",
        host,
        "-d",
        "app",
    ]
    item["validate"] = {"command": [str(_BIN / "pg_restore"), "--list", "{path}"]}
    item["magic"] = "PGDMP"
    del item["guards"]  # it is compressed, and so smaller than the plain one before
    house.config.write_text(yaml.safe_dump(document))
    (made,) = house.recoverd("snapshot")["snapshots"]
    assert made["verdict"] == "ok", made
    server.sql("DROP TABLE orders")
    (result,) = house.recoverd("restore", "--snapshot", made["id"])["services"]
    assert result["outcome"] == "restored", result
    assert server.checksum() == before


def test_a_pg_restore_that_fails_half_way_leaves_the_database_as_it_was(house: House) -> None:
    """Promise 5, by `--single-transaction`: what stands in the way of the last object undoes all before it; with
    `scope: service` the file that was swapped in comes back too."""
    server, host = house.server, f"--host={house.server.base}"
    settings = house.root / "settings.json"
    settings.write_text('{"shop": 1}')
    document = yaml.safe_load(house.config.read_text())
    service = document["services"]["postgresql-app"]
    service["restore"] = {"scope": "service"}
    up = house.root / "up"
    up.touch()
    service["run"]["control"] = {
        "start": ["touch", str(up)],
        "stop": ["rm", str(up)],
        "status": ["test", "-e", str(up)],
    }
    service["state"]["settings"] = {"file": str(settings), "format": "json"}
    item = service["state"]["database"]
    item["dump"]["save"] = [str(_BIN / "pg_dump"), "-Fc", host, "app"]
    loads = [str(_BIN / "pg_restore"), "--clean", "--if-exists", "--single-transaction", host, "-d", "app"]
    item["dump"]["load"] = loads
    item["validate"] = {"command": [str(_BIN / "pg_restore"), "--list", "{path}"]}
    del item["guards"]
    house.config.write_text(yaml.safe_dump(document))
    (made,) = house.recoverd("snapshot")["snapshots"]
    before = server.checksum()
    server.sql("UPDATE customers SET name = 'changed since'; CREATE VIEW names AS SELECT name FROM customers")
    settings.write_text('{"shop": 2}')
    since = server.checksum()
    (result,) = house.recoverd("restore", "--snapshot", made["id"], status=1)["services"]
    assert result["outcome"] == "failed"
    assert "other objects depend on it" in json.dumps(result), result
    assert server.checksum() == since and settings.read_text() == '{"shop": 2}'
    server.sql("DROP VIEW names")
    (result,) = house.recoverd("restore", "--snapshot", made["id"])["services"]
    assert result["outcome"] == "restored", result
    assert server.checksum() == before and settings.read_text() == '{"shop": 1}'
    house.recoverd("undo")
    assert server.checksum() == since and settings.read_text() == '{"shop": 2}'


def test_a_server_that_stops_in_the_middle_of_a_load(house: House) -> None:
    """The real one, stopped while psql is at it: told in psql's words, nothing half is there, and the next ends it."""
    server, before = house.server, house.server.checksum()
    server.sql("UPDATE customers SET name = 'changed since'")
    since = server.checksum()
    words = (sys.executable, "-m", "recoverd", "--config", str(house.config), "--json", "restore", "--snapshot")
    psql = (str(_BIN / "psql"), "-X", "-q", "-h", str(server.base), "-d", "app", "-c")
    holds = "BEGIN; LOCK TABLE customers IN ACCESS SHARE MODE; SELECT pg_sleep(600)"
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with server.started(*psql, holds), subprocess.Popen((*words, "postgresql-app/1"), stdout=subprocess.PIPE) as run:
        deadline = time.monotonic() + 120
        while server.sql(waiting) == "0":
            assert time.monotonic() < deadline and run.poll() is None, "the load did not wait for the lock"
            time.sleep(0.05)
        server.control("-m", "immediate", "stop")
        said = json.loads(run.communicate(timeout=120)[0])
    (result,) = said["services"]
    assert result["outcome"] == "failed" and "connection" in json.dumps(result), result
    server.control("start")
    assert server.checksum() == since
    assert house.recoverd("confirm")["services"][0]["outcome"] == "restored"
    assert server.checksum() == before
