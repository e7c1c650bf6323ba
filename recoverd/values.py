"""`@dataclass(slots=True)` and `@dataclass(frozen=True, slots=True)`, as in the standard library but made faster.

Every command is a new process that makes a hundred of these classes before it does anything. The standard library
compiles six methods for each of them (0.4 ms) and loads `inspect` (6 ms). Here methods are compiled when they are
first used, or shared. What the classes and their objects do is the same, also for `dataclasses.replace`, `fields` and
`asdict`, for `copy` and `pickle`; type checkers see the standard library's own.

Of its options there are `frozen` and `slots`, of `field` there is `default_factory`: what the house uses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:

    def dataclass(*, slots, frozen=False):
        """Make the class below a dataclass: `__init__`, `__repr__`, `__eq__`, with `frozen` also `__hash__`."""
        if not slots:
            raise TypeError("a dataclass of this house has slots")
        return lambda cls: _made(cls, frozen)

    def field(*, default_factory):
        """A default that is made anew for each object."""
        return _Factory(default_factory)

    def replace(value, /, **changes):
        """A copy with other values for some fields. Raises TypeError for a field that does not exist."""
        for name in value.__match_args__:
            if name not in changes:
                changes[name] = getattr(value, name)
        return value.__class__(**changes)


class _Factory:
    __slots__ = ("make",)

    def __init__(self, make: Any) -> None:
        self.make = make


_REQUIRED = object()  # a field without a default
_FIRST = 20  # objects of a class that take as long without a compiled `__init__` as to compile it
_Fields = dict[str, tuple[str, Any]]  # name -> (annotation, default); those of base classes first


def _made(cls: type, frozen: bool) -> type:
    """`cls` again, with slots and the methods that it does not define itself."""
    namespace, fields = dict(cls.__dict__), dict[str, tuple[str, Any]]()
    for base in reversed(cls.__mro__[1:]):
        if "__dataclass_fields__" in base.__dict__:
            fields |= base.__dict__["__dataclass_fields__"].known
    slots = []
    for name, annotation in cls.__annotations__.items():
        default = namespace.pop(name, _REQUIRED)
        if _is_unhashable(default.__class__):
            raise ValueError(f"{cls.__name__}.{name}: objects would share this default, use field(default_factory=...)")
        if name not in fields:
            slots.append(name)
        fields[name] = (annotation, default)
    for name in ("__dict__", "__weakref__"):
        namespace.pop(name, None)
    common: dict[str, Any] = {
        "__slots__": tuple(slots),
        "__match_args__": tuple(fields),
        "__dataclass_fields__": _LateFields(cls.__name__, fields),
        "__init__": _LateInit(fields, frozen),
        "__repr__": _repr,
    }
    if "__eq__" not in namespace:
        common["__eq__"] = _Late("__eq__", _equal)
        common["__hash__"] = _Late("__hash__", _hash) if frozen else None
    if frozen:
        common |= _FROZEN
    made = type(cls)(cls.__name__, cls.__bases__, common | namespace)
    made.__qualname__ = cls.__qualname__
    return made


@cache
def _is_unhashable(cls: type) -> bool:
    # not by `cls.__hash__`: to look it up would have it compiled
    return next(vars(base)["__hash__"] for base in cls.__mro__ if "__hash__" in vars(base)) is None


class _Late:
    """A method that is made, and takes the place of this, when it is first looked up."""

    def __init__(self, name: str, make: Callable[[type], Any]) -> None:
        self._name, self._make = name, make

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner

    def __get__(self, instance: object, owner: type) -> Any:
        method = self._make(self._owner)
        method.__qualname__ = f"{self._owner.__qualname__}.{self._name}"
        setattr(self._owner, self._name, method)
        return method.__get__(instance, owner)


class _LateInit(_Late):
    """`__init__`: the first objects are made without one, as most classes have fewer than what compiling it takes."""

    def __init__(self, fields: _Fields, frozen: bool) -> None:
        super().__init__("__init__", lambda owner: _init(owner, fields, frozen))
        self._fields = fields
        self._left = _FIRST

    def __get__(self, instance: Any, owner: type) -> Any:
        self._left -= 1
        if instance is None or self._left < 0:
            return super().__get__(instance, owner)
        return lambda *arguments, **named: self._fill(instance, arguments, named)

    def _fill(self, instance: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        values = dict(zip(self._fields, arguments, strict=False)) | named
        fits = len(values) == len(arguments) + len(named) and values.keys() <= self._fields.keys()
        for name, (_, default) in self._fields.items():
            if name not in values:
                values[name] = default.make() if isinstance(default, _Factory) else default
        if not fits or any(value is _REQUIRED for value in values.values()):
            super().__get__(instance, self._owner)(*arguments, **named)  # it says what is wrong
            return
        for name, value in values.items():
            getattr(self._owner, name).__set__(instance, value)


class _LateFields:
    """`__dataclass_fields__`, through which the functions of `dataclasses` know a dataclass; made when one asks."""

    def __init__(self, name: str, known: _Fields) -> None:
        self._name, self.known = name, known
        self._made: Any = None

    def __get__(self, instance: object, owner: type) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> Any:
        import dataclasses

        twin: list[tuple[str, Any, Any]] = []
        for name, (annotation, default) in self.known.items():
            if isinstance(default, _Factory):
                twin.append((name, annotation, dataclasses.field(default_factory=default.make)))
            elif default is _REQUIRED:
                twin.append((name, annotation, dataclasses.field()))
            else:
                twin.append((name, annotation, dataclasses.field(default=default)))
        made: Any = dataclasses.make_dataclass(self._name, twin)
        return made.__dataclass_fields__


def _init(cls: type, fields: _Fields, frozen: bool) -> Any:
    """`__init__` of a class. Fields are set through their slots, which a frozen class does not guard."""
    given: dict[str, Any] = {"_required": _REQUIRED}
    parameters, lines = ["self"], []
    for name, (_, default) in fields.items():
        value = name
        if default is _REQUIRED:
            parameters.append(name)
        elif isinstance(default, _Factory):
            given[f"_make_{name}"] = default.make
            parameters.append(f"{name}=_required")
            value = f"_make_{name}() if {name} is _required else {name}"
        else:
            given[f"_default_{name}"] = default
            parameters.append(f"{name}=_default_{name}")
        if frozen:
            given[f"_set_{name}"] = getattr(cls, name).__set__
        lines.append(f"_set_{name}(self, {value})" if frozen else f"self.{name} = {value}")
    init = _compiled(cls, f"__init__({', '.join(parameters)})", "\n  ".join(lines) or "pass", given)
    init.__annotations__ = {name: annotation for name, (annotation, _) in fields.items()} | {"return": None}
    return init


def _equal(cls: Any) -> Any:
    """`__eq__`: all fields are equal, of objects of the same class."""
    same = f"return {_values(cls, 'self')} == {_values(cls, 'other')}"
    lines = f"if other.__class__ is self.__class__:\n   {same}\n  return NotImplemented"
    return _compiled(cls, "__eq__(self, other)", lines, {})


def _hash(cls: Any) -> Any:
    return _compiled(cls, "__hash__(self)", f"return _hash({_values(cls, 'self')})", {"_hash": hash})


def _values(cls: Any, owner: str) -> str:
    return "(" + "".join([f"{owner}.{name}," for name in cls.__match_args__]) + ")"


def _compiled(cls: type, head: str, body: str, given: dict[str, Any]) -> Any:
    """A function of the module that `cls` stands in, which knows what is `given` by name."""
    made: dict[str, Any] = {}
    source = f"def make({', '.join(given)}):\n def {head}:\n  {body}\n return {head.partition('(')[0]}"
    exec(source, vars(sys.modules[cls.__module__]), made)  # noqa: S102 - made of field names, as a class has them
    return made["make"](**given)


def _repr(self: Any) -> str:
    values = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__match_args__])
    return f"{self.__class__.__qualname__}({values})"


def _no_assignment(_self: object, name: str, _value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _no_deletion(_self: object, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__match_args__]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__match_args__, state, strict=True):
        object.__setattr__(self, name, value)


_FROZEN = {
    "__setattr__": _no_assignment,
    "__delattr__": _no_deletion,
    "__getstate__": _get_state,  # copy and pickle would assign
    "__setstate__": _set_state,
}
