"""DuckDB: running counts and sums of a user, joined as of the ends of a window; the greatest over a range."""

from __future__ import annotations

import sys

import duckdb

events_path, labels_path, out = sys.argv[1:4]
WINDOWS = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days"}

joins = "\n".join(
    f'ASOF LEFT JOIN running s{name} ON s{name}."user" = l."user" '
    f"AND l.label_at - INTERVAL '{width}' >= s{name}.\"at\""
    for name, width in WINDOWS.items()
)


def between(what: str, width: str) -> str:
    """What a running figure grew by within a window."""
    return f"coalesce(e.{what}, 0) - coalesce(s{width}.{what}, 0)"


duckdb.sql(f"""
COPY (
    WITH events AS (SELECT "user", amount, "at" FROM read_parquet('{events_path}')),
    labels AS (SELECT *, row_number() OVER () AS row FROM read_parquet('{labels_path}')),
    running AS (
        SELECT "user", "at", max(n) AS n, max_by(total, n) AS total FROM (
            SELECT "user", "at", row_number() OVER w AS n,
                sum(CAST(round(amount * 100) AS BIGINT)) OVER w AS total
            FROM events WINDOW w AS (PARTITION BY "user" ORDER BY "at" ROWS UNBOUNDED PRECEDING)
        ) GROUP BY "user", "at"
    ),
    largest AS (
        SELECT row, max_7d FROM (
            SELECT row, max(amount) OVER (
                PARTITION BY "user" ORDER BY "at"
                RANGE BETWEEN INTERVAL '7 days' - INTERVAL '1 microsecond' PRECEDING AND CURRENT ROW
            ) AS max_7d
            FROM (
                SELECT "user", "at", amount, NULL AS row FROM events
                UNION ALL SELECT "user", label_at, NULL, row FROM labels
            )
        ) WHERE row IS NOT NULL
    ),
    found AS (
        SELECT l.row, l."user", l.label_at,
            {between("n", "1h")} AS count_1h, {between("n", "24h")} AS count_24h,
            ({between("total", "24h")}) / 100 AS sum_24h, ({between("total", "7d")}) / 100 AS sum_7d,
            {between("n", "7d")} AS count_7d
        FROM labels l ASOF LEFT JOIN running e ON e."user" = l."user" AND l.label_at >= e."at"
        {joins}
    )
    SELECT "user", label_at, count_1h, count_24h, sum_24h, sum_7d, max_7d,
        CASE WHEN count_7d > 0 THEN sum_7d / count_7d END AS avg_7d
    FROM found JOIN largest USING (row) ORDER BY row
) TO '{out}' (FORMAT parquet, COMPRESSION zstd)
""")
