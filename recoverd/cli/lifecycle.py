"""What start, stop and restart say of each service; imported by their files."""

from __future__ import annotations

from recoverd.cli.terminal import Terminal
from recoverd.cli.text import duration, printable
from recoverd.operations.lifecycle_results import LifecycleResult, ServiceProcess

_STYLES = {"failed": "critical", "blocked": "critical", "unknown": "critical"}


def show(command: str, result: LifecycleResult, terminal: Terminal) -> int:
    """Print the result of a command; its exit status."""
    if terminal.json:
        terminal.print_json(command, **result.to_json())
        return result.exit_status
    if not result.services:
        terminal.say(f"no service declares a `run` or lists a process: there is nothing to {command}")
    for one in result.services:
        if not terminal.quiet or one.exit_status:
            _line(one, terminal, already="already " if command == "start" else "")
    return result.exit_status


def _line(one: ServiceProcess, terminal: Terminal, *, already: str) -> None:
    words = {"running": f"{already}running", "unknown": "unknown"}.get(one.outcome, one.outcome)
    told = terminal.style(words, _STYLES.get(one.outcome, "ok"))
    if one.exit_status:
        why = one.detail.removeprefix(f"{one.service} can't be started: ").removeprefix(f"{one.service}: ")
        terminal.print(f"{terminal.style(printable(one.service), 'bold')}: {told}: {printable(why)}")
        if one.hint is not None:
            terminal.print(terminal.style(f"  hint: {printable(one.hint)}", "hint"))
        return
    facts = [f"process {one.pid}"] if one.pid is not None else []
    if one.outcome == "stopped":
        facts = [one.detail] if one.detail else []
    elif one.healthy:
        facts.append("healthy")
    facts.append(f"in {duration(one.seconds)}")
    terminal.print(f"{terminal.style(printable(one.service), 'bold')}: {told}, {printable(', '.join(facts))}")
