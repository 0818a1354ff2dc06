"""`@featureset`, `feature()` and the extractor decorators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from definition_texts import RIDES

from thyme import extractor, extractor_inputs, extractor_outputs, feature, featureset
from thyme.errors import DefinitionError, DefinitionTypeError, DefinitionValueError

Refused = Callable[..., DefinitionError]
Document = Callable[..., dict[str, Any]]


def features(members: str, decorator: str = "@featureset") -> str:
    return f"""{RIDES}

{decorator}
class Features:
    driver: str = feature(id=1)
    n: int = feature(id=2, ref=DriverStats.rides_1h)
    m: int = feature(id=3)
    {members}
"""


def with_extractor(signature: str, *decorators: str, body: str = "return 1") -> str:
    lines = [*decorators, f"def f({signature}):", f"    {body}"]
    return features("\n    ".join(lines))


def extractor_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["featuresets"][-1]["extractors"][0]
    return found


OUT = '@extractor_outputs("m")'


def test_bare_and_with_keywords(document_of: Document) -> None:
    text = features(
        f"@extractor\n    {OUT}\n    def f(cls, ts):\n        return 1", '@featureset(owner="me", tags=["a"])'
    )
    assert document_of(text)["featuresets"][0]["meta"] == {"owner": "me", "tags": {"a": ""}}


@pytest.mark.parametrize(
    ("signature", "decorators", "form", "inputs"),
    [
        ("cls, ts, inputs", ['@extractor_inputs("n")'], "dict", ["n"]),
        ("cls, ts, inputs", ['@extractor_inputs("n", "driver")'], "dict", ["n", "driver"]),
        ("cls, ts, n", ['@extractor_inputs("n")'], "positional", ["n"]),
        ("cls, ts, a, b", ['@extractor_inputs("n", "driver")'], "positional", ["n", "driver"]),
        ("cls, ts, *values", ['@extractor_inputs("n", "driver")'], "positional", ["n", "driver"]),
        ("cls, ts", [], "positional", []),
    ],
)
def test_the_forms_of_extractors(
    document_of: Document, signature: str, decorators: list[str], form: str, inputs: list[str]
) -> None:
    found = extractor_of(document_of(with_extractor(signature, "@extractor", *decorators, OUT)))
    assert (found["form"], [one["feature"] for one in found["inputs"]]) == (form, inputs)


def test_features_of_other_featuresets(document_of: Document) -> None:
    text = features(
        f'@extractor\n    @extractor_inputs("n")\n    {OUT}\n    def f(cls, ts, n):\n        return n'
    )
    document = document_of(
        text,
        """
@featureset
class More:
    driver: str = feature(id=1)
    own: int = feature(id=2, ref=DriverStats.rides_1h)
    twice: int = feature(id=3)

    @extractor(version=2)
    @extractor_inputs(Features.m, "own")
    @extractor_outputs("twice")
    def double(cls, ts, m, own):
        return m + own
""",
    )
    assert [one["name"] for one in document["featuresets"]] == ["Features", "More"]
    found = extractor_of(document)
    assert found["inputs"] == [{"featureset": "Features", "feature": "m"}, {"feature": "own"}]
    assert found["version"] == 2


@pytest.mark.parametrize(
    ("signature", "decorators", "says"),
    [
        ("cls, ts", ["@extractor", '@extractor_inputs("n")', OUT], "do not fit its 1 inputs"),
        (
            "cls, ts, a",
            ["@extractor", '@extractor_inputs("n", "driver")', OUT],
            "f(cls, ts, inputs) or f(cls, ts, n, driver), got f(cls, ts, a)",
        ),
        ("ts, a", ["@extractor", '@extractor_inputs("n")', OUT], "do not fit"),
        ("cls, ts", ["@extractor"], 'add @extractor_outputs("...")'),
        ("cls, ts", [OUT], "no @extractor; put it on top"),
    ],
)
def test_extractors_that_do_not_fit(
    refused: Refused, signature: str, decorators: list[str], says: str
) -> None:
    error = refused(with_extractor(signature, *decorators))
    assert says in str(error)
    assert str(error).startswith("Features.f: ")
    assert "features.py:" in str(error)


def test_async_and_generators_are_refused(refused: Refused) -> None:
    text = with_extractor("cls, ts", "@extractor", OUT)
    assert "no async, no yield" in str(refused(text.replace("def f", "async def f")))
    assert "no async, no yield" in str(refused(text.replace("return 1", "yield 1")))


def test_a_dict_has_room_for_one_input_of_a_name(refused: Refused) -> None:
    text = features(
        f'@extractor\n    @extractor_inputs("n")\n    {OUT}\n    def f(cls, ts, n):\n        return n'
    )
    more = """
