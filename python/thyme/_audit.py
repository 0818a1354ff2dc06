"""What `explain` and `verify` ask of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thyme._errors import InvalidDataError
from thyme._feature import Feature
from thyme._field import Field
from thyme._session import Definition, Session, decode, name_of
from thyme._values import Time, to_json


async def explain(
    session: Session,
    value: Any,
    entity_id: Any,
    at: Time | None,
    *,
    inputs: Mapping[str, Any] | None,
    limit: int | None,
    position: str | None,
    min_position: str | None,
    wait_ms: int | None,
) -> dict[str, Any]:
    """`GET /api/v1/explain`; see `ThymeClient.explain`."""
    owner, name = owner_and_name(value)
    if (await session.catalog(owner)).featureset(owner) is not None:
        params = {"featureset": owner, "feature": name}
    else:
        params = {"dataset": owner, "field": name}
    key = await session.entity(owner, entity_id)
    params["entity_id"] = to_json(key).decode() if isinstance(key, Mapping) else _text(key)
    if inputs:
        params["inputs"] = to_json(dict(inputs)).decode()
    if limit is not None:
        params["limit"] = str(limit)
    params.update(session.when(at, min_position, position, wait_ms))
    return decode(await session.request("GET", "/api/v1/explain", params, repeatable=True, unhurried=True))


async def verify(session: Session, definition: Definition | None, sample: int, seed: int) -> dict[str, Any]:
    """`POST /api/v1/verify`; see `ThymeClient.verify`."""
    body: dict[str, Any] = {"sample": sample, "seed": seed}
    if definition is not None:
        body["reference"] = name_of(definition)
    answer = await session.request(
        "POST", "/api/v1/verify", body=to_json(body), repeatable=True, unhurried=True
    )
    return decode(answer)


def owner_and_name(value: Any) -> tuple[str, str]:
    """The featureset or dataset, and the feature or field, of `Rides.fare` or `"Rides.fare"`.

    Raises:
        InvalidDataError: It is neither.
    """
    text = value if isinstance(value, str) else _reference(value)
    owner, dot, name = text.rpartition(".")
    if not dot or not owner or not name:
        raise InvalidDataError(
            f'"{text}" names no value: expected FEATURESET.FEATURE or DATASET.FIELD, such as "Drivers.rides"'
        )
    return owner, name


def _reference(value: Any) -> str:
    if isinstance(value, Feature):
        return f"{value.featureset.__name__}.{value.name}"
    if isinstance(value, Field):
        return f"{value.dataset.__name__}.{value.name}"
    raise InvalidDataError(f"{value!r} is neither a feature or field nor the name of one")


def _text(key: Any) -> str:
    return key if isinstance(key, str) else to_json(key).decode()
