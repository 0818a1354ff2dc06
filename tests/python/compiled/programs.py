"""Random extractors in the language of programs, and random inputs for them."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import Any

UTC = timezone.utc
TYPES = ("int", "float", "bool", "str", "datetime")

INTS = (0, 1, -1, 2, 3, -7, 10, 60, 1000, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**62, 2**63 - 1, -(2**63))
FLOATS = (
    0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.1, 0.3, 2.675, 1e-3, 7.25, 1e16, 2.0**53, 2.0**63, -(2.0**63),
    9.2e18, 1e308, -1e308, 5e-324, 2.2250738585072014e-308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
TEXTS = ("", "a", "b", "A", "Abc", " x ", "gold", "é", "ß", "日本", "\x1c z\x85", "0")
TIMES = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 15, 10, 7, 8, 9, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1899, 12, 31, 5, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
LITERALS = {
    "number": (
        "0", "1", "2", "3", "-1", "7", "100", "9223372036854775807", "0.0", "1.0", "0.5", "2.5", "-0.1", "1e3", "1e300",
        "True", "False", "RATE", "LIMIT", "math.pi", "math.inf",
    ),
    "text": ('"a"', '"gold"', '""', '"é"'),
    "moment": ("ts",),
    "span": ("HOUR", "timedelta(days=1)", "timedelta(hours=-5, microseconds=3)"),
}  # fmt: skip
KINDS = {"int": "number", "float": "number", "bool": "number", "str": "text", "datetime": "moment"}
HEADER = '''from __future__ import annotations
import math
from datetime import datetime, timedelta
RATE = 0.15
LIMIT = 40
NAMES = ("a", "gold", 1, None)
WEIGHTS = {"a": 1.5, "gold": 2, 3: None, "": -1}
HOUR = timedelta(hours=1)

def clamp(x, low=0, high=LIMITED):
    if x is None:
        return None
    if x < low:
        return low
    return min(x, high)

def share(part, whole):
    return part / whole if whole else 0.0
'''.replace("LIMITED", "100")  # fmt: skip


class Writer:
    """Writes one random extractor: expressions are mostly of kinds that go together."""

    def __init__(self, seed: int, inputs: dict[str, str]) -> None:
        self.random = random.Random(seed)
        self.inputs = inputs
        self.names = {name: KINDS[type_] for name, type_ in inputs.items()}
        self.odd = self.random.choice((0.0, 0.0, 0.02, 0.1))

    def extractor(self) -> tuple[str, list[str]]:
        """The text and the outputs."""
        outputs = ["y"] if self.random.random() < 0.7 else ["y", "z"]
        body = self.block(1, self.random.randint(1, 4))
        text = HEADER + f"\ndef f(cls, ts, {', '.join(self.inputs)}):\n{body}    {self.result(outputs)}\n"
        return text, outputs

    def result(self, outputs: list[str]) -> str:
        values = [self.of(self.random.choice(("number", "number", "text", "moment")), 3) for _ in outputs]
        if len(outputs) > 1 and self.random.random() < 0.5:
            pairs = ", ".join(f'"{name}": {value}' for name, value in zip(outputs, values, strict=True))
            return f"return {{{pairs}}}"
        return f"return {', '.join(values)}"

    def block(self, depth: int, statements: int) -> str:
        return "".join(self.statement("    " * depth, depth) for _ in range(statements))

    def statement(self, margin: str, depth: int) -> str:
        choice = self.random.random()
        if choice < 0.5 or depth > 3:
            return f"{margin}{self.assignment()}\n"
        if choice < 0.92:
            known = dict(self.names)
            text = f"{margin}if {self.any(2)}:\n{self.block(depth + 1, self.random.randint(1, 2))}"
            if self.random.random() < 0.1:
                text += f"{margin}    return {self.any(2)}\n"
            self.names = known if self.random.random() < 0.97 else self.names
            if self.random.random() < 0.5:
                text += f"{margin}elif {self.any(2)}:\n{self.block(depth + 1, 1)}"
                self.names = dict(known)
            if self.random.random() < 0.6:
                text += f"{margin}else:\n{self.block(depth + 1, 1)}"
                self.names = dict(known)
            return text
        if choice < 0.945 and depth == 1:
            return self.guarded(margin)
        if choice < 0.97 and depth == 1:
            return self.loop(margin)
        if choice < 0.98:
            return f"{margin}assert {self.any(1)} is not None\n"
        return f"{margin}if {self.any(1)} is None:\n{margin}    raise ValueError({self.any(0)})\n"

    def guarded(self, margin: str) -> str:
        """A `try`."""
        known = dict(self.names)
        text = f"{margin}try:\n{margin}    {self.assignment()}\n"
        text += f"{margin}except (ZeroDivisionError, TypeError) as error:\n"
        self.names = known
        return f"{text}{margin}    {self.assignment()}\n"

    def loop(self, margin: str) -> str:
        """A `for`."""
        numbers = f"({self.of('number', 1)}, {self.of('number', 1)})"
        over = self.random.choice((numbers, numbers, "range(3)", "range(5, 0, -2)", "[1, 2.5]"))
        last = self.random.choice(("break", "continue", ""))
        text = f"{margin}for {self.new('number')} in {over}:\n{margin}    {self.assignment()}\n"
        text += f"{margin}    if {self.truth(1)}:\n{margin}        {last or self.assignment()}\n{margin}    {self.assignment()}\n"
        return f"{text}{margin}else:\n{margin}    {self.assignment()}\n"

    def assignment(self) -> str:
        choice = self.random.random()
        numbers = [name for name, kind in self.names.items() if kind == "number"]
        if choice < 0.2 and numbers:
            sign = self.random.choice(("+", "-", "*", "/", "//", "%"))
            return f"{self.random.choice(numbers)} {sign}= {self.of('number', 2)}"
        if choice < 0.3:
            first, second = self.of("number", 1), self.of("text", 1)
            return f"{self.new('number')}, {self.new('text')} = {first}, {second}"
        if choice < 0.35 and numbers:
            return f"{self.random.choice(numbers)} = {self.of('number', 2)}"
        if choice < 0.4:
            value = self.of("number", 2)
            return f"{self.new('number')} = {self.new('number')} = {value}"
        kind = self.random.choice(("number", "number", "number", "text", "moment", "span"))
        value = self.of(kind, 3)
        return f"{self.new(kind)} = {value}"

    def new(self, kind: str) -> str:
        name = f"t{self.random.randint(1, 9)}_{kind}"
        self.names[name] = kind
        return name

    def any(self, depth: int) -> str:
        """An expression of any kind, most often a truth."""
        if depth > 0 and self.random.random() < 0.6:
            return self.truth(depth)
        return self.of(self.random.choice(("number", "number", "text", "moment", "span")), depth)

    def of(self, kind: str, depth: int) -> str:
        """An expression of a kind; now and then of another one."""
        if self.random.random() < self.odd:
            kind = self.random.choice(("number", "text", "moment", "span", "none"))
        if kind == "none":
            return "None"
        if depth == 0 or self.random.random() < 0.15:
            names = [name for name, of_name in self.names.items() if of_name == kind]
            if names and self.random.random() < 0.75:
                return self.random.choice(names)
            return self.random.choice(LITERALS[kind])
        if self.random.random() < 0.12:
            choices = (
                f"({self.of(kind, depth - 1)} if {self.any(depth - 1)} else {self.of(kind, depth - 1)})",
                f"({self.of(kind, depth - 1)} {self.random.choice(('and', 'or'))} {self.of(kind, depth - 1)})",
                f"{self.random.choice(('min', 'max'))}({self.of(kind, depth - 1)}, {self.of(kind, depth - 1)})",
            )
            return self.random.choice(choices)
        return {"number": self.number, "text": self.text, "moment": self.moment, "span": self.span}[kind](
            depth - 1
        )

    def number(self, depth: int) -> str:
        chance, of = self.random, self.of
        forms = (
            *[
                lambda: (
                    f"({of('number', depth)} {chance.choice(['+', '-', '*', '/', '//', '%'])} {of('number', depth)})"
                )
            ]
            * 8,
            lambda: (
                f"({of('number', depth)} {chance.choice(('** 2', '** 3', '** 0.5', '** -1', '** -1.5'))})"
            ),
            lambda: f"(int({of('number', depth)}) {chance.choice(('& 6', '| 1', '^ 3'))})",
            lambda: f"({chance.choice(('-', '+', '~'))}{of('number', depth)})",
            lambda: self.any(depth),
            lambda: f"WEIGHTS.get({self.any(depth)}, {of('number', depth)})",
            lambda: f"NAMES[{chance.choice((2, -2))}]",
            lambda: f"(NAMES[{of('number', depth)}] or 0)",
            lambda: f"{chance.choice(('min', 'max'))}({', '.join(of('number', depth) for _ in range(3))})",
            lambda: (
                f"round({of('number', depth)}, {chance.choice(('0', '1', '2', '2', '5', '17', 'None', 'LIMIT'))})"
            ),
            lambda: f"{chance.choice(('abs', 'round', 'int', 'float', 'bool'))}({of('number', depth)})",
            lambda: f"round({of('number', depth)}, ndigits=1)",
            lambda: f"{chance.choice(('min', 'max'))}([{of('number', depth)}, {of('number', depth)}])",
            lambda: f"len({of('text', depth)})",
            lambda: f"math.{chance.choice(MATH)}({of('number', depth)})",
            lambda: f"math.{chance.choice(MATH)}(abs({of('number', depth)}) + 0.25)",
            lambda: f"clamp({of('number', depth)})",
            lambda: f"clamp({of('number', depth)}, high={of('number', depth)})",
            lambda: f"share({of('number', depth)}, {of('number', depth)})",
            lambda: f"({of('moment', depth)}).{chance.choice(OF_MOMENTS)}",
            lambda: f"({of('span', depth)}).{chance.choice(OF_SPANS)}",
            lambda: f"({of('span', depth)} {chance.choice(('/', '//'))} {of('span', depth)})",
        )
        return chance.choice(forms)()

    def text(self, depth: int) -> str:
        chance, of = self.random, self.of
        forms = (
            lambda: f"({of('text', depth)} + {of('text', depth)})",
            lambda: f"({of('text', depth)}).{chance.choice(('lower', 'upper', 'strip'))}()",
            lambda: f"str({of('text', depth)})",
            lambda: f"str(round({of('number', depth)}))",
            lambda: f"str({of('number', depth)})",
            lambda: self.f_string(depth),
            lambda: f"str({of('number', depth)} > {of('number', depth)})",
        )
        return chance.choice(forms)()

    def f_string(self, depth: int) -> str:
        one, two = self.of("number", depth), self.of("text", depth)
        if 'f"' in one + two:
            return f"({one} and {two})"
        # Before Python 3.12, quotes inside have to be others.
        return 'f"<{%s}{%s!s}"' % (one.replace('"', "'"), two.replace('"', "'"))  # noqa: UP031

    def moment(self, depth: int) -> str:
        return f"({self.of('moment', depth)} {self.random.choice('+-')} {self.of('span', depth)})"

    def span(self, depth: int) -> str:
        chance, of = self.random, self.of
        forms = (
            lambda: f"({of('moment', depth)} - {of('moment', depth)})",
            lambda: f"({of('span', depth)} {chance.choice('+-')} {of('span', depth)})",
            lambda: f"({of('span', depth)} * {chance.choice(('2', '-3', 'LIMIT'))})",
            lambda: f"{chance.choice(('-', 'abs'))}({of('span', depth)})",
        )
        return chance.choice(forms)()

    def truth(self, depth: int) -> str:
        """An expression that is mostly True or False."""
        chance = self.random
        depth = max(depth - 1, 0)
        kind = chance.choice(("number", "number", "number", "text", "moment", "span"))
        one, two, three = (self.of(kind, depth) for _ in range(3))
        forms = (
            *[f"({one} {chance.choice(['<', '<=', '>', '>=', '==', '!='])} {two})"] * 4,
            f"({one} < {two} <= {three})",
            f"({one} {chance.choice(('==', '!='))} {self.any(depth)})",
            f"(not {self.any(depth)})",
            f"({one} is {chance.choice(('', 'not '))}{chance.choice(('None', 'True', 'False'))})",
            f"({one} {chance.choice(('', 'not '))}in ({two}, {self.any(depth)}, 1))",
            f"({one} {chance.choice(('', 'not '))}in {chance.choice(('NAMES', 'WEIGHTS', '[1, 2.5, None]', '{1, 60}'))})",
            f"({self.of('text', depth)} in {self.of('text', depth)})",
            f"({self.of('text', depth)}).{chance.choice(('startswith', 'endswith'))}({self.of('text', depth)})",
            f"isinstance({one}, {chance.choice(('int', '(float, str)', 'bool', 'datetime', 'timedelta'))})",
            f"any(x0 == {one} for x0 in ({two}, {three}))",
            f"all(({one}, n)[1] for n in [{two}, {three}] if {self.any(depth)})",
            f"{chance.choice(('any', 'all'))}({chance.choice(('[%s, %s]', '(%s, %s)')) % (one, two)})",
            f"math.{chance.choice(('isnan', 'isinf', 'isfinite'))}({self.of('number', depth)})",
        )
        return chance.choice(forms)


MATH = ("floor", "ceil", "trunc", "sqrt", "fabs", "exp", "log", "log2", "log10", "log1p")
OF_MOMENTS = (
    "hour", "day", "month", "year", "weekday()", "isoweekday()", "timestamp()", "microsecond", "minute", "second",
)  # fmt: skip
OF_SPANS = ("total_seconds()", "days", "seconds", "microseconds")


def value(kind: str, chance: random.Random, nulls: float = 0.05, awkward: float = 0.4) -> Any:
    """A random value of a type, sometimes None, sometimes an awkward one."""
    if chance.random() < nulls:
        return None
    ordinary = chance.random() >= awkward
    match kind:
        case "int":
            return chance.randint(-20, 100) if ordinary else chance.choice(INTS)
        case "float":
            if chance.random() < 0.15:
                return chance.randint(-4000, 4000) / 2 ** chance.randint(1, 10)  # many are ties
            return chance.uniform(-50, 200) if ordinary else chance.choice(FLOATS)
        case "bool":
            return chance.random() < 0.5
        case "str":
            return chance.choice(TEXTS)
        case _:
            late = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.randint(0, 10**14))
            return late if ordinary else chance.choice(TIMES)
