"""Polars: labels among the events, rolling windows over both, then the labels alone."""

from __future__ import annotations

import sys

import polars as pl

events_path, labels_path, out = sys.argv[1:4]
events = pl.scan_parquet(events_path).with_columns(row=pl.lit(None, pl.UInt32))
labels = pl.scan_parquet(labels_path).with_row_index("row")
both = (
    pl.concat(
        [
            events.select("user", "at", "amount", "row"),
            labels.select(
                "user", pl.col("label_at").alias("at"), pl.lit(None, pl.Float64).alias("amount"), "row"
            ),
        ]
    )
    .sort("user", "at")
    .collect()
)
amount = pl.col("amount")
asked = {
    "1h": [amount.count().alias("count_1h")],
    "24h": [amount.count().alias("count_24h"), amount.sum().alias("sum_24h")],
    "7d": [amount.sum().alias("sum_7d"), amount.max().alias("max_7d"), amount.mean().alias("avg_7d")],
}
found = both.select("row")
for width, aggregates in asked.items():
    rolled = both.rolling("at", period=width, closed="right", group_by="user").agg(aggregates)
    found = found.hstack(rolled.drop("user", "at"))
answers = found.filter(pl.col("row").is_not_null()).sort("row").drop("row")
labels.drop("row").collect().hstack(answers).write_parquet(out, compression="zstd")
