"""Reads PromQL as far as dashboards and rules use it: what is wrong with its form is an error, and what it asks for is known."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<range>\[(?:[0-9]+[smhdwy]|\$__rate_interval|\$__interval)\])
    | (?P<duration>[0-9]+(?:ms|[smhdwy])\b)
    | (?P<number>[0-9]+(?:\.[0-9]+)?)
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<op>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},])
    )""",
    re.VERBOSE,
)
_AGGREGATIONS = {"sum", "min", "max", "avg", "count"}
# Of each function the types of its arguments: a scalar, an instant vector, or a range of one.
_FUNCTIONS = {
    "rate": ("range",),
    "increase": ("range",),
    "min_over_time": ("range",),
    "histogram_quantile": ("scalar", "vector"),
    "time": (),
    "vector": ("scalar",),
}
_LEVELS = [{"or"}, {"and", "unless"}, {"==", "!=", ">", "<", ">=", "<="}, {"+", "-"}, {"*", "/", "%"}]


class NotPromQL(ValueError):
    """The text is no expression."""


@dataclass
class Selector:
    """A metric that is asked for.

    Attributes:
        metric: Its name.
        labels: The labels that it is selected or grouped by.
    """

    metric: str
    labels: set[str] = field(default_factory=set)


@dataclass
class Part:
    """A part of an expression.

    Attributes:
        kind: `scalar`, `vector` or `range`.
        selectors: What it asks for.
        labels: The labels that its result has; None for all those of its metrics.
    """

    kind: str
    selectors: list[Selector]
    labels: set[str] | None = None


def parse(text: str) -> Part:
    """What an expression asks for.

    Raises:
        NotPromQL: It is none.
    """
    reader = _Reader(text)
    part = reader.binary(0)
    if reader.tokens:
        raise NotPromQL(f"{text}: what is {reader.tokens[0][1]!r}?")
    if part.kind == "range":
        raise NotPromQL(f"{text}: a range is no value")
    return part


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text.rstrip()):
            found = _TOKEN.match(text, place)
            if found is None:
                raise NotPromQL(f"{text}: what is {text[place : place + 10]!r}?")
            self.tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            place = found.end()

    def peek(self) -> str:
        return self.tokens[0][1] if self.tokens else ""

    def take(self, kind: str, text: str | None = None) -> str:
        if not self.tokens or self.tokens[0][0] != kind or text not in (None, self.tokens[0][1]):
            raise NotPromQL(f"{self.text}: expected {text or kind}, got {self.peek()!r}")
        return self.tokens.pop(0)[1]

    def binary(self, level: int) -> Part:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek() in _LEVELS[level]:
            op = self.tokens.pop(0)[1]
            right = self.binary(level + 1)
            if "range" in (left.kind, right.kind) or (level < 2 and "scalar" in (left.kind, right.kind)):
                raise NotPromQL(f"{self.text}: {op} takes vectors")
            kind = "vector" if "vector" in (left.kind, right.kind) else "scalar"
            labels = left.labels if left.kind == "vector" else right.labels
            left = Part(kind, left.selectors + right.selectors, labels)
        return left

    def unary(self) -> Part:
        kind = self.tokens[0][0] if self.tokens else ""
        if kind == "number":
            self.tokens.pop(0)
            return Part("scalar", [])
        if self.peek() == "(":
            self.tokens.pop(0)
            part = self.binary(0)
            self.take("op", ")")
            return part
        name = self.take("name")
        if name in _AGGREGATIONS:
            return self.aggregation()
        return self.function(name) if self.peek() == "(" else self.selector(name)

    def aggregation(self) -> Part:
        by = set(self.names("(", ")")) if self.peek() == "by" and self.tokens.pop(0) else set()
        self.take("op", "(")
        part = self.binary(0)
        self.take("op", ")")
        if part.kind != "vector":
            raise NotPromQL(f"{self.text}: an aggregation takes a vector, not a {part.kind}")
        for selector in part.selectors:
            selector.labels |= by
        return Part("vector", part.selectors, by)

    def function(self, name: str) -> Part:
        if name not in _FUNCTIONS:
            raise NotPromQL(f"{self.text}: no function {name}")
        self.take("op", "(")
        arguments = []
        for i, kind in enumerate(_FUNCTIONS[name]):
            if i:
                self.take("op", ",")
            argument = self.binary(0)
            if argument.kind != kind:
                raise NotPromQL(f"{self.text}: {name} takes a {kind}, got a {argument.kind}")
            arguments.append(argument)
        self.take("op", ")")
        selectors = [each for argument in arguments for each in argument.selectors]
        if name == "histogram_quantile":
            labels = arguments[1].labels
            if labels is not None and "le" not in labels:
                raise NotPromQL(f"{self.text}: histogram_quantile needs the label le")
            return Part("vector", selectors, None if labels is None else labels - {"le"})
        return Part(
            "scalar" if name == "time" else "vector", selectors, arguments[0].labels if arguments else None
        )

    def selector(self, name: str) -> Part:
        selector = Selector(name)
        if self.peek() == "{":
            self.tokens.pop(0)
            while self.peek() != "}":
                selector.labels.add(self.take("name"))
                if self.take("op") not in ("=", "!=", "=~", "!~"):
                    raise NotPromQL(f"{self.text}: a matcher is =, !=, =~ or !~")
                self.take("string")
                if self.peek() == ",":
                    self.tokens.pop(0)
            self.take("op", "}")
        kind = "vector"
        if self.tokens and self.tokens[0][0] == "range":
            self.tokens.pop(0)
            kind = "range"
        if self.peek() == "offset":
            self.tokens.pop(0)
            self.take("duration")
        return Part(kind, [selector])

    def names(self, first: str, last: str) -> list[str]:
        self.take("op", first)
        found = [self.take("name")]
        while self.peek() == ",":
            self.tokens.pop(0)
            found.append(self.take("name"))
        self.take("op", last)
        return found
