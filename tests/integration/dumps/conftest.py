"""A service whose state only its own two tools can save and load, and which fails in every way that such tools do."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.dump_model import Dump
from recoverd.config.model import (
    Config,
    Format,
    Guards,
    Health,
    ItemKind,
    Place,
    Probe,
    ProbeKind,
    RepositoryConfig,
    Restore,
    Retention,
    Run,
    RunKind,
    SchemaSource,
    Service,
    StateItem,
    Validation,
)
from recoverd.events.stream import Event, Events
from recoverd.operations.assess import AssessRequest, assess
from recoverd.operations.boot import boot
from recoverd.operations.confirm import confirm
from recoverd.operations.context import Context
from recoverd.operations.processes import driver_of
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest, ServiceRestore
from recoverd.operations.snapshot import ServiceSnapshot, SnapshotRequest, snapshot
from recoverd.operations.undo import UndoRequest, UndoResult, undo

PLACE = Place("test.yaml", 1, 1)
SCHEMA = {"type": "object", "required": ["counter"], "properties": {"counter": {"type": "integer"}}}

# Both refuse to work while the server is down, as a database's tools do. How a file named after one of them in the
# server's directory tells it to misbehave stands in the middle of each.
_SAVE = r"""
cd {base}
echo save >> calls
kill -0 "$(cat pid 2>/dev/null)" 2>/dev/null || {{ echo "connection refused" >&2; exit 2; }}
case "$(cat save-mode 2>/dev/null)" in
    dies) head -c 20 rows; echo "server closed the connection" >&2; exit 1 ;;
    killed) head -c 20 rows; kill -9 $$ ;;
    hangs) head -c 20 rows; exec sleep 600 ;;
    says-nothing) exit 0 ;;
    endless) exec cat /dev/zero ;;
    warns) echo "warning: a sequence is not saved" >&2; cat rows; echo "warning: done, with 1 warning" >&2; exit 0 ;;
    once-loaded) ! grep -q load calls || {{ echo $$ > saving; exec sleep 600; }} ;;
    large) head -c "$(cat size)" /dev/urandom; echo; echo END; exit 0 ;;
esac
exec cat rows
"""
_LOAD = r"""
cd {base}
echo load >> calls
kill -0 "$(cat pid 2>/dev/null)" 2>/dev/null || {{ echo "connection refused" >&2; exit 2; }}
mode="$(cat load-mode 2>/dev/null)"
case "$mode" in
    fails) cat > /dev/null; echo "syntax error at line 3" >&2; exit 3 ;;
    fails-once) rm load-mode; head -c 10 > rows; echo "half of it is in" >&2; exit 3 ;;
    hangs) exec sleep 600 ;;
    server-dies) rm load-mode; head -c 10 > rows; kill -9 "$(cat pid)"; rm pid; echo "connection lost" >&2; exit 2 ;;
    waits) head -c 10 > rows; echo $$ > loading; exec sleep 600 ;;
    only*) cat > rows.new; grep -q "${{mode#only }}" rows.new || {{ echo "not today" >&2; exit 3; }}
        mv rows.new rows; exit 0 ;;
    loses) head -c 10 > rows; cat > /dev/null; exit 0 ;;
