"""Which features are asked for: by id, by name, or as `DriverFeatures.score`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thyme._errors import InvalidDataError
from thyme._feature import Feature

# Features to ask for; None is all of them.
Features = Iterable[Any] | None


def selection(features: Features, featureset: str) -> list[int | str] | None:
    """Features as a request names them.

    Raises:
        InvalidDataError: One of them is neither an id, a name nor a feature of the featureset.
    """
    if features is None:
        return None
    given = [features] if isinstance(features, (str, int, Feature)) else list(features)
    return [_one(each, featureset) for each in given]


def selection_text(features: Features, featureset: str) -> str | None:
    """`selection` for a query string."""
    selected = selection(features, featureset)
    return None if selected is None else ",".join(map(str, selected))


def _one(given: Any, featureset: str) -> int | str:
    if isinstance(given, Feature):
        if given.featureset.__name__ != featureset:
            raise InvalidDataError(f"features=: {given!r} is no feature of {featureset}")
        return given.name
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        raise InvalidDataError(
            f"features= takes ids, names and features such as {featureset}.score, got {given!r}"
        )
    return given
