"""Processes that a document lists: as whom they run, and that a bad document, or a bad entry, starts nothing."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Health, Run, RunKind
from recoverd.config.process_model import Instances
from recoverd.operations import instances, lifecycle
from recoverd.values import replace

RULE = Instances("main", "/sessions", ("/bin/sleep", "{seconds}"), {"status": "Active"}, most=3)


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "status": "Active", "seconds": 600, **more}


@pytest.fixture
def desk(house: Any) -> Iterator[Any]:
    """The house, whose document lists sessions; state only."""
    house.change(instances=RULE, health=Health(stable_for_s=0.0))
    yield house
    lifecycle.stop(house.context, ["app"])


def running(house: Any) -> dict[str, int]:
    found = instances.compare(house.context, house.service).instances
    return {one.service.name: one.status.identity.pid for one in found if one.status.identity is not None}


def test_what_is_listed_is_compared_with_what_runs(desk: Any) -> None:
    """What whoever watches a service asks: listed or not, running or not, stopped on purpose or not."""
    desk.write(1, sessions=[entry("a"), entry("b"), entry("c", status="Stopped")])
    found = instances.compare(desk.context, desk.service)
    assert [(one.service.name, one.is_missing) for one in found.instances] == [("app@a", True), ("app@b", True)]
    assert [one.error for one in instances.bring_back(desk.context, desk.service)] == [None, None]
    pids = running(desk)
    assert instances.bring_back(desk.context, desk.service) == ()
    lifecycle.stop(desk.context, ["app@a"])
    desk.write(2, sessions=[entry("a")])
    found = instances.compare(desk.context, desk.service)
    assert [(one.service.name, one.listed, one.status.running, one.is_missing) for one in found.instances] == [
        ("app@a", True, False, False),
        ("app@b", False, True, False),
    ]
    assert running(desk) == {"app@b": pids["app@b"]}


def test_a_restore_says_what_became_of_them_and_rejects_no_state(desk: Any) -> None:
    """A program that is missing is not the state's fault: the exit status is 1, and what was restored stays."""
    desk.change(instances=Instances("main", "/sessions", ("{program}", "600"), {"status": "Active"}))
    good = desk.write(1, sessions=[entry("a", program="/bin/sleep"), entry("b", program="/not/there"), entry("c")])
    desk.snapshot()
    desk.state.write_bytes(b"")
    result = desk.restore()
    assert (result.outcome, result.exit_status) == ("restored", 1)
    assert desk.state.read_bytes() == good
    assert not any(attempt.result == "rejected" for attempt in result.attempts)
    assert "app@b can't be started: /not/there can't be executed: No such file or directory" in result.reasons
    assert "app@c: entry 2 of /sessions has no program" in result.reasons
    assert list(running(desk)) == ["app@a"]


def test_before_services_start_and_when_asked_not_to_none_is_started(desk: Any) -> None:
    desk.write(1, sessions=[entry("a")])
    for request in ({"boot": True}, {"dry_run": True}, {"start": False}):
        desk.restore(**request)
        assert running(desk) == {}


@pytest.mark.parametrize("damage", ["torn", "schema", "link", "hard link"])
def test_a_document_that_is_not_ok_lists_nothing(desk: Any, damage: str, tmp_path: Path) -> None:
    good = desk.write(1, sessions=[entry("a")])
    if damage == "torn":
        desk.state.write_bytes(good[:-2])
    elif damage == "schema":
        desk.write(-1, sessions=[entry("a")])
    elif damage == "link":
        desk.state.rename(tmp_path / "elsewhere.json")
        desk.state.symlink_to(tmp_path / "elsewhere.json")
    else:
        os.link(desk.state, tmp_path / "other-name.json")
    (one,) = instances.bring_back(desk.context, desk.service)
    assert one.error is not None and one.error.startswith("which processes are to be brought back is not known: ")
    assert running(desk) == {}
    result = lifecycle.start(desk.context, ["app"])
    assert ([each.service for each in result.services], result.exit_status) == (["app@*"], 1)


def test_blocked_state_starts_none_of_them(desk: Any) -> None:
    """What depends on a blocked service is blocked, with the reason."""
    desk.write(1, sessions=[entry("a")])
    desk.snapshot()
    repository = desk.context.repository()
    repository.update_record("app", lambda record: replace(record, blocked="nobody knows its state"))
    (one,) = lifecycle.start(desk.context, ["app@a"]).services
    assert (one.outcome, one.detail) == ("blocked", "the last restore blocked it: nobody knows its state")
    assert running(desk) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes as others")
def test_as_root_they_run_as_the_owner_of_the_document(desk: Any) -> None:
    """Service users are not trusted: what a user's document lists runs as that user, also where the file itself is
    root's but lies in the user's directory; `run.user` says otherwise."""
    desk.write(1, sessions=[entry("a")])
    os.chown(desk.state.parent, 65534, 65534)
    instances.bring_back(desk.context, desk.service)
    assert os.stat(f"/proc/{running(desk)['app@a']}").st_uid == 65534
    assert os.stat(f"/proc/{running(desk)['app@a']}").st_gid == 65534
    lifecycle.stop(desk.context, ["app"])
    run = Run(RunKind.COMMAND, command=(sys.executable, "-c", "import time; time.sleep(600)"), env={"SECRET": "x"})
    desk.change(run=run)
    lifecycle.start(desk.context, ["app"])
    environment = Path(f"/proc/{running(desk)['app@a']}/environ").read_bytes()
    assert b"SECRET" not in environment
    desk.change(run=replace(run, user="daemon"))
    desk.write(2, sessions=[entry("b")])
    (one,) = instances.bring_back(desk.context, desk.service)
    assert (one.name, one.error) == ("app@b", None)
    assert os.stat(f"/proc/{running(desk)['app@b']}").st_uid == pwd.getpwnam("daemon").pw_uid
    lifecycle.stop(desk.context, [])


def test_check_tells_what_is_dead_and_that_nobody_looks_after_it(desk: Any) -> None:
    """Answers come from what was noted: no document is judged unless `--live` asks for it."""

    def check(**request: Any) -> Any:
        return next(one for one in desk.check(**request).results if one.name == "instances")

    assert check().message.startswith("nobody has compared yet")
    desk.write(1, sessions=[entry("a"), entry("b")])
    desk.restore()
    assert (check().status, check().message) == ("OK", "2 listed, 2 running")
    os.kill(running(desk)["app@b"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while "app@b" in running(desk):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    found = check()
    assert (found.status, found.hint) == ("CRITICAL", "`recoverd restore app` brings back what is listed")
    assert found.message.startswith("2 listed, 1 running; should be running and is not: app@b (process ")
    desk.write(2, sessions=[entry("a")])
    assert "the document has changed since" in check().message
    settled = check(live=True)
    assert (settled.status, settled.message) == ("OK", "1 listed, 1 running")
    desk.state.write_bytes(b"[")
    unknown = check(live=True)
    assert unknown.status == "CRITICAL"
    assert "which processes it lists is not known" in unknown.message
    assert "without being listed" not in unknown.message  # nobody knows that
    (seen,) = (one for one in lifecycle.status(desk.context, ["app"]).services if one.service == "app@a")
    assert seen.running and "does not list it" not in seen.detail
