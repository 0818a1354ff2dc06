"""NumPy by hand: events sorted once by (user, time), windows found by binary search in one array of both.

Amounts have two decimals, so sums are exact in cents: prefix sums of integers. No float would give the same
bits as an exact sum. A greatest amount is the larger of two overlapping runs of a power of two.
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HOUR = 3_600_000_000
WINDOWS = {"1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR}

events_path, labels_path, out = sys.argv[1:4]
events, labels = pq.read_table(events_path), pq.read_table(labels_path)

users = pc.unique(pa.chunked_array([*events["user"].chunks, *labels["user"].chunks]))
codes = pc.index_in(events["user"], users).to_numpy().astype(np.int64)
asked = pc.index_in(labels["user"], users).to_numpy().astype(np.int64)
at = events["at"].cast(pa.int64()).to_numpy()
label_at = labels["label_at"].cast(pa.int64()).to_numpy()
base = min(at.min(), label_at.min()) - WINDOWS["7d"] - 1
span = max(at.max(), label_at.max()) - base + 1

key = codes * span + (at - base)
order = np.argsort(key, kind="stable")
key = key[order]
cents = np.rint(events["amount"].to_numpy()[order] * 100).astype(np.int64)
sums = np.concatenate([[0], np.cumsum(cents)])

end = np.searchsorted(key, asked * span + (label_at - base), side="right")
starts = {
    name: np.searchsorted(key, asked * span + (label_at - width - base), side="right")
    for name, width in WINDOWS.items()
}


def greatest(start: np.ndarray) -> np.ndarray:
    """The largest of cents[start:end], -1 of nothing."""
    width = end - start
    level = np.where(width > 0, np.floor(np.log2(np.maximum(width, 1))).astype(np.int64), 0)
    found = np.full(len(start), -1, np.int64)
    runs = cents
    for step in range(int(level.max()) + 1):
        if step:
            half = 1 << (step - 1)
            runs = np.maximum(runs[:-half], runs[half:])
        here = (level == step) & (width > 0)
        found[here] = np.maximum(runs[start[here]], runs[end[here] - (1 << step)])
    return found


count_7d = end - starts["7d"]
sum_7d = (sums[end] - sums[starts["7d"]]) / 100
largest = greatest(starts["7d"])
none = count_7d == 0
columns = {
    "count_1h": end - starts["1h"],
    "count_24h": end - starts["24h"],
    "sum_24h": (sums[end] - sums[starts["24h"]]) / 100,
    "sum_7d": sum_7d,
    "max_7d": pa.array(largest / 100, mask=none),
    "avg_7d": pa.array(sum_7d / np.maximum(count_7d, 1), mask=none),
}
table = labels
for name, column in columns.items():
    table = table.append_column(name, pa.array(column))
pq.write_table(table, out, compression="zstd")
