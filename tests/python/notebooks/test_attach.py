"""`thyme.local(attach=)`: a copy of a running server's rows, on which anything may be tried."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evolution.test_plan_values import FILTERED, TEXT
from running import Server, start_server
from thyme import local
from thyme.client import ThymeClient, ThymeWarning
from thyme.errors import NotFoundError, ThymeError
from thyme.testing import MockContext

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server to which somebody pushes all the time, with late events; and the file of its definitions."""
    server = start_server(tmp_path_factory.mktemp("attach") / "data")
    file = tmp_path_factory.mktemp("definitions") / "features.py"
    text = TEXT.replace("@dataset\nclass {p}Trip", '@dataset(max_lateness="20d", index=True)\nclass {p}Trip')
    file.write_text(text.format(p="A", version=1, filter=""))
    over = threading.Event()
    with ThymeClient(server.url) as client:
        client.commit(str(file))
        client.commit({"format": 1, "datasets": [OTHER]})
        for round_ in range(20):
            client.log("ATrip", trips(round_))
            client.log("Noise", [{"k": str(round_), "at": NOW.isoformat()}])

        def push() -> None:
            for round_ in range(20, 100_000):
                if over.wait(0.01):
                    return
                client.log("ATrip", trips(round_))
                client.log("Noise", [{"k": str(round_), "at": NOW.isoformat()}])

        pushing = threading.Thread(target=push)
        pushing.start()
        yield server, str(file)
        over.set()
        pushing.join()
    server.process.terminate()
    server.process.wait(timeout=20)


OTHER: dict[str, Any] = {
    "name": "Noise",
    "fields": [
        {"name": "k", "type": "str", "role": "key"},
        {"name": "at", "type": "datetime", "role": "timestamp"},
    ],
}


