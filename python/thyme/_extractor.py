"""Extractors: Python from features to features."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeVar, overload

from thyme import _checks
from thyme._capture import Captured, ExtractorSource, capture
from thyme._definition import ClassReader, is_kind
from thyme._feature import Feature, FeatureSpec
from thyme._literal import described
from thyme._place import refuse, warn_unknown

F = TypeVar("F", bound=Callable[..., Any])

_EXTRACTOR = "__thyme_extractor__"
_INPUTS = "__thyme_extractor_inputs__"
_OUTPUTS = "__thyme_extractor_outputs__"


@overload
def extractor(function: F, /) -> F: ...
@overload
def extractor(
    *, deps: Iterable[type] = (), version: int = 1, vectorized: bool = False
) -> Callable[[F], F]: ...
def extractor(
    function: Any = None, /, *, deps: Any = (), version: int = 1, vectorized: Any = False, **unknown: Any
) -> Any:
    """Marks a method of a featureset that computes features from features.

    The method takes the class, the time of the question (an aware datetime in UTC) and its inputs: as a dict,
    if the one parameter after `ts` is called `inputs`, else one argument an input. It returns one value, a
    tuple in the order of the outputs, a dict by output, or a looked-up row. It must be deterministic.

    The method travels to where queries run as source text, with the functions, constants and imports it uses.

    Args:
        function: The method, when used without parentheses.
        deps: The datasets that it looks rows up in. Those that the code names are found without it.
        version: From 1; raise it when the meaning changes.
        vectorized: Whether it takes Polars Series instead of values, with a row for each row that is asked
            for: `ts` (Datetime in UTC) and one Series an input, or a frame called `inputs`. It returns a
            Series, a tuple or dict of them, or a frame; what it gives for a row depends on that row alone.
        **unknown: Warned of and ignored.

    Raises:
        DefinitionTypeError: An argument has the wrong type.

    Example:
        @featureset
        class Scores:
            driver: str = feature(id=1)
            rides_1h: int = feature(id=2, ref=DriverStats.rides_1h)
            hour: int = feature(id=3, request=True, default=12)
            score: float = feature(id=4)

            @extractor
            @extractor_inputs("rides_1h", "hour")
            @extractor_outputs("score")
            def scored(cls, ts: datetime, rides_1h: int, hour: int) -> float:
                return rides_1h * (2.0 if hour >= 22 else 1.0)
    """
    warn_unknown("@extractor", unknown)
    if not isinstance(deps, (list, tuple, set, frozenset)):
        refuse(
            f"@extractor(deps=) takes a list of datasets, such as deps=[DriverStats], got {described(deps)}"
        )
    for given in deps:
        if not is_kind(given, "dataset"):
            refuse(
                f"@extractor(deps=) takes datasets, classes decorated with @dataset, got {described(given)}"
            )
    marks = {
        "version": _checks.number("@extractor(version=)", version),
        "deps": tuple(deps),
        "vectorized": _checks.flag("@extractor(vectorized=)", vectorized),
    }
    return (
        _marker("@extractor", _EXTRACTOR, marks)
        if function is None
        else _marker("@extractor", _EXTRACTOR, marks)(function)
    )


def extractor_inputs(*features: str | Feature[Any]) -> Callable[[F], F]:
    """Names the features that an extractor takes, in order.

    Args:
        *features: Names of features of the same featureset, or features of others: `OtherFeatures.score`.

    Raises:
        DefinitionTypeError: One of them is neither.
    """
    for given in features:
        if isinstance(given, FeatureSpec):
            refuse('@extractor_inputs takes features of the same class by name, such as "driver", in quotes')
        if not isinstance(given, (str, Feature)):
            wanted = 'names such as "driver", or features of other featuresets such as OtherFeatures.score'
            refuse(f"@extractor_inputs takes {wanted}, got {described(given)}")
    return _marker("@extractor_inputs", _INPUTS, features)


def extractor_outputs(*features: str) -> Callable[[F], F]:
    """Names the features that an extractor computes, in order.

    Args:
        *features: Names of features of the same featureset.

    Raises:
        DefinitionTypeError: One of them is no text.
    """
    names = tuple(_checks.name("@extractor_outputs", given, "score") for given in features)
    return _marker("@extractor_outputs", _OUTPUTS, names)


@dataclass(frozen=True, eq=False)
class ExtractorDefinition:
    """An extractor, and the source it is captured from."""

    body: dict[str, Any]
    source: ExtractorSource
    featuresets: tuple[type, ...]
    deps: tuple[type, ...]

    def document(self, is_complete: bool) -> dict[str, Any]:
        """Its part of a definition document.

        Args:
            is_complete: Whether the user's module has been read to its end; before, names that it binds
                further down are let pass.
        """
        captured = self._captured(is_complete)
        deps = dict.fromkeys(cls.__name__ for cls in (*self.deps, *captured.datasets))
        return {**self.body, "deps": list(deps), "code": captured.code}

    def needs(self, is_complete: bool) -> tuple[type, ...]:
        """The datasets and featuresets that it refers to."""
        return (*self.featuresets, *self.deps, *self._captured(is_complete).datasets)

    def _captured(self, is_complete: bool) -> Captured:
        return capture(self.source, is_complete=is_complete)


def read_extractors(reader: ClassReader) -> list[ExtractorDefinition]:
    """The extractors of a class that is being decorated; faults go to the reader."""
    found = []
    for name, function in reader.methods():
        marks = getattr(function, _EXTRACTOR, None)
        taken, given = getattr(function, _INPUTS, None), getattr(function, _OUTPUTS, None)
        if marks is None:
            if taken is not None or given is not None:
                reader.fault(
                    name,
                    "it has @extractor_inputs or @extractor_outputs but no @extractor; put it on top",
                )
            continue
        if given is None:
            reader.fault(name, 'an extractor names what it computes: add @extractor_outputs("...")')
            continue
        faults_before = len(reader.faults)
        extracted = _read(reader, name, function, marks, taken or (), given)
        if len(reader.faults) == faults_before:
            found.append(extracted)
    return found


def _read(
    reader: ClassReader,
    name: str,
    function: FunctionType,
    marks: dict[str, Any],
    taken: tuple[str | Feature[Any], ...],
    given: tuple[str, ...],
) -> ExtractorDefinition:
    others = [one for one in taken if isinstance(one, Feature) and one.featureset.__name__ != reader.name]
    form = _form(reader, name, function, taken)
    source = ExtractorSource.read(f"{reader.name}.{name}", function, reader.place(name))
    reader.faults.extend(source.faults)
    body = {
        "name": name,
        "version": marks["version"],
        "inputs": [
            {"featureset": one.featureset.__name__, "feature": one.name}
            if one in others
            else {"feature": _label(one)}
            for one in taken
        ],
        "outputs": list(given),
        "form": form,
        **({"vectorized": True} if marks["vectorized"] else {}),
        "at": source.at.document(),
    }
    if not source.faults:
        reader.faults.extend(capture(source, is_complete=False, collect=True).faults)
    return ExtractorDefinition(body, source, tuple(one.featureset for one in others), marks["deps"])


def _form(
    reader: ClassReader, name: str, function: FunctionType, taken: tuple[str | Feature[Any], ...]
) -> str:
    """How the extractor takes its inputs."""
    labels = [_label(one) for one in taken]
    signature = inspect.signature(function)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        reader.fault(name, "an extractor is a plain function: no async, no yield", "type")
    parameters = list(signature.parameters.values())[2:]
    if [parameter.name for parameter in parameters] == ["inputs"]:
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            shared = f"two inputs are called {twice[0]}, and a dict has room for one"
            reader.fault(name, f"{shared}; take the inputs one by one: {_signature(name, labels)}")
        return "dict"
    try:
        signature.bind("cls", "ts", *labels)
    except TypeError:
        way = f"either {name}(cls, ts, inputs) or {_signature(name, labels)}"
        reader.fault(
            name,
            f"its parameters do not fit its {len(labels)} inputs: expected {way}, got {name}{signature}",
            "type",
        )
    return "positional"


def _signature(name: str, labels: list[str]) -> str:
    unique = [
        f"{label}_{number}" if labels.count(label) > 1 else label for number, label in enumerate(labels, 1)
    ]
    return f"{name}({', '.join(['cls', 'ts', *unique])})"


def _label(one: str | Feature[Any]) -> str:
    return one.name if isinstance(one, Feature) else one


def _marker(what: str, attribute: str, marks: Any) -> Callable[[F], F]:
    def decorate(method: F) -> F:
        function = method.__func__ if isinstance(method, (classmethod, staticmethod)) else method
        if not isinstance(function, FunctionType):
            refuse(f"{what} decorates a method, got {described(method)}")
        setattr(function, attribute, marks)
        return method

    return decorate
