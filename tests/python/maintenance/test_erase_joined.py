"""After an erasure every door shows the state without the entity, also where values were read before."""

from __future__ import annotations

from datetime import datetime

from running import Server
from thyme import Count, ThymeClient, dataset, feature, featureset, field, inputs, pipeline

AT = "2026-03-15T10:00:00Z"


@dataset
class ErasedRide:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)


@dataset
class ErasedDriver:
    driver: str = field(key=True)
    city: str
    at: datetime = field(timestamp=True)


@dataset
class ErasedByCity:
    city: str = field(key=True)
    rides: int
    at: datetime = field(timestamp=True)

    @pipeline
    @inputs(ErasedRide)
    def count(cls, ride):
        joined = ride.join(ErasedDriver, on="driver", fields=["city"], how="inner")
        return joined.groupby("city").aggregate(rides=Count())


@featureset
class ErasedCity:
    city: str = feature(id=1)
    rides: int = feature(id=2, ref=ErasedByCity.rides)


def test_a_featureset_over_a_join_shows_what_is_left_and_what_comes_later(server: Server) -> None:
    with ThymeClient(server.url) as client:
        client.commit([ErasedRide, ErasedDriver, ErasedByCity, ErasedCity])

        def rides(position: str | None = None) -> list[list[int]]:
            online = [client.query(ErasedCity, city, min_position=position)["rides"] for city in "AB"]
            return [online, client.query_batch(ErasedCity, ["A", "B"], min_position=position)["rides"]]

        drivers = [{"driver": f"d{i}", "city": "AB"[i % 2], "at": AT} for i in range(6)]
        client.log(ErasedDriver, drivers)
        pushed = client.log(ErasedRide, [{"driver": f"d{i}", "at": AT} for i in range(6)] * 5)
        assert rides(pushed) == [[15, 15]] * 2
        client.erase(ErasedRide, ["d1"])
        assert rides() == [[15, 10]] * 2
        pushed = client.log(ErasedRide, [{"driver": "d3", "at": AT}])
        assert rides(pushed) == [[15, 11]] * 2
        client.erase(ErasedDriver, ["d3"])
        assert rides() == [[15, 5]] * 2
