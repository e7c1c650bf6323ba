"""The lines that bad configurations give: `file:line:column: place: sentence`, all at once, with suggestions."""

# ruff: noqa: E501 (tables are read line by line, and lines that are printed stand here as they are printed)

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.loading import Loaded, load
from recoverd.errors import ConfigError

Problems = Callable[..., list[str]]
ITEM = "services: {web: {root: /srv/web, state: {main: {file: state.json}}}}\n"


def service(body: str) -> str:
    """A file with one good service `web` and more keys, from line 6 on."""
    head = "services:\n  web:\n    root: /srv/web\n    state:\n      main: {file: state.json}\n"
    return head + "".join(f"    {line}\n" for line in body.splitlines())


def item(keys: str) -> str:
    """A file with one state item, in line 5."""
    return f"services:\n  web:\n    root: /srv/web\n    state:\n      main: {{{keys}}}\n"


DURATION = "a duration such as 500ms, 30s, 5m, 1h30m, 7d or 2w"
TABLE = [
    # shapes
    ("- a\n", ["1:1: must be the configuration of recoverd, not a list"]),
    ("services:web\n", ['1:1: must be the configuration of recoverd, not text (is a space missing after the colon?)']),
    ("services:\n", ["1:10: services: must be a mapping, not nothing"]),
    ("services: [a]\n", ["1:11: services: must be a mapping, not a list"]),
    ("services: {web: 3}\n", ["1:17: services.web: must be a service, not the number 3"]),
    # unknown keys
    ("servces: {}\n", ['1:1: servces: unknown key; did you mean "services"?']),
    (service("autosav: {}"), ['6:5: services.web.autosav: unknown key; did you mean "autosave"?']),
    (service("helth: {}\nretension: {last: 1}"), [
        '6:5: services.web.helth: unknown key; did you mean "health"?',
        '7:5: services.web.retension: unknown key; did you mean "retention"?']),
    (service("check: {zzz: 1}"), ["6:13: services.web.check.zzz: unknown key; known here: max_age, max_drill_age, max_failures"]),
    ("services: {WEB: {state: {m: {file: /srv/x}}}}\n", [
        '1:17: services.WEB: a name has lower-case letters, digits and . _ - and starts with a letter or digit; "web" would do']),
    ("services: {.: {state: {m: {file: /srv/x}}}}\n", [
        "1:15: services..: a name has lower-case letters, digits and . _ - and starts with a letter or digit"]),
    ("services: {" + "a" * 129 + ": {state: {m: {file: /srv/x}}}}\n", [
        f"1:143: services.{'a' * 129}: a name has at most 128 characters"]),
    ("services: {a: {state: {../x: {file: /srv/x}}}}\n", [
        '1:30: services.a.state.../x: a name has lower-case letters, digits and . _ - and starts with a letter or digit; "x" would do']),
    # types
    (service("enabled: yes"), ['6:14: services.web.enabled: must be true or false, not "yes" (write true or false)']),
    (service("after: web2"), ['6:12: services.web.after: must be a list, not text']),
    (service("after: [3]"), ["6:13: services.web.after[0]: must be text, not the number 3: write it in quotes"]),
    (service('after: [""]'), ["6:13: services.web.after[0]: must not be empty"]),
    (service("restore: {attempts: 0}"), ["6:25: services.web.restore.attempts: must be at least 1, not 0"]),
    (service("restore: {attempts: 1.5}"), ["6:25: services.web.restore.attempts: must be a whole number, not the number 1.5"]),
    (service("restore: {attempts: 9999}"), ["6:25: services.web.restore.attempts: must be at most 1000, not 9999"]),
    (service("restore: {scope: itm}"), ['6:22: services.web.restore.scope: "itm" is not one of item, service; did you mean "item"?']),
    (service("restore: {unhealthy: fall_back}"), [
        '6:26: services.web.restore.unhealthy: "fall_back" is not one of report, fall-back; did you mean "fall-back"?']),
    (service("restore: {fallback: []}"), ["6:25: services.web.restore.fallback: must not be empty"]),
    (service("restore: {verdicts: {newer: restore}}"), [
        '6:33: services.web.restore.verdicts.newer: "restore" is not one of alert, block, accept']),
    ("version: 2\n", ["1:10: version: must be the number 1, not the number 2"]),
    ("repository: {compression: 0}\n", ["1:27: repository.compression: must be at least 1, not 0"]),
    # durations
    (service("autosave: {every: 30}"), [f"6:23: services.web.autosave.every: must be {DURATION}, not the number 30: it has no unit"]),
    (service('autosave: {every: "30"}'), [f'6:23: services.web.autosave.every: "30" is not {DURATION}: it has no unit']),
    (service("autosave: {every: 1.5h}"), [
        f'6:23: services.web.autosave.every: "1.5h" is not {DURATION}: numbers are whole (1h30m, not 1.5h)']),
    (service('autosave: {every: "30s\\n"}'), [f'6:23: services.web.autosave.every: "30s\\n" is not {DURATION}']),
    (service("autosave: {every: 0s}"), ["6:23: services.web.autosave.every: must be longer than 0s"]),
    (service("autosave: {cron: 61 * * * *}"), ['6:22: services.web.autosave.cron: minute "61": 61 is not between 0 and 59']),
    (service("autosave: {cron: 0 0 31 2 *}"), ['6:22: services.web.autosave.cron: "0 0 31 2 *" never comes: no month it names has 31 days']),
    (service("autosave: {every: 3s, jitter: 3s}"), ["6:35: services.web.autosave.jitter: must be shorter than `every`"]),
    (
        service("autosave: {on_change: {quiet: 9s, at_most: 3s}}"),
        ["6:48: services.web.autosave.on_change.at_most: must not be shorter than `quiet`"],
    ),
    (service("check: {max_age: 0s}"), ["6:22: services.web.check.max_age: must be longer than 0s"]),
    (service("health: {within: 0s}"), ["6:22: services.web.health.within: must be longer than 0s"]),
    # retention
    (service("retention: {}"), [
        "6:16: services.web.retention: would keep no snapshot: give at least one of last, hourly, daily, weekly, monthly, yearly, tags, within"]),
    (service("retention: {last: 0, within: 0s, keep_invalid: 9}"), [
        "6:16: services.web.retention: would keep no snapshot: give at least one of last, hourly, daily, weekly, monthly, yearly, tags, within"]),
    (service("retention: {last: -2}"), ["6:23: services.web.retention.last: must be at least -1, not -2"]),
    (service("retention: {last: always}"), ['6:23: services.web.retention.last: "always" is not a number, or forever']),
    (service("retention: {within: 1 month}"), [
        '6:25: services.web.retention.within: "1 month" is not a length of time such as 1h, 7d, 6mo or 1y']),
    # state items
    (item(""), ["5:13: services.web.state.main: one of file, directory, sqlite and dump is needed"]),
    (item("file: a, directory: b"), [
        "5:23: services.web.state.main.directory: file and directory can't stand together: give one of file, directory, sqlite and dump"]),
    ("services: {a: {state: {m: }}}\n", ["1:27: services.a.state.m: must be a state item such as {file: state.json}, not nothing"]),
    ("services: {a: {state: {m: [x]}}}\n", ["1:27: services.a.state.m: must be a state item such as {file: state.json}, not a list"]),
    (item("fil: a"), [
        '5:14: services.web.state.main.fil: unknown key; did you mean "file"?']),
    (item("file: ../a"), ["5:20: services.web.state.main.file: ../a must not contain ..: say where the state really is"]),
    (item("file: a/"), ["5:20: services.web.state.main.file: a/ is a directory by its name: use `directory`"]),
    (item('file: ""'), ["5:20: services.web.state.main.file: must not be empty"]),
    (item("directory: /"), ["5:25: services.web.state.main.directory: / is a system directory, not the state of a service"]),
    (item("directory: //etc/."), ["5:25: services.web.state.main.directory: /etc is a system directory, not the state of a service"]),
    (item("directory: /usr"), ["5:25: services.web.state.main.directory: /usr is a system directory, not the state of a service"]),
    (item("directory: /proc/self"), [
        "5:25: services.web.state.main.directory: /proc/self lies in /proc, which the kernel makes: there is nothing to save"]),
    (item("directory: /var/lib/recoverd"), [
        "5:25: services.web.state.main.directory: /var/lib/recoverd contains the repository of recoverd itself (/var/lib/recoverd/repository)"]),
    (item("directory: /var/lib/recoverd/repository/x"), [
        "5:25: services.web.state.main.directory: /var/lib/recoverd/repository/x is or lies in the repository of recoverd itself (/var/lib/recoverd/repository)"]),
    (item("file: /var/lib/recoverd/x"), [
        "5:20: services.web.state.main.file: /var/lib/recoverd/x is or lies in the state directory of recoverd itself (/var/lib/recoverd)"]),
    ("state_dir: /srv/web/r\n" + item("directory: ."), [
        "6:25: services.web.state.main.directory: /srv/web contains the repository of recoverd itself (/srv/web/r/repository)"]),
    ("services: {web: {state: {main: {file: a}}}}\n", [
        "1:39: services.web.state.main.file: a is relative, and the service has no `root`: give one, or the whole path"]),
    (item("file: a, include: ['*']"), ["5:32: services.web.state.main.include: is for directory items: a file has nothing to select from"]),
    (item("directory: a, exclude: [../x, /y]"), [
        '5:37: services.web.state.main.exclude: "../x" must lie below the directory: patterns start there, without / and ..',
        '5:37: services.web.state.main.exclude: "/y" must lie below the directory: patterns start there, without / and ..']),
    (item("file: a, allow: [nans]"), ['5:31: services.web.state.main.allow[0]: "nans" is not one of nan, duplicate-keys-error; did you mean "nan"?']),
    (item("file: a, format: jsn"), [
        '5:31: services.web.state.main.format: "jsn" is not one of auto, json, json-lines, yaml, toml, opaque; did you mean "json"?']),
    (item("file: a") + "      other: {file: a}\n", [
        '6:21: services.web.state.other.file: /srv/web/a is the path of item "main" as well (recoverd.yaml:5)']),
    (item("directory: a") + "      other: {file: a/b}\n", [
        '6:21: services.web.state.other.file: /srv/web/a/b lies inside item "main" (recoverd.yaml:5): items must not overlap'
        '; `exclude` takes a file out of "main"']),
    (item("directory: a, exclude: [b, c/]") + "      other: {file: a/c/d}\n      third: {file: a/b}\n      more: {directory: a/b}\n", [
        '8:25: services.web.state.more.directory: /srv/web/a/b is the path of item "third" as well (recoverd.yaml:7)',
        '8:25: services.web.state.more.directory: /srv/web/a/b lies inside item "main" (recoverd.yaml:5): items must not overlap'
        '; `exclude` takes a file out of "main"']),
    (item("directory: a, include: ['!b']"), [
        "5:37: services.web.state.main.include: the pattern '!b' begins with !"]),
    (item("file: a/b") + "      other: {directory: .}\n", [
        '6:26: services.web.state.other.directory: /srv/web contains item "main" (recoverd.yaml:5): items must not overlap'
        '; `exclude` takes a file out of "other"']),
    ("services: {b: {state: {m: {file: /srv/x}}}, a: {state: {n: {file: /srv/x}}}}\n", [
        '1:67: services.a.state.n.file: /srv/x is the path of service "b" as well (recoverd.yaml:1)']),
    # schemas
    (item("file: a, schema: none.json"), [
        "5:31: services.web.state.main.schema: none.json is in none of ., schemas, /etc/recoverd/schemas"]),
    (item("file: a, schema: /none.json"), ["5:31: services.web.state.main.schema: /none.json does not exist"]),
    (item("file: a, schema: {type: objct}"), [
        '5:38: services.web.state.main.schema.type: "objct" is not a type of JSON Schema; there are array, boolean, integer, null, number, object, string; did you mean "object"?']),
    (item("file: a, schema: {pattern: '('}"), [
        '5:41: services.web.state.main.schema.pattern: the pattern "(" can\'t be used: missing ), unterminated subpattern at position 0']),
    (item("file: a, schema: {$schema: 'http://x/'}"), [
        '5:41: services.web.state.main.schema.$schema: "http://x/" is not a draft of JSON Schema that is known here']),
    (item("file: a, schema: {$schema: 3}"), ["5:41: services.web.state.main.schema.$schema: must be the name of a draft of JSON Schema"]),
    (item("file: a, format: opaque, schema: {}"), [
        "5:47: services.web.state.main.schema: an opaque file has nothing that a schema could check: give its format, or take this out"]),
    # run
    (service("run: {}"), ["6:10: services.web.run: one of systemd, command and control is needed"]),
    (service("run: {command: []}"), ["6:20: services.web.run.command: must not be empty"]),
    (service('run: {command: [""]}'), ["6:20: services.web.run.command: the program must not be empty"]),
    (service("run: {command: web --port 3}"), [
        '6:20: services.web.run.command: must be a command as a list: the program, then its arguments, not text']),
    (service("run: {command: [a], stop_signal: TREM}"), ['6:38: services.web.run.stop_signal: there is no signal "TREM"; did you mean "TERM"?']),
    (service("run: {command: [a], user: no-such-user-here}"), [
        '6:31: services.web.run.user: there is no user "no-such-user-here" on this machine']),
    (service("run: {command: [a], group: roott}"), ['6:32: services.web.run.group: there is no group "roott" on this machine; did you mean "root"?']),
    (service("run: {command: [a], env: {PORT: 3000}}"), [
        "6:37: services.web.run.env.PORT: must be text, or a reference to a secret: {credential: NAME}, {file: PATH} or {env: NAME}: "
        "write it in quotes"]),
    (service('run: {command: [a], env: {A=B: x, "": y}}'), [
        "6:36: services.web.run.env.A=B: a name in the environment is not empty and holds no =",
        "6:43: services.web.run.env.: a name in the environment is not empty and holds no ="]),
    (service("run: {command: [a], env: {A: {}}}"), [
        "6:34: services.web.run.env.A: must be text, or a reference to a secret: {credential: NAME}, {file: PATH} or {env: NAME}"]),
    ("services: {web: {}}\n", ["1:17: services.web: has neither state nor run: there is nothing to recover"]),
    # health
    (service("health: {probes: [{}]}"), ["6:23: services.web.health.probes[0]: one of http, tcp, command and running is needed"]),
    (service("health: {probes: [{http: localhost}]}"), [
        '6:30: services.web.health.probes[0].http: "localhost" is no URL such as http://127.0.0.1:3000/health: it starts with http:// or https://']),
    (service('health: {probes: [{http: "http://u:secret@/x"}]}'), [
        '6:30: services.web.health.probes[0].http: "http://***@/x" is no URL such as http://127.0.0.1:3000/health: it names no host']),
    (service('health: {probes: [{http: "http://a:99999/"}]}'), [
        '6:30: services.web.health.probes[0].http: "http://a:99999/" is no URL such as http://127.0.0.1:3000/health: its host or port is none']),
    (service('health: {probes: [{http: "http://a:0/"}]}'), [
        '6:30: services.web.health.probes[0].http: "http://a:0/" is no URL such as http://127.0.0.1:3000/health: ports go from 1 to 65535']),
    (service('health: {probes: [{http: "http://a/b c"}]}'), [
        '6:30: services.web.health.probes[0].http: "http://a/b c" is no URL such as http://127.0.0.1:3000/health: '
        "it holds spaces or letters that must be escaped"]),
    (service("health: {probes: [{tcp: localhost}]}"), [
        '6:29: services.web.health.probes[0].tcp: "localhost" is not HOST:PORT such as 127.0.0.1:1883 or [::1]:1883']),
    (service('health: {probes: [{tcp: "a:0"}]}'), ['6:29: services.web.health.probes[0].tcp: "a:0": ports go from 1 to 65535']),
    (service("health: {probes: [{tcp: 8080}]}"), ["6:29: services.web.health.probes[0].tcp: must be text, not the number 8080: write it in quotes"]),
    (service("health: {probes: [{command: ['']}]}"), ["6:33: services.web.health.probes[0].command: the program must not be empty"]),
    (service("health: {probes: [{running: false}]}"), ["6:33: services.web.health.probes[0].running: must be true, not false"]),
    (service("health: {probes: [{running: true, timeout: 0s}]}"), ["6:48: services.web.health.probes[0].timeout: must be longer than 0s"]),
    # order
    (service("after: [wbe]"), ['6:12: services.web.after: there is no service "wbe"']),
    ("services: {wob: {state: {m: {file: /srv/x}}, after: [wab]}, web: {state: {m: {file: /srv/y}}, after: [wob]}}\n", [
        '1:53: services.wob.after: there is no service "wab"; did you mean "web"?']),
    (service("after: [web]"), ["6:12: services.web.after: waits for itself"]),
    ("services:\n  a: {state: {m: {file: /srv/a}}, after: [b]}\n  b: {state: {m: {file: /srv/b}}, after: [c]}\n"
     "  c: {state: {m: {file: /srv/c}}, after: [a]}\n  d: {state: {m: {file: /srv/d}}, after: [a]}\n", [
        "2:42: services.a.after: the services wait for one another: a → b → c → a",
        "3:42: services.b.after: the services wait for one another: a → b → c → a",
        "4:42: services.c.after: the services wait for one another: a → b → c → a"]),
    # host-wide
    ("timezone: ../../etc/passwd\n", ['1:11: timezone: there is no time zone "../../etc/passwd"']),
    ("log: {level: warn, debug: [wether]}\n", [
        '1:14: log.level: "warn" is not one of debug, info, warning, error; did you mean "warning"?',
        '1:28: log.debug[0]: "wether" is not one of cli, config, events, health, operations, recovery, repository, scheduler, services, state, system']),
    ("repository: {path: /var/lib/recoverd}\n", ["1:20: repository.path: must not be `state_dir` itself: it holds snapshots and nothing else"]),
    ("repository: {spare: usb/recoverd}\n", [
        "1:21: repository.spare: usb/recoverd is relative: give the whole path of a place on another file system"]),
    ("repository: {spare: /mnt/../srv/x}\n", ["1:21: repository.spare: /mnt/../srv/x must not contain ..: say where the place really is"]),
    ("repository: {spare: /}\n", ["1:21: repository.spare: can't be the root directory"]),
    ("repository: {path: /srv/a, spare: /srv/a/}\n", [
        "1:35: repository.spare: must not be the repository itself: it is for when that can't be written"]),
    ("repository: {path: /srv/a, spare: /srv/a/b}\n", [
        "1:35: repository.spare: must not lie in the repository (/srv/a): what befalls that would befall it too"]),
    ("repository: {path: /srv/a/b, spare: /srv/a}\n", [
        "1:37: repository.spare: must not contain the repository (/srv/a/b): it holds snapshots and nothing else"]),
    ("state_dir: /srv/s\nrepository: {path: /r, spare: /srv/s}\n", [
        "2:31: repository.spare: must not be or contain `state_dir` (/srv/s): it holds snapshots only"]),
    ("repository: {spare: /srv/web}\n" + ITEM, [
        "2:55: services.web.state.main.file: /srv/web/state.json is or lies in the spare repository of recoverd itself (/srv/web)"]),
    ("repository: {spare: /srv/web/d/x}\nservices: {web: {root: /srv/web, state: {main: {directory: d}}}}\n", [
        "2:60: services.web.state.main.directory: /srv/web/d contains the spare repository of recoverd itself (/srv/web/d/x)"]),
    ("repository: {max_bytes: 0, min_free: 100%}\n", [
        "1:25: repository.max_bytes: must be more than 0: a repository without any byte keeps nothing",
        "1:38: repository.min_free: must be less than 100%: the repository itself needs room"]),
    ("repository: {max_bytes: 5%, min_free: 5 GiB}\n", [
        '1:25: repository.max_bytes: "5%" is not a size such as 500, 10kB, 64KiB or 1.5GiB',
        '1:39: repository.min_free: "5 GiB" is not a size such as 1GiB, or a percentage such as 5%']),
    ("prune: {cron: 61 * * * *}\n", ['1:15: prune.cron: minute "61": 61 is not between 0 and 59']),
    ("state_dir: /\n", ["1:12: state_dir: can't be the root directory"]),
    ("state_dir: $" + "{NOT_SET}/x\n", ["1:12: state_dir: the environment variable NOT_SET is not set; ${NOT_SET:-default} gives a default"]),
    # secrets are never quoted back
    (service("run: {command: [a], env: TOKEN=hunter2}"), ["6:30: services.web.run.env: must be a mapping, not text"]),
    (service("run: {command: x --token hunter2}"), [
        "6:20: services.web.run.command: must be a command as a list: the program, then its arguments, not text"]),
    ("replicas: {o: {url: 's3://b', identity: hunter2}}\n", [
        "1:1: replicas: is not supported yet",
        "1:41: replicas.o.identity: must be a reference to a secret: {credential: NAME}, {file: PATH} or {env: NAME}"]),
    # aliases: the problem stands where the value stands, once
    ("services: {a: &x {stat: {}}, b: *x}\n", [
        '1:19: services.a.stat: unknown key; did you mean "state"?', '1:19: services.b.stat: unknown key; did you mean "state"?']),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), TABLE, ids=[lines[0][:70] for _, lines in TABLE])
