"""The user's source text: finding a class or a function in it, and cutting it out."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import CodeType
from typing import Any, TypeVar

from thyme._syntax import parse

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

N = TypeVar("N", ast.ClassDef, FunctionNode)


@dataclass(frozen=True, eq=False)
class SourceFile:
    """A parsed file or notebook cell."""

    file: str
    lines: tuple[str, ...]
    tree: ast.Module

    @cached_property
    def classes(self) -> Mapping[str, list[ast.ClassDef]]:
        """The classes anywhere in it, by name."""
        return _by_name(node for node in self.nodes if isinstance(node, ast.ClassDef))

    @cached_property
    def functions(self) -> Mapping[str, list[FunctionNode]]:
        """The functions anywhere in it, by name."""
        return _by_name(node for node in self.nodes if isinstance(node, FunctionNode))

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """The whole tree: walked once a file, as every definition in it is looked for."""
        return tuple(ast.walk(self.tree))

    def class_at(self, name: str, line: int) -> ast.ClassDef | None:
        """The class called `name` whose decorators or body are at `line`, else the last one so called."""
        found = self.classes.get(name, [])
        here = [node for node in found if _is_at(node, line)]
        return next(reversed(here or found), None)

    def class_named(self, qualname: str) -> ast.ClassDef | None:
        """The class with this `__qualname__`; the last one if there are several."""
        level: list[ast.AST] = [self.tree]
        for part in qualname.split("."):
            if part != "<locals>":
                level = [inner for outer in level for inner in _definitions(outer) if inner.name == part]
        return next((node for node in reversed(level) if isinstance(node, ast.ClassDef)), None)

    def function_of(self, code: CodeType) -> FunctionNode | None:
        """The `def` that a code object was compiled from."""
        for node in self.functions.get(code.co_name, []):
            if code.co_firstlineno in (first_line(node), node.lineno):
                return node
        return None

    def subject_at(self, line: int) -> str:
        """What a definition written at `line` is about: `Ride`, `Ride.fare` or `Stats.compute.fare_7d`."""
        around = [node for node in self.nodes if isinstance(node, ast.ClassDef) and _is_at(node, line)]
        cls = next((node for node in reversed(around) if _is_definition(node)), None)
        if cls is None:
            return ""
        member = next((node for node in cls.body if _is_at(node, line)), None)
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            return f"{cls.name}.{member.target.id}"
        if not isinstance(member, FunctionNode):
            return cls.name
        calls = [node for node in ast.walk(member) if isinstance(node, ast.Call)]
        outputs = [
            one for call in calls if getattr(call.func, "attr", "") == "aggregate" for one in call.keywords
        ]
        here = [one.arg for one in outputs if one.value.lineno <= line <= (one.value.end_lineno or 0)]
        return ".".join([cls.name, member.name, *([here[0]] if len(here) == 1 and here[0] else [])])

    def lambda_of(self, code: CodeType) -> ast.Assign | None:
        """The `name = lambda ...` that a code object was compiled from, if there is one."""
        for node in self.nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                single = len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
                if single and node.value.lineno == code.co_firstlineno:
                    return node
        return None

    def text_of(self, node: ast.stmt, *, decorators: bool) -> str:
        """The source of a statement, moved to the left margin; the insides of texts stay as they are."""
        start = first_line(node) if decorators else node.lineno
        end = node.end_lineno or node.lineno
        lines = list(self.lines[start - 1 : end])
        last = lines[-1].encode()[: node.end_col_offset].decode()
        lines[-1] = last
        margin = self.lines[node.lineno - 1].encode()[: node.col_offset].decode()
        inside = _lines_inside_texts(node)
        moved = [
            line if start + index in inside else line.removeprefix(margin) for index, line in enumerate(lines)
        ]
        return "\n".join(line.rstrip("\r\n") for line in moved) + "\n"

    @cached_property
    def binds(self) -> frozenset[str]:
        """The names that the file's top level binds, sooner or later."""
        return frozenset(_bound(self.tree.body))

    def import_of(self, name: str) -> ast.ImportFrom | None:
        """The last `from ... import` anywhere in the file that binds `name`."""
        found = None
        for node in self.nodes:
            if isinstance(node, ast.ImportFrom):
                if any((alias.asname or alias.name) == name for alias in node.names):
                    found = node
        return found


def source_file(
    file: str, namespace: Mapping[str, Any] | None = None, *, fresh: bool = False
) -> SourceFile | None:
    """The parsed text of a file or notebook cell; None if it cannot be had.

    Args:
        file: The name that code objects have.
        namespace: The module's names, through which zipped modules are read.
        fresh: Whether to look if the file has changed since it was last read.
    """
    if fresh:
        linecache.checkcache(file)
    lines = linecache.getlines(file, dict(namespace) if namespace is not None else None)
    return _parsed(file, tuple(lines)) if lines else None


def first_line(node: ast.stmt) -> int:
    """The line of the first decorator, or of the statement if there is none."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _is_at(node: ast.stmt, line: int) -> bool:
    return first_line(node) <= line <= (node.end_lineno or node.lineno)


def _is_definition(node: ast.ClassDef) -> bool:
    targets = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
    names = [one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in targets]
    return "dataset" in names or "featureset" in names


def member_lines(node: ast.ClassDef | None) -> dict[str, int]:
    """The lines of the annotated names and the methods of a class."""
    lines: dict[str, int] = {}
    for statement in node.body if node is not None else ():
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            lines[statement.target.id] = statement.lineno
        elif isinstance(statement, FunctionNode):
            lines[statement.name] = statement.lineno
    return lines


@lru_cache(maxsize=64)
def _parsed(file: str, lines: tuple[str, ...]) -> SourceFile | None:
    try:
        return SourceFile(file, lines, parse("".join(lines)))
    except (SyntaxError, ValueError):
        return None


def _definitions(node: ast.AST) -> Iterator[Definition]:
    """The definitions directly inside a module, a class or a function, also under `if`, `with`, ..."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield child
        elif isinstance(child, (ast.stmt, ast.ExceptHandler)):
            yield from _definitions(child)


def _by_name(nodes: Iterable[N]) -> dict[str, list[N]]:
    named: dict[str, list[N]] = {}
    for node in nodes:
        named.setdefault(node.name, []).append(node)
    return named


def _lines_inside_texts(node: ast.AST) -> set[int]:
    inside: set[int] = set()
    for child in ast.walk(node):
        is_text = isinstance(child, ast.JoinedStr) or (
            isinstance(child, ast.Constant) and isinstance(child.value, (str, bytes))
        )
        if is_text and isinstance(child, ast.expr) and child.end_lineno is not None:
            inside.update(range(child.lineno + 1, child.end_lineno + 1))
    return inside


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, Definition):
            yield statement.name
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                yield from ((alias.asname or alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, Definition):
                yield node.name
