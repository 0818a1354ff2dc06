"""Makes a case's definitions a module of its own, with class names that no other case has.

For each dataset `X` that can be looked up a featureset `XAll` is added with a feature for each field:
what an offline read (which reads featuresets) of that dataset goes through.
"""

import ast
import importlib.util
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from .case_file import Case, class_names

HEADER = "from thyme import feature as _feature, featureset as _featureset\n"


@dataclass(frozen=True)
class DatasetShape:
    """What the text of a dataset class says."""

    name: str
    keys: list[str]
    fields: dict[str, str]
    derived: bool
    indexed: bool


@dataclass(frozen=True)
class Definitions:
    """An imported case."""

    module: ModuleType
    names: dict[str, str]
    shapes: dict[str, DatasetShape]

    def named(self, name: str) -> type:
        """The class a case calls `name`."""
        found: type = getattr(self.module, self.names[name])
        return found

    def everything_of(self, dataset: str) -> type:
        """The featureset of all fields of a dataset that can be looked up."""
        found: type = getattr(self.module, f"{self.names[dataset]}All")
        return found


def decorated_with(node: ast.ClassDef | ast.FunctionDef, name: str) -> bool:
    targets = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return any(isinstance(t, ast.Name) and t.id == name for t in targets)


def says(value: ast.expr | None, keyword: str) -> bool:
    return isinstance(value, ast.Call) and any(k.arg == keyword for k in value.keywords)


def shapes_of(source: str) -> dict[str, DatasetShape]:
    shapes = {}
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.ClassDef) and decorated_with(node, "dataset")):
            continue
        plain = [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        fields = {n.target.id: ast.unparse(n.annotation) for n in plain if not says(n.value, "timestamp")}  # type: ignore[union-attr]
        keys = [n.target.id for n in plain if says(n.value, "key")]  # type: ignore[union-attr]
        methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
        made = [method for method in methods if decorated_with(method, "pipeline")]
        derived = any(".aggregate(" in ast.unparse(method) for method in made)
        # A pipeline that ends in rows gives what an index gives.
        indexed = any(says(d, "index") or says(d, "cdc") for d in node.decorator_list) or (
            bool(made) and not derived
        )
        shapes[node.name] = DatasetShape(node.name, keys, fields, derived, indexed)
    return shapes


def everything(shape: DatasetShape) -> str:
    lines = ["", "", "@_featureset", f"class {shape.name}All:"]
    for number, (name, annotation) in enumerate(shape.fields.items(), 1):
        ref = "" if name in shape.keys else f", ref={shape.name}.{name}"
        lines.append(f"    {name}: {annotation} = _feature(id={number}{ref})")
    return "\n".join(lines) + "\n"


def renamed(source: str, names: dict[str, str]) -> str:
    if not names:
        return source
    return re.sub(rf"\b({'|'.join(map(re.escape, names))})\b", lambda m: names[m[1]], source)


def module_text(definitions: str, suffix: str) -> tuple[str, dict[str, str]]:
    """The text to import, and what each class of the case is called in it."""
    names = {name: name + suffix for name in class_names(definitions)}
    source = renamed(definitions, names)
    extra = (everything(shape) for shape in shapes_of(source).values() if shape.derived or shape.indexed)
    return HEADER + source + "".join(extra), names


def import_text(name: str, text: str, folder: Path) -> ModuleType:
    """Imports `text` from a real file, so that the source of its functions can be found."""
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def import_case(case: Case, folder: Path) -> Definitions:
    """The case's definitions, imported from `folder`."""
    text, names = module_text(case.definitions, case.suffix)
    module = import_text(f"case_{case.suffix}", text, folder)
    return Definitions(module, names, shapes_of(case.definitions))


def import_cases(cases: Iterable[Case], folder: Path) -> dict[str, Definitions | Exception]:
    """Each case's definitions, or the error that they raise."""
    found: dict[str, Definitions | Exception] = {}
    for case in cases:
        try:
            found[case.name] = import_case(case, folder)
        except Exception as error:
            found[case.name] = error
    return found
