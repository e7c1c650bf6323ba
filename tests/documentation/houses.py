"""The machines that the pages' commands run on: one service, `assistant`, and what has just happened to it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from recoverd.state.formats.compression import Compression, pack
from tests.documentation.desks import DESKS
from tests.documentation.stores import STORES

_SMALL = 256 << 10  # bytes of the file system that is filled
_LARGE = 32 << 20  # the same of one with a space reserve
RECOVERD = Path(sys.executable).with_name("recoverd")
CONFIG = """\
services:
  assistant:
    root: {root}/assistant
    run:
      command: [{root}/bin/assistant]
    state:
      main:
        file: state.json
        format: json
        schema: {{type: object, required: [version, tasks], properties: {{version: {{const: "1"}}}}}}
      tasks: {{directory: tasks, include: ["*.json"], format: json, optional: true}}
    autosave: {{every: 1h}}
    retention: {{last: 10}}
    health: {{within: 10s, stable_for: 200ms}}
"""
SERVICE = """\
#!/bin/sh
[ -s {root}/assistant/state.json ] || {{ echo "unexpected end of JSON input" >&2; exit 1; }}
while :; do sleep 1; done
"""
# What differs from run to run and from machine to machine, as it is on a usual one.
USUAL = (
    (r"backup\.\d{4}-\d\d-\d\dT[\d.-]+Z", "backup.2026-11-21T03-10-15.000Z"),
    (r"\d{8}T\d{6}Z-[0-9a-f]{12}", "20261121T031245Z-3f9c0a7be215"),
    (r"\b\d{4}-\d\d-\d\dT[\d:]+\.\d+Z", "2026-11-21T03:12:45.678Z"),
    (r"\b\d{4}-\d\d-\d\dT[\d:]+Z", "2026-11-21T03:12:45Z"),
    (r"(?:\b\d+ (?:d|h|min) )*\b[\d.]+ (?:ms|s|min|h|d) old", "40 s old"),
    (r"\bin [\d.]+ (?:ms|s)\b", "in 1.2 s"),
    (r", [\d.]+ (?:ms|s)$", ", 15 ms"),
    (r"process \d+", "process 4711"),
    (r"\b[0-9a-f]{64}\b", "5f3c…"),
    (r"\b[\d.]+ (?:B|KiB) new\b", "1.1 KiB new"),
    (r"\b[\d.]+ (?:B|KiB) freed\b", "4.1 KiB freed"),
    (r"\b[\d.]+ KiB(?= in \d+ objects read)", "6.6 KiB"),
    (r"\b\d{3} B(?=  (?:manual|restore))", "820 B"),
    (r"\b\d\.\d KiB(?=  (?:manual|restore))", "1.1 KiB"),
)


class Unavailable(Exception):
    """This machine, or this user, can't have such a house."""


