"""`Dataset.lookup` and the rows it gives."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, overload

from thyme.errors import LookupOutsideExtractorError

if TYPE_CHECKING:
    import polars as pl

    from thyme._thyme import LookupContext

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)

current: ContextVar[LookupContext | None] = ContextVar("thyme_lookup_context", default=None)
"""What lookups read while extractors run; None at any other time."""


context_rows: ContextVar[int | None] = ContextVar("thyme_context_rows", default=None)
"""How many rows the vectorized extractor was given that runs; None while none does."""


class UnknownFieldError(KeyError):
    """A row has no field of that name."""

    def __str__(self) -> str:
        """The sentence, without the quotes that a KeyError puts around it."""
        return str(self.args[0])


class Row(Mapping[str, Any]):
    """A row of a dataset by field name: `row["fare_7d"]`, or several as `row[["a", "b"]]`.

    Nulls are None, times are aware datetimes in UTC.
    """

    __slots__ = ("_dataset", "_values", "is_whole")

    def __init__(self, dataset: str, values: Mapping[str, Any], *, is_whole: bool = True) -> None:
        """Takes the values by field; `is_whole` is false for some of the fields of a row."""
        self._dataset = dataset
        self._values = dict(values)
        self.is_whole = is_whole

    @overload
    def __getitem__(self, name: str) -> Any: ...
    @overload
    def __getitem__(self, name: list[str]) -> Row: ...
    def __getitem__(self, name: str | list[str]) -> Any:
        """A field's value, or a row of some fields in the order asked.

        Raises:
            UnknownFieldError: There is no such field; a `KeyError`.
        """
        if isinstance(name, list):
            return Row(self._dataset, {one: self._value(one) for one in name}, is_whole=False)
        return self._value(name)

    def __iter__(self) -> Iterator[str]:
        """The fields' names."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many fields."""
        return len(self._values)

    def __repr__(self) -> str:
        """The dataset and the values."""
        return f"{self._dataset}({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def _value(self, name: str) -> Any:
        try:
            return self._values[name]
        except (KeyError, TypeError):
            near = difflib.get_close_matches(name, self._values, n=3) if isinstance(name, str) else []
            hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(self._values)}"
            raise UnknownFieldError(f"{self._dataset} has no field {name!r}; {hint}") from None


class DatasetHandle:
    """What stands for a dataset class in an extractor that has travelled."""

    def __init__(self, name: str) -> None:
        """Takes the dataset's name."""
        self.__name__ = name

    @overload
    def lookup(self, ts: datetime, /, **key: Any) -> Row: ...
    @overload
    def lookup(self, ts: pl.Series, /, **key: Any) -> pl.DataFrame: ...
    def lookup(self, ts: Any, /, **key: Any) -> Any:
        """The row as of `ts`, inside an extractor that Thyme runs.

        In a vectorized extractor the time and the keys are Series, with a row for each row it was given, and
        the rows that are found are a frame with the dataset's fields.

        An entity without events has the values of empty windows: counts of 0, otherwise null.

        Args:
            ts: The time, usually the extractor's own `ts`; a naive one is UTC.
            **key: The key field, or all of a composite key.

        Raises:
            LookupOutsideExtractorError: No extractor is being run.
            TypeError: `ts` is no datetime.
            ValueError: The key does not fit, or a raw dataset has no index.
        """
        name = self.__name__
        context = current.get()
        if context is None:
            raise LookupOutsideExtractorError(
                f"{name}.lookup works inside an extractor while Thyme runs it; elsewhere use a client's "
                f"lookup({name}, entity_id), or in a test MockContext's get_aggregates({name}, entity_id)"
            )
        if context_rows.get() is not None:
            from thyme._vectors import lookup_many  # Polars takes its time to load, and few need it here

            return lookup_many(name, context, ts, key)
        if not isinstance(ts, datetime):
            raise TypeError(
                f"{name}.lookup takes a datetime first, got {type(ts).__name__}: lookup(ts, {_names(key)})"
            )
        aware = ts.replace(tzinfo=timezone.utc) if ts.tzinfo is None else ts
        return Row(name, context.lookup(name, (aware - _EPOCH) // _MICROSECOND, key))

    def __getattr__(self, attribute: str) -> Any:
        """Refused: of a dataset only `lookup` is there when an extractor runs."""
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise AttributeError(f"in an extractor {self.__name__} has lookup(ts, key=...) only, not {attribute}")

    def __repr__(self) -> str:
        """The dataset's name."""
        return self.__name__


def _names(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}=..." for name in key) or "key=..."
