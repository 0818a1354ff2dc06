"""One life of a durable engine: opens it, commits and pushes what it is told, and is killed.

    python -m cases.restart_child PHASE DATA_FOLDER MODULE_FOLDER

Phase 1 commits each case and pushes the first half of its rows, phase 2 opens what the crash left and
pushes the rest. Nothing is closed: the process sends itself SIGKILL. It writes a JSON line for each case
that failed.
"""

import json
import os
import signal
import sys
from pathlib import Path

import thyme

from .case_file import all_cases
from .doors import ClientDoor, halves
from .modules import import_case


def live(phase: int, data: Path, modules: Path) -> None:
    client = thyme.local(path=data)
    for case in all_cases():
        if case.definition_error or not case.runs_through("restart"):
            continue
        try:
            door = ClientDoor(client, import_case(case, modules))
            if phase == 1:
                door.commit()
            for push in halves(case.pushes)[phase - 1]:
                door.push(push.dataset, push.rows)
        except Exception as error:
            line = {"case": case.name, "error": f"{type(error).__name__}: {error}"}
            sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    live(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
