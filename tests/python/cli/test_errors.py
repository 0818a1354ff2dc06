"""What the commands say when something is wrong, of a plan, and of what is not live yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cli.test_commands import AS_OF, DEFINITIONS, Thyme, thyme
from stand_in import FakeServer, refusal, with_metadata

__all__ = ["thyme"]  # the fixture


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--nope"],
        ["query"],
        ["quer"],
        ["log", "Ride"],
        ["commit"],
        ["plan"],
        ["plan", "x.py", "--sampel", "3"],
        ["plan", "x.py", "--sample", "0"],
        ["plan", "x.py", "--input", "h"],
        ["plan", "x.py", "--time-limit", "0"],
        ["query-offline", "X"],
        ["status", "-f", "x"],
    ],
)
def test_wrong_usage_exits_with_1_as_every_error(thyme: Thyme, arguments: list[str]) -> None:
    result = thyme(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Usage: thyme" in result.stderr


def test_help_is_no_error(thyme: Thyme) -> None:
    for arguments in (["--help"], ["plan", "--help"], ["-h"]):
        result = thyme(*arguments)
        assert (result.exit_code, result.stderr) == (0, ""), arguments
        assert "Usage: thyme" in result.stdout


def test_with_json_an_error_is_json_on_stdout_and_a_sentence_on_stderr(
    thyme: Thyme, fake: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "one.py").write_text(DEFINITIONS)
    fault = {"subject": "F.x", "message": "F.x is wrong", "file": "one.py", "line": 3}
    fake.replies["/api/v1/plan"] = refusal(409, "conflict", "F.x is wrong (and one more)", [fault])
    for arguments, code, told in (
        (["broken.py"], "invalid_definition", "broken.py:1"),
        (["none.py"], "invalid_definition", "does not exist"),
        (["one.py", "--no-values"], "conflict", "F.x is wrong"),
        (["one.py", "--sampel", "3"], "usage", "--sampel"),
        ([], "usage", "PATH"),
    ):
        result = thyme("plan", *arguments, "--json")
        answer = json.loads(result.stdout)
        assert (result.exit_code, answer["error"]) == (1, code), arguments
        assert told in answer["detail"]
        assert told in result.stderr
        assert answer["faults"] == ([fault] if code == "conflict" else [])


def test_a_refusal_says_which_lines_to_change(thyme: Thyme, fake: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(DEFINITIONS)
    first = {"message": "F.x is wrong", "file": "f.py", "line": 3, "expected": "Count()", "got": "Sum()"}
    second = {"message": "F.y is wrong", "file": "g.py", "line": 4}
    fake.replies["/api/v1/plan"] = refusal(409, "conflict", "F.x is wrong", [first])
    assert thyme.fails("plan", "one.py") == "F.x is wrong\n  f.py:3: expected Count(), got Sum()\n"
    several = refusal(409, "conflict", "F.x is wrong (and one more conflict)", [first, second])
    fake.replies["/api/v1/plan"] = several
    assert thyme.fails("plan", "one.py").splitlines()[1:] == [
        "  f.py:3: F.x is wrong",
        "  g.py:4: F.y is wrong",
    ]
    fake.replies["/api/v1/plan"] = refusal(409, "conflict", "f.py:3: F.x is wrong", [first])
    assert thyme.fails("plan", "one.py") == "f.py:3: F.x is wrong\n"


def test_a_plan_says_of_each_change_what_it_means(thyme: Thyme, fake: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(DEFINITIONS)
    effects = {"A": "in_place", "B": "backfill", "C": "ends"}
    changes = [{"kind": "changed", "subject": s, "detail": "d", "effect": e} for s, e in effects.items()]
    fake.replies["/api/v1/plan"] = {"changed": True, "base": "c1", "changes": changes}
    result = thyme("plan", "one.py", "--no-values")
    assert result.exit_code == 2
    assert result.stdout.splitlines()[:3] == [
        "~ changed A  d  [in place]",
        "~ changed B  d  [filled from the log]",
        "~ changed C  d  [ends]",
    ]


def test_the_explain_lines_of_a_plan_have_its_inputs(thyme: Thyme, fake: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(DEFINITIONS)

    def planned(featureset: str) -> dict[str, Any]:
        example = {"explain": f"thyme explain {featureset}.x --entity=d1"}
        return {"featureset": featureset, "features": [{"name": "x", "examples": [example]}]}

    sets = [planned("DriverFeatures"), planned("RouteFeatures")]
    values = {"changed": False, "changes": [], "base": "c1", "values": {"featuresets": sets}}
    fake.replies["/api/v1/plan"] = values
    result = thyme("plan", "one.py", "--input", "hour=2 3", "--json")
    found = json.loads(result.stdout)["values"]["featuresets"]
    lines = [each["features"][0]["examples"][0]["explain"] for each in found]
    # A featureset that has no such input refuses it.
    assert lines == [
        "thyme explain DriverFeatures.x --entity=d1 --input 'hour=2 3'",
        "thyme explain RouteFeatures.x --entity=d1",
    ]


def test_status_says_who_asks_by_old_names(thyme: Thyme, fake: FakeServer) -> None:
    callers = {"key 1a2b3c4d": 1200, "anonymous": 3}
    name = {"featureset": "F", "name": "n", "now": "m", "id": 2, "asked": 1203, "included": 7}
    fake.replies["/health"] = {"status": "ok"}
    fake.replies["/api/v1/status"] = {"old_names": [{**name, "callers": callers}]}
    assert "key 1a2b3c4d: 1,200, anonymous: 3" in thyme("status").stdout
    shown = json.loads(thyme("status", "--json").stdout)["old_names"][0]
    assert shown["callers"] == callers


def test_inspect_leaves_out_that_a_name_was_retired_which_holds_again(thyme: Thyme, fake: FakeServer) -> None:
    features = [{"id": 2, "name": "cnt", "type": "int"}, {"id": 3, "name": "n", "type": "int"}]
    retired = [{"name": "cnt", "id": 2, "commit": "c1"}, {"name": "n", "id": 2, "commit": "c1"}]
    featureset = {"name": "F", "entity": ["k"], "features": features, "retired_names": retired}
    fake.replies["/api/v1/featuresets"] = {"commit": "c1", "featuresets": [featureset]}
    shown = thyme("inspect", "F").stdout
    assert "cnt was" not in shown
    # The name is another feature's now: what it was is worth knowing.
    assert "n was a name of 2, retired at c1" in shown


def test_inspect_says_where_extractors_run_and_why(thyme: Thyme, fake: FakeServer) -> None:
    extractors = [
        {"name": "scored", "runs_in": "Rust"},
        {"name": "summed", "runs_in": "CPython", "because": "a call of `sum` (f.py:41)"},
    ]
    featureset = {"name": "F", "entity": ["k"], "features": [], "extractors": extractors}
    fake.replies["/api/v1/featuresets"] = {"commit": "c1", "featuresets": [featureset]}
    shown = thyme("inspect", "F").stdout
    assert "  extractor scored runs in Rust\n" in shown
    assert "  extractor summed runs in CPython, because of a call of `sum` (f.py:41)\n" in shown


PENDING = {"since": "2026-03-15T10:00:00Z", "progress": 0.4, "until": None, "commit": "c2"}


def test_query_answers_for_what_only_the_pending_commit_has(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/api/v1/status"] = {"backfill": {"commit": "c2", "record": 2, "of": 5}}
    fake.replies["/features"] = {"entity_id": 5, "features": {"x": None}, "status": "INCOMPLETE"}
    nulls = pa.table({"entity_id": pa.array([5]), "x": pa.array([None], pa.int64())})
    meta = {"incomplete": {"x": PENDING}}
    fake.replies["/features/batch"] = with_metadata(nulls, as_of=AS_OF, meta=meta, status="INCOMPLETE")
    result = thyme("query", "Fresh", "-e", "5", "-f", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == [{"entity_id": 5, "x": None}]
    assert "incomplete: x: commit c2, which brings this, is not live yet (filled to 40 %)" in result.stderr
    # The server knows the type of the key, and says what the text is.
    assert fake.requests[-1].json["entity_ids"] == [5]


def test_query_of_what_no_commit_has_is_an_error(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/api/v1/status"] = {"backfill": None}
    assert thyme.fails("query", "Fresh", "-e", "5") == 'no featureset or dataset named "Fresh"\n'


def test_lookup_says_of_a_pending_dataset_that_no_row_is_known_yet(thyme: Thyme, fake: FakeServer) -> None:
    fake.replies["/api/v1/status"] = {"backfill": {"commit": "c2", "record": 2, "of": 5}}
    meta = {"incomplete": {"Fresh": PENDING}}
    fake.replies["/features"] = {"entity_id": "5", "features": None, "status": "INCOMPLETE", "meta": meta}
    result = thyme("lookup", "Fresh", "-e", "5", "-f", "json")
    assert (result.exit_code, result.stdout) == (0, "[]\n"), result.stderr
    assert "incomplete: Fresh: commit c2, which brings this, is not live yet" in result.stderr
    assert "no row" not in result.stderr
