"""Thyme, a real-time feature platform: the same features, bit for bit, online and in training sets.

Definitions are Python classes (`dataset`, `featureset`); `MockContext` and `local` run the real engine in
this process; `ThymeClient` talks to a server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from thyme import errors
from thyme._aggregates import Avg, Count, First, Last, Max, Min, Sum
from thyme._collections import (
    AvgBy,
    BottomK,
    CountBy,
    Distinct,
    FirstK,
    Histogram,
    LastK,
    MostFrequent,
    SumBy,
    TopK,
)
from thyme._dataset import dataset
from thyme._expr import Expr, col, lit
from thyme._extractor import extractor, extractor_inputs, extractor_outputs
from thyme._feature import feature
from thyme._featureset import featureset
from thyme._field import Field, field
from thyme._functions import (
    atan2,
    coalesce,
    concat,
    cosine,
    dot,
    haversine_km,
    l2,
    max_of,
    min_of,
    when,
)
from thyme._pipeline import Stream, inputs, pipeline
from thyme._source import source
from thyme._statistics import (
    ApproxPercentile,
    CountDistinct,
    Delta,
    EntropyOf,
    ExpDecaySum,
    Kurtosis,
    Median,
    Quantile,
    Range,
    Rate,
    Skew,
    Slope,
    Stddev,
    TimeSinceFirst,
    TimeSinceLast,
    Variance,
)
from thyme._types import Length, Scale
from thyme._windows import Forever, Hopping, Rows, Session, Sliding, Tumbling, series

if TYPE_CHECKING:
    from thyme._config import Config
    from thyme._local import local
    from thyme._result import ThymeResult
    from thyme.client import AsyncThymeClient, ThymeClient
    from thyme.expectations import expectations
    from thyme.testing import MockContext

__version__ = "0.1.0"

_LAZY = {
    "AsyncThymeClient": "thyme.client",
    "Config": "thyme._config",
    "MockContext": "thyme.testing",
    "ThymeClient": "thyme.client",
    "ThymeResult": "thyme._result",
    "local": "thyme._local",
}


def __getattr__(name: str) -> Any:
    """Imports the client side when it is first asked for: a module of definitions does not need it."""
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    if name in ("connectors", "client", "expectations", "testing", "cli"):
        return importlib.import_module(f"thyme.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)


__all__ = [
    "ApproxPercentile",
    "AsyncThymeClient",
    "Avg",
    "AvgBy",
    "BottomK",
    "Config",
    "Count",
    "CountBy",
    "CountDistinct",
    "Delta",
    "Distinct",
    "EntropyOf",
    "ExpDecaySum",
    "Expr",
    "Field",
    "First",
    "FirstK",
    "Forever",
    "Histogram",
    "Hopping",
    "Kurtosis",
    "Last",
    "LastK",
    "Length",
    "Max",
    "Median",
    "Min",
    "MockContext",
    "MostFrequent",
    "Quantile",
    "Range",
    "Rate",
    "Rows",
    "Scale",
    "Session",
    "Skew",
    "Sliding",
    "Slope",
    "Stddev",
    "Stream",
    "Sum",
    "SumBy",
    "ThymeClient",
    "ThymeResult",
    "TimeSinceFirst",
    "TimeSinceLast",
    "TopK",
    "Tumbling",
    "Variance",
    "atan2",
    "coalesce",
    "col",
    "concat",
    "cosine",
    "dataset",
    "dot",
    "errors",
    "expectations",
    "extractor",
    "extractor_inputs",
    "extractor_outputs",
    "feature",
    "featureset",
    "field",
    "haversine_km",
    "inputs",
    "l2",
    "lit",
    "local",
    "max_of",
    "min_of",
    "pipeline",
    "series",
    "source",
    "when",
]
