"""Commands that misbehave, and writers that do not stop: nothing is lost, and nothing half done is left."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import pytest

from recoverd.config.migration_model import MigrationStep
from recoverd.recovery import command_output

UPGRADE = """
import json, sys
document = json.load(sys.stdin)
document["runs"] = []
json.dump(document, sys.stdout)
"""


def command(*words: str, **keys: Any) -> MigrationStep:
    return MigrationStep("1", "2", command=words, **keys)


def test_what_a_command_says_beside_is_no_part_of_the_document(update: Any) -> None:
    """Errors go to the log of nobody; only standard output counts, and only with exit status 0."""
    update.declare(command(sys.executable, "-c", f"import sys; sys.stderr.write('careful! {{' * 5000){UPGRADE}"))
    done = update.migrate()
    assert (done.outcome, update.main) == ("migrated", {"version": "2", "counter": 1, "runs": []}), done


def test_a_command_that_floods_is_ended(update: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before its deadline, and before it has filled what its output lies in."""
    monkeypatch.setattr(command_output, "MOST_BYTES", 1 << 20)
    update.declare(command("yes", timeout_s=600.0))
    before = update.house.contents()
    done = update.migrate()
    assert (done.outcome, update.house.contents(), update.quarantined()) == ("failed", before, [])
    assert "yes wrote more than 1048576 bytes" in " ".join(done.reasons)


def test_a_command_that_hangs_is_waited_for_once(update: Any) -> None:
    """A hundred documents do not make a hundred deadlines while the service is down."""
    count = update.house.root / "runs"
    update.declare_tasks(MigrationStep("1", "3", command=("sh", "-c", f"echo >>{count}; sleep 600"), timeout_s=0.2))
    update.only_tasks(**{f"t{number}": {"v": 1} for number in range(20)})
    before = update.house.contents()
    done = update.migrate()
    assert (done.outcome, update.house.contents(), update.quarantined()) == ("failed", before, [])
    assert len(count.read_text()) == 1
    assert "and 17 more" in " ".join(done.reasons)
    shown = update.migrate(dry_run=True)
    assert shown.reasons == ("tasks/t0.json and 19 more: the step from 1 to 3: sh did not end within 0.2 s",)


def test_what_a_command_left_running_is_ended_with_it(update: Any) -> None:
    """Its whole group goes: nothing holds the document, or writes on."""
    left = update.house.root / "left"
    update.declare(command("sh", "-c", f"sleep 600 & echo $! >{left}; {sys.executable} -c '{UPGRADE}'"))
    assert update.migrate().outcome == "migrated"
    pid = int(left.read_text())
    for _ in range(500):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    break
        except FileNotFoundError:
            break
        time.sleep(0.01)
    else:
        pytest.fail(f"process {pid} is still there")


def test_a_write_while_it_is_migrated_is_not_lost(update: Any) -> None:
    """State only, nobody to stop: what is written between the look and the swap is migrated instead."""
    late = json.dumps({"version": "1", "counter": 77})
    once, state = update.house.root / "once", update.house.state
    write = f"[ -e {once} ] || {{ touch {once}; printf '%s' '{late}' >{state}; }}"
    update.declare(command("sh", "-c", f"{write}; {sys.executable} -c '{UPGRADE}'"))
    done = update.migrate()
    assert (done.outcome, update.main) == ("migrated", {"version": "2", "counter": 77, "runs": []}), done
    (quarantine,) = update.quarantined()
    assert update.house.undo(quarantine.name).verdict == "ok"
    assert update.main == {"version": "1", "counter": 77}


def test_what_never_holds_still_is_not_migrated(update: Any) -> None:
    """A writer that goes on: its last word stands, nothing is in quarantine, and it is told what to do."""
    count = update.house.root / "count"
    number = f"$(($(wc -l <{count}) + 100))"
    write = f'echo >>{count}; printf \'{{"version": "1", "counter": %d}}\' {number} >{update.house.state}'
    update.declare(command("sh", "-c", f"{write}; {sys.executable} -c '{UPGRADE}'"))
    done = update.migrate()
    assert (done.outcome, done.exit_status, update.quarantined()) == ("failed", 1, []), done
    assert "keeps changing" in " ".join(done.reasons)
    assert update.main == {"version": "1", "counter": len(count.read_text()) + 100}


def test_a_real_writer_loses_nothing(update: Any) -> None:
    """Whatever the moment: each value that it has written is live (in either version), or in quarantine, or was
    overwritten by itself."""
    written, stop = [0], threading.Event()
    new = update.house.state.with_name("new")

    def work() -> None:
        """Writes what it reads, one further, as a service of the old version would; a newer version ends it."""
        while not stop.is_set():
            found = json.loads(update.house.state.read_bytes())
            if found["version"] != "1":
                return
            new.write_text(json.dumps({"version": "1", "counter": found["counter"] + 1}))
            new.rename(update.house.state)
            written[0] = found["counter"] + 1

    writer = threading.Thread(target=work)
    writer.start()
    try:
        done = update.migrate()
    finally:
        stop.set()
        writer.join()
    values = {update.main["counter"]}
    for quarantine in update.quarantined():
        values |= {
            json.loads(path.read_bytes())["counter"]
            for path in quarantine.rglob("*")
            if path.is_file() and path.name.startswith("state.json")
        }
    assert written[0] in values, (done, values, written)
