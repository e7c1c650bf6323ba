"""A world to damage, a second reader and a judge; the modules beside this one, which only tests here use."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load(name: str) -> ModuleType:
    """A module beside this file, which is in no package."""
    full = f"tests_damage_repository_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full]


class Scene:
    """The world, its judge, and what makes damages."""

    def __init__(self, user: int | None = None) -> None:
        module, oracle, judge, self.damages = (load(name) for name in ("world", "oracle", "judge", "damages"))
        self.world = module.new_world(load("history").STEPS, user)
        self.judge = judge.Judge(self.world, oracle.Repository(self.world.repository), module.Kept)
        self.judge.learn()
        self.world.reset()
        self.oracle = oracle
        image = self.world.image
        # in the order in which they were made: the names of packs are of another seed each time
        found = sorted(image.items(), key=lambda pair: (pair[1].mtime_ns, pair[0]))
        files = {name: one.data for name, one in found if one.data is not None and damaged_here(name)}
        directories = [name for name, one in image.items() if damaged_here(name) and one.data is None]
        frames = {name: self.judge.oracle.known.get(Path(name).name[:64]) for name in files}
        self.maker = self.damages.Maker(files, directories, {name: one for name, one in frames.items() if one})

    def close(self) -> None:
        shutil.rmtree(self.world.base)


def damaged_here(name: str) -> bool:
    """What recoverd keeps; not the live state, the configuration, and what quarantine holds of it."""
    return name.startswith(("var/", "run/")) and not (name.startswith("var/quarantine/") and "evidence" not in name)


@pytest.fixture(scope="module")
def scene() -> Iterator[Any]:
    one = Scene()
    yield one
    one.close()


@pytest.fixture(scope="module")
def plain_scene(scene: Any) -> Iterator[Any]:
    """The same of a plain user, whom permissions keep from something."""
    if os.geteuid() != 0:
        yield scene
        return
    one = Scene(scene.world.plain_user)
    yield one
    one.close()
