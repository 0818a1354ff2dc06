"""Definitions that the tests of what is left out push to."""

from __future__ import annotations

from datetime import datetime

from thyme import dataset, field


@dataset(index=True, max_lateness="10m", on_error="skip")
class Snack:
    guest: str = field(key=True)
    price: float
    at: datetime = field(timestamp=True)
