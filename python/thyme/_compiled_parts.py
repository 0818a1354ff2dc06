"""What programs are put together with: code, constants, scopes, and what stops a translation."""

from __future__ import annotations

import ast
import datetime as dt
import struct
from dataclasses import dataclass, field, replace
from typing import Any

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_MICROSECOND = dt.timedelta(microseconds=1)
_ITEMS_MAX = 200
"""Longer tuples and dicts are searched faster by CPython."""

Special = str | int
"""What a parameter stands for: `cls`, `time`, `inputs`, or the number of an input."""


class NotCompiled(Exception):
    """Something that programs do not have; `construct` is a noun phrase, `line` where it is."""

    def __init__(self, construct: str, node: ast.AST) -> None:
        """Takes what it is and the node it is at."""
        super().__init__(construct)
        self.construct = construct
        self.line: int = getattr(node, "lineno", 0)


@dataclass
class Code:
    """A program that is being written."""

    instructions: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    locals: int = 0

    def emit(self, name: str, *operands: Any) -> int:
        """Adds an instruction, and gives its place."""
        match operands:
            case ():
                self.instructions.append(name)
            case (one,):
                self.instructions.append({name: one})
            case _:
                self.instructions.append({name: list(operands)})
        return len(self.instructions) - 1

    def land(self, place: int) -> None:
        """Makes the jump at `place` go to what is emitted next."""
        (name,) = self.instructions[place]
        self.instructions[place] = {name: len(self.instructions)}

    def local(self) -> int:
        """A new local."""
        self.locals += 1
        return self.locals - 1

    def constant(self, value: Any, node: ast.AST | None = None) -> None:
        """Puts a constant onto the stack.

        Raises:
            NotCompiled: Programs do not have it.
        """
        written = written_constant(value, node if node is not None else ast.Pass())
        if written not in self.constants:
            self.constants.append(written)
        self.emit("constant", self.constants.index(written))


@dataclass
class Loop:
    """The jumps out of a loop, and those to its next round, that are still to land."""

    breaks: list[int] = field(default_factory=list)
    continues: list[int] = field(default_factory=list)


@dataclass
class Scope:
    """The names of a function.

    Attributes:
        name: The function's.
        stored: The names that it sets, which are locals throughout.
        specials: The parameters that are read where they are used.
        slots: The locals.
        returns: The jumps of its returns; None for the extractor itself, which ends by them.
        loops: The loops around what is being translated.
    """

    name: str
    stored: frozenset[str]
    specials: dict[str, Special] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    returns: list[int] | None = None
    loops: list[Loop] = field(default_factory=list)

    def bind_special(self, parameter: str, special: Special) -> None:
        """Makes a parameter stand for something that the program is given."""
        self.specials[parameter] = special

    def slot(self, name: str, code: Code) -> int:
        """The local called `name`."""
        if name not in self.slots:
            self.slots[name] = code.local()
        return self.slots[name]

    def with_local(self, name: str, slot: int) -> Scope:
        """The same scope, in which a name stands for another local."""
        specials = {known: special for known, special in self.specials.items() if known != name}
        return replace(self, specials=specials, slots={**self.slots, name: slot})

    def has(self, name: str) -> bool:
        """Whether the name is the function's own."""
        return name in self.specials or name in self.slots or name in self.stored


def stored_names(node: ast.FunctionDef) -> frozenset[str]:
    """The names that the body of a function sets."""
    inside = [inner for statement in node.body for inner in ast.walk(statement)]
    names = {one.id for one in inside if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    caught = {one.name for one in inside if isinstance(one, ast.ExceptHandler) and one.name is not None}
    return frozenset(names | caught)


def written_constant(value: Any, node: ast.AST) -> Any:
    """A constant as programs have it.

    Raises:
        NotCompiled: They do not have it.
    """
    kind = type(value)
    if value is None:
        return "none"
    if kind is bool or (kind is int and -(2**63) <= value < 2**63):
        return {kind.__name__: value}
    if kind is int:
        raise NotCompiled("an int outside int64", node)
    if kind is float:
        return {"float": struct.unpack("<Q", struct.pack("<d", value))[0]}
    if kind is str and not any("\ud800" <= character <= "\udfff" for character in value):
        return {"text": value}
    if kind is dt.timedelta and abs(value // _MICROSECOND) < 2**63:
        return {"duration": value // _MICROSECOND}
    if kind is dt.datetime and value.tzinfo is dt.timezone.utc:
        return {"moment": (value - _EPOCH) // _MICROSECOND}
    if kind in (tuple, dict) and len(value) > _ITEMS_MAX:
        raise NotCompiled(f"a {kind.__name__} of more than {_ITEMS_MAX} items", node)
    if kind is tuple:
        return {"tuple": [written_constant(one, node) for one in value]}
    if kind is dict:
        if not all(type(key) in (str, int, bool, type(None)) for key in value):
            raise NotCompiled("a dict with keys other than texts, ints and None", node)
        return {
            "dict": [[written_constant(key, node), written_constant(one, node)] for key, one in value.items()]
        }
    raise NotCompiled(f"a constant of type {kind.__name__}", node)
