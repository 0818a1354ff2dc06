"""Definitions by reference: `module:Class`, `file.py:Class`, a file, a folder, or a committed name."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from thyme._errors import InvalidDefinitionError, ThymeError
from thyme._session import name_of


def resolve(ref: str) -> str:
    """The name that a reference stands for.

    Raises:
        InvalidDefinitionError: The code it names cannot be loaded.
    """
    if ":" not in ref:
        return ref
    from thyme._document import load

    with _speaking_of(ref):
        return name_of(load(ref))


def modules_at(path: Path) -> list[ModuleType]:
    """The module of a Python file, or those of all Python files below a folder.

    Raises:
        InvalidDefinitionError: There is none, or one cannot be imported.
    """
    if path.is_file() and path.suffix == ".py":
        return [_import_file(path.resolve(), _root(path.resolve().parent))]
    if not path.is_dir():
        reason = "is not a Python file" if path.exists() else "does not exist"
        raise InvalidDefinitionError(f'"{path}" {reason}: expected a .py file or a folder with some')
    folder = path.resolve()
    files = [file for file in sorted(folder.rglob("*.py")) if _holds_definitions(file.relative_to(folder))]
    if not files:
        raise InvalidDefinitionError(f'there is no Python file below "{path}"')
    return [_import_file(file, _root(folder)) for file in files]


def modules_named(name: str) -> list[ModuleType]:
    """A module, with its submodules if it is a package.

    Raises:
        InvalidDefinitionError: It cannot be imported.
    """
    _make_importable(Path.cwd())
    with _speaking_of(name):
        module = importlib.import_module(name)
        found = [module]
        for each in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            if not each.name.endswith(".__main__"):  # importing that would run it
                found.append(importlib.import_module(each.name))
        return found


def _holds_definitions(file: Path) -> bool:
    hidden = any(part.startswith(".") or part in ("__pycache__", "node_modules") for part in file.parts)
    hidden = hidden or file.name == "__main__.py"
    tests = (
        file.name.startswith("test_")
        or file.name.endswith("_test.py")
        or file.name in ("conftest.py", "setup.py")
    )
    return not hidden and not tests


def _root(folder: Path) -> Path:
    """The folder that the package around `folder`, if it is one, is imported from."""
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _import_file(file: Path, root: Path) -> ModuleType:
    """Imports a file under the name that other files below `root` import it by."""
    _make_importable(root)
    parts = list(file.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    name = ".".join(parts)
    with _speaking_of(str(file)):
        loaded = sys.modules.get(name)
        if loaded is None and len(parts) > 1:
            loaded = importlib.import_module(name)
        if loaded is not None and _is_file_of(loaded, file):
            return loaded
        # The name is new, or taken by something else (a `json.py`): the file still has to be this one.
        name = name if loaded is None else f"_thyme_definitions_{name}"
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


def _is_file_of(module: ModuleType, file: Path) -> bool:
    loaded = getattr(module, "__file__", None)
    return loaded is not None and Path(loaded).resolve() == file


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@contextmanager
def _speaking_of(ref: str) -> Iterator[None]:
    """Turns whatever the user's code raises into one sentence with its file and line."""
    try:
        yield
    except ThymeError:
        raise
    except SyntaxError as error:
        place = f"{error.filename}:{error.lineno}" if error.filename else ref
        raise InvalidDefinitionError(f"{place}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        own = Path(__file__).resolve().parent.parent
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith("<") and not Path(frame.filename).resolve().is_relative_to(own)
        ]
        frames = [frame for frame in frames if "importlib" not in Path(frame.filename).parts]
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ref
        text = " ".join(str(error).split())
        said = text if isinstance(error, ImportError) and text else f"{type(error).__name__}: {text}"
        raise InvalidDefinitionError(f"{place}: {said}") from None
