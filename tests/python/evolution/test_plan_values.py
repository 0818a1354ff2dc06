"""A plan says what a commit would do to values, before anything happens."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import Server
from thyme import local
from thyme.client import ThymeClient

Run = Callable[..., "subprocess.CompletedProcess[str]"]

TEXT = """
from datetime import datetime

from thyme import Count, Sum, col, dataset, extractor, extractor_inputs, extractor_outputs
from thyme import feature, featureset, field, inputs, pipeline


@dataset
class {p}Trip:
    driver: str = field(key=True)
    fare: float | None
    kind: str
    at: datetime = field(timestamp=True)


@dataset
class {p}Totals:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
    trips: int
    fare: float

    @pipeline(version={version})
    @inputs({p}Trip)
    def compute(cls, trips):
        return trips{filter}.groupby("driver").aggregate(trips=Count(), fare=Sum(of="fare", window="1h"))


@featureset
class {p}Features:
    driver: str = feature(id=1)
    trips: int = feature(id=2, ref={p}Totals.trips)
    fare: float = feature(id=3, ref={p}Totals.fare)
    hour: int = feature(id=4, request=True)
    busy: bool = feature(id=5)
    label: str = feature(id=6)
    late: bool = feature(id=7)

    @extractor
    @extractor_inputs("trips")
    @extractor_outputs("busy")
    def is_busy(cls, ts, trips):
        return trips >= 3

    @extractor(deps=[{p}Totals])
    @extractor_inputs("driver")
    @extractor_outputs("label")
    def labelled(cls, ts, driver):
        return "<b>" if {p}Totals.lookup(ts, driver=driver)["trips"] > 1 else "few"

    @extractor
    @extractor_inputs("hour")
    @extractor_outputs("late")
    def is_late(cls, ts, hour):
        return hour > 22
