"""recoverd as it is measured: by its command line, and inside a long-lived process."""

from __future__ import annotations

import compileall
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import recoverd
from benchmarks.documents import SCHEMA
from benchmarks.measure import Command, Commands, Failed, Traced, Work
from benchmarks.tools import SAVES, Phase, empty

RECOVERD = Path(sys.executable).with_name("recoverd")


def compile_modules() -> None:
    """As the installation of a wheel does: else the first run after an edit compiles, and would be timed."""
    compileall.compile_dir(str(Path(recoverd.__file__).parent), quiet=1)


def versions() -> dict[str, str]:
    """Of recoverd and of what its speed depends on."""
    found = {"recoverd": version("recoverd"), "Python": platform.python_version()}
    for package in ("jsonschema", "jsonschema-rs", "blake3", "backports.zstd"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def environment(place: Path) -> dict[str, str]:
    return {"HOME": str(place), "RUNTIME_DIRECTORY": str(place / "runtime")}


def configuration(place: Path, services: Mapping[str, Mapping[str, Any]]) -> Path:
    """A file that declares services, each with one directory of documents. Under strace a boot takes its time."""
    path = place / "recoverd.yaml"
    settings = {"version": 1, "state_dir": str(place / "state"), "boot_timeout": "1h"}
    path.write_text(json.dumps({**settings, "services": services}))
    return path


class Recoverd:
    """Its command line."""

    def __init__(self, place: Path, source: Path, *, schema: bool, inside: Inside | None = None) -> None:
        self.name = ("recoverd with schema" if schema else "recoverd") + (", in process" if inside is not None else "")
        self._source = source
        self.restored: Path | None = source
        self._inside, self._environment = inside, environment(empty(place))
        self._config = configuration(place, {"bench": {"state": {"state": self._item(schema=schema)}}})
        # as the other tools' repositories are: the first snapshot would make it otherwise
        Command([str(RECOVERD), "--config", str(self._config), "init"], self._environment).run()

    def _item(self, *, schema: bool) -> dict[str, Any]:
        """The state item, as it is written in the configuration."""
        item: dict[str, Any] = {"directory": str(self._source), "format": "json"}
        return item | {"schema": SCHEMA} if schema else item

    def work(self, phase: Phase) -> Work | None:
        """A restore is that after a loss: stage, validate, swap, sync, look again."""
        restore = phase not in SAVES
        if restore:
            shutil.rmtree(self._source)
        if self._inside is not None:
            return Request(self._inside, {"config": str(self._config), "restore": restore})
        command = [str(RECOVERD), "--config", str(self._config), "restore" if restore else "snapshot"]
        return Commands([Command(command, self._environment)])


class RecoverdDatabase(Recoverd):
    """The same, of one SQLite database in a directory."""

    def __init__(self, place: Path, source: Path, database: Path) -> None:
        self._database = database
        super().__init__(place, source, schema=False)
        self.packs = place / "state" / "repository" / "packs"

    def _item(self, *, schema: bool) -> dict[str, Any]:  # noqa: ARG002 - a database has none
        return {"sqlite": str(self._database)}


class CopyInside:
    """`shutil.copytree`: what Python needs for the bytes alone, with nothing checked and nothing waited for."""

    name = "shutil.copytree, in process"

    def __init__(self, place: Path, source: Path, inside: Inside) -> None:
        self._place, self._source, self._inside, self._count = empty(place), source, inside, 0
        self.restored: Path | None = place / "restored"

    def work(self, phase: Phase) -> Work | None:
        newest = self._place / str(self._count)
        if phase is Phase.RESTORE:
            return Request(self._inside, {"copy": [str(newest), str(self.restored)]})
        self._count += 1
        return Request(self._inside, {"copy": [str(self._source), str(self._place / str(self._count))]})


class Inside:
    """The long-lived process: see inside.py."""

    def __init__(self, place: Path) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.inside"],
            env=Command(()).all_environment() | environment(empty(place)),
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Mapping[str, Any]) -> float:
        """The seconds that it took. Raises Failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer or json.loads(answer)["status"]:
            self._errors.seek(0)
            raise Failed(f"{request}: {answer.strip()}\n{self._errors.read().decode(errors='replace')}".strip())
        return float(json.loads(answer)["seconds"])

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """The largest resident memory since `forget_peak`."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def close(self) -> None:
        self._process.communicate()
        self._errors.close()


