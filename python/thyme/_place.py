"""Where in the user's Python something stands."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal, NoReturn

from thyme._sourcecode import source_file
from thyme.errors import Fault, definition_error

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


@dataclass(frozen=True)
class Place:
    """A file and a line in it, from 1."""

    file: str = ""
    line: int = 0

    def document(self) -> dict[str, Any]:
        """The place as a definition document has it."""
        return {"file": shown_path(self.file), "line": self.line}

    def fault(
        self, message: str, *, subject: str = "", kind: Literal["type", "value"] = "value", **more: str
    ) -> Fault:
        """A fault that stands here."""
        return Fault(message, subject, kind, file=shown_path(self.file), line=self.line, **more)


def shown_path(file: str) -> str:
    """The path relative to the working directory if it is inside it, else as it is."""
    if not os.path.isabs(file):
        return file
    try:
        here = os.getcwd()
    except OSError:
        return file
    return os.path.relpath(file, here) if file.startswith(here.rstrip(os.sep) + os.sep) else file


def user_frame() -> FrameType:
    """The innermost frame outside this package."""
    frame: FrameType | None = sys._getframe(1)
    last = frame
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        last, frame = frame, frame.f_back
    found = frame or last
    assert found is not None
    return found


def caller() -> Place:
    """Where the user's code called into this package."""
    frame = user_frame()
    return Place(frame.f_code.co_filename, frame.f_lineno)


def refuse(message: str, *, subject: str = "", kind: Literal["type", "value"] = "type") -> NoReturn:
    """Raises a definition error that stands where the user's code called into this package.

    Without a subject it is the member of the decorated class that the call is written in, if it is in one.
    """
    place = caller()
    if not subject:
        source = source_file(place.file, fresh=True)
        subject = source.subject_at(place.line) if source is not None else ""
    raise definition_error([place.fault(message, subject=subject, kind=kind)])


def warn_unknown(what: str, keywords: Any) -> None:
    """Warns of keywords that this version does not know; they are ignored."""
    place = caller()
    for keyword in keywords:
        text = f"{what} does not know the keyword {keyword}=; it is ignored"
        warnings.warn_explicit(text, FutureWarning, place.file, place.line)
