"""What `migrate` shows on a terminal and through a pipe: bounded, whatever the state."""

from __future__ import annotations

import io
from typing import Any

import pytest

from recoverd.cli.migrate import render
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import width
from recoverd.operations.migrate import DocumentMigration, MigrateResult, ServiceMigration
from recoverd.state.json_patch import ABSENT


class Screen(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(*services: ServiceMigration, columns: int | None = None, verbose: bool = False, dry_run: bool = True) -> str:
    out = Screen() if columns is not None else io.StringIO()
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"} if columns is not None else {}
    render(MigrateResult(services, dry_run), Terminal(out, io.StringIO(), environment=environment, verbose=verbose))
    return out.getvalue()


def document(name: str, *patch: tuple[str, str, Any, Any], item: str = "tasks", before: str = "1") -> DocumentMigration:
    operations = tuple(
        {"op": op, "path": path, **({} if op == "remove" else {"value": new})} for op, path, _, new in patch
    )
    return DocumentMigration(item, name, before, "2", operations, tuple(old for _, _, old, _ in patch))


def test_each_change_shows_what_was_and_what_will_be() -> None:
    patch = (
        ("replace", "/version", "1", "2"),
        ("remove", "/stats", {"n": 3}, None),
        ("add", "/metrics/count", ABSENT, 3),
    )
    assert shown(ServiceMigration("app", "pending", documents=(document("", *patch, item="main"),))) == (
        "app: 1 document would be migrated\n"
        "  main: from version 1 to 2\n"
        '    ~ /version        "1" -> "2"\n'
        '    - /stats          {"n": 3}\n'
        "    + /metrics/count  3\n"
    )


def test_documents_of_which_the_same_becomes_are_one() -> None:
    """A thousand documents are some lines; those that change in another way stand by themselves."""
    many = [document(f"t{n:03}.json", ("replace", "/n", n, n + 1)) for n in range(1000)]
    many += [document("x.json", ("replace", "/n", 1, 2), ("add", "/m", ABSENT, None))]
    many += [document("y.json", ("replace", "/n", 1, 2), before="0")]
    assert shown(ServiceMigration("app", "pending", documents=tuple(many))).splitlines() == [
        "app: 1002 documents would be migrated",
        "  tasks: 1000 documents from version 1 to 2, such as t000.json",
        "    ~ /n  0 -> 1",
        "  tasks/x.json: from version 1 to 2",
        "    ~ /n  1 -> 2",
        "    + /m  null",
        "  tasks/y.json: from version 0 to 2",
        "    ~ /n  1 -> 2",
    ]


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_long_values_fit_a_line(columns: int) -> None:
    """Both of a change can be seen, however long; a short one is shown whole beside a long one."""
    long = {"text": "x" * 500}
    patch = (("replace", "/a/b", long, long), ("replace", "/c", 7, "y" * 500), ("remove", "/d", long, None))
    lines = shown(ServiceMigration("app", "pending", documents=(document("", *patch),)), columns=columns).splitlines()
    assert all(width(line) <= columns for line in lines), lines
    assert len(lines) == 5
    assert lines[2].count('{"text": "x') == 2
    assert "7 -> " in lines[3]
    assert all(width(line) > columns - 15 for line in lines[2:])


def test_much_of_everything_is_bounded() -> None:
    """Many operations, many ways, many reasons: counted; --verbose shows them."""
    patch = [("add", f"/k{n}", ABSENT, n) for n in range(40)]
    ways = [document(f"t{n}.json", ("add", f"/w{n}", ABSENT, n)) for n in range(40)]
    failed = ServiceMigration("app", "failed", documents=(document("", *patch), *ways), reasons=("no",) * 40)
    short, long = shown(failed), shown(failed, verbose=True)
    assert short.startswith("app: nothing would be migrated, because it would fail\n  no\n")
    for line in ("  and 28 more;", "    and 28 more;", "  and 29 documents in 29 other ways;"):
        assert line in short
        assert line not in long
    assert len(short.splitlines()) < 60
    assert "/w39" in long
    assert "/k39" in long


def test_what_was_migrated_says_how_to_take_it_back() -> None:
    done = ServiceMigration(
        "app",
        "migrated",
        healthy=True,
        snapshot="app/7",
        quarantine="/var/lib/recoverd/quarantine/app/20261121T1-x",
        documents=tuple(DocumentMigration("tasks", f"t{n}.json", "1", "2") for n in range(3)),
        seconds=2.0,
    )
    assert shown(done, dry_run=False).splitlines() == [
        "app: migrated, healthy in 2 s",
        "  tasks: 3 documents from version 1 to 2",
        "  as it was before: snapshot app/7, pinned",
        "  to put it back: recoverd undo app/20261121T1-x",
    ]
