"""What the families of an expression's methods stand on."""

from __future__ import annotations

from typing import Any, Self


class Calls:
    """Something that functions of the language can be called on."""

    __slots__ = ()

    def _method(self, name: str, *args: Any) -> Self:
        """The call of `name` on this and further arguments, each an expression or a constant."""
        raise NotImplementedError
