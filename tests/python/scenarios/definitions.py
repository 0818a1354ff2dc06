"""Definitions of a scenario: as a file for `commit`, and as what the oracle is to expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scenarios.oracle import Commit, Feature, Output

TEXT = """
from datetime import datetime

from thyme import Count, Last, Max, Sum, col, dataset, extractor, extractor_inputs, extractor_outputs
from thyme import feature, featureset, field, inputs, pipeline
{imports}

{source}
@dataset{raw}
class Ride:
    driver: str = field(key=True)
    fare: float
    tip: int | None
{fields}    at: datetime = field(timestamp=True)


@dataset(version={version})
class Stats:
    driver: str = field(key=True)
    at: datetime = field(timestamp=True)
{outputs}
    @pipeline(version={pipeline})
    @inputs(Ride)
    def compute(cls, rides):
        return rides{filter}.groupby("driver").aggregate({aggregates})


@featureset
class Drivers:
    driver: str = feature(id=1)
{features}    mean: float = feature(id=9)

    @extractor
    @extractor_inputs("rides", "fares")
    @extractor_outputs("mean")
    def divided(cls, ts, rides, fares):
        return fares / max(rides, 1)
"""

TYPES = {"Count": "int", "Sum": "float", "Max": "int | None", "Last": "float | None"}


@dataclass(frozen=True)
class Given:
    """A feature that takes an output: its id, its names (the present one first), and what its ref names."""

    id: int
    names: tuple[str, ...]
    ref: str


@dataclass(frozen=True)
class Spec:
    """What is committed.

    `earlier` are the outputs of the version before, while features take them; `tipped` counts rides with a tip of at
    least nothing alone.
    """

    outputs: Mapping[str, Output]
    features: Sequence[Given]
    version: int = 1
    pipeline: int = 1
    tipped: bool = False
    earlier: Mapping[str, Output] = field(default_factory=dict)

    def written(
        self, folder: Path, *, imports: str = "", source: str = "", raw: str = "", fields: str = ""
    ) -> str:
        """The path of a file with these definitions."""
        kind = {name: TYPES[output.function] for name, output in {**self.earlier, **self.outputs}.items()}
        kind |= {name: "int" for name, output in self.outputs.items() if output == ("Sum", "tip", None)}
        aggregates = ", ".join(f"{name}={o.function}({_arguments(o)})" for name, o in self.outputs.items())
        features = "".join(
            f"    {each.names[0]}: {kind[each.ref.split('.')[-1]]} = feature(id={each.id}, ref={_ref(each.ref)})\n"
            for each in self.features
        )
        text = TEXT.format(
            imports=imports,
            source=source,
            raw=raw,
            fields=fields,
            version=self.version,
            pipeline=self.pipeline,
            outputs="".join(f"    {name}: {kind[name]}\n" for name in self.outputs),
            filter='.filter(col("tip") >= 0)' if self.tipped else "",
            aggregates=aggregates,
            features=features,
        )
        folder.mkdir(exist_ok=True)
        file = folder / "features.py"
        file.write_text(text)
        return str(file)

    def expected(self) -> Commit:
        """What the oracle is to expect of it."""
        features = [Feature(1, ("driver",), None)]
        for each in self.features:
            name = each.ref.split(".")[-1]
            of = self.earlier if "@1" in each.ref else self.outputs
            features.append(Feature(each.id, each.names, of[name]))
        return Commit([*features, Feature(9, ("mean",), None)], self.tipped)

    def renamed(self, id: int, name: str) -> Spec:
        """The same with a feature called otherwise; its names of before go on answering."""
        names = {each.id: each.names for each in self.features}[id]
        return self.changed(id, names=(name, *(old for old in names if old != name)))

    def changed(self, id: int, **changes: object) -> Spec:
        """The same with another feature of this id."""
        features = [replace(each, **changes) if each.id == id else each for each in self.features]  # type: ignore[arg-type]
        return replace(self, features=features)

    def without(self, id: int) -> Spec:
        """The same without a feature."""
        return replace(self, features=[each for each in self.features if each.id != id])

    def windowed(self, seconds: int) -> Spec:
        """The same with another window of the fares."""
        return replace(self, outputs={**self.outputs, "fares": Output("Sum", "fare", seconds)})


def _arguments(output: Output) -> str:
    of = f'of="{output.of}"' if output.of else ""
    window = f'window="{output.seconds}s"' if output.seconds is not None else ""
    return ", ".join(filter(None, (of, window)))


def _ref(ref: str) -> str:
    return f'"{ref}"' if "@" in ref else ref


PLAIN = Spec(
    outputs={
        "rides": Output("Count", None, 4),
        "fares": Output("Sum", "fare", 3),
        "tips": Output("Sum", "tip", None),
        "most": Output("Max", "tip", 5),
        "latest": Output("Last", "fare", None),
    },
    features=[
        Given(2, ("rides",), "Stats.rides"),
        Given(3, ("fares",), "Stats.fares"),
        Given(4, ("tips",), "Stats.tips"),
        Given(5, ("latest",), "Stats.latest"),
    ],
)
