"""Disk faults for a real process, by a small library that is preloaded into it (`faults.c`)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("faults.c")


class Faults:
    """Orders to the disk below one directory."""

    def __init__(self, library: Path, data: Path) -> None:
        self.orders = data.with_name(data.name + ".orders")
        self.env = {
            "LD_PRELOAD": str(library),
            "THYME_FAULT_DIR": str(data),
            "THYME_FAULT_ORDER": str(self.orders),
        }

    def order(self, *orders: str) -> None:
        """From now on these are in force, and no others: `full SUB`, `sync SUB`, `slow SUB MS`."""
        written = self.orders.with_suffix(".new")
        written.write_text("".join(order + "\n" for order in orders))
        written.rename(self.orders)

    def clear(self) -> None:
        """The disk works again."""
        self.orders.unlink(missing_ok=True)


def build(directory: Path) -> Path:
    """Compiles the library with the C compiler that building Thyme needs anyway."""
    library = directory / "faults.so"
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    return library
