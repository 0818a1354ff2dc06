"""Random definitions and random histories for them, from a seed.

Everything is drawn from small pools around the edges where things go wrong: event times within a
microsecond of multiples of the windows, equal times, nulls, NaN, infinities, huge beside tiny values,
ints near 2**63.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

Row = dict[str, Any]

START_US = 1_773_568_800_000_000
# The windows of outputs, as they are written: those of one kind have one chance together.
WINDOWS = (
    ('"1s"', '"2s"', '"5s"', '"1m"', '"1h"'),
    ('"2s"', '"5s"'),
    ("",),
    ('Sliding("5s", offset="2s")', 'Sliding("1m", offset="5s")', 'Forever(offset="5s")'),
    (
        'Tumbling("5s")',
        'Tumbling("5s", lookback=2)',
        'Tumbling("1m", tz="Asia/Kolkata", lookback=1, offset="2s")',
        'Tumbling("1d", tz="Europe/London")',
        'Tumbling("month", tz="America/New_York")',
    ),
    ("Rows(1)", "Rows(3)", 'Rows(20, offset="2s")'),
    ('Session("1s")', 'Session("2s", offset="5s")', 'Session("30s")', 'Session("1h")'),
    (
        'Hopping("10s", "2s")',
        'Hopping("1m", "5s", lookback=1)',
        'Hopping("1h", "1m", tz="Australia/Lord_Howe")',
    ),
)
RETENTIONS = ("", "", "", "30s", "1h")
KEYS: dict[str, list[Any]] = {
    "str": ["", "a", "A", "é", "driver/7", "a,b=c"],
    "int": [0, -1, 7, 2**53, 2**53 + 1, -(2**63)],
}
VALUES: dict[str, list[Any]] = {
    "int": [0, 1, -1, 3, -7, 10, 2**53 + 1, 2**62, -(2**62), 2**63 - 1, -(2**63)],
    "float": [
        *(0.0, -0.0, 0.1, 0.2, -0.3, 1.0, 1e16, -1e16, 1e308, -1e308, 5e-324, -5e-324, 2.0**-53),
        *("NaN", "Infinity", "-Infinity"),
    ],
    "str": ["", "a", "b", "B", "é", "\U0001f600", "\uff5e"],
    "bool": [True, False],
    "datetime": ["1969-12-31T23:59:59.999999Z", "2026-03-15T10:00:00.5Z", "2150-01-01T00:00:00Z"],
    "date": ["0001-01-01", "1969-12-31", "2024-02-29", "2026-03-15", "9999-12-31"],
    "bytes": ["", "AA==", "/w==", "AP8=", "dGh5bWU="],
    "decimal(2)": ["0.00", "0.10", "-3.05", 7, 0.5, f"{10**36 - 1}.99", f"-{10**36 - 1}.99"],
    "list[int]": [[], [0], [3, None, -7], [2**63 - 1, 1], [None], [7, 7]],
    "list[str]": [[], ["a"], ["b", None, "é"], ["a", "", "a"]],
    "dict[str, float]": [{}, {"a": 0.1, "": -0.0}, {"é": "NaN", "b": None}, {"a": 1e308}],
    "vector[2]": [[0.1, -0.0], [1e16, -1e16], [1.0, 5e-324], ["NaN", 1.0], ["Infinity", 0.0]],
}
EVERY = tuple(VALUES)
SINGLE = tuple(kind for kind in VALUES if "[" not in kind)
PLAIN = ("int", "float", "str", "bool", "datetime")
NUMBERS = ("int", "float")
ADDED = (*NUMBERS, "decimal(2)", "vector[2]")
ORDERED = (*NUMBERS, "str", "datetime", "date", "decimal(2)")
# How types of documents are written where that is not their name.
ANNOTATIONS = {
    "decimal(2)": "Annotated[Decimal, Scale(2)]",
    "vector[2]": "Annotated[list[float], Length(2)]",
}
COLUMNS = {
    "i": "int",
    "j": "int",
    "x": "float",
    "y": "float",
    "s": "str",
    "b": "bool",
    "d": "datetime",
    "day": "date",
    "raw": "bytes",
    "cash": "decimal(2)",
    "ints": "list[int]",
    "words": "list[str]",
    "marks": "dict[str, float]",
    "pair": "vector[2]",
}
FUNCTIONS = {
    "Count": EVERY,
    "Sum": ADDED,
    "Avg": ADDED,
    "Min": ORDERED,
    "Max": ORDERED,
    "First": EVERY,
    "Last": EVERY,
    **dict.fromkeys(("Variance", "Stddev", "Skew", "Kurtosis"), NUMBERS),
    **dict.fromkeys(("Range", "Delta", "Quantile", "Median", "Slope", "Rate"), NUMBERS),
    "ApproxPercentile": NUMBERS,
    "CountDistinct": PLAIN,
    "FirstK": SINGLE,
    "LastK": SINGLE,
    **dict.fromkeys(("TopK", "BottomK"), (*ORDERED, "bool")),
    **dict.fromkeys(("Distinct", "MostFrequent"), SINGLE),
    **dict.fromkeys(("SumBy", "AvgBy", "Histogram"), NUMBERS),
    "CountBy": EVERY,
    "TimeSinceLast": EVERY,
    "TimeSinceFirst": EVERY,
}
# What a function gives, if that is not the type of its column.
GIVES = {
    "Count": "int",
    "CountDistinct": "int",
    "CountBy": "dict[str, int]",
    "AvgBy": "dict[str, float]",
    "Histogram": "list[int]",
    **dict.fromkeys(("Avg", "Variance", "Stddev", "Skew", "Kurtosis", "Quantile", "Median"), "float"),
    **dict.fromkeys(("Slope", "Rate", "ApproxPercentile", "TimeSinceLast", "TimeSinceFirst"), "float"),
}
# Functions that give a list of what their column has.
LISTS = ("FirstK", "LastK", "TopK", "BottomK", "Distinct", "MostFrequent")
GROUPS = ('key_column="s"', 'key_column="s", limit=2', 'key_column="j", limit=3', 'key_column="b"')
ENDS = ("k=1", "k=4", "k=3, dedup=True", "k=5, dropnull=False", "k=2, dedup=True, dropnull=False")
# Arguments that a function takes.
PARAMETERS = {
    **dict.fromkeys(("Variance", "Stddev", "Skew", "Kurtosis"), ("", 'kind="sample"', 'kind="population"')),
    "Quantile": (
        "q=0.1",
        "q=0.75",
        "q=1",
        'q=0.5, interpolation="nearest"',
        'q=0.3, interpolation="midpoint"',
    ),
    "ApproxPercentile": ("", "pct=50", "pct=99.5", "pct=0"),
    "CountDistinct": ("", "exact=True"),
    "FirstK": ENDS,
    "LastK": ENDS,
    **dict.fromkeys(("TopK", "BottomK"), ("k=1", "k=3", 'k=4, by="x"', 'k=20, by="i"', 'k=2, by="s"')),
    "Distinct": ("", "limit=2", "limit=5"),
    "MostFrequent": ("k=1", "k=3"),
    **dict.fromkeys(("CountBy", "SumBy", "AvgBy"), GROUPS),
    "Histogram": ("bins=[0]", "bins=[-0.5, 0, 3.25, 1e16]"),
}
# What depends on when the window ends, not on its rows alone.
OF_TIME = ("Rate", "TimeSinceLast", "TimeSinceFirst")
OPTIONAL_OF = ("Count", "CountBy", "Rate", "TimeSinceLast", "TimeSinceFirst")
DEFAULTS = {"int": "-99", "float": "0.25", "str": '"none"', "bool": "True"}

HEADER = """\
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated
from thyme import *
"""


@dataclass(frozen=True)
class Schema:
    """Definitions as text: a raw dataset, a derived one, and a featureset of all of its outputs."""

    number: int
    key_kind: str
    outputs: dict[str, str]
    text: str

    @property
    def raw(self) -> str:
        return f"Event{self.number}"

    @property
    def derived(self) -> str:
        return f"Stats{self.number}"

    @property
    def featureset(self) -> str:
        return f"Features{self.number}"


# Functions of two numbers of one type and a column of it, and of other columns.
SAME = (
    "{0}.abs()",
    "min_of({0}, {1})",
    "max_of({0}, {1})",
    "coalesce({2}, {0})",
    "{0}.clip(-2, {1})",
    "when({0} > {1}).then({2}).otherwise({1})",
    "when({2}.is_null()).then({0})",
)
INTS = (
    *SAME,
    *('col("s").len()', 'col("ints").len()', 'col("words").len()', 'col("ints").sum()', 'col("ints").max()'),
    *('col("ints").get({2} % 3)', 'col("ints").first()', 'col("d").year()', 'col("at").minute()'),
    *('col("s").hash_bucket(5)', 'col("x").floor()', 'col("y").ceil()', 'col("d").weekday("Asia/Kolkata")'),
)
FLOATS = (
    *SAME,
    *("{0}.sqrt()", "{0}.sign() * {1}", "({0} + {1}).fill_null(0.5)", 'col("i").cast(float)'),
    *('col("marks").get("a")', 'col("pair").get(0)', 'col("pair").sum()'),
    *('col("pair").max()', 'dot(col("pair"), col("pair"))', 'l2(col("pair"), col("pair"))'),
)
# Functions that give a bool.
BOOLS = (
    'col("s").contains("a")',
    'col("s").lower().starts_with(col("s"))',
    'col("s").ends_with("b")',
    'col("s").is_in(["a", "B", "é"])',
    'col("i").between(col("j"), 7)',
    'col("x").is_nan()',
    'col("words").contains("a")',
    'col("words").contains(col("s"))',
    'col("ints").contains(col("i"))',
    '(col("words").first() == col("s"))',
    '(col("words").join(",").len() > 2)',
    '(col("day") >= "1970-01-01")',
    '(col("cash") > 0)',
    '(col("raw") == col("raw"))',
    'col("d").is_weekend("Europe/London")',
    '(col("d") >= col("at").truncate("1h"))',
    'col("b").fill_null(True)',
)


def number_text(random: Random, kind: str, depth: int = 2) -> str:
    """An expression that gives an int or a float."""
    names = [f'col("{name}")' for name, t in COLUMNS.items() if t == kind]
    if depth == 0 or random.random() < 0.3:
        constant = f"lit({random.choice((-3, 2, 7) if kind == 'int' else (-0.5, 0.1, 3.0))})"
        return random.choice([*names, *names, constant])
    left = number_text(random, kind, depth - 1)
    right = number_text(random, random.choice(("int", "float")) if kind == "float" else kind, depth - 1)
    operator = random.choice(("+", "-", "*", "//", "%") if kind == "int" else ("+", "-", "*", "/", "//", "%"))
    if random.random() < 0.15:
        return random.choice((f"(-{left})", f"{left}.fill_null({random.choice(names)})"))
    if random.random() < 0.3:
        return random.choice(INTS if kind == "int" else FLOATS).format(left, right, random.choice(names))
    return f"({left} {operator} {right})"


def predicate_text(random: Random, depth: int = 1) -> str:
    """An expression that gives a bool."""
    if depth and random.random() < 0.4:
        left, right = predicate_text(random, depth - 1), predicate_text(random, depth - 1)
        return random.choice((f"({left} & {right})", f"({left} | {right})", f"(~{left})"))
    comparison = random.choice(("==", "!=", "<", "<=", ">", ">="))
    kind = random.choice(("int", "float", "mixed", "str", "bool", "null", "time", "function", "function"))
    if kind == "function":
        return random.choice(BOOLS)
    if kind in ("int", "float"):
        return f"({number_text(random, kind, 1)} {comparison} {number_text(random, kind, 0)})"
    if kind == "mixed":
        return f'(col("{random.choice("ij")}") {comparison} col("{random.choice("xy")}"))'
    if kind == "str":
        return f'(col("s") {comparison} "b")'
    if kind == "time":
        return f'(col("d") {comparison} col("at"))'
    return 'col("b")' if kind == "bool" else f'col("{random.choice(list(COLUMNS))}").is_null()'


def aggregate_text(random: Random, columns: dict[str, str]) -> tuple[str, str]:
    """An aggregate and the type of what it gives."""
    function = random.choice(list(FUNCTIONS))
    of = random.choice([name for name, kind in columns.items() if kind in FUNCTIONS[function]])
    kind = GIVES.get(function, columns[of])
    if function in LISTS:
        kind = f"list[{columns[of]}]"
    elif function == "Avg" and columns[of] == "vector[2]":
        kind = columns[of]
    elif function == "SumBy":
        kind = f"dict[str, {columns[of]}]"
    arguments = [] if function in OPTIONAL_OF and random.random() < 0.5 else [f'of="{of}"']
    if more := random.choice(PARAMETERS.get(function, ("",))):
        arguments.append(more)
    # The oracle knows where these end only if they slide.
    windows = WINDOWS[:2] if function in OF_TIME else WINDOWS
    if window := random.choice(random.choice(windows)):
        arguments.append(f"window={window}")
    if random.random() < 0.4:
        arguments.append(f"where={predicate_text(random)}")
    if random.random() < 0.2 and kind in DEFAULTS:
        arguments.append(f"default={DEFAULTS[kind]}")
    return f"{function}({', '.join(arguments)})", kind


def annotation(kind: str) -> str:
    """A type of documents as it is written in Python."""
    if kind.startswith("list["):
        return f"list[{annotation(kind[5:-1])}]"
    return ANNOTATIONS.get(kind, kind)


def rows_between(number: int, key_kind: str, columns: dict[str, str], steps: str) -> list[str]:
    """A dataset of the rows that the first steps of a pipeline give, with another name for the event time."""
    return [
        "@dataset",
        f"class Rows{number}:",
        f"    k: {key_kind} = field(key=True)",
        *(f"    {name}: {annotation(kind)} | None" for name, kind in columns.items()),
        "    when: datetime = field(timestamp=True)",
        "",
        "    @pipeline",
        f"    @inputs(Event{number})",
        "    def compute(cls, events):",
        f"        return (\n            events{steps}\n        )",
        "",
    ]


def schema(random: Random, number: int) -> Schema:
    """A random schema; its class names end with `number`."""
    key_kind, columns, steps = random.choice(("str", "int")), dict(COLUMNS), ""
    between: list[str] = []
    for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
        if not between and random.random() < 0.25:
            between, steps = rows_between(number, key_kind, columns, steps), ""
        if random.random() < 0.35:
            steps += f"\n            .filter({predicate_text(random)})"
        else:
            name, kind = random.choice((("i", "int"), ("x", "float"), ("made", "float"), ("whole", "int")))
            columns[name] = kind
            steps += f"\n            .assign({name}={number_text(random, kind)})"
    made = {f"a{i}": aggregate_text(random, columns) for i in range(random.randint(3, 9))}
    outputs = {name: kind for name, (_, kind) in made.items()}
    aggregates = "".join(f"\n                {name}={text}," for name, (text, _) in made.items())
    retention = random.choice(RETENTIONS)
    renamed = '.rename({"when": "at"})' if between else ""
    lines = [
        HEADER,
        f'@dataset(retention="{retention}")' if retention else "@dataset",
        f"class Event{number}:",
        f"    k: {key_kind} = field(key=True)",
        *(f"    {name}: {annotation(kind)} | None" for name, kind in COLUMNS.items()),
        "    at: datetime = field(timestamp=True)",
        "",
        *between,
        "@dataset",
        f"class Stats{number}:",
        f"    k: {key_kind} = field(key=True)",
        "    at: datetime = field(timestamp=True)",
        *(f"    {name}: {annotation(kind)} | None" for name, kind in outputs.items()),
        "",
        "    @pipeline",
        f"    @inputs({'Rows' if between else 'Event'}{number})",
        "    def compute(cls, events):",
        f'        return (\n            events{renamed}{steps}\n            .groupby("k")',
        f"            .aggregate({aggregates}\n            )\n        )",
        "",
        "@featureset",
        f"class Features{number}:",
        f"    k: {key_kind} = feature(id=1)",
        *(
            f"    {name}: {annotation(kind)} | None = feature(id={i}, ref=Stats{number}.{name})"
            for i, (name, kind) in enumerate(outputs.items(), 2)
        ),
    ]
    return Schema(number, key_kind, outputs, "\n".join(lines) + "\n")


def moment_us(random: Random) -> int:
    """A time on or within a microsecond of a second, mostly in one minute."""
    seconds = random.choice((random.randint(0, 12), random.randint(0, 90), random.randint(0, 4000)))
    return START_US + seconds * 1_000_000 + random.choice((-1, 0, 0, 0, 1))


def time_text(us: int) -> str:
    seconds, fraction = divmod(us - START_US, 1_000_000)
    hours, rest = divmod(36_000 + seconds, 3600)
    return f"2026-03-15T{hours:02}:{rest // 60:02}:{rest % 60:02}.{fraction:06}Z"


def value(random: Random, kind: str) -> Any:
    if random.random() < 0.12:
        return None
    if kind == "int" and random.random() < 0.6:
        return random.randint(-5, 9)
    if kind == "float" and random.random() < 0.5:
        return random.uniform(-1, 1) * 10.0 ** random.randint(-12, 12)
    pool = VALUES[kind]
    tame = kind == "float" and random.random() < 0.7
    return random.choice(pool[:-3] if tame else pool)


def events(random: Random, key_kind: str, count: int) -> list[Row]:
    """Rows of some entities in order of arrival; times repeat and go back and forth."""
    keys, times = KEYS[key_kind], [moment_us(random) for _ in range(max(count // 3, 1))]
    return [
        {
            "k": random.choice(keys),
            **{name: value(random, kind) for name, kind in COLUMNS.items()},
            "at": time_text(random.choice(times) if random.random() < 0.5 else moment_us(random)),
        }
        for _ in range(count)
    ]


def pushes(random: Random, rows: list[Row]) -> list[list[Row]]:
    """The rows in their order, cut at random."""
    cut, start = [], 0
    while start < len(rows):
        size = random.choice((1, 2, 5, 40))
        cut.append(rows[start : start + size])
        start += size
    return cut


def reads(random: Random, schema_: Schema, count: int) -> list[tuple[Any, str]]:
    """Keys and times to ask for, about each entity in turn."""
    keys = KEYS[schema_.key_kind]
    return [(keys[i % len(keys)], time_text(moment_us(random))) for i in range(count)]
