"""What may be annotated, and how the text of an annotation is resolved."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, ClassVar, Optional, Union

import pytest
from definition_texts import Import

from thyme import Field, Length, Scale, dataset, feature, featureset, field
from thyme._definition import definition_of
from thyme.errors import DefinitionError, DefinitionTypeError


def types_of(cls: type) -> dict[str, str]:
    definition = definition_of(cls)
    assert definition is not None
    return {one["name"]: one["type"] + ("?" if one["optional"] else "") for one in definition.body["fields"]}


def test_every_type_of_the_language_and_its_optional() -> None:
    @dataset
    class Everything:
        key: str = field(key=True)
        at: datetime = field(timestamp=True)
        i: int
        f: float | None
        s: Optional[str]  # noqa: UP045
        b: Union[bool, None]  # noqa: UP007
        t: dt.datetime | None
        n: int | None
        a: Annotated[float, "km"]
        g: Field[float] = field()
        o: Field[int | None] = field()
        p: Field[int] | None = field()
        q: "int"  # noqa: UP037
        note: ClassVar[str] = "not a field"

    assert types_of(Everything) == {
        "key": "str",
        "at": "datetime",
        "i": "int",
        "f": "float?",
        "s": "str?",
        "b": "bool?",
        "t": "datetime?",
        "n": "int?",
        "a": "float",
        "g": "float",
        "o": "int?",
        "p": "int?",
        "q": "int",
    }
    assert Everything.note == "not a field"


def test_names_of_the_enclosing_function_are_seen() -> None:
    money = float

    @dataset
    class Ride:
        driver: str = field(key=True)
        fare: money | None
        at: datetime = field(timestamp=True)

    assert types_of(Ride)["fare"] == "float?"


def test_annotations_that_are_types_and_not_text(imported: Import) -> None:
    module = imported("""
        from datetime import datetime
        from typing import Optional
        from thyme import dataset, field, Field

        @dataset
        class Ride:
            driver: str = field(key=True)
            fare: Optional["float"]
            tip: Field[float] = field()
            at: "datetime" = field(timestamp=True)
    """)
    assert types_of(module.Ride) == {"driver": "str", "fare": "float?", "tip": "float", "at": "datetime"}


def test_fields_of_plain_bases_come_first(imported: Import) -> None:
    module = imported("""
        from datetime import datetime
        from thyme import dataset, field

        class Timed:
            at: datetime = field(timestamp=True)

        @dataset
        class Ride(Timed):
            driver: str = field(key=True)
    """)
    assert list(types_of(module.Ride)) == ["at", "driver"]


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        ("list", "does not say what the list holds; write list[str]"),
        ("list[list[int]]", "holds values that are no plain ones"),
        ("list[int | str]", "holds values that are no plain ones"),
        ("dict[int, int]", "has keys that are no texts; write dict[str, T]"),
        ("dict[str, dict]", "holds values that are no plain ones"),
        ("tuple[int]", "write list[T], dict[str, T] or dict"),
        ("Decimal", "write Annotated[Decimal, Scale(2)]"),
        ("list[Decimal]", "write Annotated[Decimal, Scale(2)]"),
        ("Annotated[list[str], Length(3)]", "is a vector of str; vectors are list[float]"),
        ("int | str", "a union of several types"),
        ("object", "not supported"),
        ("None", "not supported"),
        ("3", "not a type"),
        ("'flaot'", "`flaot` cannot be evaluated (NameError: name 'flaot' is not defined)"),
    ],
)
def test_other_annotations_are_type_errors(
    refused: Callable[..., DefinitionError], annotation: str, says: str
) -> None:
    error = refused(f"""
from datetime import date
from decimal import Decimal
from typing import Annotated
from thyme import Length, Scale

@dataset
class Ride:
    driver: str = field(key=True)
    fare: {annotation}
    at: datetime = field(timestamp=True)
