"""Which global names a piece of code uses."""

from __future__ import annotations

import ast
import copy
import dis
from collections.abc import Iterator
from types import CodeType

from thyme._syntax import compiled

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL"})


def globals_of_node(node: ast.stmt) -> dict[str, int]:
    """The global names that a statement uses, itself left out, with the line each is first used in.

    Annotations do not count: code travels under `from __future__ import annotations`.
    """
    bare = _WithoutAnnotations().visit(copy.deepcopy(node))
    code = compiled(ast.Module([bare], []), "<extractor>")
    return globals_of_code(code)


def globals_of_code(code: CodeType) -> dict[str, int]:
    """The global names that a code object and those inside it use and do not bind, by first line."""
    found: dict[str, int] = {}
    bound = _stored(code)
    for name, line in _loads(code):
        if name not in bound:
            found[name] = min(line, found.get(name, line))
    return found


def _loads(code: CodeType) -> Iterator[tuple[str, int]]:
    own = _stored(code)
    for instruction in dis.get_instructions(code):
        if instruction.opname in _LOADS and not (
            instruction.opname == "LOAD_NAME" and instruction.argval in own
        ):
            line = instruction.positions.lineno if instruction.positions else None
            yield str(instruction.argval), line or code.co_firstlineno
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _loads(constant)


def _stored(code: CodeType) -> set[str]:
    """The names that the body of a module or class binds."""
    return {str(one.argval) for one in dis.get_instructions(code) if one.opname == "STORE_NAME"}


class _WithoutAnnotations(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        self.generic_visit(node)
        node.annotation = ast.copy_location(ast.Constant(None), node.annotation)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        self.generic_visit(node)
        node.returns = None
        return node
