"""A training set with very many columns: some thousand rows of a thousand features."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orders
import pyarrow as pa
from report import Figure, say
from server import BenchError, serving

from thyme import Avg, Count, Max, Sum, col, dataset, feature, featureset, field, inputs, pipeline

if TYPE_CHECKING:
    from figures import Bench

SHOPS = 25
WINDOWS = ("1h", "6h", "12h", "1d", "2d", "3d", "5d", "7d", "14d", "28d")
ROWS, REPETITIONS = 17_000, 5
QUICK_ROWS = 1_000


def wide(bench: Bench) -> Iterator[Figure]:
    """Seconds for 17,000 rows of 1,000 features: four aggregates over ten windows for each of 25 shops."""
    work = bench.workload(bench.size.ingests[0][0])
    shops = np.random.default_rng(orders.SEED).integers(0, SHOPS, work.rows)
    events = work.events.append_column("shop", pa.array(shops))
    labels = work.labels(QUICK_ROWS if bench.size.name == "quick" else ROWS, 7)
    with serving(bench.scratch / "wide") as server:
        server.client.commit(definitions())
        say(f"{work.rows:,} events")
        server.client.log("Order", events)
        while (status := server.client.status())["position"] != status["applied"]:
            time.sleep(0.05)
        times, cpu, before = [], server.cpu_s(), server.memory_mib()
        for _ in range(REPETITIONS):
            start = time.perf_counter()
            result = server.client.query_offline(
                "ShopFeatures", labels, timestamp_column="label_at"
            ).to_arrow()
            times.append(time.perf_counter() - start)
            if (result.num_rows, result.num_columns) != (labels.num_rows, 2 + FEATURES):
                raise BenchError(
                    f"{labels.num_rows} labels gave {result.num_rows} rows, {result.num_columns} columns"
                )
        yield Figure(
            "training_wide",
            round(statistics.median(times), 3),
            "s",
            goal=2.0,
            detail={
                "rows": labels.num_rows,
                "features": FEATURES,
                "runs_s": [round(each, 3) for each in times],
                "server_cpu_s": round((server.cpu_s() - cpu) / REPETITIONS, 3),
                "server_peak_mib": _peak_mib(server.pid),
                "server_before_mib": before,
            },
        )


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmHWM:"))


def _aggregates() -> dict[str, tuple[type, Any]]:
    """The aggregates by name, each with the type of its output."""
    found: dict[str, tuple[type, Any]] = {}
    for shop in range(SHOPS):
        where = col("shop") == shop
        for window in WINDOWS:
            common: dict[str, Any] = {"window": window, "where": where}
            of = {"of": "amount", **common}
            found |= {
                f"count_{shop}_{window}": (int, Count(**common)),
                f"sum_{shop}_{window}": (float, Sum(**of)),
                f"max_{shop}_{window}": (float | None, Max(**of)),
                f"avg_{shop}_{window}": (float | None, Avg(**of)),
            }
    return found


FEATURES = 4 * SHOPS * len(WINDOWS)


def definitions() -> list[Any]:
    """The definitions to commit."""
    aggregates = _aggregates()

    @dataset(version=1)
    class Order:
        user: str = field(key=True)
        shop: int
        amount: float
        at: datetime = field(timestamp=True)

    def by_user(cls: type, orders: Any) -> Any:
        return orders.groupby("user").aggregate(**{name: each for name, (_, each) in aggregates.items()})

    derived = {
        "user": field(key=True),
        "at": field(timestamp=True),
        "by_user": pipeline(version=1)(inputs(Order)(by_user)),
    }
    types = {"user": str, "at": datetime} | {name: of for name, (of, _) in aggregates.items()}
    ShopOrders = dataset(version=1)(type("ShopOrders", (), {**derived, "__annotations__": types}))  # noqa: N806
    refs = {
        name: feature(id=2 + number, ref=getattr(ShopOrders, name)) for number, name in enumerate(aggregates)
    }
    types = {"user": str} | {name: of for name, (of, _) in aggregates.items()}
    features = {"user": feature(id=1), **refs, "__annotations__": types}
    return [Order, ShopOrders, featureset(type("ShopFeatures", (), features))]
