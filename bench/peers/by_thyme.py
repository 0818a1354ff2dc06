"""Thyme: both files through an engine in this process. Then once more from the state that it holds."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from orders import definitions

import thyme

events, labels, out = sys.argv[1:4]
features = definitions(Path(events))
with thyme.local(clock="event") as client:
    client.commit(features)
    client.query_offline(features[-1], labels, timestamp_column="label_at", output=out, progress=False)
    started = time.perf_counter()
    held = client.query_offline(features[-1], labels, timestamp_column="label_at", progress=False).to_arrow()
    seconds = time.perf_counter() - started
    json.dump({"held_s": seconds, "rows": held.num_rows}, sys.stdout)
