"""The fields of datasets."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from thyme import _checks
from thyme._place import Place, caller, refuse, warn_unknown

T = TypeVar("T")


class Field(Generic[T]):
    """A field of a dataset, as `Ride.fare` gives it; also an annotation, `fare: Field[float] = field()`.

    Attributes:
        dataset: The dataset class.
        name: The field's name.
    """

    __slots__ = ("dataset", "name")

    def __init__(self, dataset: type, name: str) -> None:
        """Made by `@dataset`."""
        self.dataset = dataset
        self.name = name

    def __repr__(self) -> str:
        """As one writes it."""
        return f"{self.dataset.__name__}.{self.name}"


class FieldSpec:
    """What `field()` says, until `@dataset` reads it."""

    def __init__(self, role: str, place: Place) -> None:
        self.role = role
        self.place = place


def field(*, key: bool = False, timestamp: bool = False, **unknown: Any) -> Any:
    """Says what a field is for. Plain fields need none.

    Args:
        key: It is the entity key, or part of a composite one.
        timestamp: It is the event time.
        **unknown: Warned of and ignored.

    Raises:
        DefinitionTypeError: An argument has the wrong type, or is not supported yet.
        DefinitionValueError: It would be both key and timestamp.
    """
    if "default" in unknown or "default_factory" in unknown:
        refuse(
            "field(default=...) is not supported yet; declare the field as `| None` and leave it out of rows"
        )
    warn_unknown("field()", unknown)
    key, timestamp = _checks.flag("field(key=)", key), _checks.flag("field(timestamp=)", timestamp)
    if key and timestamp:
        refuse("a field cannot be both key and timestamp; declare two fields", kind="value")
    return FieldSpec("key" if key else "timestamp" if timestamp else "value", caller())