esac
cat > rows.new && mv rows.new rows
"""
_SERVER = "cd {base}; echo $$ > pid; exec sleep 600"
_CHECK = 'grep -q "^END" "$0"'  # whole dumps end so, and the tool knows
ROWS = "\n".join(f"row {number} of the customers" for number in range(200)) + "\nEND\n"


@dataclass
class Dumped:
    """A service `db` with a settings file and a database."""

    root: Path
    service: Service
    events: list[Event] = field(default_factory=list)
    first: str = ROWS  # what its first snapshot holds
    _context: Context | None = None

    @property
    def base(self) -> Path:
        return self.root / "server"

    @property
    def rows(self) -> Path:
        return self.base / "rows"

    @property
    def settings(self) -> Path:
        return self.root / "settings.json"

    @property
    def state_dir(self) -> Path:
        return self.root / "recoverd"

    @property
    def quarantines(self) -> list[Path]:
        """Those of loads, oldest first."""
        base = self.state_dir / "quarantine" / "db"
        found = [path for path in base.glob("[0-9]*") if (path / "database").is_file()] if base.is_dir() else []
        return sorted(found, key=lambda path: json.loads((path / "evidence.json").read_text())["sequence"])

    @property
    def context(self) -> Context:
        if self._context is None:
            config = Config(
                state_dir=str(self.state_dir),
                repository=RepositoryConfig(str(self.state_dir / "repository")),
                services={"db": self.service},
            )
            self._context = Context(config, Events([self.events.append]), str(self.root / "runtime"), wait_s=5)
        return self._context

    def reopen(self) -> None:
        """As a new process opens it."""
        self._context = None

    def change(self, **keys: Any) -> None:
        self.service = replace(self.service, **keys)
        self._context = None

    def declare(self, *, dump: dict[str, Any] | None = None, **keys: Any) -> None:
        """Declare the dump item differently from now on."""
        item = self.service.state["database"]
        assert item.dump is not None
        item = replace(item, dump=replace(item.dump, **(dump or {})), **keys)
        self.change(state={**self.service.state, "database": item})

    def write(self, text: str) -> None:
        self.rows.write_text(text)

    def mode(self, tool: str, how: str | None) -> None:
        path = self.base / f"{tool}-mode"
        if how is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(how)

    def calls(self, tool: str) -> int:
        path = self.base / "calls"
        return path.read_text().split().count(tool) if path.exists() else 0

    def snapshot(self, **request: Any) -> ServiceSnapshot:
        time.sleep(0.025)
        return snapshot(self.context, SnapshotRequest(**request)).services[0]

    def verdict(self) -> str:
        return assess(self.context, AssessRequest()).services[0].items["database"].verdict.value

    def restore(self, **request: Any) -> ServiceRestore:
        time.sleep(0.025)
        return restore(self.context, RestoreRequest(**request)).services[0]

    def boot(self) -> ServiceRestore:
        return boot(self.context)[0].services[0]

    def confirm(self) -> ServiceRestore:
        return confirm(self.context).services[0]

    def undo(self, name: str | None = None) -> UndoResult:
        return undo(self.context, UndoRequest(name))

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.02)

    def stop(self) -> None:
        """As a power cut does: the operator does not want it down."""
        driver = driver_of(self.context, self.service)
        assert driver is not None
        driver.stop()
        (self.base / "pid").unlink(missing_ok=True)


@pytest.fixture
def dumped(tmp_path: Path) -> Iterator[Dumped]:
    """The service runs, and one snapshot holds its settings and its database."""
    base = tmp_path / "server"
    base.mkdir()
    for name, text in (("save.sh", _SAVE), ("load.sh", _LOAD)):
        (base / name).write_text(text.format(base=base))
    (base / "rows").write_text(ROWS)
    (tmp_path / "settings.json").write_text('{"counter": 1}')
    one = Dumped(
        tmp_path,
        Service(
            name="db",
            place=PLACE,
            state={
                "settings": StateItem(
                    "settings",
                    ItemKind.FILE,
                    str(tmp_path / "settings.json"),
                    Format.JSON,
                    SchemaSource(SCHEMA, None, (), PLACE),
                ),
                "database": StateItem(
                    "database",
                    ItemKind.DUMP,
                    "",
                    Format.OPAQUE,
                    validate=Validation(("/bin/sh", "-c", _CHECK, "{path}")),
                    dump=Dump(("/bin/sh", str(base / "save.sh")), ("/bin/sh", str(base / "load.sh")), timeout_s=60.0),
                ),
            },
            run=Run(RunKind.COMMAND, command=("/bin/sh", "-c", _SERVER.format(base=base)), stop_timeout_s=5.0),
            health=Health(
                within_s=30.0,
                stable_for_s=0.0,
                probes=(Probe(ProbeKind.COMMAND, command=("test", "-s", f"{base}/pid")),),
            ),
            retention=Retention(last=20),
        ),
    )
    assert one.restore().healthy
    assert one.snapshot().outcome == "saved"
    yield one
    driver = driver_of(one.context, one.service)
    assert driver is not None
    driver.stop()


@pytest.fixture
def guards() -> type[Guards]:
    return Guards


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path], None]]:
    """Puts a file system of 16 MiB at a directory."""
    mounted: list[Path] = []

    def mount(path: Path) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def whole(dumped: Dumped) -> Dumped:
    """`scope: service`, and three snapshots: of counter 1 and the first rows, of 2 and `second`, of 3 and `third`."""
    for number, rows in ((2, "second\nEND\n"), (3, "third\nEND\n")):
        dumped.write(rows)
        dumped.settings.write_text(json.dumps({"counter": number}))
        assert dumped.snapshot().verdict == "ok"
    dumped.change(restore=Restore(scope="service", attempts=3))
    return dumped
