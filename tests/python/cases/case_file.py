"""Reads a case: front matter, title, definitions, pushes and expectations."""

import ast
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2] / "cases"
FENCE = re.compile(r"^```(?P<info>\w.*?)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
FRONT = re.compile(r"\A---\n(?P<body>.*?)^---\n", re.MULTILINE | re.DOTALL)
READS = ("lookup", "query")


@dataclass(frozen=True)
class Push:
    """Rows that arrive together."""

    dataset: str
    rows: list[Row]


@dataclass(frozen=True)
class Case:
    """One file of the spec."""

    path: Path
    title: str
    definitions: str
    pushes: list[Push]
    refusals: list[Row]
    reads: list[Row]
    definition_error: list[str] | None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).with_suffix("").as_posix()

    @property
    def suffix(self) -> str:
        """What makes the case's class names its own."""
        return "".join(word.capitalize() for word in re.split(r"[/_\-]", self.name))

    @property
    def order_matters(self) -> bool:
        return self.settings.get("order") == "matters"

    def runs_through(self, door: str) -> bool:
        return "doors" not in self.settings or door in self.settings["doors"].split()


def python_rows(body: str) -> list[Row]:
    """The rows that a block of Python yields."""
    space: dict[str, Any] = {}
    source = "def rows():\n" + textwrap.indent(body, "    ")
    exec(compile(source, "<case>", "exec"), {"__name__": "case"}, space)
    return list(space["rows"]())


def json_rows(body: str) -> list[Row]:
    return [json.loads(line) for line in body.splitlines() if line.strip()]


def blocks(text: str) -> Iterator[tuple[str, list[str], str]]:
    for match in FENCE.finditer(text):
        language, *words = match["info"].split()
        yield language, words, match["body"]


def pushes_of(dataset: str, rows: list[Row], words: list[str]) -> Iterator[Push]:
    size = next((int(w.removeprefix("push=")) for w in words if w.startswith("push=")), len(rows))
    for start in range(0, len(rows), max(size, 1)):
        yield Push(dataset, rows[start : start + size])


def read_case(path: Path) -> Case:
    """Parses a file of `tests/cases`.

    Raises:
        ValueError: with the file and what is wrong in it.
    """
    text, settings = path.read_text(), {}
    if front := FRONT.match(text):
        pairs = [line.split(":", 1) for line in front["body"].splitlines() if line.strip()]
        settings = {name.strip(): value.strip() for name, value in pairs}
        text = text[front.end() :]
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    if title is None:
        raise ValueError(f"{path}: a case starts with a '# title' that is a statement")
    definitions, expected = "", []
    pushes: list[Push] = []
    for language, words, body in blocks(text):
        if words[:1] == ["events"]:
            rows = python_rows(body) if language == "python" else json_rows(body)
            pushes.extend(pushes_of(words[1], rows, words[2:]))
        elif language == "expect":
            expected.extend(json_rows(body))
        elif language == "python" and words == ["expect"]:
            expected.extend(python_rows(body))
        elif language == "python" and not words:
            definitions += body
        else:
            raise ValueError(
                f"{path}: a block is python, jsonl events DATASET or expect, not {language} {words}"
            )
    reads = [e for e in expected if any(kind in e for kind in READS)]
    refusals = [e for e in expected if "push_error" in e]
    errors = [e["definition_error"] for e in expected if "definition_error" in e]
    if len(reads) + len(refusals) + len(errors) != len(expected) or not expected:
        raise ValueError(f"{path}: an expectation is a lookup, a query, a push_error or a definition_error")
    return Case(path, title[1], definitions, pushes, refusals, reads, errors[0] if errors else None, settings)


def class_names(source: str) -> list[str]:
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]


def all_cases() -> list[Case]:
    """Every case of the spec, by name."""
    found = (read_case(path) for path in sorted(ROOT.rglob("*.md")) if path.name != "README.md")
    return sorted(found, key=lambda case: case.name)
