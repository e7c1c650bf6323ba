"""values.dataclass: what the standard library's own does, at a tenth of its price. Compared with it, side by side."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import pkgutil
import subprocess
import sys
import threading
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recoverd
from recoverd import values
from recoverd.values import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Ours:
    """As `Theirs`."""

    name: str
    hash: int = 3  # a name that a method uses
    more: tuple[int, ...] = ()
    members: Mapping[str, int] = field(default_factory=lambda: {"a": 1})

    @property
    def length(self) -> int:
        return len(self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    """As `Ours`."""

    name: str
    hash: int = 3
    more: tuple[int, ...] = ()
    members: Mapping[str, int] = dataclasses.field(default_factory=lambda: {"a": 1})

    @property
    def length(self) -> int:
        return len(self.name)


@dataclass(frozen=True, slots=True)
class OurChild(Ours):
    hash: int = 4
    own: str = "x"


@dataclasses.dataclass(frozen=True, slots=True)
class TheirChild(Theirs):
    hash: int = 4
    own: str = "x"


@dataclass(slots=True)
class OurLog:
    count: int
    seen: list[int] = field(default_factory=list)


@dataclasses.dataclass(slots=True)
class TheirLog:
    count: int
    seen: list[int] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OurNothing:
    """No field at all."""


@dataclasses.dataclass(frozen=True, slots=True)
class TheirNothing:
    """No field at all."""


@dataclass(frozen=True, slots=True)
class OurEqual:
    """Equality of its own."""

    name: str
    noise: float = 0.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OurEqual) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


PAIRS: list[tuple[Any, Any]] = [(Ours, Theirs), (OurChild, TheirChild), (OurLog, TheirLog), (OurNothing, TheirNothing)]
_number = st.integers(0, 2)
_values = st.sampled_from(["a", "b", 0, 1, float("nan"), (1, 2), None, [1]])


def outcome(work: Callable[[], Any]) -> Any:
    """What comes out of it, or the type of the error; the names of the classes are the only difference allowed."""
    try:
        found = work()
    except Exception as error:
        return type(error), str(error).replace("Their", "Our")
    return found.replace("Their", "Our") if isinstance(found, str) else found


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@given(
    positional=st.lists(_values, max_size=4),
    named=st.dictionaries(st.sampled_from(["name", "hash", "more", "own", "count", "seen", "x"]), _values, max_size=2),
)
def test_what_is_made_and_shown(ours: Any, theirs: Any, positional: list[Any], named: dict[str, Any]) -> None:
    """The same arguments are taken and refused, with the same words; repr, equality, hash and values are the same."""
    made = outcome(lambda: repr(ours(*positional, **named)))
    assert made == outcome(lambda: repr(theirs(*positional, **named)))
    if isinstance(made, tuple):
        return
    one, other = ours(*positional, **named), theirs(*positional, **named)
    assert outcome(lambda: hash(one)) == outcome(lambda: hash(other))
    assert (one == ours(*positional, **named)) is (other == theirs(*positional, **named))
    assert one != other
    assert one != 1
    assert [getattr(one, name) for name in ours.__match_args__] == [
        getattr(other, name) for name in theirs.__match_args__
    ]


@given(
    positional=st.lists(_values, max_size=4),
    named=st.dictionaries(st.sampled_from(["name", "hash", "more", "members", "own", "x"]), _values, max_size=3),
    frozen=st.booleans(),
)
def test_the_first_objects_are_as_all_others(positional: list[Any], named: dict[str, Any], frozen: bool) -> None:
    """Nothing is compiled for them, unless they can't be made: then what is compiled says why."""

    class Base:
        name: str
        hash: int = 3
        members: Mapping[str, int] = field(default_factory=dict)

    class Child(values.dataclass(slots=True, frozen=frozen)(Base)):  # type: ignore[misc]
        own: str = "x"

    fresh: Any = values.dataclass(slots=True, frozen=frozen)(Child)
    late = vars(fresh)["__init__"]
    first = outcome(lambda: repr(fresh(*positional, **named)))
    assert (vars(fresh)["__init__"] is late) is isinstance(first, str)
    assert inspect.isfunction(fresh.__init__)  # who asks for it gets the compiled one
    assert vars(fresh)["__init__"] is not late
    assert outcome(lambda: repr(fresh(*positional, **named))) == first
    if isinstance(first, str):
        assert fresh("a").members is not fresh("a").members


