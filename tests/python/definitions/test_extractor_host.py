"""Running captured extractors: what they are given, what they may return, what their errors say."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from thyme import _lookup
from thyme._host import Host
from thyme._lookup import Row
from thyme.errors import ExtractorError

UTC = timezone.utc
T = 1_773_568_800_000_000  # 2026-03-15T10:00:00Z


class Lookups:
    """Stands for the engine's lookup context."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, dict[str, object]]] = []
        self.rows: list[int] = []

    def at_row(self, row: int) -> None:
        self.rows.append(row)

    def lookup(self, dataset: str, time_us: int, key: dict[str, object]) -> dict[str, object]:
        if key.get("driver") == "wrong":
            raise ValueError("Stats has no such key")
        self.asked.append((dataset, time_us, key))
        return {"driver": key["driver"], "at": datetime(2026, 3, 15, tzinfo=UTC), "a": 1, "b": 2.0}


def load(
    code: str, inputs: str = "x", outputs: str = "y", form: str = "positional", host: Host | None = None
) -> Any:
    """A loaded extractor as a function from columns of inputs to columns of outputs."""
    host = host or Host()
    extractor = {
        "name": "f",
        "inputs": [{"feature": name} for name in inputs.split()],
        "outputs": outputs.split(),
        "form": form,
        "code": code,
        "at": {"file": "features.py", "line": 40},
    }
    handle = host.load("Features", json.dumps(extractor), "[]")

    def call(*columns: list[Any], times: list[int] | None = None, context: Any = None) -> Any:
        count = len(columns[0]) if columns else 1
        return host.call(handle, times or [T] * count, list(columns), context or Lookups())

    return call


def returning(expression: str, outputs: str = "y") -> Any:
    stats = 'Stats = _thyme_dataset("Stats")\n'
    return load(
        f"{stats}def f(cls, ts, x):\n    row = Stats.lookup(ts, driver='d1')\n    return {expression}\n",
        outputs=outputs,
    )


def test_inputs_come_one_by_one_or_as_a_dict() -> None:
    assert load("def f(cls, ts, a, b):\n    return a - b\n", "a b")([5, 7], [1, 2]) == [[4, 5]]
    assert load("def f(cls, ts, inputs):\n    return inputs['a'] - inputs['b']\n", "a b", form="dict")(
        [5], [1]
    ) == [[4]]
    assert load("def f(cls, ts):\n    return 3\n", "")(times=[T, T]) == [[3, 3]]


def test_ts_is_an_aware_datetime_and_cls_has_a_name() -> None:
    call = load("def f(cls, ts, x):\n    return ts, cls.__name__\n", outputs="y z")
    assert call([0, 0], times=[T, T + 1]) == [
        [datetime(2026, 3, 15, 10, tzinfo=UTC), datetime(2026, 3, 15, 10, 0, 0, 1, tzinfo=UTC)],
        ["Features", "Features"],
    ]
    with pytest.raises(ExtractorError, match="attributes of Features are not there"):
        load("def f(cls, ts, x):\n    return cls.limit\n")([1])


@pytest.mark.parametrize(
    ("expression", "outputs", "expected"),
    [
        ("x", "y", [[4]]),
        ("None", "y", [[None]]),
        ("(x,)", "y", [[4]]),
        ("(x, 2)", "y z", [[4], [2]]),
        ("{'z': 1, 'y': 2}", "y z", [[2], [1]]),
        ("{'y': 2}", "y", [[2]]),
        ("row", "b a", [[2.0], [1]]),
        ("row", "a", [[1]]),
        ("row[['a', 'b']]", "b a", [[2.0], [1]]),
        ("row[['a', 'b']]", "y z", [[1], [2.0]]),
        ("row[['b']]", "y", [[2.0]]),
        ("row['at']", "y", [[datetime(2026, 3, 15, tzinfo=UTC)]]),
        ("dict(row[['a']])", "a", [[1]]),
    ],
)
def test_results(expression: str, outputs: str, expected: list[list[Any]]) -> None:
    assert returning(expression, outputs)([4]) == expected


@pytest.mark.parametrize(
    ("expression", "outputs", "says"),
    [
        ("(x, 2)", "y", "expected one value (y), got a tuple of 2"),
        ("(x,)", "y z", "expected 2 values (y, z), got a tuple of 1"),
        ("x", "y z", "expected 2 values (y, z), got one int"),
        ("[x, x]", "y z", "expected 2 values (y, z), got one list"),
        ("None", "y z", "got None; did you forget `return`?"),
        ("{'y': 1}", "y z", "expected a dict with y, z, got one with y"),
        ("{}", "y", "expected a dict with y, got one with nothing"),
        ("row", "y", "got a row without y; it has driver, at, a, b"),
        ("row[['a', 'b']]", "y", "got the fields a, b of a row"),
        ("row[['a', 'b']]", "b z", "b would be taken for another output; return a dict"),
    ],
)
def test_other_results_say_what_was_expected_and_what_came(expression: str, outputs: str, says: str) -> None:
    with pytest.raises(ExtractorError) as caught:
        returning(expression, outputs)([987654321])
    assert str(caught.value).startswith("Features.f: ")
    assert says in str(caught.value)
    assert str(caught.value).endswith("(features.py:40)")
    assert "987654321" not in str(caught.value)


