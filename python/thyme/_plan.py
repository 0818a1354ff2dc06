"""What `plan` answers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Any

from thyme._html import block, code, dim, table, text, titled
from thyme._values import json_ready

# What each effect of a change means, in words.
EFFECTS = {"backfill": "filled from the log", "in_place": "in place", "ends": "ends", "none": ""}
_SUMMARY = ("nulls", "min", "median", "mean", "max")


class Plan(dict[str, Any]):
    """What a commit would change: the server's answer as a dict, which a notebook shows as tables."""

    def _repr_html_(self) -> str:
        """The changes, and with values the features before and after."""
        changes = [
            [each["kind"], each["subject"], each["detail"], EFFECTS.get(each["effect"], each["effect"])]
            for each in self.get("changes") or ()
            if each["kind"] != "unchanged"
        ]
        parts: list[Any] = [titled("plan", dim(f"over {self.get('base') or self.get('commit')}"))]
        parts.append(table(["change", "of", "", "effect"], changes) if changes else text("nothing changes"))
        values = self.get("values")
        if isinstance(values, Mapping):
            parts.extend(_values(values))
        cost = self.get("cost")
        if isinstance(cost, Mapping) and cost["filled"]:
            parts.append(
                dim(
                    f"fills {', '.join(cost['filled'])} from {cost['events_to_read']:,} events: about "
                    f"{cost['backfill_seconds']:,.1f} s and {cost['state_bytes']:,} bytes of state"
                )
            )
        return block(*parts)


def _values(values: Mapping[str, Any]) -> list[Any]:
    if "stopped" in values:
        return [text(f"no values: {values['stopped']}")]
    parts: list[Any] = []
    for each in values["featuresets"]:
        which = "a sample of " if each["is_sample"] else "all "
        parts.append(
            titled(each["featureset"], dim(f"{each['rows']:,} rows of {which}{each['entities']:,} entities"))
        )
        if each["failure"]:
            parts.append(text(f"no values: {each['failure']}"))
        rows = [row for feature in each["features"] for row in _feature(feature)]
        parts.append(table(["feature", "", "differ", *_SUMMARY], rows))
        examples = [
            [feature["name"], _id(one["entity_id"]), one["time"], *_sides(one), code(one["explain"] or "")]
            for feature in each["features"]
            for one in feature["examples"][:3]
        ]
        if examples:
            parts.append(table(["feature", "entity", "time", "before", "after", ""], examples))
    return parts


def _feature(feature: Mapping[str, Any]) -> list[list[Any]]:
    rows = feature["rows"]
    differ = "" if feature["differ"] is None else f"{feature['differ']:,} of {rows:,}"
    if feature["failure"]:
        return [[feature["name"], feature["failure"], "", *[""] * len(_SUMMARY)]]
    lines = []
    if feature["old"] is not None:
        lines.append([feature["name"], "before", differ, *_summary(feature["old"])])
    lines.append(
        ["" if lines else feature["name"], "after", "" if lines else differ, *_summary(feature["new"])]
    )
    return lines


def _summary(side: Mapping[str, Any]) -> list[str]:
    return [_shown(side.get(name)) for name in _SUMMARY]


def _sides(example: Mapping[str, Any]) -> list[str]:
    texts = example.get("non_finite") or {}
    return [
        str(texts.get(name, "null" if example[name] is None else example[name])) for name in ("old", "new")
    ]


def _id(entity: Any) -> str:
    return ", ".join(f"{k}={v}" for k, v in entity.items()) if isinstance(entity, Mapping) else str(entity)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def with_inputs(
    plan: Mapping[str, Any], inputs: Mapping[str, Any], taken: Callable[[str], Collection[str]]
) -> None:
    """Gives each `thyme explain` line of a plan the inputs that its values were made with.

    Args:
        plan: The plan, with values.
        inputs: The inputs.
        taken: The request features of a featureset, by its name.
    """
    for featureset in plan["values"].get("featuresets") or ():
        names = taken(featureset["featureset"])
        words = [shlex.quote(f"{name}={_input(value)}") for name, value in inputs.items() if name in names]
        given = "".join(f" --input {word}" for word in words)
        for example in (each for feature in featureset["features"] for each in feature["examples"]):
            if example.get("explain"):
                example["explain"] += given


def _input(value: Any) -> str:
    ready = json_ready(value)
    return ready if isinstance(ready, str) else json.dumps(ready)
