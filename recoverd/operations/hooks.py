"""The hooks that a configuration declares, ready to be told; and those events that only a later process can tell.

Before the network is up no webhook answers: what the first phase of a boot could not deliver waits in the runtime
directory for the second.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from recoverd.config.model import Config, Secret
from recoverd.events.filling import document_of, values_of
from recoverd.events.hooks import Document, Hooks, Rule, Told, Untold
from recoverd.events.stopping import Stop
from recoverd.operations.hook_records import HookRecords
from recoverd.system import durable

if TYPE_CHECKING:
    from recoverd.config.hook_model import Hook
    from recoverd.operations.context import Context

# How long a process that ends waits for its hooks, at most.
END_S = 30.0
SHUTDOWN_S = 10.0
BOOT_S = 5.0
_KEPT = "hooks.json"
_INHERITED = ("TZ", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # the latter for messages on somebody's desktop
_HOST = re.compile(r"https?://(?:[^/?#]*@)?([^/?#@]+)")
_MOST_KEPT = 1000
_LOG = logging.getLogger("recoverd.operations")


def hooks_of(config: Config, environ: Mapping[str, str]) -> Hooks | None:
    """Those of the host and of its enabled services; None where none are declared."""
    rules = [_rule(hook, None, index, environ) for index, hook in enumerate(config.hooks)]
    for service in config.services.values():
        rules += [_rule(hook, service.name, index, environ) for index, hook in enumerate(service.hooks)]
    return Hooks(rules, document_of, HookRecords(config.state_dir)) if rules else None


def _rule(hook: Hook, service: str | None, index: int, environ: Mapping[str, str]) -> Rule:
    if hook.command:
        what, deliver = hook.command[0], partial(run_command_hook, hook, environ)
    else:
        from recoverd.events import webhook

        what, deliver = _host(hook.webhook), partial(webhook.deliver, hook, environ)
    where = "hooks" if service is None else f"services.{service}.hooks"
    return Rule(hook, service, f"{where}[{index}] ({what})", deliver)


def _host(url: str | Secret | None) -> str:
    """As much of a URL as may be shown."""
    if isinstance(url, Secret):
        from recoverd.config.secrets import describe

        return f"the webhook in {describe(url)}"
    found = _HOST.match(url or "")
    return f"the webhook at {found[1]}" if found else "a webhook"


def run_command_hook(hook: Hook, environ: Mapping[str, str], document: Document, timeout_s: float, stop: Stop) -> Told:
    """Run the command with the event on its standard input. Raises nothing that a hook can cause."""
    from recoverd.config.templates import fill_words
    from recoverd.services.commands import run_command

    words = fill_words(hook.command, values_of(document))
    # a file, not a pipe: whether and how fast the command reads is its own affair
    event = os.memfd_create("event", os.MFD_CLOEXEC)
    try:
        os.write(event, json.dumps(document).encode("ascii") + b"\n")
        os.lseek(event, 0, os.SEEK_SET)
        with stop.descriptor() as end_fd:
            ran = run_command(words, timeout_s=timeout_s, env=environment(environ), stdin_fd=event, end_fd=end_fd)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return Told(f"it can't be run: {reason[:1].lower()}{reason[1:]}", again=False)
    finally:
        os.close(event)
    if ran.status == 0:
        return Told()
    if ran.status is None and stop.is_asked:
        return Told("it was cut short")
    said = f": {ran.last_line}" if ran.last_line else ""
    return Told(f"it {ran.ending}{said}")


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a command gets of recoverd's own: nothing that could be a credential."""
    import pwd

    from recoverd.services.environment import DEFAULT_PATH

    try:
        account = pwd.getpwuid(os.geteuid())
        name, home = account.pw_name, account.pw_dir
    except KeyError:
        name, home = str(os.geteuid()), "/"
    own = {key: environ[key] for key in _INHERITED if environ.get(key)}
    return {
        "PATH": environ.get("PATH") or DEFAULT_PATH,
        "HOME": home,
        "USER": name,
        "LOGNAME": name,
        "LANG": environ.get("LANG") or "C.UTF-8",
        **own,
    }


def finish(context: Context, *, most_s: float = END_S, keep: bool = False) -> None:
    """Wait for hooks at the end of a process. With `keep`, what they were not told waits for `tell_kept`."""
    hooks, context.hooks = context.hooks, None
    if hooks is None:
        return
    untold = hooks.close(hooks.patience_s(most_s), keep=keep)
    HookRecords(context.state_dir).keep(hooks.rules)
    if untold:
        _keep(context.runtime_dir, untold)


def follow(context: Context, former: Context) -> None:
    """After a reload: what the hooks of before have still to tell is told."""
    if former.hooks is None:
        return
    if context.hooks is None:
        context.hooks = former.hooks  # no event comes to it any more
    else:
        context.hooks.follow(former.hooks)


def _keep(runtime_dir: str, untold: Sequence[Untold]) -> None:
    path = os.path.join(runtime_dir, _KEPT)
    document = [[one.key, one.document] for one in (*_kept(path), *untold)][:_MOST_KEPT]
    try:
        os.makedirs(runtime_dir, mode=0o700, exist_ok=True)
        durable.write_path(path, json.dumps(document).encode("ascii"))
    except OSError as error:
        _LOG.error("events that no hook was told of can't be kept for `recoverd confirm`: %s", error)


def tell_kept(context: Context) -> None:
    """Tell the hooks what the first phase of this boot could not."""
    path = os.path.join(context.runtime_dir, _KEPT)
    kept = _kept(path)
    if not kept:
        return
    with suppress(FileNotFoundError):
        os.unlink(path)
    nobody = len(kept) if context.hooks is None else context.hooks.tell_again(kept)
    if nobody:
        _LOG.warning("events of the boot that no hook is there for any more: %d", nobody)


def _kept(path: str) -> Sequence[Untold]:
    try:
        with durable.open_own(path) as file:
            return [Untold(str(key), dict(document)) for key, document in json.loads(file.read())]
    except (OSError, ValueError, TypeError):
        return ()
