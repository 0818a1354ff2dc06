"""Hashes of rows by what they say, whatever holds them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from thyme._frames import plain_columns

if TYPE_CHECKING:
    import pyarrow as pa


class RowsHash:
    """The hash of rows that come slice by slice: of their columns' names and types, and of every value.

    Two tables that hold the same rows in the same slices have one hash, however their buffers lie.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._begun = False
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Adds a slice."""
        table = plain_columns(table)
        if not self._begun:
            self._begun = True
            self._digest.update(repr([(field.name, str(field.type)) for field in table.schema]).encode())
        self.rows += table.num_rows
        self._digest.update(table.num_rows.to_bytes(8, "little"))
        for column in table.columns:
            self._column(column.combine_chunks())

    def hexdigest(self) -> str:
        """The hash of all slices so far."""
        return self._digest.hexdigest()

    def _column(self, array: Any) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = array.type
        if array.null_count:
            self._values(pc.is_valid(array).cast(pa.uint8()))
        self._digest.update(array.null_count.to_bytes(8, "little"))
        if pa.types.is_struct(kind):
            for child in array.flatten():
                self._column(child)
        elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            self._values(pc.fill_null(pc.list_value_length(array), 0))
            self._column(array.flatten())
        elif not pa.types.is_null(kind):
            array = array.cast(pa.uint8()) if pa.types.is_boolean(kind) else array
            self._values(pc.drop_null(array))

    def _values(self, array: Any) -> None:
        """The bytes of an array without nulls: those of its message, which begin at its first value."""
        import pyarrow as pa

        batch = pa.record_batch([array], names=[""])
        self._digest.update(memoryview(batch.serialize()))