def test_a_class_with_many_objects_has_its_init_compiled() -> None:
    @dataclass(slots=True)
    class Many:
        number: int

    assert [Many(number).number for number in range(1000)] == list(range(1000))
    assert inspect.isfunction(vars(Many)["__init__"])


def test_a_default_of_a_class_of_the_house_compiles_nothing() -> None:
    @dataclass(frozen=True, slots=True)
    class Part:
        number: int = 1

    late = vars(Part)["__hash__"]

    @dataclass(frozen=True, slots=True)
    class _Whole:
        part: Part = Part()

    assert vars(Part)["__hash__"] is late


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_what_the_class_is(ours: Any, theirs: Any) -> None:
    """Names, slots, signature, hints, and what `dataclasses` and readers of annotations find out."""
    assert (ours.__qualname__, ours.__module__) == (theirs.__qualname__.replace("Their", "Our"), theirs.__module__)
    assert ours.__match_args__ == theirs.__match_args__
    assert ours.__slots__ == theirs.__slots__
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    assert typing.get_type_hints(ours.__init__) == typing.get_type_hints(theirs.__init__)
    assert dataclasses.is_dataclass(ours)
    assert [(f.name, f.type, f.default) for f in dataclasses.fields(ours)] == [
        (f.name, f.type, f.default) for f in dataclasses.fields(theirs)
    ]


def test_frozen_means_frozen() -> None:
    """Neither assignment nor deletion, of a field or of anything else; a log may change, and has no hash."""
    one = Ours("a")
    for name in ("name", "length", "other"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            setattr(one, name, "b")
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            delattr(one, name)
    log = OurLog(1)
    log.count = 2
    assert log == OurLog(2)
    with pytest.raises(AttributeError):
        log.other = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unhashable"):
        hash(log)


def test_each_object_has_its_own_default() -> None:
    first, second = OurLog(1), OurLog(1)
    first.seen.append(1)
    assert second.seen == []


def test_copies() -> None:
    """replace of both houses, copy, deepcopy and pickle; replace refuses what is no field."""
    one = OurChild("a", 2, (1,), {"b": 2})
    assert replace(one, hash=9) == dataclasses.replace(one, hash=9) == OurChild("a", 9, (1,), {"b": 2})
    assert one.hash == 2
    assert copy.copy(one) == copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one).members is not one.members
    assert dataclasses.asdict(one) == {"name": "a", "hash": 2, "more": (1,), "members": {"b": 2}, "own": "x"}
    assert pickle.loads(pickle.dumps(OurLog(3, [1]))) == OurLog(3, [1])
    with pytest.raises(TypeError, match="nothing"):
        replace(one, nothing=1)  # type: ignore[call-arg]


def test_equality_of_its_own_stays() -> None:
    assert OurEqual("a", 1.0) == OurEqual("a", 2.0)
    assert len({OurEqual("a", 1.0), OurEqual("a", 2.0)}) == 1


def test_patterns() -> None:
    match Ours("a", 2):
        case Ours(name, hash=2):
            assert name == "a"
        case _:
            pytest.fail("it did not match")


def test_a_default_that_all_would_share_is_refused() -> None:
    with pytest.raises(ValueError, match="default_factory"):

        @dataclass(slots=True)
        class _Shared:
            seen: list[int] = []  # noqa: RUF012


def test_first_use_from_many_threads() -> None:
    """Methods are made when they are first used, which may be by several threads at once."""
    for _ in range(50):

        @dataclass(frozen=True, slots=True)
        class Fresh:
            a: int
            b: int = 2

        found: list[Any] = []
        barrier = threading.Barrier(4)

        def use(fresh: Any = Fresh, found: list[Any] = found, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            found.append((fresh(1), hash(fresh(1)), fresh(1) == fresh(1, 2)))

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [(Fresh(1), hash((1, 2)), True)] * 4


def test_all_of_the_house_are_made_so() -> None:
    """A class made by the standard library's own would load `inspect` again, with every command that needs it."""
    wrong = []
    for module in pkgutil.walk_packages(recoverd.__path__, "recoverd."):
        if module.name != "recoverd.__main__":
            for name, found in vars(import_module(module.name)).items():
                if isinstance(found, type) and found.__module__ == module.name and dataclasses.is_dataclass(found):
                    made = found.__dict__.get("__dataclass_fields__")
                    if not isinstance(made, values._LateFields):
                        wrong.append(f"{module.name}.{name}")
    assert wrong == []


def test_nothing_heavy_is_loaded() -> None:
    code = "import sys, recoverd.config.model, recoverd.errors\nprint({'dataclasses', 'inspect'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
