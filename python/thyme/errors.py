"""Everything Thyme raises.

A wrong definition is a `DefinitionValueError` (a `ValueError`) or a `DefinitionTypeError` (a `TypeError`).
It is raised where the class is decorated, lists every fault of the class, and says for each where it stands
and how to fix it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from thyme._errors import (
    ConfigError,
    ConflictError,
    ConnectionFailed,
    CorruptError,
    ExtractorError,
    ForbiddenError,
    GoneError,
    InternalError,
    InvalidDataError,
    InvalidDefinitionError,
    NotFoundError,
    OverloadedError,
    PoisonedError,
    RateLimitedError,
    StaleError,
    StorageFullError,
    ThymeError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedError,
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a definition.

    Attributes:
        message: The sentence that says it all, with the fix.
        subject: What it is about, such as `Ride.fare`.
        kind: Whether it is a matter of types.
        expected: What was expected.
        got: What came.
        file: The user's file.
        line: The line in it, from 1; 0 if it is not known.
    """

    message: str
    subject: str = ""
    kind: Literal["type", "value"] = "value"
    expected: str = ""
    got: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """The subject, the sentence and the place."""
        names_it = not self.subject or re.search(rf"(?<![\w.]){re.escape(self.subject)}(?!\w)", self.message)
        text = self.message if names_it else f"{self.subject}: {self.message}"
        return f"{text} ({self.file}:{self.line})" if self.file else text


class DefinitionError(ThymeError):
    """A definition is wrong: change the Python.

    Attributes:
        found: The faults, all of them.
    """

    default_code = "invalid_definition"

    def __init__(self, faults: Sequence[Fault]) -> None:
        """Takes all faults of one class, one at least."""
        self.found = tuple(faults)
        if len(self.found) == 1:
            detail = str(self.found[0])
        else:
            lines = "".join(f"\n  {fault}" for fault in self.found)
            detail = f"{len(self.found)} things are wrong:{lines}"
        super().__init__(detail, faults=[asdict(fault) for fault in self.found])

    def __str__(self) -> str:
        """All faults, one a line."""
        return self.detail


class DefinitionValueError(DefinitionError, ValueError):
    """A definition is wrong, and not only in its types."""


class DefinitionTypeError(DefinitionError, TypeError):
    """A definition is wrong in its types, or was given things of the wrong type."""


class LookupOutsideExtractorError(ThymeError, RuntimeError):
    """`Dataset.lookup` was called where no query is running."""

    default_code = "unsupported"


def definition_error(faults: Sequence[Fault], subject: str = "") -> DefinitionError:
    """The error that lists `faults`: a type error if they all are, else a value error.

    Args:
        faults: One at least.
        subject: The subject of those that name none.
    """
    complete = [fault if fault.subject else replace(fault, subject=subject) for fault in faults]
    if all(fault.kind == "type" for fault in complete):
        return DefinitionTypeError(complete)
    return DefinitionValueError(complete)


__all__ = [
    "ConfigError",
    "ConflictError",
    "ConnectionFailed",
    "CorruptError",
    "DefinitionError",
    "DefinitionTypeError",
    "DefinitionValueError",
    "ExtractorError",
    "Fault",
    "ForbiddenError",
    "GoneError",
    "InternalError",
    "InvalidDataError",
    "InvalidDefinitionError",
    "LookupOutsideExtractorError",
    "NotFoundError",
    "OverloadedError",
    "PoisonedError",
    "RateLimitedError",
    "StaleError",
    "StorageFullError",
    "ThymeError",
    "TooLargeError",
    "UnauthorizedError",
    "UnavailableError",
    "UnsupportedError",
    "definition_error",
]
