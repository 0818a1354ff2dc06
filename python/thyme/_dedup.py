"""Dedup: the document of `.dedup(by=[...], within=)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thyme import _checks
from thyme._literal import described
from thyme._place import refuse


def dedup_document(by: Any, within: Any) -> dict[str, Any]:
    """The document of a dedup.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: `within` is no duration.
    """
    names = [by] if isinstance(by, str) else by
    if not isinstance(names, Sequence) or isinstance(names, bytes):
        refuse(f'.dedup(by=) takes names of columns, such as ["id"], got {described(by)}')
    columns = [_checks.name(".dedup(by=)", name, "id") for name in names]
    document: dict[str, Any] = {"op": "dedup", "by": columns}
    span = _checks.duration(".dedup(within=)", within or None)
    return document if span is None else document | {"within": span}
