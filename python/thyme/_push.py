"""A push in slices, with faults and errors that speak of the caller's rows."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thyme._errors import InvalidDataError, ThymeError
from thyme._frames import ARROW_STREAM, ipc_bytes
from thyme._values import to_json

if TYPE_CHECKING:
    import pyarrow as pa

NDJSON = "application/x-ndjson"

# Sends one body: the dataset, the bytes, their content type, the idempotency key.
Send = Callable[[str, bytes, str, str | None], Awaitable[Mapping[str, Any]]]


class Push:
    """Sends the slices of one push in order and sums up the answers.

    Attributes:
        total: `accepted`, `skipped`, `position` (of the last slice), `faults`, `violations`; `duplicates`
            once an answer says how many there are.
    """

    def __init__(
        self, dataset: str, send: Send, idempotency_key: str | None, progress: Callable[[int], None] | None
    ) -> None:
        """Prepares it.

        Args:
            dataset: The dataset's name.
            send: Sends one body.
            idempotency_key: The key of the whole push; from the second slice on, `KEY.1`, `KEY.2`, ...
            progress: Called with the number of rows of each slice that is accepted.
        """
        self._dataset = dataset
        self._send = send
        self._key = idempotency_key
        self._progress = progress
        self._rows_sent = 0
        self._slices = 0
        self.total: dict[str, Any] = {
            "accepted": 0,
            "skipped": 0,
            "position": "",
            "faults": [],
            "violations": [],
        }

    async def rows(self, rows: Sequence[Any], slice_rows: int) -> None:
        """Pushes dicts as JSON."""
        for i, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise InvalidDataError(f"row {i} is a {type(row).__name__}: expected a dict")
        for start in range(0, max(len(rows), 1), slice_rows):
            events = rows[start : start + slice_rows]
            body = to_json({"dataset": self._dataset, "events": [dict(event) for event in events]})
            await self.slice(body, "application/json", len(events))

    async def frames(self, tables: AsyncIterable[pa.Table]) -> None:
        """Pushes tables as Arrow."""
        async for table in tables:
            await self.slice(ipc_bytes(table), ARROW_STREAM, table.num_rows)

    async def slice(self, body: bytes, content_type: str, rows: int) -> None:
        """Pushes one body.

        Raises:
            ThymeError: It was refused; the sentence says what was accepted before it.
        """
        key = self._key if self._key is None or self._slices == 0 else f"{self._key}.{self._slices}"
        try:
            answer = await self._send(self._dataset, body, content_type, key)
        except ThymeError as error:
            error.faults = self._placed(error.faults)
            if self._rows_sent:
                error.detail += (
                    f" (the {self._rows_sent:,} rows before row {self._rows_sent:,} were accepted)"
                )
            raise
        self.total["accepted"] += answer.get("accepted", 0)
        self.total["skipped"] += answer.get("skipped", 0)
        if "duplicates" in answer:
            self.total["duplicates"] = self.total.get("duplicates", 0) + answer["duplicates"]
        self.total["position"] = answer.get("position", "")
        self.total["faults"] += self._placed(answer.get("faults") or ())
        self.total["violations"] += [
            {**violation, "rows": [row + self._rows_sent for row in violation["rows"]]}
            if "rows" in violation
            else violation
            for violation in answer.get("violations") or ()
        ]
        self._rows_sent += rows
        self._slices += 1
        if self._progress is not None:
            self._progress(rows)

    def _placed(self, faults: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Faults with the row's index in the whole push instead of in its slice."""
        return [
            {**fault, "row": fault["row"] + self._rows_sent}
            if isinstance(fault.get("row"), int)
            else dict(fault)
            for fault in faults
        ]
