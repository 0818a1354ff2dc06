"""What the tests of definitions share: modules from text, and a faulty class by its faults."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from definition_texts import HEADER, Import

from thyme._document import load
from thyme.errors import DefinitionError


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Imports texts as a file, `features.py` unless named; places in errors are relative to its folder."""
    monkeypatch.chdir(tmp_path)

    def from_text(*texts: str, name: str = "features.py") -> ModuleType:
        (tmp_path / name).write_text("".join(textwrap.dedent(text) for text in texts))
        module: ModuleType = load(str(tmp_path / name))
        return module

    return from_text


@pytest.fixture
def refused(imported: Import) -> Callable[..., DefinitionError]:
    """The error that importing some texts raises."""

    def error_of(*texts: str) -> DefinitionError:
        with pytest.raises(DefinitionError) as caught:
            imported(HEADER, *texts)
        return caught.value

    return error_of


@pytest.fixture
def document_of(imported: Import) -> Callable[..., dict[str, Any]]:
    """The document of some texts."""
    from thyme._document import collect

    return lambda *texts: collect(imported(HEADER, *texts))
