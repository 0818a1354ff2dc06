"""Where a piece of the user's code comes from, and what the names in it stand for there."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any, Literal

from thyme._place import shown_path
from thyme._sourcecode import SourceFile, source_file

State = Literal["found", "missing", "unset"]

_STDLIB = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib") if sysconfig.get_path(name)
)
_INSTALLED_FOLDERS = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, eq=False)
class Origin:
    """A module of the user's, and the variables of enclosing functions that a piece of code sees."""

    source: SourceFile
    module: Mapping[str, Any]
    cells: Mapping[str, CellType]

    @property
    def file(self) -> str:
        """The file."""
        return self.source.file

    def file_shown(self) -> str:
        """The file, for errors."""
        return shown_path(self.source.file)

    @classmethod
    def of_function(cls, function: FunctionType, source: SourceFile) -> Origin:
        """The origin of a function whose file is known."""
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        return cls(source, function.__globals__, cells)

    @classmethod
    def find(cls, value: FunctionType | type) -> tuple[Origin, ast.stmt] | None:
        """The origin of a function or a class, and the statement that defines it."""
        if isinstance(value, FunctionType):
            source = source_file(value.__code__.co_filename, value.__globals__)
            if source is None:
                return None
            code = value.__code__
            node = source.lambda_of(code) if code.co_name == "<lambda>" else source.function_of(code)
            return None if node is None else (cls.of_function(value, source), node)
        methods = [one for one in vars(value).values() if isinstance(one, FunctionType)]
        methods = [one for one in methods if one.__module__ == value.__module__ and _is_written(one)]
        module = sys.modules.get(value.__module__)
        names = methods[0].__globals__ if methods else vars(module) if module is not None else {}
        for file in _files_of_class(value, module, methods):
            source = source_file(file, names)
            found = source.class_named(value.__qualname__) if source is not None else None
            if source is not None and found is not None:
                cells = {
                    name: cell for one in methods for name, cell in cls.of_function(one, source).cells.items()
                }
                return cls(source, names, cells), found
        return None

    def resolve(self, name: str) -> tuple[State, Any]:
        """What a name stands for; builtins are missing."""
        if name in self.cells:
            try:
                return "found", self.cells[name].cell_contents
            except ValueError:
                return "unset", None
        if name in self.module:
            return "found", self.module[name]
        return "missing", None

    def binds_later(self) -> frozenset[str]:
        """The names that the module binds once it has been read to its end."""
        return self.source.binds

    def import_statement(self, name: str, value: Any) -> str | None:
        """The import of something that an installed package has: as the user wrote it if possible."""
        node = self.source.import_of(name)
        if node is not None:
            module = _absolute(node, self.module)
            original = next(one.name for one in node.names if (one.asname or one.name) == name)
            if is_installed(module) and getattr(sys.modules.get(module), original, None) is value:
                return _from(module, original, name)
        module, original = (
            defining_module(value),
            getattr(value, "__qualname__", getattr(value, "__name__", "")),
        )
        for candidate in (module, module.partition(".")[0], type(value).__module__.partition(".")[0]):
            if candidate and is_installed(candidate) and original.isidentifier():
                if getattr(sys.modules.get(candidate), original, None) is value:
                    return _from(candidate, original, name)
        return None


def defining_module(value: Any) -> str:
    """The name of the module that a function or a class says it was defined in."""
    name = getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""


def is_installed(module: str) -> bool:
    """Whether a module is Python's own or an installed package's: its name means the same elsewhere."""
    if not module or module == "__main__":
        return False
    if module in sys.builtin_module_names or module.partition(".")[0] == "thyme":
        return True
    loaded = sys.modules.get(module)
    if loaded is None:
        return False
    file = getattr(loaded, "__file__", None)
    if file is None:
        return module.partition(".")[0] in sys.stdlib_module_names
    path = Path(file).resolve()
    in_stdlib = any(path.is_relative_to(folder) for folder in _STDLIB)
    return in_stdlib or not _INSTALLED_FOLDERS.isdisjoint(path.parts)


def submodules_used(name: str, module: ModuleType, node: ast.stmt) -> Iterator[str]:
    """Imports for the submodules that code reaches as attributes, such as `xml.etree` of `xml`."""
    for inner in ast.walk(node):
        chain = _chain(inner)
        if not chain or chain[0] != name:
            continue
        reached: Any = module
        for attribute in chain[1:]:
            reached = inspect.getattr_static(reached, attribute, None)
            if not isinstance(reached, ModuleType):
                break
            if sys.modules.get(reached.__name__) is reached and reached.__name__.startswith(
                f"{module.__name__}."
            ):
                yield f"import {reached.__name__}" if module.__name__ == name else _hidden(reached.__name__)


def _hidden(module: str) -> str:
    return f"import {module} as _thyme_import"  # loads it without binding a name of the user's


def _chain(node: ast.AST) -> list[str]:
    """`a.b.c` as its names; empty for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _files_of_class(value: type, module: ModuleType | None, methods: list[FunctionType]) -> Iterator[str]:
    """Where the `class` statement may stand, likeliest first."""
    yield from dict.fromkeys(one.__code__.co_filename for one in methods)
    file = getattr(module, "__file__", None)
    if file:
        yield file
    if (
        value.__module__ == "__main__"
    ):  # a class without methods of its own in a notebook: the latest cell with it
        yield from [name for name in reversed(linecache.cache) if not Path(name).exists()]


def _is_written(function: FunctionType) -> bool:
    return not function.__code__.co_filename.startswith("<string")  # as those of dataclasses are


def _absolute(node: ast.ImportFrom, namespace: Mapping[str, Any]) -> str:
    if not node.level:
        return node.module or ""
    package = str(namespace.get("__package__") or "")
    parts = package.split(".")[: len(package.split(".")) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _from(module: str, original: str, name: str) -> str:
    return (
        f"from {module} import {original}"
        if original == name
        else f"from {module} import {original} as {name}"
    )
