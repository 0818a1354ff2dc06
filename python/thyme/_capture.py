"""Makes an extractor travel: its source text, with everything that the text needs, as one module.

The text depends on the code alone and not on where it stands, so that moving an extractor does not change it.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from thyme._constants import NotPlain, constant_text
from thyme._definition import definition_of
from thyme._globals import globals_of_node
from thyme._literal import described
from thyme._origin import Origin, defining_module, is_installed, submodules_used
from thyme._place import Place
from thyme._sourcecode import FunctionNode, SourceFile, source_file
from thyme.errors import Fault, definition_error

DATASET = "_thyme_dataset"
RENAMED = "_thyme_"
"""Put before the name of an extractor that has the name of a builtin or of something else in its text."""

_GIVEN = frozenset({"__name__", "__builtins__", "__debug__"})
_OWN_DECORATORS = frozenset(
    {"extractor", "extractor_inputs", "extractor_outputs", "classmethod", "staticmethod"}
)
_HEADER = "from __future__ import annotations\n"


@dataclass(frozen=True, eq=False)
class ExtractorSource:
    """The source of an extractor, as it was when its class was decorated."""

    subject: str
    function: FunctionType
    file: SourceFile | None
    node: FunctionNode | None
    at: Place
    faults: tuple[Fault, ...] = ()

    @classmethod
    def read(cls, subject: str, function: FunctionType, at: Place) -> ExtractorSource:
        """Finds the source of an extractor, and what of it cannot travel in any case."""
        if hasattr(function, "__wrapped__"):
            message = (
                "another decorator wraps it, and decorators do not travel; call what it does from the body"
            )
            return cls(subject, function, None, None, at, (at.fault(message, subject=subject),))
        code = function.__code__
        at = Place(code.co_filename, code.co_firstlineno)
        file = source_file(code.co_filename, function.__globals__)
        node = file.function_of(code) if file is not None else None
        if node is None:
            message = (
                f"its source cannot be found in {code.co_filename or 'any file'}; "
                "an extractor travels as source text: define it in a file or a notebook cell, and load that "
                "again after changing it"
            )
            return cls(subject, function, None, None, at, (at.fault(message, subject=subject),))
        at = Place(code.co_filename, node.lineno)
        return cls(subject, function, file, node, at, tuple(_faults_of_def(subject, node, at)))


@dataclass(frozen=True)
class Captured:
    """What an extractor came to.

    Attributes:
        code: The text of a module that defines it.
        datasets: The datasets that the code names.
        faults: Why it cannot travel.
    """

    code: str
    datasets: tuple[type, ...]
    faults: tuple[Fault, ...] = ()


def capture(source: ExtractorSource, *, is_complete: bool, collect: bool = False) -> Captured:
    """Captures an extractor as the text of a module that defines it.

    Args:
        source: Where it stands.
        is_complete: Whether the user's module has been read to its end; before, names that it binds further
            down are let pass.
        collect: Whether to give faults back instead of raising them.

    Raises:
        DefinitionValueError: It uses a name that does not exist or cannot travel.
    """
    work = _Capture(source, is_complete)
    captured = work.run()
    if captured.faults and not collect:
        raise definition_error(captured.faults, source.subject)
    return captured


def _faults_of_def(subject: str, node: FunctionNode, at: Place) -> list[Fault]:
    faults = []
    for decorator in node.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = (
            target.attr
            if isinstance(target, ast.Attribute)
            else target.id
            if isinstance(target, ast.Name)
            else ""
        )
        if name not in _OWN_DECORATORS:
            place = Place(at.file, decorator.lineno)
            message = f"the decorator @{ast.unparse(target)} does not travel; call what it does from the body"
            faults.append(place.fault(message, subject=subject))
    parameters = node.args.posonlyargs + node.args.args
    first = parameters[0].arg if parameters else None
    for inner in ast.walk(node):
        own = (
            isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == first
        )
        if own and isinstance(inner, ast.Attribute) and inner.attr != "__name__":
            message = (
                f"it uses {first}.{inner.attr}, and attributes of the class are not there when it runs; "
                f"make {inner.attr} a function or a constant of the module"
            )
            faults.append(Place(at.file, inner.lineno).fault(message, subject=subject))
    return faults


@dataclass(eq=False)
class _Capture:
    """One run over an extractor and, transitively, what it uses."""

    source: ExtractorSource
    is_complete: bool
    imports: set[str] = field(default_factory=set)
    handles: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    bound: dict[str, tuple[Any, Origin]] = field(default_factory=dict)
    datasets: dict[str, type] = field(default_factory=dict)
    faults: dict[tuple[str, int], Fault] = field(default_factory=dict)

    def run(self) -> Captured:
        source = self.source
        if source.node is None or source.file is None:
            return Captured("", (), source.faults)
        origin = Origin.of_function(source.function, source.file)
        names = globals_of_node(_undecorated(source.node))
        self.use_all(names, origin, source.node)
        own = source.node.name
        text = source.file.text_of(source.node, decorators=False)
        if own in self.bound or hasattr(builtins, own):
            text = re.sub(rf"\bdef\s+{own}\b", f"def {RENAMED}{own}", text, count=1)
        sections = [_HEADER]
        if self.imports:
            sections.append("".join(f"{line}\n" for line in sorted(self.imports)))
        assigned = {**self.handles, **self.constants}
        if assigned:
            sections.append("".join(f"{name} = {assigned[name]}\n" for name in sorted(assigned)))
        code = "\n\n".join([*sections, *self.pieces, text])
        datasets = tuple(self.datasets[name] for name in sorted(self.datasets))
        return Captured(code, datasets, tuple(self.faults.values()))

    def use_all(self, names: Mapping[str, int], origin: Origin, node: ast.stmt) -> None:
        """Takes along what a piece of code uses."""
        for name in sorted(names):
            self.use(name, names[name], origin)
            if isinstance(self.bound.get(name, (None,))[0], ModuleType):
                self.imports.update(submodules_used(name, self.bound[name][0], node))

    def use(self, name: str, line: int, origin: Origin) -> None:
        """Takes along what `name` stands for in the code of `origin`."""
        state, value = origin.resolve(name)
        if name in _GIVEN or (state == "missing" and hasattr(builtins, name)):
            return
        if state == "missing":
            later = not self.is_complete and name in origin.binds_later()
            if not later:
                self.fault(name, line, origin, f"it uses `{name}`, which is not defined")
            return
        if state == "unset":  # a variable of an enclosing function that is set further down
            if self.is_complete:
                self.fault(name, line, origin, f"it uses `{name}`, which was never set")
            return
        if name in self.bound:
            self.same(name, value, line, origin)
            return
        if name.startswith("__") and name.endswith("__") and name not in vars(builtins):
            self.fault(name, line, origin, f"it uses `{name}`, which is not there when it runs")
            return
        self.bound[name] = (value, origin)
        self.bind(name, value, line, origin)

    def same(self, name: str, value: Any, line: int, origin: Origin) -> None:
        """Notes a fault if a name stands for different things in two of the user's modules."""
        other, where = self.bound[name]
        if value is other:
            return
        try:
            if constant_text(value) == constant_text(other):
                return
        except NotPlain:
            pass
        files = f"{where.file_shown()} and {origin.file_shown()}"
        self.fault(
            name,
            line,
            origin,
            f"`{name}` stands for different things in {files}, and both are needed; rename one",
        )

    def bind(self, name: str, value: Any, line: int, origin: Origin) -> None:
        """Makes `name` stand for `value` in the text."""
        definition = definition_of(value)
        if definition is not None and definition.kind == "dataset":
            self.handles[name] = f'{DATASET}("{definition.name}")'
            self.datasets[definition.name] = definition.cls
            return
        if definition is not None:
            message = (
                f"it uses the featureset `{name}`; take its features with @extractor_inputs({name}.feature)"
            )
            self.fault(name, line, origin, message)
            return
        if isinstance(value, ModuleType):
            self.bind_module(name, value, line, origin)
            return
        try:
            self.constants[name] = constant_text(value)
            return
        except NotPlain as error:
            reason = str(error)
        if self.bind_by_import(name, value, origin) or self.bind_by_source(name, value, line, origin):
            return
        if (name, line) not in self.faults:
            shown = (
                described(value) if isinstance(value, (type, FunctionType, BuiltinFunctionType)) else reason
            )
            hint = "use functions, classes, imports and constants of plain types"
            self.fault(
                name, line, origin, f"it uses `{name}`, {shown}, which cannot travel to where it runs; {hint}"
            )

    def bind_module(self, name: str, module: ModuleType, line: int, origin: Origin) -> None:
        real = module.__name__
        if real == "__main__" or real.startswith("_thyme_file_"):
            hint = "import the functions from it by name"
            message = f"it uses `{name}`, a file that cannot be imported elsewhere; {hint}"
            self.fault(name, line, origin, message)
        elif real == name:
            self.imports.add(f"import {real}")
        else:
            self.imports.add(f"import {real} as {name}")

    def bind_by_import(self, name: str, value: Any, origin: Origin) -> bool:
        """Imports what comes from an installed package."""
        statement = origin.import_statement(name, value)
        if statement is not None:
            self.imports.add(statement)
        return statement is not None

    def bind_by_source(self, name: str, value: Any, line: int, origin: Origin) -> bool:
        """Copies a function or a class of the user's own modules."""
        original = _unwrapped(value)
        if not isinstance(original, (FunctionType, type)) or is_installed(defining_module(original)):
            return False
        found = Origin.find(original)
        if found is None:
            message = (
                f"it uses `{name}`, {described(original)}, whose source cannot be found; define it in a file"
            )
            self.fault(name, line, origin, message)
            return False
        home, node = found
        target = (
            node.targets[0].id
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            else ""
        )
        defined = target or getattr(node, "name", name)
        if defined != name and defined in self.bound:
            self.same(defined, value, line, origin)
            self.pieces.append(f"{name} = {defined}\n")
            return True
        self.bound.setdefault(defined, (value, home))
        names = globals_of_node(node)
        self.use_all({one: at for one, at in names.items() if one != defined}, home, node)
        self.pieces.append(home.source.text_of(node, decorators=True))
        if defined != name:
            self.pieces.append(f"{name} = {defined}\n")
        return True

    def fault(self, name: str, line: int, origin: Origin, message: str) -> None:
        """Notes a fault once for each name and line."""
        place = Place(origin.file, line)
        self.faults.setdefault((name, line), place.fault(message, subject=self.source.subject))


def _undecorated(node: FunctionNode) -> FunctionNode:
    bare = copy.copy(node)
    bare.decorator_list = []
    bare.name = RENAMED + node.name  # so that a global of the extractor's own name counts as one
    return bare


def _unwrapped(value: Any) -> Any:
    """What functools.wraps, cache and the like were put around."""
    seen = set()
    while not isinstance(value, type) and hasattr(value, "__wrapped__") and id(value) not in seen:
        seen.add(id(value))
        value = value.__wrapped__
    return value
