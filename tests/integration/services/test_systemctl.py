"""What systemctl says when it can't help, told as errors that help. The words are those of systemd 252.

A systemd that works is that of tests/systemd; here its command is a script, since a machine can't be made to give
these answers on demand.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from recoverd.errors import ServiceError
from recoverd.services import systemctl
from recoverd.services.systemctl import Systemctl, UnitState

Fake = Callable[[str], None]
UNIT = UnitState("a.service", start_within_s=0.0, stop_within_s=0.0, invocation="1" * 32)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """fake("shell text"): the systemctl, and journalctl, of this test, on a machine that was booted with systemd."""
    monkeypatch.setattr(systemctl, "BOOTED", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def fake(text: str) -> None:
        for name in ("systemctl", "journalctl"):
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return fake


def test_without_systemd() -> None:
    """sd_booted(3) is asked first: no process is started for nothing."""
    if Path(systemctl.BOOTED).exists():
        pytest.skip("systemd is the init here")
    with pytest.raises(ServiceError, match="systemd is not the init here"):
        Systemctl(user=False).show(["a.service"])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("System has not been booted with systemd as init system (PID 1). Can't operate.", "not the init here"),
        ("Failed to connect to bus: Connection refused", "does not answer: Failed to connect"),
        ("Failed to get properties: Connection timed out", "does not answer: Failed to get"),
    ],
)
def test_a_manager_that_does_not_answer(fake: Fake, said: str, message: str) -> None:
    """Not known is never told as "down"."""
    fake(f'echo "{said}" >&2; exit 1')
    with pytest.raises(ServiceError, match=message) as caught:
        Systemctl(user=False).show(["a.service"])
    assert caught.value.hint


def test_a_user_without_a_manager(fake: Fake) -> None:
    fake("echo 'Failed to connect to bus: No medium found' >&2; exit 1")
    with pytest.raises(ServiceError, match="the systemd of this user does not run") as caught:
        Systemctl(user=True).show(["a.service"])
    assert "enable-linger" in str(caught.value.hint)


@pytest.mark.parametrize(
    "said",
    [
        "Failed to start a.service: Interactive authentication required.",
        "Failed to start a.service: Access denied",
        "Failed to start a.service: Permission denied",
    ],
)
def test_a_user_who_may_not(fake: Fake, said: str) -> None:
    """polkit says no: the hint names whom to ask."""
    fake(f"echo '{said}' >&2; exit 4")
    with pytest.raises(ServiceError, match=r"does not let this user start a\.service") as caught:
        Systemctl(user=False).start(UNIT)
    assert "polkit" in str(caught.value.hint)


def test_a_job_that_failed_is_a_clause(fake: Fake) -> None:
    fake("echo 'Job for a.service canceled.' >&2; exit 1")
    assert Systemctl(user=False).stop(UNIT) == "Job for a.service canceled."


def test_a_job_that_never_ends_has_a_deadline(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit may wait for ever; recoverd does not."""
    monkeypatch.setattr(systemctl, "_LEEWAY_S", 0.2)
    fake("sleep 99")
    assert Systemctl(user=False).start(UNIT) == "it did not start within 0.2 s"


def test_an_answer_about_others_is_none(fake: Fake) -> None:
    """A pattern, or a name that systemd changed, must not be taken for the unit."""
    fake("printf 'Id=b.service\\n\\nId=c.service\\n'")
    with pytest.raises(ServiceError, match=r"says nothing of|does not answer"):
        Systemctl(user=False).show(["a.service"])


def test_words_are_english_and_plain(fake: Fake) -> None:
    """Whatever the locale and the terminal are: its words are looked at."""
    fake('echo "Id=a.service"; echo "UnitFileState=$LC_ALL.$SYSTEMD_COLORS.$SYSTEMD_PAGER"')
    assert Systemctl(user=False).show(["a.service"])[0].file == "C.0."


def test_a_journal_that_may_not_be_read(fake: Fake) -> None:
    fake("echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1")
    with pytest.raises(ServiceError, match="insufficient permissions") as caught:
        Systemctl(user=False).journal("a.service", 5, follow=False)
    assert "systemd-journal" in str(caught.value.hint)
    assert Systemctl(user=False).last_words(UNIT) == ""


def test_following_ends_the_reader_with_the_listener(fake: Fake, tmp_path: Path) -> None:
    """journalctl -f lives no longer than somebody reads it."""
    fake(f"echo $$ >{tmp_path}/pid; echo one; exec sleep 99")
    lines = Systemctl(user=False).journal("a.service", 5, follow=True)
    assert next(lines) == "one"
    pid = int((tmp_path / "pid").read_text())
    lines.close()  # type: ignore[attr-defined]
    assert not Path(f"/proc/{pid}").exists()