@featureset
class More:
    driver: str = feature(id=1)
    n: int = feature(id=2, ref=DriverStats.rides_1h)
    o: int = feature(id=3)

    @extractor
    @extractor_inputs(Features.n, "n")
    @extractor_outputs("o")
    def f(cls, ts, inputs):
        return 1
"""
    assert (
        "two inputs are called n, and a dict has room for one; take the inputs one by one: f(cls, ts, n_1, n_2)"
        in str(refused(text, more))
    )


def test_a_method_that_hides_a_feature(refused: Refused) -> None:
    text = with_extractor("cls, ts", "@extractor", OUT).replace("def f", "def m")
    assert "Features.m: a method has the same name and hides it" in str(refused(text))


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ("x: int = feature(id=2, request=True)", "which Features.n has too"),
        ("x: int = feature(request=True)", "give all of them one, or none"),
        ("x: str = feature(id=9, ref=DriverStats.rides_1h)", "declared str, and DriverStats.rides_1h is int"),
        ("x: int = feature(id=9, request=True, default='a')", "the default of Features.x does not fit"),
        ("x: int = feature(id=0, request=True)", "ids are positive"),
        ("pass", "Features.m has nothing that gives it a value"),
    ],
)
def test_the_engine_judges_featuresets(refused: Refused, members: str, says: str) -> None:
    error = refused(features(members))
    assert says in str(error)
    assert "features.py:" in str(error)


def test_a_type_that_does_not_fit_is_a_type_error(refused: Refused) -> None:
    text = features("x: int = feature(id=4, request=True)").replace(
        "m: int = feature(id=3)", "m: str = feature(id=3, ref=DriverStats.fare_7d)"
    )
    error = refused(text)
    assert isinstance(error, DefinitionTypeError)
    assert [fault.subject for fault in error.found] == ["Features.m"]


def test_misuse_of_feature(document_of: Document) -> None:
    with pytest.raises(DefinitionTypeError, match=r"feature\(id=\) takes a positive integer"):
        feature(id="1")
    with pytest.raises(DefinitionValueError, match=r"feature\(id=\) takes a positive integer"):
        feature(id=-1)
    with pytest.raises(DefinitionTypeError, match=r"feature\(ref=\) takes a field of a dataset.*got 'a.b'"):
        feature(ref="a.b")
    with pytest.raises(DefinitionTypeError, match=r"feature\(request=\) takes True or False"):
        feature(request="yes")
    with pytest.raises(DefinitionTypeError, match=r"feature\(default=\): expected an int"):
        feature(default=set())
    with pytest.warns(FutureWarning, match=r"feature\(\) does not know the keyword reff="):
        feature(reff=1)


def test_a_ref_to_a_feature_says_how_to_take_it(refused: Refused) -> None:
    text = features(f"@extractor\n    {OUT}\n    def f(cls, ts):\n        return 1")
    more = "@featureset\nclass More:\n    driver: str = feature()\n    m: int = feature(ref=Features.m)\n"
    assert "take it with @extractor_inputs(Features.m)" in str(refused(text, more))


def test_misuse_of_the_extractor_decorators() -> None:
    with pytest.raises(DefinitionTypeError, match="takes a list of datasets.*got the class int"):
        extractor(deps=int)
    with pytest.raises(DefinitionTypeError, match="takes datasets, classes decorated with @dataset"):
        extractor(deps=[int])
    with pytest.raises(DefinitionTypeError, match="takes a positive integer"):
        extractor(version=1.0)
    with pytest.raises(DefinitionTypeError, match="in quotes"):
        extractor_inputs(feature(id=1))
    with pytest.raises(DefinitionTypeError, match="@extractor_inputs takes names"):
        extractor_inputs(3)
    with pytest.raises(DefinitionTypeError, match="@extractor_outputs takes names as texts"):
        extractor_outputs(3)
    with pytest.raises(DefinitionTypeError, match="@extractor decorates a method, got 3"):
        extractor(3)
    with pytest.warns(FutureWarning, match="@extractor does not know the keyword depz="):
        extractor(depz=[])
    with pytest.raises(DefinitionTypeError, match="@featureset decorates a class"):
        featureset(3)
