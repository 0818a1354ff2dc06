"""What a training set was made of, in a file beside it, and making the same bytes again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thyme._attach import reads_of, taken_by
from thyme._content import RowsHash
from thyme._errors import ConflictError, InvalidDataError
from thyme._storage import Place, place

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".manifest.json"
FORMAT = 1
# What definitions say that no value depends on.
_BESIDE = ("at", "meta", "sources")
_PARTS = ("featureset", "as_of", "arguments", "labels", "slice_rows", "output", "definitions", "versions")


class Recorder:
    """Notes what a training set is made of while it is computed.

    Attributes:
        labels: The hash of the rows that were given.
        rows: The hash of the rows that were written.
        columns: The columns that were written, with their types.
        sha256: The hash of the file's bytes, once it is finished.
        bytes: How many these are.
    """

    def __init__(self, again: Manifest | None = None) -> None:
        """Begins.

        Args:
            again: What is made again; another file is not put in place.
        """
        self.labels = RowsHash()
        self.rows = RowsHash()
        self.columns: dict[str, str] = {}
        self.sha256 = ""
        self.bytes = 0
        self._again = again

    def add(self, given: pa.Table, written: pa.Table) -> None:
        """Notes a slice."""
        self.columns = self.columns or {field.name: str(field.type) for field in written.schema}
        self.labels.add(given)
        self.rows.add(written)

    def accept(self, draft: Path) -> None:
        """Notes the finished file.

        Raises:
            DiffersError: It has other rows than what is made again.
        """
        self.sha256 = place(draft).sha256()
        self.bytes = draft.stat().st_size
        if self._again is not None and not self._is_same() and not self.has_same_rows():
            raise DiffersError

    def has_same_rows(self) -> bool:
        """Whether the rows are those of what is made again."""
        again = self._again
        return again is not None and self.rows.hexdigest() == again.content["output"]["rows_sha256"]

    def _is_same(self) -> bool:
        return self._again is not None and self.sha256 == self._again.content["output"]["sha256"]

    def made(self, slice_rows: int) -> dict[str, Any]:
        """The parts of a manifest that come from the rows."""
        return {
            "slice_rows": slice_rows,
            "labels": {"rows": self.labels.rows, "sha256": self.labels.hexdigest()},
            "output": {
                "rows": self.rows.rows,
                "columns": self.columns,
                "bytes": self.bytes,
                "sha256": self.sha256,
                "rows_sha256": self.rows.hexdigest(),
            },
            "versions": versions(),
        }


class DiffersError(Exception):
    """What was made again is something else."""


@dataclass(frozen=True)
class Manifest:
    """A manifest, and where it is.

    Attributes:
        place: Its file.
        content: What it says; see docs/training.md.
    """

    place: Place
    content: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Manifest:
        """Reads one.

        Raises:
            InvalidDataError: It cannot be read, or is none.
        """
        where = place(path)
        try:
            content = json.loads(where.read())
        except ValueError:
            content = None
        if not isinstance(content, dict) or content.get("thyme_manifest") is None:
            raise InvalidDataError(f'"{where.text}" is not a manifest of a training set')
        if content["thyme_manifest"] != FORMAT:
            raise InvalidDataError(
                f'"{where.text}" is a manifest of format {content["thyme_manifest"]}, '
                f"this version of Thyme reads {FORMAT}"
            )
        missing = [part for part in _PARTS if part not in content]
        if missing:
            raise InvalidDataError(f'"{where.text}" is damaged: it has no "{missing[0]}"')
        return cls(where, content)

    @property
    def output(self) -> str:
        """Where the training set is: beside the manifest, called as it is."""
        text, name = self.place.text, self.content["output"]["name"]
        head, query, tail = text.partition("?") if not self.place.is_local else (text, "", "")
        folder = head.rpartition("/")[0]
        return f"{folder}/{name}{query}{tail}" if folder or head.startswith("/") else name

    def labels(self) -> list[str] | None:
        """The files of labels as they were given; None if they came from no file.

        Raises:
            ConflictError: One of them is not what it was.
        """
        files = self.content["labels"].get("files")
        if files is None:
            return None
        folder = Path(self.place.path).parent if self.place.is_local else Path()
        found = []
        for file in files:
            path = file["path"] if "://" in file["path"] else str(folder / file["path"])
            try:
                same = place(path).sha256() == file["sha256"]
            except InvalidDataError as error:
                raise ConflictError(f"the labels are not there any more: {error.detail}") from None
            if not same:
                raise ConflictError(f'the labels have changed: "{file["path"]}" has other bytes than it had')
            found.append(path)
        return found

    def arguments(self) -> dict[str, Any]:
        """What was asked for, as `TrainingSet` takes it."""
        given = dict(self.content["arguments"])
        if given["time_range"] is not None:
            given["time_range"] = tuple(given["time_range"])
        return given

    def why_not(self, made: Mapping[str, Any], warnings: list[str]) -> str:
        """Why a training set that was made again is another one."""
        content = self.content
        if made["labels"]["sha256"] != content["labels"]["sha256"]:
            if content["labels"]["kind"] == "rows":
                return "the rows that were given are not those that it was made of"
            if content["labels"]["kind"] == "files":
                return "the labels are read otherwise than they were"
        reasons = [said for said in warnings if said not in content.get("warnings", ())]
        before, now = content["definitions"]["sha256"], made["definitions"]["sha256"]
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed and before and now:
            commit = content["definitions"]["commit"]
            reasons.append(f"definitions have changed since commit {commit}: {', '.join(changed)}")
        new = made["versions"]
        other = [
            f"{name} {new.get(name)}, then {then}"
            for name, then in content["versions"].items()
            if new.get(name) != then
        ]
        if other:
            reasons.append(f"it is made by other versions: {', '.join(other)}")
        return "; ".join(reasons) or (
            f"the server gives other values at {content['as_of']['position']} than it did: "
            "is it another one, or does an extractor give other values for the same inputs?"
        )


def files_of(places: list[Place], beside: Place) -> list[dict[str, Any]]:
    """The files of labels as a manifest has them: by URL, or by their path from its folder."""
    found = []
    for each in places:
        path = each.text
        if each.is_local and beside.is_local and not os.path.isabs(path):
            path = os.path.relpath(path, Path(beside.path).parent)
        elif each.is_local:
            path = os.path.abspath(path)
        found.append({"path": path, "sha256": each.sha256()})
    return found


def definitions_of(committed: Mapping[str, Any], featureset: str, spine: str | None) -> dict[str, str]:
    """The hash of each definition that a training set rests on, as far as values depend on it."""
    datasets: dict[str, list[Mapping[str, Any]]] = {}
    for each in committed.get("datasets") or ():
        datasets.setdefault(each["name"], []).append(each)
    featuresets = {each["name"]: each for each in committed.get("featuresets") or ()}
    reads = reads_of(committed)
    hashes: dict[str, str] = {}
    todo = [featureset, *([spine] if spine else [])]
    while todo:
        name = todo.pop(0).partition("@")[0]
        if name in hashes:
            continue
        found = [featuresets[name]] if name in featuresets else datasets.get(name, [])
        text = json.dumps([_plain(each) for each in found], sort_keys=True, ensure_ascii=False)
        hashes[name] = hashlib.sha256(text.encode()).hexdigest()
        todo.extend(sorted(taken_by(featuresets[name]) if name in featuresets else reads.get(name, ())))
    return hashes


def _plain(definition: Any) -> Any:
    if isinstance(definition, Mapping):
        return {name: _plain(each) for name, each in definition.items() if name not in _BESIDE}
    return [_plain(each) for each in definition] if isinstance(definition, list) else definition


def versions() -> dict[str, str]:
    """What the bytes of a file depend on, besides its rows."""
    from thyme import __version__

    # Asked of what is installed: polars takes its time to import, and only CSV needs it.
    return {
        "thyme": __version__,
        "python": platform.python_version(),
        "pyarrow": version("pyarrow"),
        "polars": version("polars"),
    }


def write(where: Place, content: Mapping[str, Any]) -> None:
    """Writes a manifest, which appears as a whole.

    Raises:
        InvalidDataError: It cannot be written there.
    """
    folder = Path(where.path).parent if where.is_local else Path(tempfile.gettempdir())
    draft = folder / f".{Path(where.path).name}.{os.getpid()}.part"
    try:
        draft.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        where.put(draft)
    except OSError as error:
        raise InvalidDataError(f'cannot write "{where.text}": {error.strerror or error}') from None
    finally:
        with suppress(OSError):
            draft.unlink()