def test_scalars_of_numpy_and_pandas_become_pythons() -> None:
    values = [
        np.int64(3),
        np.float32(0.5),
        np.bool_(True),
        np.str_("a"),
        np.array(7),
        np.datetime64("2026-03-15T10:00:00.000000999"),
        pd.Timestamp("2026-03-15T10:00:00.000000999", tz="UTC"),
        pd.NaT,
        pd.NA,
        datetime(2026, 3, 15, 10),
        datetime(2026, 3, 15, 12, tzinfo=timezone(timedelta(hours=2))),
    ]
    (column,) = load("def f(cls, ts, x):\n    return x\n")(values)
    ten = datetime(2026, 3, 15, 10, tzinfo=UTC)
    assert column == [3, 0.5, True, "a", 7, ten, ten, None, None, ten, ten]
    assert [type(value) for value in column[:5]] == [int, float, bool, str, int]
    assert {type(value) for value in column[5:] if value is not None} == {datetime}


def test_lookups_read_the_context_of_the_call() -> None:
    call = returning("row['a'] + x")
    context = Lookups()
    assert call([1, 2], times=[T, T + 5], context=context) == [[2, 3]]
    assert context.asked == [("Stats", T, {"driver": "d1"}), ("Stats", T + 5, {"driver": "d1"})]
    assert _lookup.current.get() is None


def test_an_exception_names_the_extractor_the_exception_and_the_line() -> None:
    code = "def helper(x):\n    return 1 / x\n\n\ndef f(cls, ts, x):\n    y = x\n    return helper(y)\n"
    with pytest.raises(ExtractorError) as caught:
        load(code)([1, 0])
    assert str(caught.value) == (
        "Features.f: ZeroDivisionError: division by zero (features.py:42, in helper: `return 1 / x`)"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(ExtractorError, match=r"KeyError: 'c' \(features.py:41\)"):
        load("def f(cls, ts, x):\n    return {}['c']\n")([1])
    with pytest.raises(ExtractorError, match=r"Features.f: SystemExit: 3"):
        load("def f(cls, ts, x):\n    raise SystemExit(3)\n")([1])
    assert _lookup.current.get() is None


def test_wrong_lookups_are_explained() -> None:
    stats = 'Stats = _thyme_dataset("Stats")\n'
    for expression, says in [
        ("Stats.lookup(ts, driver='d1')['fare']", r"Stats has no field 'fare'; it has driver, at, a, b"),
        ("Stats.lookup(ts, driver='d1')['dirver']", "did you mean driver"),
        ("Stats.lookup(ts, driver='d1')[['a', 'bb']]", "Stats has no field 'bb'"),
        ("Stats.lookup('now', driver='d1')", r"Stats.lookup takes a datetime first, got str"),
        ("Stats.lookup(ts, driver='wrong')", "ValueError: Stats has no such key"),
        ("Stats.fields", "in an extractor Stats has lookup"),
    ]:
        with pytest.raises(ExtractorError, match=says):
            load(f"{stats}def f(cls, ts, x):\n    return {expression}\n")([1])


def test_rows_are_mappings() -> None:
    row = Row("Stats", {"a": 1, "b": None})
    assert dict(row) == {"a": 1, "b": None}
    assert (len(row), "a" in row, row.get("c"), repr(row)) == (2, True, None, "Stats(a=1, b=None)")
    with pytest.raises(KeyError):
        row["c"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "def f(cls, ts, x):\n    return unknown + other\n",
            "Features.f uses `other`, `unknown`, which are not defined",
        ),
        (
            "def f(cls, ts, x):\n    return lambda: unknown\n",
            "Features.f uses `unknown`, which is not defined",
        ),
        ("import no_such_module\n", "no module no_such_module where extractors run"),
        ("def f(:\n", "cannot be loaded: SyntaxError"),
        ("x = 1 / 0\n", "cannot be loaded: ZeroDivisionError"),
        ("def g():\n    pass\n", "defines no function f"),
    ],
)
def test_what_cannot_be_loaded_names_the_extractor_and_why(code: str, says: str) -> None:
    with pytest.raises(
        ValueError, match="the .*extractor Features.f|the code of the extractor Features.f"
    ) as caught:
        load(code)
    assert says in str(caught.value)


def test_the_same_extractor_is_loaded_once() -> None:
    host = Host()
    code = "def f(cls, ts, x):\n    return x\n"
    load(code, host=host)
    load(code, host=host)
    load(code, outputs="z", host=host)
    assert len(host._loaded) == 2


def test_times_that_python_has_no_datetime_for_are_refused() -> None:
    with pytest.raises(ExtractorError, match="OverflowError"):
        load("def f(cls, ts, x):\n    return x\n")([1], times=[-(10**17)])


def test_threads_have_contexts_of_their_own(tmp_path: Path) -> None:
    import threading

    call = returning("row['a'] + x")
    contexts = [Lookups() for _ in range(4)]
    threads = [threading.Thread(target=call, args=([1] * 50,), kwargs={"context": one}) for one in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(one.asked) for one in contexts] == [50] * 4
