"""What a run says: figures, their goals and floors, and the machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


@dataclass
class Figure:
    """One measured number.

    Attributes:
        name: Its name, stable between runs.
        value: The number.
        unit: Its unit.
        goal: What is aimed at; None for information only.
        more_is_better: Whether the goal is a least value rather than a greatest.
        floor: The same number for the least that physics asks for, measured in the same run.
        floor_is: What the floor is.
        detail: What else was seen.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    more_is_better: bool = False
    floor: float | None = None
    floor_is: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal

    def document(self) -> dict[str, Any]:
        """As JSON, without what it does not have."""
        full = {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "goal": self.goal,
            "better": None if self.goal is None else ("higher" if self.more_is_better else "lower"),
            "met": self.is_met,
            "floor": self.floor,
            "floor_is": self.floor_is,
            "detail": self.detail or None,
        }
        return {name: value for name, value in full.items() if value is not None}

    def line(self) -> str:
        """For people."""
        text = f"{self.name:<28} {self.value:>14,.10g} {self.unit}"
        if self.goal is not None:
            text += f"  (goal {'>=' if self.more_is_better else '<='} {self.goal:,g}: "
            text += "met)" if self.is_met else "MISSED)"
        if self.floor is not None:
            text += f"  [floor {self.floor:,.10g}: {self.floor_is}]"
        return text


def say(text: str) -> None:
    """Tells people how far the run is."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def machine() -> dict[str, Any]:
    """The machine and the moment."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line), "?")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