class House:
    """A directory with the configuration, the state, recoverd's own files and commands."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.before: tuple[str, ...] = ()  # what recoverd is run through
        self.mounts: list[Path] = []
        for below in ("etc/conf.d", "assistant/tasks", "bin", "run"):
            (self.root / below).mkdir(parents=True)
        self.write("etc/recoverd.yaml", f"state_dir: {self.root}/recoverd\n")
        self.write("etc/conf.d/assistant.yaml", CONFIG.format(root=self.root))
        self.program("assistant", SERVICE.format(root=self.root))
        self.program("recoverd", "")
        self.wrap()

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def wrap(self, *before: str) -> None:
        """`recoverd` in the house: with its configuration, and through `before`."""
        words = shlex.join([*before, str(RECOVERD), "--config", f"{self.root}/etc"])
        self.program("recoverd", f'#!/bin/sh\nexec {words} "$@"\n')

    def state(self, *tasks: int) -> None:
        self.write("assistant/state.json", json.dumps({"version": "1", "tasks": tasks}) + "\n")
        for task in tasks:
            self.write(f"assistant/tasks/{task}.json", json.dumps({"id": task}) + "\n")

    def shell(self, command: str) -> tuple[int, str]:
        """Exit status and output of one command line, with the paths of a usual machine in both."""
        time.sleep(0.03)  # what was just written counts as still being written for 20 ms
        places = dict(self._places())
        command = re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], command)
        environment = {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "HOME": str(self.root),
            "RUNTIME_DIRECTORY": f"{self.root}/run",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        output = done.stdout
        for usual, here in self._places():
            output = output.replace(here, usual)
        for pattern, usual in USUAL:
            output = re.sub(pattern, usual, output, flags=re.MULTILINE)
        return done.returncode, output

    def _places(self) -> tuple[tuple[str, str], ...]:
        root = str(self.root)
        return (
            ("/var/lib/assistant", f"{root}/assistant"),
            ("/var/lib/coding-agent", f"{root}/coding-agent"),
            ("~/.agentmux/", f"{root}/agentmux/"),
            ("~/.helixcode/", f"{root}/helixcode/"),
            ("/home/ada/src", f"{root}/src"),
            ("/var/lib/recoverd", f"{root}/recoverd"),
            ("/etc/recoverd", f"{root}/etc"),
            ("/run/recoverd", f"{root}/run"),
            ("/mnt/usb", f"{root}/mnt/usb"),
            ("/tmp/", f"{root}/"),
        )

    def must(self, command: str) -> None:
        status, output = self.shell(command)
        if status:
            sys.exit(f"{command}: {status}\n{output}")

    def close(self) -> None:
        """The end of the house."""
        self.kill()
        for mount in reversed(self.mounts):
            subprocess.run(["umount", "-l", str(mount)], check=True)

    def kill(self) -> None:
        """End the services that recoverd started here, as a power failure does."""
        for record in (self.root / "recoverd" / "services").glob("*.json"):
            found = re.search(r'"pid": ?"?(\d+)', record.read_text())
            if found and f"{self.root}/bin/" in _command_of(int(found[1])):
                os.kill(int(found[1]), signal.SIGKILL)


def _command_of(pid: int) -> str:
    """The command line of a process: what tells that it is the house's own."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


# -- what has happened ---------------------------------------------------------------------------------------


def healthy(house: House) -> None:
    """Two snapshots, and the service runs."""
    house.state(1, 2)
    house.must("recoverd snapshot")
    house.state(1, 2, 3)
    house.must("recoverd restore && recoverd snapshot --label before-the-update")


def emptied(house: House) -> None:
    """The power failed: the state file is empty, one task is cut, nothing runs."""
    healthy(house)
    house.kill()
    house.write("assistant/state.json", "")
    house.write("assistant/tasks/2.json", '{"id": 2, "tit')


def reset(house: House) -> None:
    """The service came up empty, and has saved that over its state."""
    healthy(house)
    house.write("assistant/state.json", '{"version": "1", "tasks": []}\n')
    house.must("recoverd snapshot")


def restored(house: House) -> None:
    emptied(house)
    house.must("recoverd restore")


def unsaved(house: House) -> None:
    """Damaged before anything was ever captured."""
    house.write("assistant/state.json", '{"version": "1", "tas')


