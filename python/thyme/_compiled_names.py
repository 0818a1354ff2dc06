"""The functions, methods and attributes that programs have."""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Mapping
from typing import Any

from thyme._compiled_parts import NotCompiled

FUNCTIONS: Mapping[Any, tuple[str, int, int]] = {
    builtins.min: ("min", 2, 100),
    builtins.max: ("max", 2, 100),
    builtins.abs: ("abs", 1, 1),
    builtins.round: ("round", 1, 2),
    builtins.int: ("int", 1, 1),
    builtins.float: ("float", 1, 1),
    builtins.bool: ("bool", 1, 1),
    builtins.str: ("str", 1, 1),
    builtins.len: ("len", 1, 1),
    builtins.any: ("any", 1, 1),
    builtins.all: ("all", 1, 1),
    math.floor: ("floor", 1, 1),
    math.ceil: ("ceil", 1, 1),
    math.trunc: ("trunc", 1, 1),
    math.sqrt: ("sqrt", 1, 1),
    math.fabs: ("fabs", 1, 1),
    math.isnan: ("isnan", 1, 1),
    math.isinf: ("isinf", 1, 1),
    math.isfinite: ("isfinite", 1, 1),
    math.exp: ("exp", 1, 1),
    math.log: ("log", 1, 1),
    math.log2: ("log2", 1, 1),
    math.log10: ("log10", 1, 1),
    math.log1p: ("log1p", 1, 1),
}
"""What a function is called in programs, and how many arguments it takes at least and at most."""

TEXT_METHODS: Mapping[str, int] = {"lower": 0, "upper": 0, "strip": 0, "startswith": 1, "endswith": 1}
"""Methods of texts, and how many arguments they take."""

TIME_ATTRIBUTES = frozenset(
    {"year", "month", "day", "hour", "minute", "second", "microsecond", "days", "seconds", "microseconds"}
)
TIME_METHODS = frozenset({"weekday", "isoweekday", "timestamp", "total_seconds"})


def function_named(tree: ast.Module, name: str) -> ast.FunctionDef:
    """The function that the text of an extractor defines by that name.

    Raises:
        NotCompiled: It is no plain function.
    """
    found = [one for one in tree.body if getattr(one, "name", None) == name]
    match found:
        case [ast.FunctionDef() as node]:
            if node.decorator_list:
                raise NotCompiled(f"`{name}`, which is decorated", node)
            return node
        case _:
            raise NotCompiled(f"`{name}`, which is no plain function", found[0] if found else tree)
