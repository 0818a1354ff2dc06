"""Expectations: judged by the engine, counted, told, answered, and kept out where the dataset says so."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from running import Server, start_server
from thyme import (
    Count,
    MockContext,
    ThymeClient,
    dataset,
    expectations,
    field,
    inputs,
    local,
    pipeline,
    source,
)
from thyme.connectors import FileSource
from thyme.errors import DefinitionTypeError, DefinitionValueError
from thyme.expectations import (
    Expectation,
    expect_column_values_to_be_between,
    expect_column_values_to_be_in_set,
    expect_column_values_to_be_of_type,
    expect_column_values_to_be_unique_within,
    expect_column_values_to_match_regex,
    expect_column_values_to_not_be_null,
    expect_rows_per,
)


def rules() -> list[Expectation]:
    return [
        expect_column_values_to_be_between("fare", min_value=0, max_value=500),
        expect_column_values_to_not_be_null("tip", mostly=0.5),
        expect_column_values_to_be_in_set("city", {"leeds", "london"}),
        expect_column_values_to_be_of_type("code", int),
        expect_column_values_to_match_regex("city", "^l"),
        expect_column_values_to_be_unique_within("code", "1m"),
        expect_rows_per("1h").to_be_between(min_value=1, max_value=3),
    ]


def ride_class(**settings: Any) -> type:
    @dataset(**settings)
    class Ride:
        driver: str = field(key=True)
        city: str
        code: str
        fare: float
        tip: float | None
        at: datetime = field(timestamp=True)

        @expectations
        @classmethod
        def sane(cls) -> list[Expectation]:
            return rules()

    return Ride


def rides_of(ride: type) -> type:
    @dataset
    class Rides:
        driver: str = field(key=True)
        rides: int
        at: datetime = field(timestamp=True)

        @pipeline
        @inputs(ride)
        def compute(cls, rides: Any) -> Any:
            return rides.groupby("driver").aggregate(rides=Count())

    return Rides


Ride = ride_class()
Rides = rides_of(Ride)


def row(minute: int, **values: Any) -> dict[str, Any]:
    at = f"2026-03-15T{10 + minute // 60}:{minute % 60:02}:00Z"
    return {"driver": "d1", "city": "leeds", "code": str(minute), "fare": 1.0, "tip": 1.0, "at": at, **values}


BAD = [row(0), row(1, fare=501, tip=None), row(2, city="york", code="x"), row(3, code="1", tip=None)]


def counted(found: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    return {one["expectation"]: (one["checked"], one["violated"]) for one in found}


ALL = {
    "fare between 0 and 500": (4, 1),
    "tip not null": (4, 2),
    'city in {"leeds", "london"}': (4, 1),
    "code of type int": (4, 1),
    "city matches /^l/": (4, 1),
    "code unique within 1m": (4, 0),
    "rows per 1h between 1 and 3": (0, 0),
}


def test_a_test_sees_what_its_rows_do_not_meet() -> None:
    context = MockContext()
    assert context.add_events(Ride, [row(0), row(1, tip=None)]) == []
    violations = context.add_events(Ride, BAD)
    assert [(one["expectation"], one["column"], one["violated"], one["rows"]) for one in violations] == [
        ("fare between 0 and 500", "fare", 1, [1]),
        ('city in {"leeds", "london"}', "city", 1, [2]),
        ("code of type int", "code", 1, [2]),
        ("city matches /^l/", "city", 1, [2]),
    ]
    # They are events all the same.
    assert context.get_aggregates(Rides, "d1")["rides"] == 6


def test_what_came_is_counted_told_and_outlives_a_restart(tmp_path: Path) -> None:
    with local(str(tmp_path / "data")) as thyme:
        thyme.commit([Ride, Rides])
        thyme.log(Ride, BAD)
        position = thyme.log(Ride, [row(240, code="1"), row(240, code="1")])
        thyme.lookup(Rides, "d1", min_position=position)
        (found,) = [one["expectations"] for one in thyme.status()["datasets"] if one["name"] == "Ride"]
        expected = {name: (checked + 2, broken) for name, (checked, broken) in ALL.items()}
        expected["code unique within 1m"] = (6, 1)
        # The hour of four rows, and three without any.
        expected["rows per 1h between 1 and 3"] = (4, 4)
        assert counted(found) == expected
        (event, *_) = thyme.events(event_type="expectation_violated")
        assert (event["severity"], event["subject"]) == ("warning", "Ride")
        assert '"fare between 0 and 500": 1 of 4 do not meet it, such as e' in event["message"]
        assert "tip" not in event["message"], "half of them have one"
    with local(str(tmp_path / "data")) as thyme:
        (found,) = [one["expectations"] for one in thyme.status()["datasets"] if one["name"] == "Ride"]
        assert counted(found) == expected


def test_rows_kept_out_are_dead_letters_until_they_are_as_expected(tmp_path: Path) -> None:
    strict = ride_class(on_violation="quarantine")
    server = start_server(tmp_path / "data")
    try:
        with ThymeClient(server.url) as client:
            client.commit([strict, rides_of(strict)])
            answer = httpx.post(
                f"{server.url}/api/v1/log", json={"dataset": "Ride", "events": BAD}, trust_env=False
            ).json()
            # Rows that break a rule of rows, however many may; the first has a tip and is sane.
            assert (answer["accepted"], answer["skipped"]) == (1, 3)
            assert client.lookup(Rides, "d1", min_position=answer["position"])["rides"] == 1
            letters = client.dead_letters(Ride)
            assert sorted(one["reason"] for one in letters) == [
                'expectation city in {"leeds", "london"}',
                "expectation fare between 0 and 500",
                "expectation tip not null",
            ]
            metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
            sample = 'thyme_expectation_violated_total{dataset="Ride",expectation="fare between 0 and 500"} 1'
            assert sample in metrics
            assert client.replay_dead_letters(Ride)["replayed"] == 0
            client.commit([Ride, Rides])
            replay = client.replay_dead_letters(Ride)
            assert replay["replayed"] == 3
            assert client.lookup(Rides, "d1", min_position=replay["position"])["rides"] == 4
    finally:
        server.process.kill()
        server.process.wait()


def test_rows_of_a_source_are_judged_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "rides.jsonl").write_text("".join(json.dumps(one) + "\n" for one in BAD))

    @source(FileSource(path=str(tmp_path / "rides.jsonl")))
    @dataset(on_violation="quarantine", index=True)
    class Ride:
        driver: str = field(key=True)
        city: str
        code: str
        fare: float
        tip: float | None
        at: datetime = field(timestamp=True)

        @expectations
        def sane(cls) -> list[Expectation]:
            return rules()[:1]

    with local() as thyme:
        thyme.commit([Ride])
        while not all(one["caught_up"] for one in thyme.status()["sources"]):
            time.sleep(0.01)
        (found,) = [one for one in thyme.status()["datasets"] if one["name"] == "Ride"]
        assert (found["events"], found["dead_letters"]) == (3, 1)
        assert counted(found["expectations"]) == {"fare between 0 and 500": (4, 1)}


def test_expectations_change_in_place(server: Server) -> None:
    with ThymeClient(server.url) as client:
        client.commit([Ride])
        plan = client.plan([ride_class(on_violation="quarantine")])
        (change,) = [one for one in plan["changes"] if one["kind"] == "changed"]
        assert (change["subject"], change["detail"]) == ("Ride", "on_violation: observe -> quarantine")


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (
            lambda: expect_column_values_to_be_between("fare", mostly=0),
            DefinitionValueError,
            "above 0 and at most 1, got 0",
        ),
        (
            lambda: expect_column_values_to_be_between(3, 1),
            DefinitionTypeError,
            'names as texts, such as "fare", got',
        ),
        (
            lambda: expect_column_values_to_be_in_set("city", "leeds"),
            DefinitionTypeError,
            "a list or a set of values",
        ),
        (
            lambda: expect_column_values_to_be_of_type("code", list),
            DefinitionTypeError,
            "int, float, str, bool or datetime",
        ),
        (lambda: expect_rows_per("7 days"), DefinitionValueError, "7 days"),
    ],
)
def test_wrong_arguments_are_named(make: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        make()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            lambda: [expect_column_values_to_not_be_null("tips")],
            "there is no field tips; there are driver, tip, at",
        ),
        (lambda: [expect_column_values_to_be_between("tip")], "give min_value, max_value or both"),
        (
            lambda: [expect_column_values_to_match_regex("driver", "(")],
            "the pattern cannot be read: unclosed group",
        ),
        (lambda: [expect_column_values_to_not_be_null("tip")] * 2, 'expects "tip not null" twice'),
        (lambda: None, "it must return a list of expectations, got None; did you forget `return`"),
        (lambda: [3], "it must return a list of expectations"),
        (lambda: [expect_rows_per("1h").to_be_between(1)], "no expectation that single rows can break"),
    ],
)
def test_what_cannot_be_judged_is_refused_where_it_is_written(given: Any, sentence: str) -> None:
    with pytest.raises((DefinitionValueError, DefinitionTypeError)) as caught:

        @dataset(on_violation="quarantine")
        class Wrong:
            driver: str = field(key=True)
            tip: float | None
            at: datetime = field(timestamp=True)

            @expectations
            def sane(cls) -> Any:
                return given()

    assert sentence in str(caught.value)


def test_a_derived_dataset_has_none() -> None:
    with pytest.raises(DefinitionValueError, match="its pipelines make it; give them to Ride instead"):

        @dataset
        class Wrong:
            driver: str = field(key=True)
            rides: int
            at: datetime = field(timestamp=True)

            @pipeline
            @inputs(Ride)
            def compute(cls, rides: Any) -> Any:
                return rides.groupby("driver").aggregate(rides=Count())

            @expectations
            def sane(cls) -> list[Expectation]:
                return [expect_column_values_to_not_be_null("rides")]
