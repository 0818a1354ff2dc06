"""The example of the public surface, word for word."""

from pathlib import Path
from typing import Any

import pytest

from thyme import Field
from thyme._document import collect, load

EXAMPLE = Path(__file__).with_name("example.py")


@pytest.fixture
def document() -> dict[str, Any]:
    return collect(load(str(EXAMPLE)))


def without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_places(one) for key, one in value.items() if key != "at"}
    return [without_places(one) for one in value] if isinstance(value, list) else value


def test_a_raw_dataset_is_its_fields_and_its_source(document: dict[str, Any]) -> None:
    ride = without_places(document)["datasets"][0]
    assert ride == {
        "name": "Ride",
        "version": 1,
        "index": True,
        "extra": "forbid",
        "on_error": "refuse",
        "meta": {"description": "one row a ride", "owner": "rides@example.com", "tags": {"raw": ""}},
        "fields": [
            {"name": "driver", "type": "str", "optional": False, "role": "key"},
            {"name": "fare", "type": "float", "optional": False, "role": "value"},
            {"name": "tip", "type": "float", "optional": True, "role": "value"},
            # its type is text in no place: annotations become types of the language
            {"name": "at", "type": "datetime", "optional": False, "role": "timestamp"},
        ],
        "pipelines": [],
        "source": {"kind": "file", "options": {"path": "rides.parquet"}, "max_lateness": "1h", "meta": {}},
    }


def test_a_derived_dataset_has_its_pipeline_as_operators(document: dict[str, Any]) -> None:
    (pipeline,) = without_places(document)["datasets"][1]["pipelines"]
    fare = {"col": "fare"}
    assert pipeline == {
        "name": "compute",
        "version": 1,
        "inputs": ["Ride"],
        "operators": [
            {"op": "filter", "expr": {"op": "gt", "args": [fare, {"lit": 0, "type": "int"}]}},
            {"op": "groupby", "keys": ["driver"]},
            {
                "op": "aggregate",
                "aggregates": [
                    {"name": "rides_1h", "function": "count", "window": "1h"},
                    {"name": "fare_7d", "function": "sum", "of": "fare", "window": "7d"},
                    {
                        "name": "best_tip_30d",
                        "function": "max",
                        "of": "tip",
                        "window": "30d",
                        "where": {"op": "lt", "args": [fare, {"lit": 500, "type": "int"}]},
                    },
                ],
            },
        ],
        "meta": {},
    }


def test_a_featureset_is_its_features_and_extractors(document: dict[str, Any]) -> None:
    (featureset,) = without_places(document)["featuresets"]
    plain = {"optional": False, "request": False, "meta": {}}
    ref = "DriverStats"
    assert featureset["features"] == [
        {"name": "driver", "type": "str", "id": 1, **plain},
        {"name": "rides_1h", "type": "int", "id": 2, "ref": {"dataset": ref, "field": "rides_1h"}, **plain},
        {
            "name": "fare_7d",
            "type": "float",
            "id": 3,
            "ref": {"dataset": ref, "field": "fare_7d"},
            "default": 0.0,
            **plain,
        },
        {"name": "mean_fare_7d", "type": "float", "id": 4, **plain},
        {"name": "hour", "type": "int", "id": 5, "default": 12, **plain, "request": True},
        {"name": "score", "type": "float", "id": 6, **plain},
    ]
    mean, scored = featureset["extractors"]
    assert {key: mean[key] for key in ("inputs", "outputs", "deps", "form")} == {
        "inputs": [{"feature": "driver"}],
        "outputs": ["mean_fare_7d"],
        "deps": ["DriverStats"],
        "form": "dict",
    }
    assert (scored["form"], scored["deps"]) == ("positional", [])
    assert scored["code"] == (
        "from __future__ import annotations\n\n\n"
        "def scored(cls, ts, rides_1h, hour):                      # form 2: one argument an input\n"
        "    return rides_1h * (2.0 if hour >= 22 else 1.0)\n"
    )
    assert 'DriverStats = _thyme_dataset("DriverStats")\n' in mean["code"]


def test_everything_says_where_it_stands(document: dict[str, Any]) -> None:
    lines = EXAMPLE.read_text().splitlines()

    def line(place: dict[str, Any]) -> str:
        assert place["file"].endswith("example.py")
        return lines[place["line"] - 1].strip()

    ride, stats = document["datasets"]
    (features,) = document["featuresets"]
    (pipeline,) = stats["pipelines"]
    assert [line(one["at"]) for one in (ride, stats, features)] == [
        "class Ride:",
        "class DriverStats:",
        "class DriverFeatures:",
    ]
    assert line(pipeline["at"]) == "def compute(cls, rides):"
    aggregates = pipeline["operators"][-1]["aggregates"]
    assert [line(one["at"]).split("=")[0] for one in aggregates][1:] == ["fare_7d", "best_tip_30d"]
    assert line(features["features"][3]["at"]) == "mean_fare_7d: float = feature(id=4)"
    assert line(features["extractors"][1]["at"]).startswith("def scored(")


def test_on_the_class_a_name_refers_to_its_field_or_feature() -> None:
    module = load(str(EXAMPLE))
    assert isinstance(module.Ride.fare, Field)
    assert (module.Ride.fare.dataset, module.Ride.fare.name) == (module.Ride, "fare")
    assert (repr(module.Ride.fare), repr(module.DriverFeatures.score)) == (
        "Ride.fare",
        "DriverFeatures.score",
    )
