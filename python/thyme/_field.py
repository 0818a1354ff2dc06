"""The fields of datasets."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from thyme import _checks
from thyme._literal import Default
from thyme._literal import default as default_of
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

    def __init__(
        self, role: str, place: Place, default: Any = None, *, event_id: bool = False, deleted: bool = False
    ) -> None:
        self.role = role
        self.place = place
        self.default = default
        self.event_id = event_id
        self.deleted = deleted


def field(
    *,
    key: bool = False,
    timestamp: bool = False,
    event_id: bool = False,
    deleted: bool = False,
    default: Default = None,
    **unknown: Any,
) -> Any:
    """Says what a field is for. Plain fields need none.

    Args:
        key: It is the entity key, or part of a composite one.
        timestamp: It is the event time.
        event_id: It names the event, in a raw dataset: an event whose id is there already, whichever way it
            came, is a duplicate, which stays in the log and does not count.
        deleted: It says, in a dataset with `cdc="upsert"`, that nothing of the row's key is there from the
            row's time on. A `bool`; give it `default=False`, and rows need not say.
        default: What a row has that does not say, of a plain field of a raw dataset; also one that was
            written before the field was added. None: the row has to say, unless the field may be None.
        **unknown: Warned of and ignored.

    Raises:
        DefinitionTypeError: An argument has the wrong type.
        DefinitionValueError: It would be both key and timestamp, or both event id and timestamp, or deleted
            and one of those.

    Example:
        @dataset
        class Payment:
            payer: str = field(key=True)
            payee: str = field(key=True)  # a composite key
            amount: float
            currency: str = field(default="EUR")
            at: datetime = field(timestamp=True)
    """
    warn_unknown("field()", unknown)
    key, timestamp = _checks.flag("field(key=)", key), _checks.flag("field(timestamp=)", timestamp)
    if key and timestamp:
        refuse("a field cannot be both key and timestamp; declare two fields", kind="value")
    event_id = _checks.flag("field(event_id=)", event_id)
    if event_id and timestamp:
        refuse(
            "a field cannot be both event id and timestamp: events of one time are not the same event",
            kind="value",
        )
    deleted = _checks.flag("field(deleted=)", deleted)
    if deleted and (key or timestamp or event_id):
        refuse(
            "a field that says deleted is nothing else; declare a bool of its own for it",
            kind="value",
        )
    constant = default_of(default, "field(default=)")
    role = "key" if key else "timestamp" if timestamp else "value"
    return FieldSpec(role, caller(), constant, event_id=event_id, deleted=deleted)
