"""Many services at once: one that hangs, fails or is interrupted takes none with it, and promise 5 holds for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Config, ItemKind, RepositoryConfig, Service, Validation
from recoverd.events.stream import Event, Events
from recoverd.operations import blocking
from recoverd.operations.boot import boot
from recoverd.operations.context import Context
from recoverd.operations.restore import in_order, restore
from recoverd.operations.restore_results import (
    BLOCKED,
    FAILED,
    UNTOUCHED,
    RestoreRequest,
    RestoreResult,
    ServiceRestore,
)
from recoverd.operations.snapshot import SnapshotRequest, snapshot

House = Any  # of conftest.py, which test files can't import
PATIENCE_S = 60.0
# tells that it began, and waits as long as somebody wants it to
WAITS = 'while [ -e "$1" ]; do : >"$1-began-$$"; sleep 0.02; done'


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < limit, "it does not happen"
        time.sleep(0.005)


@dataclass
class Street:
    """Services that are alike, each with a state file of its own."""

    root: Path
    like: Service
    names: tuple[str, ...] = ("zoe", "ann", "bob", "cid", "dan")
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)
    hanging: tuple[str, ...] = ()
    events: list[Event] = field(default_factory=list)

    @property
    def hangs(self) -> Path:
        """As long as it is there, those that are `hanging` are not judged."""
        return self.root / "hangs"

    def file(self, name: str) -> Path:
        return self.root / name / "state.json"

    def context(self) -> Context:
        services = {}
        for name in self.names:
            validation = Validation(("sh", "-c", WAITS, "sh", str(self.hangs), "{path}"), PATIENCE_S)
            main = replace(
                self.like.state["main"],
                path=str(self.file(name)),
                validate=validation if name in self.hanging else None,
            )
            services[name] = replace(self.like, name=name, state={"main": main}, after=self.after.get(name, ()))
        state_dir = str(self.root / "recoverd")
        config = Config(state_dir=state_dir, repository=RepositoryConfig(f"{state_dir}/repository"), services=services)
        config = replace(config, boot_timeout_s=PATIENCE_S)
        return Context(config, Events([self.events.append]), str(self.root / "runtime"), wait_s=PATIENCE_S)

    def save(self) -> None:
        for name in self.names:
            self.file(name).parent.mkdir(exist_ok=True)
            self.file(name).write_text(json.dumps({"version": "1", "counter": len(name), "name": name}))
        time.sleep(0.025)
        assert snapshot(self.context(), SnapshotRequest()).exit_status == 0

    def damage(self) -> None:
        for name in self.names:
            self.file(name).write_bytes(b'{"version": ')

    def restored(self) -> set[str]:
        return {name for name in self.names if f'"{name}"'.encode() in self.file(name).read_bytes()}


@pytest.fixture
def street(house: House) -> Iterator[Street]:
    one = Street(house.root, house.service)
    yield one
    one.hangs.unlink(missing_ok=True)


@dataclass
class Booting:
    """`restore --boot` in a thread."""

    context: Context
    results: list[RestoreResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=lambda: self.results.append(boot(self.context)[0]))
        self.thread.start()

    def result(self) -> RestoreResult:
        self.thread.join(PATIENCE_S)
        return self.results[0]


def test_one_that_hangs_keeps_only_those_after_it_waiting(street: Street) -> None:
    """Those after others are restored while the first still hangs; the result has the configuration's order."""
    street.hanging, street.after = ("zoe",), {"cid": ("bob",), "dan": ("zoe",)}
    street.save()
    street.damage()
    street.file("zoe").write_text('{"version": "1", "counter": 9}')  # good, as far as the schema says
    street.hangs.touch()
    booting = Booting(street.context())
    until(lambda: {"ann", "bob", "cid"} <= street.restored())
    assert "dan" not in street.restored() and not booting.results
    street.hangs.unlink()
    result = booting.result()
    assert [(one.service, one.outcome) for one in result.services] == [
        ("zoe", UNTOUCHED),
        *((name, "restored") for name in ("ann", "bob", "cid", "dan")),
    ]


@pytest.mark.parametrize("by_boot", [True, False], ids=["boot", "by hand"])
def test_one_that_fails_stops_no_other(street: Street, by_boot: bool) -> None:
    """Its quarantine can't be made: it is as it was, what comes after it is blocked, the others are restored."""
    street.after = {"cid": ("ann",)}
    street.save()
    street.damage()
    (street.root / "recoverd" / "quarantine").mkdir()
    (street.root / "recoverd" / "quarantine" / "ann").write_text("in the way")
    before = street.file("ann").read_bytes()
    context = street.context()
    result = boot(context)[0] if by_boot else restore(context, RestoreRequest(start=False))
    outcomes = {one.service: one.outcome for one in result.services}
    assert outcomes == {"zoe": "restored", "ann": FAILED, "bob": "restored", "cid": BLOCKED, "dan": "restored"}
    assert list(outcomes) == list(street.names) and result.exit_status == 1
    assert street.file("ann").read_bytes() == before
    assert street.restored() == {"zoe", "bob", "dan"}
    assert not list((street.root / "recoverd" / "staging").iterdir())
    assert not list((street.root / "recoverd" / "intents").iterdir())
    for name in street.names:  # each tells its own story, in its order
        told = [event.name.value for event in street.events if event.service == name and "restore" in event.name.value]
        wanted = {"ann": ["restore.failed"], "cid": ["restore.failed"]}
        assert told == wanted.get(name, ["restore.started", "restore.finished"])