def test_lines(text: str, lines: list[str], problems: Problems, tmp_path: Path) -> None:
    assert [line.replace(str(tmp_path), ".").replace("./schemas,", "schemas,") for line in problems(text)] == lines


def test_all_at_once(problems: Problems) -> None:
    """Problems of shape, of values, of several services and of what is not built yet are reported together."""
    text = (
        "servces: {}\nservices:\n  a:\n    run: {command: [a], stop_signal: XX}\n    wach: {}\n    restore: {fallback: [replicas]}\n"
        "    state: {m: {file: x}, n: {}}\n  b:\n    after: [z]\n    state: {m: {file: /srv/b, schema: no.json}}\n"
    )
    lines = problems(text)
    assert [line.split(": ")[1] for line in lines] == [
        "servces", "services.a.run.stop_signal", "services.a.wach", "services.a.restore.fallback[0]", "services.a.state.m.file",
        "services.a.state.n", "services.b.after", "services.b.state.m.schema",
    ]  # fmt: skip


def test_a_broken_part_makes_no_false_follow_ups(problems: Problems) -> None:
    """What can't be used because of one problem is not reported as missing by another."""
    assert problems("services: {a: {state: [x]}}\n") == ["1:23: services.a.state: must be a mapping, not a list"]
    assert problems("services: {a: {root: 3, state: {m: {file: x}}}}\n") == [
        "1:22: services.a.root: must be text, not the number 3: write it in quotes"
    ]
    assert problems("services: {a: 3, b: {state: {m: {file: /srv/b}}, after: [a]}}\n") == [
        "1:15: services.a: must be a service, not the number 3"
    ]
    assert problems(service("retention: {last: x}")) == [
        '6:23: services.web.retention.last: "x" is not a number, or forever'
    ]
    (found,) = problems(service("restore: {fallback: [replicas]}"))
    assert found.startswith('6:26: services.web.restore.fallback[0]: "replicas" is not supported yet')


