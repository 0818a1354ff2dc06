"""Aggregates that give lists and maps.

Formulas, state and edges of each are in `docs/reference/aggregates`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from thyme import _checks
from thyme._aggregates import Aggregate
from thyme._literal import described
from thyme._place import refuse

if TYPE_CHECKING:
    from thyme._expr import Expr
    from thyme._literal import Default
    from thyme._windows import Window

K_MAX = 1000
"""The most values that a list of first, last or best ones has."""


class _Collecting(Aggregate):
    """One whose sizes are bounded, and that may read a further column."""

    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {}
    """Integers among the parameters, from the first to the second."""
    further: ClassVar[str] = ""
    """The parameter that names a column, if there is one."""

    def _argument(self, name: str, given: dict[str, Any]) -> Any:
        value, called = super()._argument(name, given), type(self).__name__
        if name in self.bounds:
            least, most = self.bounds[name]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                refuse(f"{called}({name}=) takes an integer from {least} to {most}, got {described(value)}")
        elif name == self.further and value is not None:
            _checks.name(f"{called}({name}=)", value, "fare")
        elif isinstance(self.parameters[name], bool) and not isinstance(value, bool):
            refuse(f"{called}({name}=) takes True or False, got {described(value)}")
        return value


class _Ends(_Collecting):
    """The values at one end of the window."""

    parameters: ClassVar[Mapping[str, Any]] = {"k": ..., "dedup": False, "dropnull": True}
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"k": (1, K_MAX)}

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            of: str,
            k: int,
            dedup: bool = False,
            dropnull: bool = True,
            window: str | Window | None = None,
            where: Expr | None = None,
            default: Default = None,
        ) -> None: ...


class FirstK(_Ends):
    """The values of the `k` rows with the least event times, as a list, the oldest first.

    An empty list over nothing. Rows of one event time are in the order of their positions.

    Args:
        of: The aggregated column, of a plain type: no list, dict, vector or JSON.
        k: How many values at most, from 1 to 1,000.
        dedup: Whether a value counts once, where it came first.
        dropnull: Whether rows where `of` is null do not count; if not, they are None in the list.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        first_pages = FirstK(of="page", k=3, window="1d")
    """

    function = "first_k"


class LastK(_Ends):
    """The values of the `k` rows with the greatest event times, as a list, the newest first.

    An empty list over nothing. Of rows of one event time the later position comes first.

    Args:
        of: The aggregated column, of a plain type: no list, dict, vector or JSON.
        k: How many values at most, from 1 to 1,000.
        dedup: Whether a value counts once, where it came last.
        dropnull: Whether rows where `of` is null do not count; if not, they are None in the list.
        window: How far back from the time of the question; None is since the beginning.
        where: Only rows where this is true count.
        default: What it gives over nothing.

    Example:
        last_merchants = LastK(of="merchant", k=5, dedup=True, window="30d")
    """

    function = "last_k"
