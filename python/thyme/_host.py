"""The extractor host: loads captured extractors and runs them when the engine asks.

The engine holds one `Host` and calls it with the GIL held, from any of its threads.
"""

from __future__ import annotations

import builtins
import hashlib
import itertools
import json
import linecache
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from types import ModuleType
from typing import TYPE_CHECKING, Any

from thyme import _lookup
from thyme._capture import DATASET, RENAMED
from thyme._compiled import Translation, translate
from thyme._globals import globals_of_code
from thyme._lookup import DatasetHandle
from thyme._result_shape import WrongShape, columns_of
from thyme._syntax import parse
from thyme.errors import ExtractorError

if TYPE_CHECKING:
    import polars as pl

    from thyme._thyme import LookupContext

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class FeaturesetStandIn:
    """What an extractor is given as `cls`: the featureset's name and nothing else."""

    def __init__(self, name: str) -> None:
        """Takes the featureset's name."""
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        """Refused: attributes of the class do not travel."""
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        message = f"attributes of {self.__name__} are not there when an extractor runs"
        raise AttributeError(f"{message}; make {attribute} a name of the module")

    def __repr__(self) -> str:
        """The featureset's name."""
        return self.__name__


@dataclass(frozen=True)
class Loaded:
    """An extractor that is ready to run."""

    subject: str
    function: Callable[..., Any]
    cls: FeaturesetStandIn
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    takes_dict: bool
    is_vectorized: bool
    file: str
    first_line: int
    at: Mapping[str, Any]
    translation: Translation


class Host:
    """Loads and runs extractors."""

    def __init__(self, *, compiles: bool | None = None) -> None:
        """Starts with none.

        Args:
            compiles: Whether those that can be are translated; None: unless `THYME_COMPILE` is 0.
        """
        self._compiles = os.environ.get("THYME_COMPILE", "1") != "0" if compiles is None else compiles
        self._numbers = itertools.count(1)
        self._loaded: dict[int, Loaded] = {}
        self._handles: dict[tuple[str, str], int] = {}
        self._tried: set[int] = set()

    def load(self, featureset: str, extractor_json: str, datasets_json: str) -> int:
        """Makes an extractor ready: runs the text it travelled as, and resolves every name that it uses.

        Args:
            featureset: The featureset's name.
            extractor_json: The extractor as definition documents have it.
            datasets_json: The datasets that it may look rows up in, likewise.

        Returns:
            A handle for `call`; the same one if the same extractor is loaded again.

        Raises:
            ValueError: The text does not run here, or uses a name that is not there.
        """
        known = self._handles.get((featureset, extractor_json))
        if known is not None:
            return known
        handle = next(self._numbers)
        self._loaded[handle] = _load(featureset, json.loads(extractor_json), self._compiles)
        self._handles[featureset, extractor_json] = handle
        return handle

    def program(self, handle: int) -> tuple[str | None, str]:
        """What a loaded extractor was translated to, so that it runs without Python.

        Args:
            handle: From `load`.

        Returns:
            The program as JSON, or None; and why there is none.
        """
        loaded = self._loaded[handle]
        translation = loaded.translation
        if translation.program is not None:
            return translation.program, ""
        if not translation.line:
            return None, translation.reason
        where = _place(loaded, translation.line)
        if translation.line < loaded.first_line:
            where = f"line {translation.line} of what it uses"
        return None, f"{translation.reason} ({where})"

    def call(
        self, handle: int, times_us: list[int], inputs: list[list[Any]], context: LookupContext
    ) -> list[list[Any]]:
        """Runs a loaded extractor over rows.

        Args:
            handle: From `load`.
            times_us: The time of each row, in microseconds since the epoch.
            inputs: One list for each input, in declared order, as long as `times_us`; times are aware.
            context: What lookups read.

        Returns:
            One list for each output, in declared order; times are aware datetimes. Types are not checked.

        Raises:
            ExtractorError: The extractor raised, or returned something else than it declared.
        """
        loaded = self._loaded[handle]
        token = _lookup.current.set(context)
        try:
            results = []
            for number, (time_us, row) in enumerate(zip(times_us, _rows(times_us, inputs), strict=True)):
                context.at_row(number)
                results.append(_run(loaded, time_us, row))
        finally:
            _lookup.current.reset(token)
        try:
            return columns_of(results, loaded.outputs)
        except WrongShape as wrong:
            raise ExtractorError(f"{loaded.subject}: {wrong} ({_place(loaded, loaded.first_line)})") from None

    def call_vectorized(self, handle: int, batch: bytes, context: LookupContext) -> bytes:
        """Runs a loaded extractor that is vectorized over rows.

        The first time that there are several rows, one of them is run by itself as well: a vectorized
        extractor that mixes rows would give something else online than in a training set.

        Args:
            handle: From `load`.
            batch: An Arrow stream: the times, then the inputs in declared order.
            context: What lookups read.

        Returns:
            An Arrow stream with a column for each output, in declared order, of whatever types it gave.

        Raises:
            ExtractorError: The extractor raised, returned something else than it declared, or gives for a row
                what depends on others.
        """
        from thyme import _vectors

        loaded = self._loaded[handle]
        rows = _vectors.read(batch)
        given = _at_once(loaded, rows, context, 0)
        if rows.height > 1 and handle not in self._tried:
            one = rows.height // 2
            alone = _at_once(loaded, rows.slice(one, 1), context, one)
            if not _vectors.are_same(given.slice(one, 1), alone):
                raise ExtractorError(
                    f"{loaded.subject}: what it gives for a row depends on the rows it is run with: row "
                    f"{one} of {rows.height} gives {given.row(one)}, and alone {alone.row(0)}; a vectorized "
                    f"extractor computes each row from that row alone ({_place(loaded, loaded.first_line)})"
                )
            self._tried.add(handle)
        return _vectors.written(given)