def test_duplicate_services_name_both_places(write: Callable[[Mapping[str, str]], Path]) -> None:
    """A service defined twice in effective files is an error that names both places."""
    root = write({"conf.d/a.yaml": ITEM, "conf.d/b.yaml": "\n" + ITEM})
    with pytest.raises(ConfigError) as caught:
        load([str(root)], environ={}, euid=1000, home="/home/me")
    assert [str(problem).replace(f"{root}/conf.d/", "") for problem in caught.value.problems] == [
        "a.yaml:1:12: services.web: is given twice: also at b.yaml:2:12",
        "b.yaml:2:12: services.web: is given twice: also at a.yaml:1:12",
    ]


def test_host_wide_keys_twice(write: Callable[[Mapping[str, str]], Path]) -> None:
    """The same host-wide key in two files is a problem; different keys of one mapping are not, nor is `version`."""
    root = write(
        {"a.yaml": "version: 1\nlog: {level: info}\n", "b.yaml": "version: 1\nlog: {level: debug, format: json}\n"}
    )
    with pytest.raises(ConfigError) as caught:
        load([str(root / "a.yaml"), str(root / "b.yaml")], environ={}, euid=1000, home="/home/me")
    assert [str(problem).replace(f"{root}/", "") for problem in caught.value.problems] == [
        "b.yaml:2:14: log.level: is given twice: also at a.yaml:2:14"
    ]