class Request:
    """Work that the long-lived process does."""

    def __init__(self, inside: Inside, request: Mapping[str, Any]) -> None:
        self._inside, self._request = inside, request

    def measured(self) -> tuple[float, int]:
        self._inside.forget_peak()
        seconds = self._inside.ask(self._request)
        return seconds, self._inside.peak_bytes()

    def syncs(self) -> int:
        with Traced(self._inside.pid) as traced:
            self._inside.ask(self._request)
        return traced.calls


class Starting:
    """Commands that only answer."""

    def __init__(self, phase: str, name: str, words: Sequence[str], variables: Mapping[str, str]) -> None:
        self.phase, self.name, self._command = phase, name, Command(words, variables)

    def work(self) -> Work:
        return Commands([self._command])


def host_of_services(place: Path, count: int) -> list[Starting]:
    """`check` with many services, each with a snapshot; and what there is to compare it with."""
    services = {}
    for number in range(count):
        source = empty(place / f"source-{number}")
        (source / "state.json").write_text(json.dumps({"id": number}))
        services[f"service-{number:03d}"] = {"state": {"main": {"file": str(source / "state.json"), "format": "json"}}}
    config, variables = configuration(place, services), environment(place)
    call = [str(RECOVERD), "--config", str(config)]
    Command([*call, "snapshot"], variables).run()
    health = f"health of {count:,} services"
    return [
        Starting(health, "recoverd check", [*call, "check"], variables),
        Starting(health, "recoverd check --live", [*call, "check", "--live"], variables),
        Starting("help", "recoverd --help", [str(RECOVERD), "--help"], variables),
        Starting("help", "python -c pass", [sys.executable, "-c", "pass"], variables),
        Starting("help", "restic --help", ["restic", "--help"], variables),
        Starting("help", "borg --help", ["borg", "--help"], variables),
    ]


class Boot:
    """`restore --boot`, in a host of services with a known-good snapshot each, over state that is good or damaged."""

    name = "recoverd restore --boot"
    _DOCUMENTS = 10  # of each service

    def __init__(self, place: Path, count: int) -> None:
        self._sources = [empty(place / f"source-{number}") for number in range(count)]
        for number, source in enumerate(self._sources):
            for document in range(self._DOCUMENTS):
                text = json.dumps({"id": f"{number}-{document}", "text": "x" * 500})
                (source / f"{document}.json").write_text(text)
        schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
        services = {
            f"service-{number:03d}": {
                "run": {"command": ["/bin/sleep", "600"]},
                "state": {"documents": {"directory": str(source), "format": "json", "schema": schema}},
            }
            for number, source in enumerate(self._sources)
        }
        config, variables = configuration(place, services), environment(place)
        self._call = [str(RECOVERD), "--config", str(config)]
        self._variables = variables
        self._records = place / "state" / "services"

    def save(self) -> None:
        """Untimed. Raises Failed."""
        Command([*self._call, "snapshot"], self._variables).run()

    def work(self, *, damaged: bool) -> Work:
        """With every document torn, or with all as they were saved.

        Nothing is proven here, so the starts that are counted on what was restored are forgotten from round to round.
        """
        for record in self._records.glob("*.json"):
            record.unlink()
        if damaged:
            for source in self._sources:
                for document in source.iterdir():
                    document.write_bytes(b'{"id": ')
        return Commands([Command([*self._call, "restore", "--boot"], self._variables)])
