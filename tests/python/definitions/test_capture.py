"""What travels with an extractor: its text, and everything that the text needs."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from definition_texts import HEADER, RIDES, Import

from thyme import dataset, extractor, extractor_outputs, feature, featureset, field
from thyme._definition import definition_of
from thyme._document import collect
from thyme._host import Host
from thyme.errors import DefinitionError, DefinitionValueError

Refused = Callable[..., DefinitionError]

BEGIN = "from __future__ import annotations\n"


def score(body: str, signature: str = "cls, ts, n") -> str:
    """A featureset whose extractor `f` has this body."""
    return f"""
@featureset
class Features:
    driver: str = feature(id=1)
    n: int = feature(id=2, ref=DriverStats.rides_1h)
    m: float = feature(id=3)

    @extractor
    @extractor_inputs("n")
    @extractor_outputs("m")
    def f({signature}):
{textwrap.indent(textwrap.dedent(body).strip(), " " * 8)}
"""


def extractor_of(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = collect(cls)["featuresets"][-1]["extractors"][0]
    return found


@pytest.fixture
def captured(imported: Import) -> Callable[..., str]:
    """The text that the extractor of some texts travels as; it loads, and gives `expected` for n = 4."""

    def code_of(*texts: str, expected: Any = None) -> str:
        module = imported(HEADER, RIDES, *texts)
        found = extractor_of(module.Features)
        code: str = found["code"]
        (value,) = run(module.Features, 4)
        assert value == expected
        return code.removeprefix(BEGIN + "\n\n")

    return code_of


def run(cls: type, *values: Any) -> list[Any]:
    """What the extractor of a featureset gives, through the host."""
    import json

    host = Host()
    handle = host.load(cls.__name__, json.dumps(extractor_of(cls)), "[]")
    (column,) = host.call(handle, [0] * len(values), [list(values)], SimpleNamespace(at_row=lambda row: None))
    return column


def test_an_extractor_alone_is_its_own_text_without_decorators(captured: Callable[..., str]) -> None:
    code = captured(score("return n + 1"), expected=5)
    assert code == "def f(cls, ts, n):\n    return n + 1\n"


def test_constants_of_plain_types(captured: Callable[..., str]) -> None:
    code = captured(
        """
        import re
        from datetime import date, timedelta, timezone
        from zoneinfo import ZoneInfo

        LIMITS = {"a": [1, 2.5, (3,)], "b": {"y", "x"}, "c": (), "d": frozenset()}
        DAY = timedelta(days=1, microseconds=3)
        START = datetime(2026, 3, 15, 10, tzinfo=timezone.utc)
        ZONE = ZoneInfo("Europe/Berlin")
        HOLIDAY = date(2026, 12, 25)
        WORD = re.compile("[a-z]+", re.IGNORECASE)
        MISSING = float("nan")
        NOTHING = None
        """,
        score(
            "return len([LIMITS, DAY, START, ZONE, HOLIDAY, WORD.match('Abc')[0], MISSING, NOTHING]) + LIMITS['a'][0]"
        ),
        expected=9,
    )
    assert code.split("\n\n\n")[0].splitlines() == [
        'DAY = __import__("datetime").timedelta(1, 0, 3)',
        'HOLIDAY = __import__("datetime").date(2026, 12, 25)',
        "LIMITS = {'a': [1, 2.5, (3,)], 'b': set(['x', 'y']), 'c': (), 'd': frozenset([])}",
        'MISSING = float("nan")',
        "NOTHING = None",
        'START = __import__("datetime").datetime(2026, 3, 15, 10, 0, 0, 0, tzinfo=__import__("datetime").timezone.utc)',
        "WORD = __import__(\"re\").compile('[a-z]+', 34)",
        "ZONE = __import__(\"zoneinfo\").ZoneInfo('Europe/Berlin')",
    ]


def test_imports_as_they_were_written(captured: Callable[..., str]) -> None:
    code = captured(
        """
        import math
        import os.path
        import xml.etree.ElementTree
        import xml.etree.ElementTree as tree
        import numpy as np
        from math import floor as down, pi
        from numpy import sqrt
        """,
        score(
            """
            assert os.path.basename("a/b") == "b" and xml.etree.ElementTree.Element is tree.Element
            return float(sqrt(np.float64(n))) + down(pi) + math.ceil(0.5)
            """
        ),
        expected=6.0,
    )
    assert code.split("\n\n\n")[0].splitlines() == [
        "from math import floor as down",
        "from numpy import sqrt",
        "import math",
        "import numpy as np",
        "import os",
        "import xml",
        "import xml.etree",
        "import xml.etree.ElementTree",
        "import xml.etree.ElementTree as tree",
    ]
    assert "pi = 3.141592653589793\n" in code


def test_functions_travel_with_what_they_use(captured: Callable[..., str]) -> None:
    code = captured(
        """
        import functools
        import math

        SCALE = 2

        def twice(x: "Unknown") -> "AlsoUnknown":
            return SCALE * x

        @functools.lru_cache(maxsize=None)
        def root(x, base=SCALE):
            # a comment stays
            return math.sqrt(twice(x) * base)

        half = lambda x: x / 2

        def even(x):
            return True if x == 0 else odd(x - 1)

        def odd(x):
            return False if x == 0 else even(x - 1)
        """,
        score("return [half(root(v)) for v in [n]][0] if even(n) else None"),
        expected=2.0,
    )
    assert code.count("def twice") == code.count("def root") == code.count("def odd") == 1
    assert (
        code.index("SCALE = 2")
        < code.index("def twice")
        < code.index("@functools.lru_cache(maxsize=None)\ndef root")
    )
    assert "    # a comment stays\n" in code
    assert "\nhalf = lambda x: x / 2\n" in code


def test_classes_travel_with_their_bases(captured: Callable[..., str]) -> None:
    code = captured(
        """
        from dataclasses import dataclass
        from enum import Enum

        class Named:
            label = "x"

        @dataclass
        class Point(Named):
            x: float
            y: float = 1.0

            def total(self) -> "Point":
                return self.x + self.y + len(Size.__members__)

        class Size(Enum):
            SMALL = 1
        """,
        score("return Point(n).total()"),
        expected=6.0,
    )
    assert code.index("class Named:") < code.index("@dataclass\nclass Point(Named):")


def test_names_of_enclosing_functions_travel_likewise() -> None:
    threshold = 3

    def over(x: int) -> bool:
        return x > threshold

    @dataset(index=True)
    class Ride:
        driver: str = field(key=True)
        fare: float
        at: Any = field(timestamp=True)

        __annotations__["at"] = __import__("datetime").datetime

    @featureset
    class Features:
        driver: str = feature(id=1)
        fare: float = feature(id=2, ref=Ride.fare)
        m: bool = feature(id=3)

        @extractor
        @extractor_outputs("m")
        def f(cls, ts):
            return over(4) and Ride.lookup is not None

    found = extractor_of(Features)
    assert found["deps"] == ["Ride"]
    assert found["code"] == BEGIN + "\n\n" + textwrap.dedent("""\
        Ride = _thyme_dataset("Ride")
        threshold = 3


        def over(x: int) -> bool:
            return x > threshold


        def f(cls, ts):
            return over(4) and Ride.lookup is not None
        """)


def test_functions_of_other_modules_of_the_user_travel_by_source(
    imported: Import, tmp_path: Path, captured: Callable[..., str]
) -> None:
    (tmp_path / "helpers_by_source.py").write_text("LIMIT = 3\n\n\ndef clip(x):\n    return min(x, LIMIT)\n")
    code = captured(
        "from helpers_by_source import clip, clip as cut\n", score("return clip(n) + cut(n)"), expected=6
    )
    assert "import" not in code
    assert "LIMIT = 3\n\n\ndef clip(x):\n    return min(x, LIMIT)\n\n\ncut = clip\n" in code


def test_two_meanings_of_one_name_are_refused(imported: Import, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "helpers_two.py").write_text("LIMIT = 3\n\n\ndef clip(x):\n    return min(x, LIMIT)\n")
    error = refused(RIDES, "from helpers_two import clip\nLIMIT = 4\n", score("return clip(n) + LIMIT"))
    assert "`LIMIT` stands for different things in features.py and helpers_two.py" in str(error)


def test_an_extractor_may_have_the_name_of_what_it_uses(captured: Callable[..., str]) -> None:
    body = score("return max(n, 1)").replace("def f(", "def max(")
    assert "def _thyme_max(cls, ts, n):" in captured(body, expected=4)
    body = score("return mean([n, 6])").replace("def f(", "def mean(")
    assert "def _thyme_mean(cls, ts, n):" in captured("from statistics import mean\n", body, expected=5)


def test_texts_of_several_lines_keep_their_insides(captured: Callable[..., str]) -> None:
    code = captured(
        score('''
            text = """one
              two
            """
            return (
                len(text)
            )
        '''),
        expected=len("one\n          two\n        "),
    )
    assert '    text = """one\n          two\n        """\n    return (\n        len(text)\n    )\n' in code


def test_names_that_are_bound_further_down_are_found_when_the_module_is_complete(imported: Import) -> None:
    module = imported(
        HEADER, RIDES, score("return later(n) + LATER"), "\nLATER = 1\n\ndef later(x):\n    return x\n"
    )
    assert run(module.Features, 4) == [5]
    module.LATER = 10
    assert run(module.Features, 4) == [14]


def test_the_text_does_not_depend_on_where_it_stands(captured: Callable[..., str]) -> None:
    helper = "def clip(x):\n    return min(x, 3)\n"
    one = captured(helper, score("return clip(n)"), expected=3)
    other = captured("\n\n# moved\n", score("return clip(n)"), "\n\n", helper, expected=3)
    assert one == other


def test_an_edited_file_is_read_anew(imported: Import) -> None:
    for number in (1, 2):
        module = imported(HEADER, RIDES, score(f"return {number}"))
        assert run(module.Features, 4) == [number]


@pytest.mark.parametrize(
    ("before", "body", "says"),
    [
        ("", "return undefined(n)", "it uses `undefined`, which is not defined"),
        ("", "return [x for x in [undefined]]", "it uses `undefined`"),
        ("", "return (lambda: undefined)()", "it uses `undefined`"),
        (
            "handle = open(__file__)",
            "return handle.read()",
            "it uses `handle`, an object of type _io.TextIOWrapper, which cannot travel",
        ),
        ("class A:\n    pass\na = A()", "return a", "it uses `a`, an object of type"),
        ("a = [object()]", "return a", "it uses `a`, an object of type builtins.object"),
        ("a = []\na.append(a)", "return a", "nested more than 50 deep"),
        ("", "return __file__", "it uses `__file__`, which is not there when it runs"),
        ("import logging\nlog = logging.getLogger()", "return log.info(n)", "it uses `log`"),
        ("def g(x):\n    return secret(x)", "return g(n)", "it uses `secret`, which is not defined"),
        (
            "from functools import partial\ng = partial(max, 1)",
            "return g(n)",
            "it uses `g`, an object of type functools.partial",
        ),
        ("", "return Features.n", "take its features with @extractor_inputs(Features.feature)"),
        ("", "return cls.limit", "it uses cls.limit, and attributes of the class are not there"),
        ("", "return cls.helper(n)", "make helper a function or a constant of the module"),
    ],
)
def test_what_cannot_travel(refused: Refused, imported: Import, before: str, body: str, says: str) -> None:
    if "Features" in body:  # bound after the class was decorated: found out when it is collected
        module = imported(HEADER, RIDES, score(body))
        with pytest.raises(DefinitionValueError) as caught:
            collect(module)
        error: DefinitionError = caught.value
    else:
        error = refused(RIDES, f"\n{before}\n", score(body))
    assert says in str(error)
    assert str(error).startswith("Features.f: ")
    (fault,) = error.found
    lines = Path("features.py").read_text().splitlines()
    assert fault.file == "features.py"
    name = says.split("`")[1] if "`" in says else body.removeprefix("return ").split("(")[0]
    assert name.partition(".")[0] in lines[fault.line - 1] or "deep" in says or "Features" in says


def test_other_decorators_do_not_travel(refused: Refused) -> None:
    text = "\nimport functools\n" + score("return n")
    above = text.replace("    @extractor\n", "    @functools.cache\n    @extractor\n")
    below = text.replace("    def f(", "    @staticmethod\n    @functools.cache\n    def f(")
    wrapping = "\ndef loud(f):\n    @functools.wraps(f)\n    def g(*a):\n        return f(*a)\n    return g\n"
    wrapped = text.replace("    @extractor\n", "    @loud\n    @extractor\n")
    assert "decorates a method, got the staticmethod f" in str(refused(RIDES, below))
    assert "another decorator wraps it" in str(refused(RIDES, "\nimport functools\n", wrapping, wrapped))
    assert "another decorator wraps it" in str(refused(RIDES, above))


def test_code_without_source_is_refused() -> None:
    namespace: dict[str, Any] = {}
    with pytest.raises(DefinitionValueError, match="its source cannot be found in <nowhere>"):
        exec(compile(HEADER + RIDES + score("return n"), "<nowhere>", "exec"), namespace)


def test_every_own_function_of_this_package_can_be_found_in_its_source() -> None:
    from thyme import _sourcecode

    source = _sourcecode.source_file(_sourcecode.__file__)
    assert source is not None
    functions = [
        one
        for one in vars(_sourcecode).values()
        if inspect.isfunction(one) and one.__module__ == source_name()
    ]
    for function in functions:
        if not hasattr(function, "__wrapped__"):
            node = source.function_of(function.__code__)
            assert node is not None
            assert node.name == function.__name__


def source_name() -> str:
    return "thyme._sourcecode"


def test_a_module_of_the_users_own_is_imported_by_name(imported: Import, tmp_path: Path) -> None:
    (tmp_path / "helpers_module.py").write_text("def clip(x):\n    return min(x, 3)\n")
    module = imported(HEADER, RIDES, "import helpers_module\n", score("return helpers_module.clip(n)"))
    assert "import helpers_module\n" in extractor_of(module.Features)["code"]
    del sys.modules["helpers_module"]
    with pytest.raises(
        ValueError, match=r"there is no module helpers_module where extractors run; .*by name"
    ):
        run(module.Features, 4)


def test_the_datasets_that_the_code_names_are_referred_to(imported: Import) -> None:
    module = imported(HEADER, RIDES, score('return DriverStats.lookup(ts, driver="x")["fare_7d"]'))
    assert extractor_of(module.Features)["deps"] == ["DriverStats"]
    definition = definition_of(module.Features)
    assert definition is not None
    assert module.DriverStats in definition.needs()


def test_notebook_cells_have_source_too() -> None:
    import linecache

    namespace: dict[str, Any] = {"__name__": "__main__"}

    def cell(number: int, text: str) -> None:
        file = f"<ipython-input-{number}-thyme-test>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), namespace)

    cell(1, HEADER + RIDES + "\nfrom math import sqrt\nfrom dataclasses import dataclass\n")
    cell(2, "@dataclass\nclass Point:\n    x: float\n\ndef root(x):\n    return sqrt(Point(x).x)\n")
    cell(3, score("return root(n)"))
    assert run(namespace["Features"], 4) == [2.0]
