"""`@dataset`, `@source` and their keywords. What the document expresses is judged by the engine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from definition_texts import HEADER, RIDES, Import

from thyme import dataset, field, source
from thyme._definition import definition_of
from thyme.connectors import FileSource
from thyme.errors import (
    DefinitionError,
    DefinitionTypeError,
    DefinitionValueError,
    LookupOutsideExtractorError,
)

Refused = Callable[..., DefinitionError]
Document = Callable[..., dict[str, Any]]


def body_of(cls: type) -> dict[str, Any]:
    definition = definition_of(cls)
    assert definition is not None
    return definition.body


def ride(**keywords: Any) -> type:
    @dataset(**keywords)
    class Ride:
        driver: str = field(key=True)
        at: datetime = field(timestamp=True)

    return Ride


def test_bare_and_with_keywords() -> None:
    @dataset
    class Ride:
        driver: str = field(key=True)
        at: datetime = field(timestamp=True)

    assert body_of(Ride)["version"] == 1
    assert not body_of(Ride)["index"]
    given = ride(
        version=3,
        index=True,
        max_lateness="1h",
        max_future_skew="5m",
        retention="52w",
        extra="ignore",
        on_error="skip",
        owner="rides@example.com",
        tags={"tier": "1", "area": "core"},
        deprecated=True,
        deprecation_reason="too old",
        replacement="Trip",
    )
    body = body_of(given)
    assert {
        key: body[key] for key in ("version", "index", "max_lateness", "max_future_skew", "retention")
    } == {
        "version": 3,
        "index": True,
        "max_lateness": "1h",
        "max_future_skew": "5m",
        "retention": "52w",
    }
    assert (body["extra"], body["on_error"]) == ("ignore", "skip")
    assert body["meta"] == {
        "owner": "rides@example.com",
        "tags": {"area": "core", "tier": "1"},
        "deprecated": True,
        "deprecation_reason": "too old",
        "replacement": "Trip",
    }


def test_unknown_keywords_warn_where_they_stand() -> None:
    with pytest.warns(FutureWarning, match="@dataset does not know the keyword onwer=") as warned:
        ride(onwer="x")
    assert warned[0].filename == __file__


def test_known_keywords_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ride(description="x", owner="x", tags=["x"], project="x", deprecated=False)


@pytest.mark.parametrize(
    ("keywords", "kind", "says"),
    [
        (
            {"version": "1"},
            DefinitionTypeError,
            r"@dataset\(version=\) takes a positive integer, got '1' \(str\)",
        ),
        ({"version": True}, DefinitionTypeError, "takes a positive integer"),
        ({"version": -1}, DefinitionValueError, "takes a positive integer"),
        ({"version": 0}, DefinitionValueError, "versions count from 1"),
        ({"index": 1}, DefinitionTypeError, r"@dataset\(index=\) takes True or False"),
        (
            {"max_lateness": "7 days"},
            DefinitionValueError,
            r'@dataset\(max_lateness=\): "7 days" is not a duration',
        ),
        ({"max_lateness": 60}, DefinitionTypeError, "takes a duration as a text"),
        ({"retention": ""}, DefinitionValueError, "is not a duration"),
        ({"extra": "allow"}, DefinitionValueError, '"forbid" or "ignore", got "allow"'),
        ({"on_error": None}, DefinitionTypeError, '"refuse" or "skip", got None'),
        ({"owner": 3}, DefinitionTypeError, "owner= takes a text"),
        ({"tags": "raw"}, DefinitionTypeError, "tags= takes a list of texts"),
        ({"tags": [1]}, DefinitionTypeError, "tags= takes a list of texts"),
        ({"deprecated": "yes"}, DefinitionTypeError, "deprecated= takes True or False"),
    ],
)
def test_wrong_keywords(keywords: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        ride(**keywords)
    assert "test_datasets.py:" in str(caught.value)


def test_the_engine_judges_the_class_and_every_fault_is_listed(refused: Refused) -> None:
    error = refused("""
@dataset(version=0)
class Ride:
    driver: str | None = field(key=True)
    at: float = field(timestamp=True)
""")
    assert isinstance(error, DefinitionValueError)
    assert isinstance(error, ValueError)
    assert [(fault.subject, fault.file, fault.line) for fault in error.found] == [
        ("Ride", "features.py", 7),
        ("Ride.driver", "features.py", 8),
        ("Ride.at", "features.py", 9),
    ]
    assert str(error).startswith(
        "3 things are wrong:\n  Ride has version 0; versions count from 1 (features.py:7)"
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("driver: str\n    at: datetime = field(timestamp=True)", "Ride has no key"),
        ("driver: str = field(key=True)", "Ride has no event time"),
        (
            "driver: str = field(key=True)\n    a: datetime = field(timestamp=True)\n    b: datetime = field(timestamp=True)",
            "Ride has 2 event times",
        ),
        ("pass", "Ride has no fields"),
    ],
)
def test_what_a_dataset_needs(refused: Refused, fields: str, says: str) -> None:
    assert says in str(refused(f"\n@dataset\nclass Ride:\n    {fields}\n"))


def test_a_faulty_class_stays_undecorated() -> None:
    class Ride:
        driver: str

    with pytest.raises(DefinitionValueError):
        dataset(Ride)
    assert definition_of(Ride) is None
    assert not hasattr(Ride, "lookup")


def test_only_classes_and_only_once() -> None:
    with pytest.raises(DefinitionTypeError, match="@dataset decorates a class, got the function"):
        dataset(lambda: None)
    with pytest.raises(DefinitionTypeError, match="Ride is decorated twice"):
        dataset(ride())


def test_the_name_lookup_is_taken() -> None:
    with pytest.raises(DefinitionValueError, match="Ride.lookup reads a row"):

        @dataset
        class Ride:
            lookup: str = field(key=True)
            at: datetime = field(timestamp=True)


def test_lookup_outside_an_extractor_says_where_it_works() -> None:
    with pytest.raises(LookupOutsideExtractorError, match=r"works inside an extractor.*get_aggregates\(Ride"):
        ride().lookup(datetime(2026, 1, 1), driver="d1")


def test_a_source_of_its_own(document_of: Document) -> None:
    document = document_of("""
