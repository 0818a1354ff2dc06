"""Where datasets come from, other than pushes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import ClassVar

from thyme import _checks
from thyme._literal import described
from thyme._place import refuse


class Connector(ABC):
    """A place that events are read from; given to `@source`."""

    kind: ClassVar[str] = ""

    @abstractmethod
    def options(self) -> dict[str, str]:
        """Its settings, as the engine's connector reads them."""


class FileSource(Connector):
    """A file, or the files of a glob: read once, then what is appended.

    Args:
        path: A path or a glob, relative to where the engine runs.
        format: `"jsonl"`, `"csv"` or `"parquet"`; None goes by the name.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: `format` is another one.
    """

    kind = "file"

    def __init__(self, path: str | os.PathLike[str], *, format: str | None = None) -> None:
        """See the class."""
        if not isinstance(path, (str, os.PathLike)):
            refuse(f"FileSource(path=) takes a path as a text, got {described(path)}")
        self.path = os.fspath(path)
        formats = ("jsonl", "csv", "parquet")
        self.format = None if format is None else _checks.choice("FileSource(format=)", format, formats)

    def options(self) -> dict[str, str]:
        """The path, and the format if it was given."""
        return {"path": self.path} if self.format is None else {"path": self.path, "format": self.format}


__all__ = ["Connector", "FileSource"]
