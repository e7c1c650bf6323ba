"""Hooks: who is told of events, from the files to the model."""

from __future__ import annotations

import re
from collections.abc import Mapping

from recoverd.config import templates
from recoverd.config.addresses import why_no_url
from recoverd.config.hook_model import Hook
from recoverd.config.model import Secret
from recoverd.config.sections import Section
from recoverd.config.wording import suggest

_EXAMPLE = "https://chat.example.com/hook"
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")  # of a header: RFC 9110, a token
_OURS = frozenset({"connection", "content-length", "host", "transfer-encoding"})


def build_hooks(section: Section) -> tuple[Hook, ...]:
    """The hooks of the host, or of a service; only to be used when no problem was reported."""
    return tuple(_hook(one) for one in section.sections("hooks"))


def _hook(section: Section) -> Hook:
    hook = Hook(
        when=tuple(dict.fromkeys(section.texts("when"))),
        command=section.texts("command"),
        webhook=section.text_or_secret("webhook"),
        headers=_headers(section),
        body=section.text("body"),
        timeout_s=section.duration("timeout", Hook(()).timeout_s, positive=True),
    )
    if section.has("command"):
        _check_command(section, hook)
    elif isinstance(hook.webhook, str) and why_no_url(hook.webhook):
        # not a word of it: what it holds besides the host is most often a secret
        section.problem("webhook", f"is no URL such as {_EXAMPLE}, with every special letter escaped")
    if hook.body is not None:
        _check_body(section, hook, hook.body)
    return hook


def _check_command(section: Section, hook: Hook) -> None:
    for key in ("headers", "body"):
        if section.has(key):
            section.problem(key, "goes with `webhook` only: a command has the event on its standard input")
    if not hook.command or not hook.command[0]:
        section.problem("command", "the program must not be empty")
    elif templates.fields(hook.command[0]):
        section.problem("command", f"the program itself can't be {hook.command[0]}: an event must not choose it")
    for word in hook.command:
        _check_fields(section, "command", word)


def _check_body(section: Section, hook: Hook, body: str) -> None:
    _check_fields(section, "body", body)
    why = templates.why_no_json(body)
    wanted = templates.kind_of(body, hook.content_type) is templates.Kind.JSON
    if why is not None and (wanted or (hook.content_type is None and templates.is_meant_as_json(body))):
        section.problem("body", f"is no JSON once its fields are filled in: {why}")


def _check_fields(section: Section, key: str, template: str) -> None:
    for name in templates.unknown_fields(template):
        hint = suggest(name, (*templates.FIELDS, *templates.FIGURES)) or f"; to mean it literally, write {{{{{name}}}}}"
        section.problem(key, f"{{{name}}} is nothing that an event has{hint}")


def _headers(hook: Section) -> Mapping[str, str | Secret]:
    section = hook.section("headers")
    headers: dict[str, str | Secret] = {}
    for name in section.node.content:
        value = section.text_or_secret(name)
        if not _NAME.match(name):
            hook.problem("headers", f'"{name}" is no name of a header: letters, digits and - make one')
        elif name.lower() in _OURS:
            section.problem(name, "is said by recoverd itself")
        elif name.lower() in {known.lower() for known in headers}:
            section.problem(name, "is given twice: the case of letters makes no difference")
        elif isinstance(value, str) and (not value.isprintable() or not value.isascii()):
            section.problem(name, "must be plain ASCII, in one line")
        elif value is not None:
            headers[name] = value
    return headers