""")
    assert isinstance(error, DefinitionTypeError)
    assert isinstance(error, TypeError)
    assert says in str(error)
    assert str(error).startswith("Ride.fare: ")
    assert "(features.py:14)" in str(error)


def test_a_field_that_hides_its_own_type_is_explained(refused: Callable[..., DefinitionError]) -> None:
    error = refused("""
@dataset
class Ride:
    driver: str = field(key=True)
    datetime: datetime = field(timestamp=True)
""")
    assert "import the type under another name" in str(error)


def test_features_take_the_same_types(imported: Import) -> None:
    with pytest.raises(DefinitionTypeError, match=r"Features.embedding: .*no plain ones"):

        @featureset
        class Features:
            driver: str = feature(id=1)
            embedding: list[list[float]] = feature(id=2)


def test_a_value_instead_of_field_is_refused() -> None:
    with pytest.raises(DefinitionTypeError, match=r"Ride.fare: it is set to 0.0 \(float\).*use field\(\)"):

        @dataset
        class Ride:
            driver: str = field(key=True)
            fare: float = 0.0
            at: datetime = field(timestamp=True)


def test_a_field_without_annotation_is_refused() -> None:
    with pytest.raises(DefinitionTypeError, match="Ride.driver: it has no type"):

        @dataset
        class Ride:
            driver = field(key=True)
            at: datetime = field(timestamp=True)


def test_inheriting_from_a_dataset_is_refused() -> None:
    @dataset
    class Base:
        driver: str = field(key=True)
        at: datetime = field(timestamp=True)

    with pytest.raises(DefinitionTypeError, match="Ride inherits from Base, which is a dataset itself"):

        @dataset
        class Ride(Base):
            fare: float


def test_misuse_of_field() -> None:
    with pytest.raises(ValueError, match="cannot be both key and timestamp"):
        field(key=True, timestamp=True)
    with pytest.raises(TypeError, match=r"field\(key=\) takes True or False, got 1 \(int\)"):
        field(key=1)
    with pytest.raises(TypeError, match=r"field\(default=\): expected an int, float, str"):
        field(default={3})
    with pytest.warns(FutureWarning, match=r"field\(\) does not know the keyword keyy=") as warned:
        field(keyy=True)
    assert warned[0].filename == __file__


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        ("list[int]", "list[int]"),
        ("list[float | None]", "list[float]"),
        ("list[datetime]", "list[datetime]"),
        ("list[Annotated[Decimal, Scale(2)]]", "list[decimal(2)]"),
        ("Annotated[list[float], Length(384)]", "vector[384]"),
        ("dict[str, int]", "dict[str, int]"),
        ("dict", "json"),
        ("dict[str, Any]", "json"),
        ("Any", "json"),
        ("bytes", "bytes"),
        ("date", "date"),
        ("Annotated[Decimal, Scale(0)]", "decimal(0)"),
        ("Annotated[Decimal, Scale(2)] | None", "decimal(2)"),
        ("Field[list[str]]", "list[str]"),
    ],
)
def test_annotations_of_values_with_parts(imported: Import, annotation: str, name: str) -> None:
    module = imported(f"""
        from datetime import date, datetime
        from decimal import Decimal
        from typing import Annotated, Any
        from thyme import Field, Length, Scale, dataset, field

        @dataset
        class Ride:
            driver: str = field(key=True)
            at: datetime = field(timestamp=True)
            x: {annotation}
    """)
    assert types_of(module.Ride)["x"] == name + ("?" if annotation.endswith("None") else "")


def test_scales_and_lengths_have_bounds() -> None:
    assert (Scale(38).digits, Length(4096).numbers) == (38, 4096)
    for digits in (-1, 39, True, "2"):
        with pytest.raises(ValueError, match="from 0 to 38"):
            Scale(digits)  # type: ignore[arg-type]
    for numbers in (0, 4097, 1.5):
        with pytest.raises(ValueError, match="from 1 to 4,096"):
            Length(numbers)  # type: ignore[arg-type]