def _at_once(loaded: Loaded, batch: pl.DataFrame, context: LookupContext, first: int) -> pl.DataFrame:
    """Runs a vectorized extractor over rows of a call, of which the first is number `first`."""
    from thyme import _vectors

    context.at_row(first)
    context_token = _lookup.current.set(context)
    rows_token = _lookup.context_rows.set(batch.height)
    ts, *inputs = batch.get_columns()
    ts = ts.alias("ts")
    named = [one.alias(name) for one, name in zip(inputs, loaded.inputs, strict=True)]
    given = (type(batch)(named),) if loaded.takes_dict else named
    try:
        result = loaded.function(loaded.cls, ts, *given)
    except (Exception, SystemExit) as error:
        raise ExtractorError(_raised(loaded, error)) from error
    finally:
        _lookup.context_rows.reset(rows_token)
        _lookup.current.reset(context_token)
    try:
        return _vectors.outputs_of(result, loaded.outputs, batch.height)
    except WrongShape as wrong:
        raise ExtractorError(f"{loaded.subject}: {wrong} ({_place(loaded, loaded.first_line)})") from None


def _rows(times_us: list[int], inputs: list[list[Any]]) -> Any:
    return zip(*inputs, strict=True) if inputs else [()] * len(times_us)


def _run(loaded: Loaded, time_us: int, row: tuple[Any, ...]) -> Any:
    try:
        ts = _EPOCH + timedelta(microseconds=time_us)
        if loaded.takes_dict:
            return loaded.function(loaded.cls, ts, dict(zip(loaded.inputs, row, strict=True)))
        return loaded.function(loaded.cls, ts, *row)
    except (Exception, SystemExit) as error:
        raise ExtractorError(_raised(loaded, error)) from error


def _raised(loaded: Loaded, error: BaseException) -> str:
    """The sentence about an exception in the user's code: what, where, and the line that did it."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == loaded.file]
    inside = [one.lineno or 0 for one in frames if (one.lineno or 0) >= loaded.first_line]
    where = _place(loaded, inside[-1] if inside else loaded.first_line)
    last = frames[-1] if frames else None
    if last is not None and (last.lineno or 0) < loaded.first_line:
        where += f", in {last.name}: `{(last.line or '').strip()}`"
    text = str(error)
    return f"{loaded.subject}: {type(error).__name__}{': ' + text if text else ''} ({where})"


def _place(loaded: Loaded, line: int) -> str:
    """A line of the loaded text as a line of the user's file."""
    file, first = loaded.at.get("file"), loaded.at.get("line")
    if not file or not first:
        return f"line {line - loaded.first_line + 1} of it"
    return f"{file}:{first + line - loaded.first_line}"


def _load(featureset: str, extractor: Mapping[str, Any], compiles: bool) -> Loaded:
    name, text = extractor["name"], extractor["code"]
    subject = f"{featureset}.{name}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    module = ModuleType(f"_thyme_extractor_{featureset}_{name}_{digest}")
    module.__dict__[DATASET] = DatasetHandle
    file = f"<{subject} {digest}>"
    lines = text.splitlines(keepends=True)
    linecache.cache[file] = (len(text), None, lines, file)
    sys.modules[module.__name__] = module  # dataclasses and the like look their module up
    try:
        code = compile(text, file, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # the user's own extractor: running it is what a host is for
    except Exception as error:
        raise ValueError(f"the extractor {subject} cannot be loaded: {_why(error)}") from error
    missing = sorted(
        used for used in globals_of_code(code) if used not in module.__dict__ and not hasattr(builtins, used)
    )
    if missing:
        names = ", ".join(f"`{one}`" for one in missing)
        raise ValueError(
            f"the extractor {subject} uses {names}, which {'is' if len(missing) == 1 else 'are'} not defined"
        )
    function = module.__dict__.get(RENAMED + name, module.__dict__.get(name))
    if not callable(function):
        raise ValueError(f"the code of the extractor {subject} defines no function {name}")
    inputs = tuple(one["feature"] for one in extractor["inputs"])
    is_vectorized = bool(extractor.get("vectorized", False))
    translation = Translation(None, "vectorized=True" if is_vectorized else "THYME_COMPILE=0")
    if compiles and not is_vectorized:
        translation = translate(
            parse(text),
            RENAMED + name if RENAMED + name in module.__dict__ else name,
            module.__dict__,
            inputs=inputs,
            outputs=tuple(extractor["outputs"]),
            takes_dict=extractor["form"] == "dict",
        )
    return Loaded(
        subject=subject,
        function=function,
        cls=FeaturesetStandIn(featureset),
        inputs=inputs,
        outputs=tuple(extractor["outputs"]),
        takes_dict=extractor["form"] == "dict",
        is_vectorized=is_vectorized,
        file=file,
        first_line=getattr(getattr(function, "__code__", None), "co_firstlineno", 1),
        at=extractor.get("at") or {},
        translation=translation,
    )


def _why(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return (
            f"there is no module {error.name} where extractors run; install it there, or, if it is your own, "
            f"import what is needed by name (from {error.name} import ...), so that it travels"
        )
    return f"{type(error).__name__}: {error}"
