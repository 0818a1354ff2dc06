"""The workload "orders": events of shoppers, what is asked about them, and the definitions.

Users follow Zipf's law (exponent 1.1), times are uniform over 30 days that end now, and one event in a
hundred arrives up to ten minutes after its turn. The same seed gives the same events, up to the end of the 30
days, which is the start of the run: online reads are as of now, and windows over old events would be empty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from thyme import (
    Avg,
    Count,
    Max,
    Sum,
    connectors,
    dataset,
    feature,
    featureset,
    field,
    inputs,
    pipeline,
    source,
)

SEED = 20130101
EXPONENT = 1.1
DAYS = 30
DAY_US = 86_400_000_000
MINUTE_US = 60_000_000
LATE_SHARE = 0.01
LAST_USER = "the-last-one"
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Orders:
    """A generated workload.

    Attributes:
        events: `user`, `amount`, `at` in the order of arrival; the last event is the only one of `LAST_USER`.
        users: How many users there can be.
        end_us: The end of the 30 days, in microseconds since the epoch.
    """

    events: pa.Table
    users: int
    end_us: int

    @property
    def rows(self) -> int:
        """How many events there are."""
        return self.events.num_rows

    def write(self, path: Path) -> Path:
        """Writes the events as a Parquet file."""
        pq.write_table(self.events, path, compression="snappy", row_group_size=1 << 20)
        return path

    def ndjson(self, rows_a_push: int) -> list[bytes]:
        """The events as newline-delimited JSON, in bodies of so many rows; times are RFC 3339 texts."""
        users, amounts = self.events["user"].to_pylist(), self.events["amount"].to_pylist()
        times = pc.strftime(self.events["at"], "%Y-%m-%dT%H:%M:%SZ").to_pylist()
        lines = [
            f'{{"user":"{user}","amount":{amount!r},"at":"{at}"}}\n'
            for user, amount, at in zip(users, amounts, times, strict=True)
        ]
        starts = range(0, len(lines), rows_a_push)
        return ["".join(lines[start : start + rows_a_push]).encode() for start in starts]

    def busiest(self) -> tuple[str, dict[str, Any]]:
        """The user with the most orders, and some of their features at the end of the 30 days."""
        counts = pc.value_counts(self.events["user"])
        user = counts[pc.index(counts.field("counts"), pc.max(counts.field("counts"))).as_py()][
            "values"
        ].as_py()
        own = self.events.filter(pc.equal(self.events["user"], user))
        times, amounts = own["at"].cast(pa.int64()).to_numpy(), own["amount"].to_numpy()
        day, week = (amounts[times > self.end_us - days * DAY_US] for days in (1, 7))
        return user, {
            "count_24h": len(day),
            "sum_24h": math.fsum(day),
            "sum_7d": math.fsum(week),
            "max_7d": float(week.max()),
        }

    def sample_users(self, count: int, seed: int) -> list[str]:
        """Users as often as they have orders."""
        return _names(_zipf(np.random.default_rng(seed), self.users, count)).to_pylist()

    def labels(self, count: int, seed: int) -> pa.Table:
        """Users as often as they have orders, at times that are uniform over the 30 days."""
        rng = np.random.default_rng(seed)
        users = _names(_zipf(rng, self.users, count))
        at = self.end_us - rng.integers(0, DAYS * DAY_US, count)
        return pa.table({"user": users, "label_at": pa.array(at, TIME)})

    def times_between(self, start_us: int, end_us: int, count: int, seed: int) -> pa.Array:
        """Times that are uniform between two moments."""
        rng = np.random.default_rng(seed)
        return pa.array(rng.integers(start_us, end_us, count), TIME)


def generate(rows: int, users: int, end_us: int) -> Orders:
    """Generates `rows` events of up to `users` users in the 30 days before `end_us`."""
    rng = np.random.default_rng(SEED)
    at = np.sort(rng.integers(0, DAYS * DAY_US, rows))
    late = rng.random(rows) < LATE_SHARE
    arrival = at + np.where(late, rng.integers(0, 10 * MINUTE_US, rows), 0)
    order = np.argsort(arrival, kind="stable")
    amounts = np.round(rng.lognormal(3.0, 1.0, rows), 2)
    names = pa.concat_arrays([_names(_zipf(rng, users, rows - 1)), pa.array([LAST_USER])])
    times = pa.array(end_us - DAYS * DAY_US + at[order], TIME)
    return Orders(pa.table({"user": names, "amount": amounts, "at": times}), users, end_us)


def _zipf(rng: np.random.Generator, users: int, count: int) -> np.ndarray:
    """`count` ranks below `users`; rank r is drawn in proportion to (r + 1) ** -EXPONENT."""
    weights = np.cumsum(np.arange(1, users + 1, dtype=np.float64) ** -EXPONENT)
    return np.searchsorted(weights, rng.random(count) * weights[-1], side="right")


def _names(ranks: np.ndarray) -> pa.Array:
    # Multiplying by an odd number scatters the ranks, so that a name says nothing about how busy a user is.
    known = pa.array([f"user-{rank * 2_654_435_761 % 2**32:08x}" for rank in range(int(ranks.max()) + 1)])
    return known.take(pa.array(ranks))


def definitions(file: Path | None) -> list[Any]:
    """The definitions to commit.

    Args:
        file: A Parquet file that the events come from; None for pushed events.
    """

    @dataset(version=1)
    class Order:
        user: str = field(key=True)
        amount: float
        at: datetime = field(timestamp=True)

    if file is not None:
        Order = source(connectors.FileSource(file))(Order)  # noqa: N806

    @dataset(version=1)
    class UserOrders:
        user: str = field(key=True)
        at: datetime = field(timestamp=True)
        count_1h: int
        count_24h: int
        sum_24h: float
        sum_7d: float
        max_7d: float | None
        avg_7d: float | None

        @pipeline(version=1)
        @inputs(Order)
        def by_user(cls, orders: Any) -> Any:
            return orders.groupby("user").aggregate(
                count_1h=Count(window="1h"),
                count_24h=Count(window="24h"),
                sum_24h=Sum(of="amount", window="24h"),
                sum_7d=Sum(of="amount", window="7d"),
                max_7d=Max(of="amount", window="7d"),
                avg_7d=Avg(of="amount", window="7d"),
            )

    @featureset
    class UserFeatures:
        user: str = feature(id=1)
        count_1h: int = feature(id=2, ref=UserOrders.count_1h)
        count_24h: int = feature(id=3, ref=UserOrders.count_24h)
        sum_24h: float = feature(id=4, ref=UserOrders.sum_24h)
        sum_7d: float = feature(id=5, ref=UserOrders.sum_7d)
        max_7d: float | None = feature(id=6, ref=UserOrders.max_7d)
        avg_7d: float | None = feature(id=7, ref=UserOrders.avg_7d)

    return [Order, UserOrders, UserFeatures]