@source(FileSource("rides/*.csv", format="csv"), max_lateness="1h", max_future_skew="1m", owner="me")
@dataset
class Ride:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
""")
    assert document["datasets"][0]["source"] == {
        "kind": "file",
        "options": {"path": "rides/*.csv", "format": "csv"},
        "max_lateness": "1h",
        "max_future_skew": "1m",
        "meta": {"owner": "me"},
    }


def test_several_sources_are_several_streams(document_of: Document) -> None:
    document = document_of("""
@source(FileSource("history/*.parquet"), max_lateness="1d")
@source(FileSource("live.jsonl"))
@dataset
class Ride:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
""")
    ride = document["datasets"][0]
    assert "source" not in ride
    paths = [(one["options"]["path"], one.get("max_lateness")) for one in ride["sources"]]
    assert paths == [("history/*.parquet", "1d"), ("live.jsonl", None)]


def test_an_event_id(document_of: Document, refused: Refused) -> None:
    text = """
@dataset
class Ride:
    ride: str = field(event_id=True)
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
"""
    assert document_of(text)["datasets"][0]["event_id"] == "ride"
    both = text.replace("key=True", "key=True, event_id=True").replace(
        "    ride: str = field(event_id=True)\n", ""
    )
    assert document_of(both)["datasets"][0]["event_id"] == "driver"
    late = text.replace("timestamp=True", "timestamp=True, event_id=True")
    assert "both event id and timestamp" in str(refused(late))


def test_misuse_of_source(refused: Refused, imported: Import) -> None:
    file = FileSource("rides.csv")
    with pytest.raises(DefinitionTypeError, match="takes a connector.*got the class FileSource"):
        source(FileSource)
    with pytest.raises(DefinitionTypeError, match="takes a connector"):
        source("rides.csv")
    with pytest.raises(DefinitionTypeError, match="@source stands above @dataset, got the class int"):
        source(file)(int)
    with pytest.raises(DefinitionValueError, match="two sources that read rides.csv"):
        source(file)(source(file)(ride()))
    with pytest.raises(DefinitionValueError, match='"jsonl" or "csv" or "parquet", got "xml"'):
        FileSource("rides.xml", format="xml")
    with pytest.raises(DefinitionTypeError, match="takes a path as a text"):
        FileSource(3)
    derived = RIDES.replace(
        "@dataset\nclass DriverStats", '@source(FileSource("x.csv"))\n@dataset\nclass DriverStats'
    )
    assert "DriverStats has a pipeline and a source" in str(refused(derived))


def test_a_refused_source_leaves_the_dataset_as_it_was(imported: Import) -> None:

    module = imported(HEADER, RIDES)
    with pytest.raises(DefinitionValueError):
        source(FileSource("x.csv"))(module.DriverStats)
    assert "source" not in body_of(module.DriverStats)


def test_rows_of_a_keyed_dataset_replace_each_other() -> None:
    @dataset(key=["shop", "user"], cdc="upsert")
    class User:
        shop: int
        user: str
        gone: bool = field(deleted=True, default=False)
        at: datetime = field(timestamp=True)

    body = body_of(User)
    assert (body["cdc"], body["deleted"], body["index"]) == ("upsert", "gone", True)
    assert [f["role"] for f in body["fields"]] == ["key", "key", "value", "timestamp"]


def test_a_dataset_without_cdc_says_nothing_of_it() -> None:
    assert not {"cdc", "deleted"} & body_of(ride()).keys()


@pytest.mark.parametrize(
    ("define", "said"),
    [
        (lambda: ride(cdc="append"), "upsert"),
        (lambda: ride(key=3), "name a field, or a list of fields"),
        (lambda: ride(key="drivr"), "key='drivr' names no field of Ride"),
        (lambda: field(deleted=True, key=True), "a field that says deleted is nothing else"),
    ],
)
def test_what_cannot_be_keyed_is_refused(define: Callable[[], object], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        define()


def test_one_field_says_deleted() -> None:
    with pytest.raises(DefinitionValueError, match="gone and left both say deleted"):

        @dataset(cdc="upsert")
        class User:
            user: str = field(key=True)
            gone: bool = field(deleted=True)
            left: bool = field(deleted=True)
            at: datetime = field(timestamp=True)
