"""A real systemd in namespaces of its own, on a Debian root that is built once and kept: one machine for all tests.

Needs root, mmdebstrap or debootstrap, and a kernel that lets us make namespaces and cgroups; where these can't be
had, the tests say why they are skipped. The root is kept in $RECOVERD_TEST_CACHE, else /var/cache/recoverd-tests.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGES: tuple[str, ...] = (
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "python3",
    "procps",
    "iproute2",
    "cron",
)
# services with state that real_services/ damages; their units are disabled until it enables them
PACKAGES += ("redis-server", "mosquitto", "mosquitto-clients", "nodejs", "curl")
NODE_RED = "node-red@4.1.15"
LEAN = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NEEDED = ("unshare", "nsenter", "setpriv", "mount", "ip", "pivot_root")


@pytest.hookimpl(tryfirst=True)  # before the groups are looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker runs them all, one after the other: they share the machine."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("systemd"))


@dataclass(frozen=True)
class Done:
    """What a command in the machine left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    def fine(self, status: int = 0) -> Done:
        assert self.status == status, f"status {self.status}\n{self.out}\n{self.err}"
        return self


@dataclass
class Machine:
    """A booted machine. It writes to memory only, and is gone when the process that made it ends."""

    scratch: Path
    group: Path
    keeper: subprocess.Popen[bytes] = field(repr=False)
    pid: int = 0

    def run(
        self, argv: Sequence[str], timeout: float = 60, *, data: str = "", env: dict[str, str] | None = None
    ) -> Done:
        """Run a command inside, as root; `data` is its stdin."""
        given = [f"{name}={value}" for name, value in (env or {}).items()]
        inside = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "-C", "--"]
        plain = ["env", "-i", "--chdir=/", f"PATH={PATH}", "LANG=C.UTF-8", "TERM=dumb", "HOME=/root", *given]
        done = subprocess.run(
            [*inside, *plain, *argv], input=data.encode(), capture_output=True, timeout=timeout, check=False
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def sh(self, script: str, timeout: float = 60) -> Done:
        return self.run(["sh", "-euc", script], timeout)

    def write(self, path: str, text: str, *, mode: str = "644") -> None:
        """Replace a file, making directories on the way."""
        script = 'mkdir -p "$(dirname "$1")"; cat >"$1.writing"; chmod "$2" "$1.writing"; mv -f "$1.writing" "$1"'
        self.run(["sh", "-euc", script, "write", path, mode], data=text).fine()

    def read(self, path: str) -> str:
        """A file's text; FileNotFoundError when there is none."""
        done = self.run(["cat", path])
        if done.status != 0:
            raise FileNotFoundError(f"{path}: {done.err}")
        return done.out

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path]).status == 0

    def wait_for(self, true: Callable[[], object], what: str = "it", within_s: float = 60) -> None:
        end = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end, f"waited in vain for {what}\n{self.journal()}"
            time.sleep(0.05)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run(["systemctl", "show", "--value", "--property", name, unit]).fine().out.strip()

    def is_active(self, unit: str) -> bool:
        return self.run(["systemctl", "is-active", "--quiet", unit]).status == 0

    def journal(self, *arguments: str) -> str:
        """The log of this boot."""
        return self.run(["journalctl", "--no-pager", "-o", "short-monotonic", "-n", "200", *arguments]).out

    def reboot(self) -> None:
        """An orderly reboot; on return the new boot is up."""
        self._leave("reboot")
        self._wait_until_up(self.pid)

    def kill_pid1(self) -> None:
        """The machine dies at once, with everything in it. Use `boot` afterwards."""
        os.kill(self.pid, signal.SIGKILL)
        assert self.keeper.wait(20) != 0

    @contextlib.contextmanager
    def crash(self) -> Iterator[Path]:
        """PID 1 is killed with everything in it; what it had written is there, below the path that this gives, and
        boots again at the end of the block."""
        gate, before = self.scratch / "wait", self.pid
        gate.touch()
        os.kill(before, signal.SIGKILL)
        self._wait_until_dead(gate)
        yield Path(f"/proc/{self.keeper.pid}/root") / (self.scratch / "memory").relative_to("/")
        gate.unlink()
        self._wait_until_up(before)

    def _wait_until_dead(self, gate: Path) -> None:
        end = time.monotonic() + 60
        while gate.read_text() != "dead\n":
            assert time.monotonic() < end and self.keeper.poll() is None, "the machine does not die"
            time.sleep(0.02)

    def poweroff(self) -> None:
        self._leave("poweroff")
        self.keeper.wait(60)

    def _leave(self, verb: str) -> None:
        self.run(["systemctl", "--no-block", verb])

    def _wait_until_up(self, before: int) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError, ValueError):
                self.pid = int((self.scratch / "pid").read_text())
            if self.keeper.poll() is not None:
                log = (self.scratch / "log").read_text(errors="replace")
                raise RuntimeError(f"the machine does not boot, status {self.keeper.returncode}: {log}")
            # "degraded" is a boot with a failed unit: some tests mean it
            if self.pid not in {0, before} and self._is_up():
                return
            time.sleep(0.05)
        raise TimeoutError(f"the machine did not come up: {self.journal()}")

    def _is_up(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Before PID 1 has changed its root, this is the host's systemctl: it must not be asked.
            if Path(f"/proc/{self.pid}/comm").read_text() == "systemd\n":
                state = self.run(["systemctl", "is-system-running"], timeout=5).out.strip()
                return state in {"running", "degraded"}
        return False

    def end(self) -> None:
        if self.keeper.poll() is None:
            self.keeper.kill()  # what it started dies with it
        self.keeper.wait()
        _remove_group(self.group)
        shutil.rmtree(self.scratch, ignore_errors=True)


def _remove_group(group: Path) -> None:
    end = time.monotonic() + 10
    while group.exists() and time.monotonic() < end:
        for directory, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):  # what was killed takes a moment to leave
                os.rmdir(directory)
        time.sleep(0.02)


