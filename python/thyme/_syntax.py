"""Syntax trees, in a process with threads."""

from __future__ import annotations

import ast
from threading import Lock
from types import CodeType

# CPython 3.11 counts how deep a tree is for all threads together: SystemError when two build one at once.
_ONE_AT_A_TIME = Lock()


def parse(text: str) -> ast.Module:
    """The syntax tree of a module.

    Raises:
        SyntaxError: It is no Python.
        ValueError: It holds a null byte.
    """
    with _ONE_AT_A_TIME:
        return ast.parse(text)


def compiled(tree: ast.Module, name: str) -> CodeType:
    """The code of a module's tree; `name` stands for its file."""
    with _ONE_AT_A_TIME:
        return compile(tree, name, "exec", dont_inherit=True)