"""


def written(path: Path, prefix: str, version: int = 1, only: str = "") -> str:
    """A file with the definitions, their pipeline in this version with this filter; the path of it."""
    file = path / "features.py"
    file.write_text(TEXT.format(p=prefix, version=version, filter=only))
    return str(file)


def trips(drivers: int) -> list[dict[str, Any]]:
    """Four trips of each driver, of which one is without a fare."""
    return [
        {
            "driver": f"d{driver}",
            "fare": None if trip == 2 else 1.5 * trip,
            "kind": "pool" if trip % 2 else "solo",
            "at": f"2026-03-15T1{trip}:00:{driver:02}Z",
        }
        for trip in range(4)
        for driver in range(drivers)
    ]


FILTERED = '.filter(col("kind") == "solo")'


def check(client: ThymeClient, features: str, answer: dict[str, Any], after: bool) -> int:
    """Compares the examples of a plan with what is answered at their times; gives how many there are."""
    count = 0
    for feature in answer["values"]["featuresets"][0]["features"]:
        for each in feature["examples"]:
            at = each["time"]
            read = client.query(
                features,
                each["entity_id"],
                inputs={"hour": 3},
                at=at,
                position=answer["values"]["as_of"]["position"],
            ).to_dict()[0]
            assert read[feature["name"]] == each["new" if after else "old"], each
            count += 1
    return count


def test_a_plan_shows_the_values_before_and_after(tmp_path: Path) -> None:
    with local() as client:
        client.commit(written(tmp_path, "V"))
        client.log("VTrip", trips(20))
        file = written(tmp_path, "V", 2, FILTERED)
        assert "values" not in client.plan(file)
        part = client.plan(file, sample=5)
        answer = client.plan(file, sample="all", inputs={"hour": 23}, examples=200)
        (set_of_part,), (features,) = part["values"]["featuresets"], answer["values"]["featuresets"]
        assert (set_of_part["entities"], set_of_part["is_sample"]) == (5, True)
        assert (features["entities"], features["is_sample"], features["rows"]) == (20, False, 100)
        named = {each["name"]: each for each in features["features"]}
        assert {name: each["touch"] for name, each in named.items()} == {
            "trips": "changed",
            "fare": "changed",
            "busy": "downstream",
            "label": "downstream",
        }
        assert named["trips"]["because"] == "VTotals is filled anew"
        assert named["busy"]["because"] == "is_busy takes VFeatures.trips"
        assert named["label"]["because"] == "labelled looks up VTotals"
        # At each of the four trips and now: 1 2 3 4 4 trips before, 1 1 2 2 2 after.
        assert (named["trips"]["rows"], named["trips"]["differ"]) == (100, 80)
        assert named["trips"]["old"]["mean"] == 2.8
        assert named["trips"]["new"]["mean"] == 1.6
        assert (named["trips"]["old"]["max"], named["trips"]["new"]["max"]) == (4, 2)
        assert sum(named["trips"]["histogram"]["old"]) == 100
        assert named["busy"]["old"]["categories"] == [
            {"value": True, "rows": 60},
            {"value": False, "rows": 40},
        ]
        assert named["busy"]["new"]["categories"] == [{"value": False, "rows": 100}]
        assert check(client, "VFeatures", answer, after=False) == 200
        assert client.status()["commit"] == answer["base"]
        assert answer["cost"]["events_to_read"] == 80
        assert answer["cost"]["filled"] == ["VTotals"]
        assert answer["cost"]["extractors"] == [
            {"name": "VFeatures.is_busy", "runs_in": "Rust"},
            {"name": "VFeatures.labelled", "runs_in": "Rust"},
        ]
        client.commit(file)
        assert check(client, "VFeatures", answer, after=True) == 200
        nothing = client.plan(file, values=True)
        assert (nothing["changed"], nothing["values"]["featuresets"]) == (False, [])


def test_a_version_that_leaves_all_events_behind_is_shown_as_what_it_does(tmp_path: Path) -> None:
    with local() as client:
        client.commit(written(tmp_path, "D"))
        client.log("DTrip", trips(20))
        file = Path(written(tmp_path, "D"))
        file.write_text(file.read_text().replace("@dataset\nclass DTrip", "@dataset(version=2)\nclass DTrip"))
        (features,) = client.plan(str(file), sample="all", inputs={"hour": 23})["values"]["featuresets"]
        assert (features["entities"], features["rows"]) == (20, 100)
        named = {each["name"]: each for each in features["features"]}
        assert (named["trips"]["differ"], named["trips"]["new"]["max"]) == (100, 0)
        assert named["trips"]["old"]["mean"] == 2.8
        part = client.plan(str(file), sample=5)["values"]["featuresets"][0]
        assert (part["entities"], part["is_sample"]) == (5, True)


def test_a_plan_names_the_features_that_end_and_whose_they_are(
    run: Run, server: Server, tmp_path: Path
) -> None:
    with ThymeClient(server.url) as client:
        client.commit(written(tmp_path, "E"))
        client.log("ETrip", trips(2))
        file = Path(written(tmp_path, "E"))
        file.write_text(file.read_text().replace("    fare: float = feature(id=3, ref=ETotals.fare)\n", ""))
        answer = client.plan(str(file), values=True)
    assert answer["values"]["featuresets"] == []
    assert answer["cost"]["ended"] == [{"featureset": "EFeatures", "name": "fare", "id": 3}]
    assert answer["cost"]["featuresets"] == ["EFeatures"]
    shown = run("plan", str(file), THYME_API_URL=server.url)
    assert shown.returncode == 2, shown.stderr
    assert "- removed EFeatures.fare  id 3 is retired  [ends]" in shown.stdout
    assert "ends EFeatures.fare (id 3): who asks for it gets an error" in shown.stdout


def test_what_a_feature_lacks_or_raises_is_said_of_it(tmp_path: Path) -> None:
    with local() as client:
        client.commit(written(tmp_path, "L"))
        client.log("LTrip", trips(3))
        file = Path(written(tmp_path, "L"))
        text = file.read_text()
        file.write_text(
            text.replace("hour > 22", "hour > 21").replace(
                '@extractor\n    @extractor_inputs("hour")',
                '@extractor(version=2)\n    @extractor_inputs("hour")',
            )
        )
        (late,) = client.plan(str(file), values=True)["values"]["featuresets"]
        assert late["failure"] == "it takes the request feature hour; give it: --input hour=VALUE"
        (late,) = client.plan(str(file), inputs={"hour": 22})["values"]["featuresets"]
        (feature,) = late["features"]
        assert (late["failure"], feature["differ"], feature["rows"]) == (None, 15, 15)
        file.write_text(
            text.replace("trips >= 3", "1 // (trips - 2) > 0").replace(
                '@extractor\n    @extractor_inputs("trips")',
                '@extractor(version=2)\n    @extractor_inputs("trips")',
            )
        )
        (busy,) = client.plan(str(file), values=True)["values"]["featuresets"]
        assert "the new definitions fail: LFeatures.is_busy" in busy["failure"]
        assert "ZeroDivisionError" in busy["failure"] or "division" in busy["failure"]


def test_the_command_line_shows_values_examples_and_what_it_takes(
    run: Run, server: Server, tmp_path: Path
) -> None:
    url = {"THYME_API_URL": server.url}
    with ThymeClient(server.url) as client:
        client.commit(written(tmp_path, "C"))
        client.log("CTrip", trips(6))
    file = written(tmp_path, "C", 2, FILTERED)
    shown = run("plan", file, **url)
    assert shown.returncode == 2, shown.stderr
    for text in (
        "~ changed CTotals.compute",
        "CFeatures: 30 rows of all 6 entities",
        "CFeatures.trips is changed: CTotals is filled anew",
        "24 of 30 rows differ (80.0 %)",
        "█",
        "thyme explain CFeatures.trips --entity=d",
        "fills CTotals from 24 events",
        "CFeatures.is_busy runs in Rust",
        "--base",
    ):
        assert text in shown.stdout, text
    line = next(line.strip() for line in shown.stdout.splitlines() if "thyme explain" in line)
    explained = run(*line.split()[1:], **url)
    assert explained.returncode == 0, explained.stderr
    plain = run("plan", file, "--no-values", **url)
    assert (plain.returncode, "rows differ" in plain.stdout) == (2, False)
    answer = json.loads(run("plan", file, "--sample", "2", "--json", **url).stdout)
    assert answer["values"]["featuresets"][0]["entities"] == 2
    assert "--sample" in run("plan", file, "--sample", "some", **url).stderr
