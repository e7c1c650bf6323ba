"""A `recoverd run` with the real operations over two services, `a` and `b`, in the directory it is given."""

from __future__ import annotations

import sys
from pathlib import Path

from recoverd.config.model import (
    Autosave,
    Config,
    Format,
    ItemKind,
    LogConfig,
    Place,
    RepositoryConfig,
    Retention,
    Service,
    StateItem,
)
from recoverd.events import Events
from recoverd.events.logs import log_sink, set_up
from recoverd.operations.context import Context
from recoverd.scheduler.service import run


def context(directory: Path) -> Context:
    """Each service has one JSON document and is saved twice a second and at the end."""
    services = {
        name: Service(
            name,
            Place("f", 1, 1),
            state={"main": StateItem("main", ItemKind.FILE, str(directory / f"{name}.json"), format=Format.JSON)},
            autosave=Autosave(every_s=0.5, on_shutdown=True),
            retention=Retention(last=1000),
        )
        for name in ("a", "b")
    }
    state_dir = str(directory / "state")
    config = Config(state_dir, RepositoryConfig(str(directory / "state" / "repository")), services)
    return Context(config, Events([log_sink]), str(directory / "runtime"))


if __name__ == "__main__":
    set_up(LogConfig(level="debug"))
    sys.exit(run(lambda: context(Path(sys.argv[1])), announce=lambda line: print(line, flush=True)))