def denied(house: House) -> None:
    """The state can't be read by whoever runs recoverd."""
    healthy(house)
    house.kill()
    (house.root / "assistant" / "state.json").chmod(0)
    if os.geteuid() == 0:
        _need("setpriv")
        house.wrap("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def misspelt(house: House) -> None:
    """Somebody edited the configuration in a hurry."""
    path = house.root / "etc" / "conf.d" / "assistant.yaml"
    text = path.read_text().replace("format: json, optional", "fromat: json, optional")
    path.write_text(text.replace("every: 1h", "every: 60"))


def full(house: House) -> None:
    """The service's file system has no room left."""
    mount = _mounted(house, "assistant", _SMALL)
    (mount / "tasks").mkdir()
    emptied(house)
    _fill(mount / "core.1234", _SMALL)


def brimful(house: House) -> None:
    """The repository's file system has no room left, and the state has changed."""
    mount = _mounted(house, "recoverd", _LARGE)
    healthy(house)
    house.state(1, 2, 3, 4)
    _fill(mount / "core.1234", _LARGE)


def _mounted(house: House, name: str, size_bytes: int) -> Path:
    if os.geteuid() != 0:
        raise Unavailable("only root can mount a small file system")
    mount = house.root / name
    mount.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", name, str(mount)], check=False)
    if done.returncode:
        raise Unavailable("no file system can be mounted")
    house.mounts.append(mount)
    return mount


def _fill(path: Path, size_bytes: int) -> None:
    if not path.parent.is_mount():
        raise RuntimeError(f"{path.parent} is no file system of its own: nothing else is filled")
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        file.writelines(bytes(4096) for _ in range(size_bytes // 4096 + 1))


def spared(house: House) -> None:
    """There is a spare, and the repository is gone: its file system is not mounted."""
    house.write(
        "etc/recoverd.yaml", f"state_dir: {house.root}/recoverd\nrepository: {{spare: {house.root}/mnt/usb/recoverd}}\n"
    )
    healthy(house)
    shutil.move(house.root / "recoverd" / "repository", house.root / "unmounted")
    house.write("assistant/state.json", json.dumps({"version": "1", "tasks": [1, 2, 3, 4]}))
    time.sleep(0.05)


def rotten(house: House) -> None:
    """The disk has turned bits of the newest pack, and the state file is empty."""
    emptied(house)
    packs = (house.root / "recoverd" / "repository" / "packs").glob("*/*.tar.zst")
    newest = max(packs, key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(newest.read_bytes())
    for at in range(20, len(data) // 2):
        data[at] ^= 0x55
    newest.chmod(0o600)
    newest.write_bytes(data)


KILLED = """\
import os, signal, sys
from recoverd.cli.main import main
from recoverd.recovery import board
exchange, calls = board.exchange, []
def second_kills(*arguments):
    calls.append(arguments)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    exchange(*arguments)
board.exchange = second_kills
main(sys.argv[1:])
"""


def killed(house: House) -> None:
    """recoverd was killed when it had put one of two documents in place."""
    emptied(house)
    # through a program of the house: in a command line, paths would be taken for those of the house
    house.program("recoverd-killed", f"#!{sys.executable}\n{KILLED}")
    house.must("recoverd-killed --config etc restore; test $? = 137")


def bare(house: House) -> None:
    """Nothing but a repository and the rescue script: no recoverd."""
    for tool in ("tar", "zstd", "jq", "b3sum"):
        _need(tool)
    emptied(house)
    script = Path(__file__).parents[2] / "contrib" / "rescue" / "recoverd-rescue"
    house.program("recoverd-rescue", f'#!/bin/sh\nexec sh {script} "$@"\n')
    (house.root / "bin" / "recoverd").unlink()


FORMATS = """\
services:
  assistant:
    root: {root}/assistant
    state:
      settings: {{file: settings.yaml, format: yaml, schema: {{properties: {{port: {{type: integer}}}}}}}}
      limits: {{file: limits.toml, format: toml}}
      history: {{directory: history, format: json}}
      events: {{file: events.jsonl, format: json-lines}}
"""


def formats(house: House) -> None:
    """A service with state in many formats; an update and a power failure damaged some of it."""
    house.write("etc/conf.d/assistant.yaml", FORMATS.format(root=house.root))
    (house.root / "assistant" / "history").mkdir()
    entries = json.dumps([{"id": number, "text": f"entry {number}"} for number in range(40)]).encode()
    house.write("assistant/settings.yaml", "name: assistant\nport: 3000\nname: assistant\n")
    house.write("assistant/limits.toml", "[requests]\nmost = 20\n")
    house.write("assistant/events.jsonl", '{"id": 1}\n{"id": 2}\n')
    for name, kind in (("1.json", Compression.NONE), ("2.json.gz", Compression.GZIP), ("3.json.zst", Compression.ZSTD)):
        (house.root / "assistant" / "history" / name).write_bytes(pack(entries, kind))
    house.must("recoverd snapshot")
    house.write("assistant/settings.yaml", "name: assistant\nport: '3000'\n")
    house.write("assistant/limits.toml", "[requests]\nmost = ")
    house.write("assistant/events.jsonl", '{"id": 1}\n{"id": 2}\n{"id"')
    (house.root / "assistant" / "history" / "2.json.gz").write_bytes(pack(entries, Compression.GZIP)[:90])


AGENT = """\
services:
  coding-agent:
    root: {root}/coding-agent
    run: {{command: [{root}/bin/coding-agent]}}
    health: {{within: 10s, stable_for: 200ms, probes: []}}
"""


def agent(house: House) -> None:
    """The coding agent's sample as it is shipped, with three tasks, three backups of its own and no snapshot."""
    conf = house.root / "etc"
    (conf / "conf.d" / "assistant.yaml").unlink()
    samples = Path(__file__).resolve().parents[2] / "config"
    shutil.copytree(samples / "schemas", conf / "schemas", copy_function=shutil.copyfile)
    shutil.copyfile(samples / "conf.d" / "coding-agent.yaml", conf / "conf.d" / "coding-agent.yaml")
    (conf / "conf.d" / "coding-agent.yaml.d").mkdir()
    house.write("etc/conf.d/coding-agent.yaml.d/here.yaml", AGENT.format(root=house.root))
    afresh = f"[ ! -e {house.root}/coding-agent/state.json ] || "
    service = SERVICE.format(root=house.root).replace("/assistant/", "/coding-agent/")
    house.program("coding-agent", service.replace("[ -s", f"{afresh}[ -s"))
    for below in ("tasks", "sessions", "logs", "reports"):
        (house.root / "coding-agent" / below).mkdir(parents=True)
    tasks: list[dict[str, object]] = []
    for number, status in ((1, "completed"), (2, "completed"), (3, "in_progress")):
        times = {"created_at": "08:00", "updated_at": f"09:0{number}", "started_at": "09:00"}
        times |= {"completed_at": f"09:0{number}"} if status == "completed" else {}
        task = {"id": f"t000{number}", "description": f"change {number}", "status": status, "tool": "editor"}
        tasks.append(task | {key: f"2026-11-20T{time}:00.000Z" for key, time in times.items()} | {"logs": []})
        house.write(f"coding-agent/tasks/task_t000{number}.json", json.dumps(tasks[-1]))
    metrics = {"total_tasks": 3, "completed_tasks": 2, "failed_tasks": 0, "average_completion_time": 90}
    state = {"version": "1.0.0", "tasks": tasks, "sessions": ["s1"], "metrics": metrics}
    for ago_s in (600, 300, 0):
        then = time.gmtime(time.time() - ago_s)
        text = json.dumps(state | {"last_saved": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", then)})
        name = time.strftime("state.backup.%Y-%m-%dT%H-%M-%S.000Z.json", then) if ago_s else "state.json"
        house.write(f"coding-agent/{name}", text)


def torn_agent(house: House) -> None:
    """The power failed in the middle of a write, before anything was ever saved."""
    agent(house)
    state = house.root / "coding-agent" / "state.json"
    state.write_bytes(state.read_bytes()[:500])


def saved_agent(house: House) -> None:
    """It runs, and was saved."""
    agent(house)
    house.must("recoverd restore && recoverd snapshot")


def updated_agent(house: House) -> None:
    """It was saved, and then updated to the version that writes 2.0.0."""
    agent(house)
    house.must("recoverd snapshot")
    samples = Path(__file__).resolve().parents[2] / "config"
    drop_in = house.root / "etc" / "conf.d" / "coding-agent.yaml.d" / "2.0.0.yaml"
    shutil.copyfile(samples / "updates" / "coding-agent-2.0.0.yaml", drop_in)


def partial_agent(house: House) -> None:
    """Two task files are torn; one of them was never saved."""
    saved_agent(house)
    house.kill()
    house.write("coding-agent/tasks/task_t0002.json", '{"id": "t0002", "descr')
    house.write("coding-agent/tasks/task_t0004.json", '{"id": "t0004", "descr')


def bare_agent(house: House) -> None:
    """state.json is empty, and neither a backup nor a snapshot is there."""
    agent(house)
    for path in (house.root / "coding-agent").glob("state.backup.*.json"):
        path.unlink()
    house.write("coding-agent/state.json", "")


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        raise Unavailable(f"{tool} is not installed")


HOUSES: dict[str, Callable[[House], None]] = {
    one.__name__: one
    for one in (
        *(
            healthy,
            emptied,
            reset,
            restored,
            unsaved,
            denied,
            misspelt,
            full,
            brimful,
            spared,
            rotten,
            killed,
            bare,
            formats,
        ),
        *(agent, torn_agent, saved_agent, updated_agent, partial_agent, bare_agent),
        *STORES,
        *DESKS,
    )
}