def _cgroups() -> Path:
    """The cgroup2 hierarchy, also beside the old ones."""
    base = Path("/sys/fs/cgroup")
    return base / "unified" if (base / "unified").is_dir() else base


def _release() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def _bootstrap(root: Path) -> None:
    """Make a Debian root of the release that this machine runs. Raises CalledProcessError."""
    mirrors = [
        str(path)
        for path in map(Path, ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"))
        if path.is_file() and "deb" in path.read_text()
    ][:1]
    if shutil.which("mmdebstrap"):
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io"]
        command += [f'--aptopt=Acquire::Check-{what} "false"' for what in ("Valid-Until", "Date")]
        command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEAN]
        command += [f"--include={','.join(PACKAGES)}", _release(), str(root), *mirrors]
    else:
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", _release(), str(root)]
    subprocess.run(command, check=True, capture_output=True, timeout=280)
    for unit in ("redis-server", "mosquitto"):
        (root / f"etc/systemd/system/multi-user.target.wants/{unit}.service").unlink()
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # without npm there is no node-red
        subprocess.run(
            [*npm, "--prefix", str(root / "opt/node-red"), NODE_RED], check=True, capture_output=True, timeout=200
        )
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)


def _debian_root() -> Path:
    """The root, from the cache where one was made for the same release and packages; whoever comes first makes it."""
    cache = Path(os.environ.get("RECOVERD_TEST_CACHE", "/var/cache/recoverd-tests"))
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    recipe = json.dumps([_release(), platform.machine(), PACKAGES, NODE_RED, LEAN, 2])
    root = cache / f"root-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    with open(cache / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            unfinished = root.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _bootstrap(unfinished)
            unfinished.rename(root)
    return root


def _why_not() -> str | None:
    """What keeps a machine from being booted here."""
    if os.geteuid() != 0:
        return "only root can boot a systemd in namespaces"
    missing = [tool for tool in _NEEDED if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    if not (_cgroups() / "cgroup.procs").is_file():
        return "there is no cgroup2 hierarchy"
    if shutil.which("mmdebstrap") is None and shutil.which("debootstrap") is None:
        return "neither mmdebstrap nor debootstrap is installed"
    probe = subprocess.run(["unshare", "--pid", "--fork", "--mount", "--net", "true"], capture_output=True, check=False)
    return None if probe.returncode == 0 else f"no namespaces: {probe.stderr.decode().strip()}"


def boot(scratch: Path) -> Machine:
    """A new machine with nothing on it but the packages and recoverd."""
    root = _debian_root()
    version = ".".join(platform.python_version_tuple()[:2])
    if not (root / f"usr/bin/python{version}").exists():
        pytest.skip(f"{_release()} has no Python {version}, which the installed packages were built for")
    group = _cgroups() / f"recoverd-test-{os.getpid()}-{scratch.name}"
    group.mkdir()
    (scratch / "memory").mkdir(parents=True)
    (scratch / "pid").unlink(missing_ok=True)
    packages, source = sysconfig.get_path("purelib"), HERE.parents[1] / "recoverd"
    # with --pdeathsig nothing outlives a test run that is killed
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "bash"]
    command += [str(HERE / "boot.sh"), "machine", str(root), str(scratch), str(group), packages, str(source)]
    with open(scratch / "log", "wb") as log:
        keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    machine = Machine(scratch, group, keeper)
    try:
        machine._wait_until_up(0)
    except BaseException:
        machine.end()
        raise
    return machine


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine that all tests share; each removes what it put there. `recoverd` is installed and not configured."""
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    try:
        one = boot(tmp_path_factory.mktemp("machine"))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        pytest.skip(f"no Debian root can be made here: {output[-1] if output else error}")
    yield one
    one.end()


@pytest.fixture
def fresh_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Machine]]:
    """Boots machines of a test's own, for what kills them."""
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    made: list[Machine] = []

    def another() -> Machine:
        made.append(boot(tmp_path_factory.mktemp("machine")))
        return made[-1]

    yield another
    for one in made:
        one.end()


