"""What one person does after another, and whether recoverd's answers agree with each other."""

from __future__ import annotations

from typing import Any


def test_what_undo_put_back_is_left_alone_by_all(saved: Any) -> None:
    """Promise 4: `undo` accepts what it puts back; `check` then asks for no restore that would do nothing."""
    saved.main.write_bytes(b"")
    saved.run("restore").fine()
    assert saved.main.read_bytes() != b""
    saved.run("undo").fine()
    assert saved.main.read_bytes() == b""
    assert "accepted" in saved.run("restore").fine().out
    assert saved.main.read_bytes() == b""
    path = next(one for one in saved.json("check")["results"] if one["name"] == "state-path/main")
    assert (path["status"], path["hint"]) == ("OK", None)
    saved.main.write_bytes(b"{")
    assert "restored" in saved.run("restore").fine().out
    assert saved.main.read_text() == '{"counter": 1}'


def test_a_dry_run_says_what_the_real_one_does(saved: Any) -> None:
    """cli.md: `restore --dry-run`; the same candidates, and nothing changed by asking."""
    saved.main.write_bytes(b"")
    (saved.tasks / "t1.json").write_bytes(bytes(9))

    def restored(*words: str) -> list[tuple[str, str, str]]:
        items = saved.json("restore", *words)["services"][0]["items"]
        return [(one["item"], one["document"], one["candidate"]) for one in items if one["source"] == "snapshot"]

    expected = [("main", "", "notes/1"), ("tasks", "t1.json", "notes/1")]
    assert restored("--dry-run") == expected
    assert saved.main.read_bytes() == b""
    assert restored() == expected
    assert saved.run("assess").fine().out.startswith("notes: ok")


def test_an_event_is_told_once(saved: Any) -> None:
    """The result says it; the log on stderr does not say it again."""
    saved.main.write_bytes(b"")
    done = saved.run("snapshot").fine(1)
    assert "is empty" in done.out
    assert done.err == ""
    assert "snapshot.invalid" in saved.run("snapshot", "--label", "x", "-v").fine(1).err
