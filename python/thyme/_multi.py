"""Features of several featuresets in one request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from thyme._errors import InvalidDataError
from thyme._selection import Features, selection
from thyme._session import Definition, Session, name_of
from thyme._values import plain_values


class Ask(NamedTuple):
    """What is asked of one featureset; a plain tuple `(DriverFeatures, ["d1"])` does as well.

    Attributes:
        featureset: The featureset.
        ids: The entities' ids.
        inputs: Values of request features: one dict for all, or one an entity.
        features: The features to answer, by id or name; None means all.
    """

    featureset: Definition
    ids: Iterable[Any]
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    features: Features = None


async def query_of(session: Session, given: Ask | tuple[Any, ...]) -> dict[str, Any]:
    """One query as a request carries it."""
    if not isinstance(given, tuple) or not 2 <= len(given) <= len(Ask._fields):
        raise InvalidDataError(
            f'a query is (featureset, ids), such as (DriverFeatures, ["d1"]), or an Ask, got {given!r}'
        )
    ask = Ask(*given)
    name = name_of(ask.featureset)
    if isinstance(ask.ids, (str, bytes, Mapping)):
        raise InvalidDataError(f"the ids of {name} are a list, got {ask.ids!r}")
    keys = [await session.entity(name, each) for each in plain_values(ask.ids)]
    query: dict[str, Any] = {"featureset": name, "entity_ids": keys}
    if ask.features is not None:
        query["features"] = selection(ask.features, name)
    if ask.inputs:
        if isinstance(ask.inputs, Mapping):
            query["inputs"] = dict(ask.inputs)
        else:
            query["inputs"] = [dict(each) for each in ask.inputs]
    return query
