"""The page that compares languages says nothing that Thyme does not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import thyme
from thyme import Expr, Stream, ThymeClient
from thyme.connectors import __all__ as connectors
from thyme.expectations import __all__ as rules

PAGE = Path(__file__).parents[2] / "docs" / "language.md"
SPAN = re.compile(r"`([^`]+)`")
TEXT = re.compile(r'"[^"]*"')
CALLED = re.compile(r"(\.?)\b([A-Za-z_]\w*)\(")
CLASS = re.compile(r"(?<![\w.])[A-Z][a-z]\w*")
# Names of the reader's own, and of Python.
THEIRS = {"Dataset", "Right", "Ride", "RiderStats", "Other", "Annotated", "Decimal"}
PYTHON = {"datetime", "True", "False", "None"}
OURS = {*thyme.__all__, *connectors, *rules}
# What a chain of conditions goes on with, and what a dataset has.
METHODS = {"then", "otherwise", "lookup"}


def cells(page: str) -> list[str]:
    """What is said of Thyme: the last column of each table."""
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", row)[-2] for row in rows]


def unknown(code: str) -> list[str]:
    """The names in a piece of code that are neither Thyme's nor the reader's."""
    code = TEXT.sub('""', code)
    found = []
    for dot, name in CALLED.findall(code):
        if dot:
            known = name in METHODS or hasattr(Stream, name) or hasattr(Expr, name)
        else:
            known = name in PYTHON | OURS or hasattr(ThymeClient, name)
        if not known:
            found.append(name)
    classes = set(CLASS.findall(code)) - THEIRS - PYTHON - OURS
    return sorted({*found, *classes})


def test_every_name_on_the_page_is_one_of_thyme() -> None:
    spans = [span for cell in cells(PAGE.read_text(encoding="utf-8")) for span in SPAN.findall(cell)]
    assert len(spans) > 100
    assert {span: names for span in spans if (names := unknown(span))} == {}


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("Summe(of=...)", ["Summe"]),
        ("Count Sum Average", ["Average"]),
        ('.filtered(col("Nothing"))', ["filtered"]),
        ('.filter(column("a"))', ["column"]),
        ('.groupby("k").aggregate(n=Count(window=Sliding("7d")))', []),
    ],
)
def test_a_name_that_thyme_lacks_is_seen(code: str, names: list[str]) -> None:
    assert unknown(code) == names
