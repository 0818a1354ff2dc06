"""What the definition side asks the native module."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

from thyme.errors import Fault


def _module() -> Any:
    return importlib.import_module("thyme._thyme")


def faults_of(document: Mapping[str, Any], known: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with `document`, which may refer to what is in `known`."""
    found = json.loads(_module().validate(_text(document), _text(known)))
    return [
        Fault(
            message=fault["message"],
            subject=fault.get("subject") or "",
            kind="type" if fault.get("kind") == "type" else "value",
            expected=fault.get("expected") or "",
            got=fault.get("got") or "",
            file=fault.get("file") or "",
            line=fault.get("line") or 0,
        )
        for fault in found
    ]


def parse_duration(text: str) -> int:
    """A duration in microseconds.

    Raises:
        ValueError: It is none.
    """
    microseconds: int = _module().parse_duration(text)
    return microseconds


def parse_window(document: Any) -> tuple[Any, str, int | None]:
    """A window as a document has it in its shortest form, as it is written, and how far it reaches back.

    That is in microseconds, at most; None is without end.

    Raises:
        ValueError: It is none.
    """
    shortest, text, reach = _module().parse_window(json.dumps(document))
    return json.loads(shortest), text, reach


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False)
