"""Outputs that come and go on a live pipeline: in place where its timelines answer them."""

from __future__ import annotations

from pathlib import Path

import pytest

from thyme import local
from thyme.errors import ConflictError

TEXT = """
from datetime import datetime

from thyme import Avg, Count, Last, Max, Sum, col, dataset, field, inputs, pipeline


@dataset
class Sale:
    user: str = field(key=True)
    amount: float
    seats: int
    at: datetime = field(timestamp=True)


@dataset
class Spent:
    user: str = field(key=True)
    at: datetime = field(timestamp=True)
{fields}

    @pipeline(version={version})
    @inputs(Sale)
    def compute(cls, sales):
        return sales.groupby("user").aggregate({aggregates})
"""
AT = "2026-03-15T10:00:0{}Z"


def written(path: Path, version: int = 1, **outputs: str) -> str:
    """The definitions, with these outputs, each `type: aggregate`."""
    split = {name: text.split(": ", 1) for name, text in outputs.items()}
    file = path / "sales.py"
    fields = "\n".join(f"    {name}: {kind}" for name, (kind, _) in split.items())
    aggregates = ", ".join(f"{name}={aggregate}" for name, (_, aggregate) in split.items())
    file.write_text(TEXT.format(fields=fields, version=version, aggregates=aggregates))
    return str(file)


def test_an_output_over_what_is_kept_is_in_place_and_any_other_is_filled(tmp_path: Path) -> None:
    outputs = {"total": 'float: Sum(of="amount", window="1h")'}
    with local(tmp_path / "data") as client:
        client.commit(written(tmp_path, **outputs))
        rows = [{"user": "u", "amount": n, "seats": n, "at": AT.format(n)} for n in (1, 2, 3)]
        client.log("Sale", rows)

        def effects(file: str) -> list[str]:
            changes = client.plan(file)["changes"]
            return [each["effect"] for each in changes if each["subject"] == "Spent.compute"]

        outputs["n"] = "int: Count()"
        outputs["most"] = 'float | None: Max(of="amount", where=col("amount") < 3)'
        file = written(tmp_path, **outputs)
        assert effects(file) == ["in_place"]
        assert client.plan(file, values=True)["cost"]["filled"] == []
        answer = client.commit(file, wait=False)
        assert answer.get("pending") is None
        client.log("Sale", [{"user": "u", "amount": 2.5, "seats": 9, "at": AT.format(4)}])
        expected = {"total": 8.5, "n": 4, "most": 2.5}
        assert client.lookup("Spent", "u", AT.format(9)) == expected
        assert client.lookup("Spent", "u", AT.format(2)) == {"total": 3.0, "n": 2, "most": 2.0}

        outputs["seats"] = 'int: Sum(of="seats")'
        file = written(tmp_path, **outputs)
        assert effects(file) == ["backfill"]
        client.commit(file)
        assert client.lookup("Spent", "u", AT.format(9)) == expected | {"seats": 15}

        outputs["total"] = 'float: Sum(of="amount", window="2s")'
        with pytest.raises(ConflictError, match="without a new version"):
            client.plan(written(tmp_path, **outputs))
        del outputs["n"]
        file = written(tmp_path, version=2, **outputs)
        assert effects(file) == ["in_place"]
        before = client.commit(file, wait=False)["commit"]
        assert client.lookup("Spent", "u", AT.format(4)) == {"total": 5.5, "most": 2.5, "seats": 15}
    with local(tmp_path / "data") as client:
        assert client.lookup("Spent", "u", AT.format(4)) == {"total": 5.5, "most": 2.5, "seats": 15}
        assert client.verify(sample=20)["different"] == 0
        last = list(client.history())
        assert last[0]["commit"] == before
        back = client.rollback(last[1]["commit"], wait=False)
        assert back.get("pending") is None
        assert client.lookup("Spent", "u", AT.format(9)) == expected | {"seats": 15}
        assert client.verify(sample=20)["different"] == 0
