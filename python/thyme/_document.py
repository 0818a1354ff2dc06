"""Definition documents from modules and classes, and the modules from references."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from thyme._definition import Definition, closure, definition_of, document_of
from thyme._literal import described
from thyme.errors import DefinitionTypeError, DefinitionValueError, Fault


def collect(definitions: Any) -> dict[str, Any]:
    """The definition document of some classes and of everything that they refer to.

    Args:
        definitions: A class, a module, or a list of classes and modules. Of a module, the datasets and
            featuresets that it defines or imports count.

    Returns:
        The document (`docs/definitions.md`), what is referred to first.

    Raises:
        DefinitionValueError: There is nothing to commit, two different classes have one name, or an extractor
            cannot travel.
        DefinitionTypeError: Something in the list is neither.
    """
    found = closure(_listed(definitions))
    documents = [(definition, definition.document()) for definition in found]
    kept: dict[str, tuple[Definition, dict[str, Any]]] = {}
    faults = []
    for definition, document in documents:
        other = kept.setdefault(definition.name, (definition, document))
        if other[0] is not definition and _meaning(other[1]) != _meaning(document):
            faults.append(_twice(other[0], definition))
    if faults:
        raise DefinitionValueError(faults)
    return document_of(definition for definition, _ in kept.values())


def load(ref: str) -> Any:
    """What a reference names.

    Args:
        ref: `path/to/file.py`, `path/to/file.py:Class`, `module` or `module:Class`.

    Returns:
        The module, or the class in it.

    Raises:
        DefinitionValueError: There is no such file, module or class.
        Exception: Whatever importing the file raises.
    """
    target, _, name = ref.rpartition(":") if _names_class(ref) else (ref, "", "")
    module = _load_file(Path(target)) if target.endswith(".py") or os.sep in target else _load_module(target)
    if not name:
        return module
    try:
        return getattr(module, name)
    except AttributeError:
        known = [one for one, value in vars(module).items() if definition_of(value) is not None]
        near = difflib.get_close_matches(name, known, n=3) or known
        hint = f"it has {', '.join(near)}" if near else "it defines no datasets or featuresets"
        raise DefinitionValueError([Fault(f"{target} has no {name}; {hint}")]) from None


def _listed(definitions: Any) -> list[Definition]:
    single = definition_of(definitions)
    if single is not None:
        return [single]
    if isinstance(definitions, ModuleType):
        found = [definition_of(value) for value in vars(definitions).values()]
        kept = list(dict.fromkeys(one for one in found if one is not None))
        if not kept:
            raise DefinitionValueError(
                [Fault(f"the module {definitions.__name__} has no datasets or featuresets")]
            )
        return kept
    if isinstance(definitions, Iterable) and not isinstance(definitions, (str, bytes, Mapping, type)):
        given = [one for part in definitions for one in _listed(part)]
        if not given:
            raise DefinitionValueError([Fault("there is nothing to commit: the list is empty")])
        return given
    wanted = "classes decorated with @dataset or @featureset, a list of them, or a module"
    raise DefinitionTypeError([Fault(f"expected {wanted}, got {described(definitions)}", kind="type")])


def _meaning(document: Any) -> Any:
    """A document without the places in it."""
    if isinstance(document, dict):
        return {key: _meaning(value) for key, value in document.items() if key != "at"}
    if isinstance(document, list):
        return [_meaning(value) for value in document]
    return document


def _twice(one: Definition, other: Definition) -> Fault:
    first = one.at.document()
    place = f"{first['file']}:{first['line']}"
    message = (
        f"two different classes are called {one.name}, here and at {place}; rename one, or, in a notebook, "
        f"run the cells that use {one.name} again"
    )
    return other.at.fault(message, subject=one.name)


def _names_class(ref: str) -> bool:
    target, colon, name = ref.rpartition(":")
    return bool(colon) and name.isidentifier() and len(target) > 1  # not the drive of a Windows path


def _load_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise DefinitionValueError(
            [Fault(f"{name!r} is no module: expected path/to/file.py, module, or module:Class")]
        )
    here = os.getcwd()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in _packages(name):
            raise
        raise DefinitionValueError([Fault(f"there is no module {error.name}")]) from None
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _packages(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[: count + 1]) for count in range(len(parts))}


def _load_file(path: Path) -> ModuleType:
    """Imports a file under a name of its own; the same module as long as its text is the same."""
    try:
        real = path.resolve(strict=True)
        text = real.read_bytes()
    except (OSError, RuntimeError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DefinitionValueError([Fault(f"{path} cannot be read: {reason}")]) from None
    name = f"_thyme_file_{_identifier(real.stem)}_{hashlib.sha256(str(real).encode()).hexdigest()[:8]}"
    digest = hashlib.sha256(text).hexdigest()
    known = sys.modules.get(name)
    if known is not None and vars(known).get("__thyme_digest__") == digest:
        return known
    module = ModuleType(name)
    module.__file__ = str(real)
    folder = str(real.parent)
    sys.modules[name] = module
    sys.path.insert(0, folder)
    try:
        # Not through a loader: cached bytecode can be older than a file that was just saved.
        exec(compile(text, str(real), "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    vars(module)["__thyme_digest__"] = digest
    return module


def _identifier(stem: str) -> str:
    return "".join(one if one.isalnum() else "_" for one in stem)


__all__ = ["collect", "load"]