def test_drop_ins_hold_services_only(write: Callable[[Mapping[str, str]], Path]) -> None:
    """Host-wide keys belong into recoverd.yaml: a shipped drop-in can't change them."""
    root = write({"conf.d/a.yaml": "version: 1\nstate_dir: /x\ndefaults: {}\n" + ITEM})
    with pytest.raises(ConfigError) as caught:
        load([str(root)], environ={}, euid=1000, home="/home/me")
    assert [problem.place for problem in caught.value.problems] == ["state_dir", "defaults"]
    assert all("belongs into recoverd.yaml" in problem.sentence for problem in caught.value.problems)


def test_error_is_typed(load_text: Callable[..., Loaded]) -> None:
    """Exit status 78, a summary and a hint."""
    with pytest.raises(ConfigError) as caught:
        load_text("a: 1\nb: 2\n")
    assert caught.value.exit_status == 78
    assert caught.value.message == "the configuration has 2 problems"
    assert "recoverd config schema" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not JSON: line 1, column 2: expecting property name enclosed in double quotes"),
        (b"\xff", "is not JSON: it is not UTF-8 text"),
        (b'{"minimum": NaN}', "is not JSON: NaN is no JSON"),
        (b"[" * 200_000, "is not JSON: it is nested too deep"),
        (b" " * (4 * 1024 * 1024 + 1), "is larger than 4 MiB"),
        (None, "is no regular file"),
    ],
)
def test_schema_files(content: bytes | None, reason: str, problems: Problems, tmp_path: Path) -> None:
    """A schema file that is no schema is told when the configuration loads, whatever is in it."""
    path = tmp_path / "s.json"
    path.mkdir() if content is None else path.write_bytes(content)
    assert problems(item("file: a, schema: s.json")) == [f"5:31: services.web.state.main.schema: s.json {reason}"]


def test_schemas_are_looked_up(write: Callable[[Mapping[str, Any]], Path], load_text: Callable[..., Loaded]) -> None:
    """Beside the file, in schemas/ beside it, in /etc/recoverd/schemas: the first one wins."""
    root = write({"etc/recoverd/schemas/s.json": '{"title": "3"}'})
    (root / "etc").rename(root / "root-etc")
    prefix = str(root / "p")
    (root / "p").mkdir()
    (root / "root-etc").rename(root / "p" / "etc")
    for name, content in (("", "3"), ("schemas/s.json", "2"), ("s.json", "1")):
        if name:
            write({name: f'{{"title": "{content}"}}'})
        schema = load_text(item("file: a, schema: s.json"), prefix=prefix).config.services["web"].state["main"].schema
        assert schema is not None
        assert schema.document == {"title": content}
        assert schema.place.line == 5
        assert set(schema.directories) >= {str(root), str(root / "schemas"), f"{prefix}/etc/recoverd/schemas"}
