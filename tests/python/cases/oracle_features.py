"""Featuresets on top of the oracle's lookups: refs, defaults, request features and extractors.

Extractors are cut out of the case's own text and run on looked-up rows of the oracle, so that nothing
of Thyme's extractor machinery stands between a case and its expected values.
"""

import ast
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .oracle import Document, Log, Row, as_datetime, evaluate, lookup, micros, newest, shown, typed
from .oracle_windows import span


class TooOld(Exception):
    """The newest event behind a feature is older than it allows, and it says that the read is refused then."""


class MissingInput(Exception):
    """A request feature that the caller did not give and that has no default."""


class LookedUp(dict[str, Any]):
    """A row as extractors see it: `row["a"]`, `row[["a", "b"]]`."""

    def __getitem__(self, name: Any) -> Any:
        return LookedUp({n: self[n] for n in name}) if isinstance(name, list) else super().__getitem__(name)


class DatasetDouble:
    """Stands for a dataset class inside an extractor."""

    def __init__(self, log: Log, name: str) -> None:
        self.log, self.name = log, name
        self.newest: list[int | None] = []

    def lookup(self, ts: Any, **key: Any) -> LookedUp:
        self.newest.append(newest(self.log, self.name, key, ts))
        row = lookup(self.log, self.name, key, ts)
        return LookedUp(row or {f["name"]: None for f in self.log.datasets[self.name]["fields"]})


def extractor_functions(source: str, space: dict[str, Any]) -> dict[tuple[str, str], Callable[..., Any]]:
    """(class, method) to the undecorated function."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    method.decorator_list = []
                    module = ast.fix_missing_locations(ast.Module([method], type_ignores=[]))
                    exec(compile(module, "<extractor>", "exec"), space)
                    found[node.name, method.name] = space[method.name]
    return found


class FeatureOracle:
    """Answers queries of a document's featuresets."""

    def __init__(self, document: Document, log: Log, module: ModuleType, source: str) -> None:
        self.log = log
        self.featuresets = {f["name"]: f for f in document["featuresets"]}
        self.doubles = {name: DatasetDouble(log, name) for name in log.datasets}
        self.functions = extractor_functions(source, vars(module) | self.doubles)

    def query(self, featureset: str, entity: Any, at: Any, inputs: Row | None = None) -> Row:
        answer = Query(self, entity, at, inputs or {})
        return {
            f["name"]: answer.value(featureset, f["name"]) for f in self.featuresets[featureset]["features"]
        }


class Query:
    """One entity at one time."""

    def __init__(self, oracle: FeatureOracle, entity: Any, at: Any, inputs: Row) -> None:
        self.oracle, self.entity, self.at, self.inputs = oracle, entity, at, inputs
        self.known: dict[tuple[str, str], Any] = {}
        self.newest: dict[tuple[str, str], int | None] = {}

    def value(self, featureset: str, name: str) -> Any:
        if (featureset, name) not in self.known:
            definition = self.oracle.featuresets[featureset]
            feature = next(f for f in definition["features"] if f["name"] == name)
            value = self.fresh(definition, feature)
            kind = feature["type"]
            self.known[featureset, name] = shown(None if value is None else typed(value, kind), kind)
        return self.known[featureset, name]

    def fresh(self, definition: Document, feature: Document) -> Any:
        """The value, or what stands for it when it is null or too old."""
        value = self.raw(definition, feature)
        max_age = feature.get("max_age") or definition.get("max_age")
        latest = self.newest.get((definition["name"], feature["name"]))
        if max_age is not None and latest is not None and micros(self.at) - latest > span(max_age):
            on_stale = feature.get("on_stale") or definition.get("on_stale") or "null"
            if on_stale == "error":
                raise TooOld(f"{definition['name']}.{feature['name']} is stale")
            return feature.get("default") if on_stale == "default" else None
        return feature.get("default") if value is None else value

    def raw(self, definition: Document, feature: Document) -> Any:
        name = feature["name"]
        if feature.get("request"):
            if name not in self.inputs and feature.get("default") is None:
                raise MissingInput(f"{definition['name']}.{name} is given by the caller and was not")
            return self.inputs.get(name)
        if ref := feature.get("ref"):
            dataset = self.oracle.log.datasets[ref["dataset"]]
            keys = [f["name"] for f in dataset["fields"] if f.get("role") == "key"]
            key = {k: self.value(definition["name"], k) for k in keys}
            self.newest[definition["name"], name] = newest(self.oracle.log, ref["dataset"], key, self.at)
            row = lookup(self.oracle.log, ref["dataset"], key, self.at)
            return row and row[ref["field"]]
        for extractor in definition.get("extractors", ()):
            if name in extractor["outputs"]:
                return self.extracted(definition["name"], extractor)[name]
        return self.entity[name] if isinstance(self.entity, dict) else self.entity

    def extracted(self, featureset: str, extractor: Document) -> Row:
        inputs = {
            i["feature"]: self.value(i.get("featureset") or featureset, i["feature"])
            for i in extractor["inputs"]
        }
        if extractor["form"] == "expression":
            taken = [self.newest.get((featureset, i["feature"])) for i in extractor["inputs"]]
            known = [each for each in taken if each is not None]
            self.newest[featureset, extractor["name"]] = max(known, default=None)
            return {extractor["name"]: evaluate(extractor["expr"], inputs)}
        function = self.oracle.functions[featureset, extractor["name"]]
        ts, outputs = as_datetime(micros(self.at)), extractor["outputs"]
        arguments = [inputs] if extractor["form"] == "dict" else list(inputs.values())
        for double in self.oracle.doubles.values():
            double.newest.clear()
        result = function(None, ts, *arguments)
        looked_up = [each for double in self.oracle.doubles.values() for each in double.newest]
        taken = [
            self.newest.get((i.get("featureset") or featureset, i["feature"])) for i in extractor["inputs"]
        ]
        latest = max((each for each in looked_up + taken if each is not None), default=None)
        self.newest.update(dict.fromkeys([(featureset, output) for output in outputs], latest))
        if isinstance(result, dict):
            return result
        return dict(zip(outputs, result if isinstance(result, tuple) else (result,), strict=True))