def trips(round_: int) -> list[dict[str, Any]]:
    """Trips of seven drivers over forty days, in an order that leaves some of them late; many at one time."""
    return [
        {
            "driver": f"d{row % 7}",
            "fare": None if row % 5 == 0 else (row * 7 + round_) / 3,
            "kind": ("pool", "solo")[(row + round_) % 2],
            "at": (NOW - timedelta(minutes=(row * 1913 + round_ * 1301) % 57_600 // 5 * 5)).isoformat(),
        }
        for row in range(30)
    ]


def check(server: Server, copy: ThymeClient, times: list[datetime]) -> int:
    """Compares the copy with its server at one position; gives how many values there are."""
    position = copy.status()["position"]
    count = 0
    with ThymeClient(server.url) as client:
        for driver in range(8):
            for at in times:
                one = {"inputs": {"hour": 3}, "at": at, "position": position}
                here, there = (each.query("AFeatures", f"d{driver}", **one) for each in (copy, client))
                assert here.to_dict() == there.to_dict()
                assert driver == 7 or at < NOW - timedelta(days=19) or here["trips"] > 0
                assert here.metadata["as_of"] == there.metadata["as_of"]
                looked_up = {"timestamp": at, "position": position}
                rows = [each.lookup("ATrip", f"d{driver}", **looked_up) for each in (copy, client)]
                assert rows[0] == rows[1]
                count += len(here.to_dict()[0])
    return count


def test_a_copy_gives_what_the_server_gives_at_the_same_position(busy: tuple[Server, str]) -> None:
    server, _ = busy
    times = [NOW - timedelta(hours=hours) for hours in (0, 1, 30, 500)]
    with local(attach=server.url, dataset="ATrip") as copy:
        late = {each["name"]: each["late"] for each in copy.status()["datasets"]}
        assert late["ATrip"] > 0
        assert "Noise" not in late
        assert check(server, copy, times) > 200
    with local(attach=server.url, dataset=["AFeatures", "Noise"]) as copy:
        assert check(server, copy, times[:2]) > 100


def test_anything_may_be_tried_on_a_copy_and_the_server_does_not_notice(
    busy: tuple[Server, str], tmp_path: Path
) -> None:
    server, file = busy
    with ThymeClient(server.url) as client:
        before = client.status()["commit"]
        with local(attach=server.url, dataset="ATrip") as copy:
            other = tmp_path / "features.py"
            text = Path(file).read_text()
            changed = text.replace("version=1", "version=2").replace(
                "trips.groupby", f"trips{FILTERED}.groupby"
            )
            other.write_text(changed)
            planned = copy.plan(str(other), values=True)
            assert planned["values"]["featuresets"][0]["features"][0]["differ"] > 0
            was = copy.query("AFeatures", "d1", inputs={"hour": 1})["trips"]
            copy.commit(str(other))
            assert copy.query("AFeatures", "d1", inputs={"hour": 1})["trips"] < was
            mine = {"driver": "mine", "fare": 1.0, "kind": "solo", "at": NOW.isoformat()}
            copy.log("ATrip", [mine])
            assert copy.query("AFeatures", "mine", inputs={"hour": 1})["trips"] == 1
        assert client.status()["commit"] == before
        assert client.query("AFeatures", "mine", inputs={"hour": 1})["trips"] == 0


def test_the_last_days_and_a_part_of_the_entities_are_enough_for_what_looks_no_further(
    busy: tuple[Server, str],
) -> None:
    server, _ = busy
    with pytest.warns(ThymeWarning, match=r"ATotals.trips \(since the beginning\)"):
        recent = local(attach=server.url, dataset="ATrip", last="2d")
    with recent, local(attach=server.url, dataset="ATrip") as whole:
        counts = [each.status()["datasets"] for each in (recent, whole)]
        events = [next(d["events"] for d in each if d["name"] == "ATrip") for each in counts]
        assert 0 < events[0] < events[1]
        position = recent.status()["position"]
        with ThymeClient(server.url) as client:
            for driver in range(7):
                for hours in (0, 1, 40):
                    at = NOW - timedelta(hours=hours)
                    one = {"at": at, "position": position, "features": ["fare"]}
                    rows = [each.query("AFeatures", f"d{driver}", **one)["fare"] for each in (recent, client)]
                    assert rows[0] == rows[1]
        # What needs older events is refused, and what reaches back without end says where it begins.
        with pytest.raises(ThymeError, match="ATotals as of .* needs events after .* ask for") as refused:
            recent.query("AFeatures", "d1", at=NOW - timedelta(hours=47, minutes=30), features=["fare"])
        assert refused.value.status == 410
        totals = next(each for each in recent.status()["datasets"] if each["name"] == "ATotals")
        assert totals["history_from"] is not None
        assert all(each["history_from"] is None for each in whole.status()["datasets"])
    with local(attach=server.url, dataset="ATrip", sample=0.5) as part:
        drivers = set(part.scan("ATotals")["driver"].to_list())
        assert 0 < len(drivers) < 7
        assert check_some(server, part, drivers) == len(drivers)


def check_some(server: Server, copy: ThymeClient, drivers: set[str]) -> int:
    """Compares some entities with the server; gives how many."""
    position = copy.status()["position"]
    with ThymeClient(server.url) as client:
        for driver in drivers:
            one = {"inputs": {"hour": 3}, "at": NOW, "position": position}
            assert dict(copy.query("AFeatures", driver, **one)) == dict(
                client.query("AFeatures", driver, **one)
            )
    return len(drivers)


def test_a_test_can_run_over_rows_of_a_server(busy: tuple[Server, str]) -> None:
    server, _ = busy
    with MockContext(attach=server.url, dataset="ATrip") as ctx:
        at = ctx.now
        assert ctx.query("AFeatures", "d1", {"hour": 1})["trips"] > 0
        ctx.add_events("ATrip", [{"driver": "d1", "fare": 1.0, "kind": "solo", "at": at}])


def test_what_cannot_be_attached_says_so(busy: tuple[Server, str], tmp_path: Path) -> None:
    server, _ = busy
    with pytest.raises(NotFoundError, match='no dataset or featureset named "Nothing"'):
        local(attach=server.url, dataset="Nothing")
    with pytest.raises(ValueError, match="attach"):
        local(last="3d")
    with pytest.raises(ValueError, match="attach"):
        local(tmp_path / "data", attach=server.url)
    with pytest.raises(ValueError, match="sample"):
        local(attach=server.url, sample=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with local(attach=server.url, dataset="Noise", last="1h") as noise:
            assert noise.status()["featuresets"] == []


def test_a_joined_dataset_is_copied_whole_and_a_part_by_another_key_is_told(
    server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "joined.py"
    file.write_text(JOINED)
    with ThymeClient(server.url) as client:
        client.commit(str(file))
        old = (NOW - timedelta(days=50)).isoformat()
        client.log("JDriver", [{"driver": f"d{i}", "city": "xyz"[i % 3], "at": old} for i in range(9)])
        rows = [
            {"driver": f"d{i % 9}", "fare": i / 7, "at": (NOW - timedelta(hours=i)).isoformat()}
            for i in range(90)
        ]
        client.log("JRide", rows)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            recent = local(attach=server.url, dataset="JCities", last="2d")
        with recent:
            position = recent.status()["position"]
            for city in "xyz":
                one = {"at": NOW, "position": position}
                row = dict(recent.query("JCities", city, **one))
                assert row == dict(client.query("JCities", city, **one))
                assert row["rides"] > 0
        with pytest.warns(ThymeWarning, match=r"sample=0.3 these are made of a part of their rows: JTotals$"):
            local(attach=server.url, dataset="JCities", sample=0.3).close()


JOINED = """
from datetime import datetime

from thyme import Count, dataset, feature, featureset, field, inputs, pipeline


@dataset
class JRide:
    driver: str = field(key=True)
    fare: float
    at: datetime = field(timestamp=True)


@dataset(index=True)
class JDriver:
    driver: str = field(key=True)
    city: str
    at: datetime = field(timestamp=True)


@dataset
class JTotals:
    city: str = field(key=True)
    at: datetime = field(timestamp=True)
    rides: int

    @pipeline(version=1)
    @inputs(JRide)
    def compute(cls, rides):
        joined = rides.join(JDriver, on="driver", fields=["city"])
        return joined.groupby("city").aggregate(rides=Count(window="1d"))


@featureset
class JCities:
    city: str = feature(id=1)
    rides: int = feature(id=2, ref=JTotals.rides)
"""