APP = (HERE.parent / "subjects" / "counts_starts.py").read_text()
UNIT = """\
[Unit]
Description=A service with state
{unit}
[Service]
ExecStart=/usr/local/bin/app /srv/{name}/state.json
Restart=on-failure
RestartSec=50ms
[Install]
WantedBy=multi-user.target
"""
CONFIGURATION = """\
services:
  app:
    root: /srv/app
    run: {systemd: app.service}
    state: {main: {file: state.json, format: json, schema: {type: object, required: [counter]}}}
    autosave: {every: 1h, on_shutdown: true}
    health: {within: 3s, stable_for: 300ms}
  other:
    root: /srv/other
    run: {systemd: other.service}
    after: [app]
    state: {main: {file: state.json, format: json, schema: {type: object, required: [counter]}}}
    health: {within: 3s, stable_for: 300ms}
  detached:
    run: {command: [/usr/local/bin/app, /srv/detached/state.json]}
    state: {main: {file: /srv/detached/state.json, format: json, schema: {type: object, required: [counter]}}}
    health: {within: 3s, stable_for: 300ms}
"""
NAMES = ("app", "other", "detached")


CRON_CONFIGURATION = """\
services:
  detached:
    run: {command: [/usr/local/bin/app, /srv/detached/state.json]}
    state: {main: {file: /srv/detached/state.json, format: json, schema: {type: object, required: [counter]}}}
    autosave: {every: 1s}
    health: {within: 3s, stable_for: 300ms}
"""


@pytest.fixture(scope="session")
def cron_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine of its own where cron runs recoverd, rebooted with damaged state: a snapshot is due each minute."""
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    one = boot(tmp_path_factory.mktemp("cron"))
    try:
        one.write("/usr/local/bin/app", APP, mode="755")
        one.write("/etc/recoverd/conf.d/test.yaml", CRON_CONFIGURATION)
        one.write("/srv/detached/state.json", '{"counter": 7}')
        one.run(["recoverd", "snapshot"]).fine()
        one.write("/srv/detached/state.json", "")
        one.write("/etc/cron.d/recoverd", (HERE.parents[1] / "contrib" / "cron" / "recoverd").read_text())
        one.reboot()
        yield one
    finally:
        one.end()


@pytest.fixture(scope="module")
def house(machine: Machine) -> Iterator[Machine]:
    """The machine with three services: two units, one requires the other, and a command. Units are installed."""
    machine.write("/usr/local/bin/app", APP, mode="755")
    machine.write("/etc/systemd/system/app.service", UNIT.format(name="app", unit=""))
    after = "Requires=app.service\nAfter=app.service\n"
    machine.write("/etc/systemd/system/other.service", UNIT.format(name="other", unit=after))
    machine.write("/etc/recoverd/conf.d/test.yaml", CONFIGURATION)
    for name in NAMES:
        machine.write(f"/srv/{name}/state.json", '{"counter": 1}')
    machine.run(["systemctl", "enable", "-q", "app.service", "other.service"]).fine()
    machine.run(["recoverd", "units", "--install"]).fine()
    yield machine
    machine.run(["recoverd", "units", "--remove"])
    machine.sh(
        "systemctl disable -q --now app.service other.service; rm -rf /etc/recoverd /srv/* /var/lib/recoverd"
        " /etc/systemd/system/app.service /etc/systemd/system/other.service"
        "; systemctl daemon-reload; systemctl reset-failed"
    )


@pytest.fixture
def quiet(house: Machine) -> Machine:
    """The house with nothing of it running: for looking at files."""
    return house