def test_ctrl_c_lets_what_was_begun_end_and_begins_nothing_else(street: Street) -> None:
    """Promise 5: what was under way comes to an end, what had to wait stays as it is; exit status 130."""
    street.names = tuple(f"s{number:02d}" for number in range(24))
    street.save()
    street.damage()
    street.hangs.touch()
    services = {
        name: {
            "state": {
                "main": {
                    "file": str(street.file(name)),
                    "validate": {"command": ["sh", "-c", WAITS, "sh", str(street.hangs), "{path}"], "timeout": "60s"},
                }
            }
        }
        for name in street.names
    }
    path = street.root / "recoverd.yaml"
    path.write_text(json.dumps({"version": 1, "state_dir": str(street.root / "recoverd"), "services": services}))
    process = subprocess.Popen(
        [sys.executable, "-m", "recoverd", "--config", str(path), "restore", "--boot"],
        env=os.environ | {"RUNTIME_DIRECTORY": str(street.root / "runtime")},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    until(lambda: any(street.root.glob("hangs-began-*")))
    process.send_signal(signal.SIGINT)
    said = ""
    while "interrupted" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    street.hangs.unlink()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert street.restored() <= set(street.names[:16]), "something was begun after the interruption"
    assert not list((street.root / "recoverd").glob("intents/*.json"))
    second = boot(street.context())[0]
    assert second.exit_status == 0 and street.restored() == set(street.names)


# -- the order itself ---------------------------------------------------------------------------------------------


def ended(name: str, outcome: str = UNTOUCHED) -> ServiceRestore:
    return ServiceRestore(name, outcome, reasons=(f"{name} is {outcome}",))


@given(st.data())
def test_each_begins_when_those_it_comes_after_have_ended(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Random graphs: each is done once or held back by one that failed, and a result is there for all."""
    names = [f"s{number}" for number in range(data.draw(st.integers(1, 8)))]
    after = {
        name: tuple(data.draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=3))) if index else ()
        for index, name in enumerate(names)
    }
    failing = data.draw(st.sets(st.sampled_from(names)))
    runtime = tmp_path_factory.getbasetemp() / "run"
    street = Street(runtime, Service("x", None, state={}), names=())  # type: ignore[arg-type]
    context = street.context()
    services = {name: Service(name, None, after=after[name]) for name in data.draw(st.permutations(names))}  # type: ignore[arg-type]
    done: dict[str, ServiceRestore] = {}
    began: list[str] = []

    def work(service: Service) -> ServiceRestore:
        assert all(other in done for other in service.after)
        began.append(service.name)
        return ended(service.name, FAILED if service.name in failing else UNTOUCHED)

    in_order(context, services, work, done, flags=False)
    assert done.keys() == services.keys()
    assert len(began) == len(set(began))
    for name, one in done.items():
        held = [other for other in after[name] if done[other].outcome in {FAILED, BLOCKED}]
        assert (one.outcome == BLOCKED) is bool(held)
        if held:
            assert name not in began and one.reasons[0].startswith(f"it comes after {held[0]}, which is blocked: ")


def test_results_are_there_while_another_one_hangs(street: Street) -> None:
    """At a boot that runs out of time only the one that hangs is late; nobody else is blocked for it."""
    context = street.context()
    services = context.config.services
    go_on, done = threading.Event(), dict[str, ServiceRestore]()

    def work(service: Service) -> ServiceRestore:
        if service.name == "zoe":  # the first
            go_on.wait(PATIENCE_S)
        return ended(service.name)

    thread = threading.Thread(target=in_order, args=(context, services, work, done), kwargs={"flags": True})
    thread.start()
    until(lambda: done.keys() == set(street.names) - {"zoe"})
    go_on.set()
    thread.join()
    assert done.keys() == set(street.names)


def test_what_work_raises_ends_all(street: Street) -> None:
    """What nobody may take for a service's own failure is told; what was not begun stays so, and nobody is blocked."""
    street.names = tuple(f"s{number:03d}" for number in range(100))
    street.after = dict.fromkeys(street.names[50:], (street.names[0],))
    context, began = street.context(), list[str]()

    def work(service: Service) -> ServiceRestore:
        began.append(service.name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_order(context, context.config.services, work, {}, flags=True)
    assert not set(began) & set(street.names[50:])
    assert all(blocking.reason(context.runtime_dir, name) is None for name in street.names)


def test_services_that_share_state_take_turns(street: Street) -> None:
    """One's directory holds what is the others' too: restored at once, one would find the other's work under its
    hands. What is lost comes back with exit status 0, and others are not kept waiting."""
    context = street.context()
    around = replace(
        street.like.state["main"], kind=ItemKind.DIRECTORY, path=str(street.root), include=("*/state.json",)
    )
    services = {**context.config.services, "all": replace(street.like, name="all", state={"main": around})}
    at_work: set[str] = set()
    met: list[set[str]] = []
    both = threading.Barrier(2)

    def work(service: Service) -> ServiceRestore:
        at_work.add(service.name)
        if service.name in {"ann", "bob"}:
            both.wait(PATIENCE_S)
        limit = time.monotonic() + 0.3
        while service.name == "all" and len(at_work) == 1 and time.monotonic() < limit:
            time.sleep(0.005)  # time enough for others to begin
        met.append(set(at_work))
        at_work.discard(service.name)
        return ServiceRestore(service.name, UNTOUCHED)

    done: dict[str, ServiceRestore] = {}
    in_order(context, services, work, done, flags=False)
    assert done.keys() == services.keys()
    assert [one for one in met if "all" in one] == [{"all"}]
