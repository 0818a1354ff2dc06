"""A copy of a running server's rows, in this process: `thyme.local(attach=...)`."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from thyme._config import Config
from thyme._definition_calls import without_sources
from thyme._errors import InvalidDataError, NotFoundError, UnavailableError
from thyme._frames import ARROW_STREAM
from thyme._native import parse_duration, parse_window
from thyme._session import Definition, ThymeWarning, name_of
from thyme._steps import run
from thyme._transport import LocalTransport
from thyme._values import to_micros

if TYPE_CHECKING:
    from thyme.client import ThymeClient

Document = Mapping[str, Any]


def attach(
    server: str | Config,
    wanted: Definition | Sequence[Definition] | None,
    *,
    last: str | None,
    sample: float | None,
    clock: str,
    now_us: int | None = None,
) -> LocalTransport:
    """An engine in this process with rows of a server's log; see `thyme.local`."""
    from thyme.client import ThymeClient

    if sample is not None and not 0 < sample <= 1:
        raise ValueError(f"sample: expected a number above 0 and up to 1, got {sample!r}")
    reach = None if last is None else parse_duration(last)
    with ThymeClient(server) as client:
        if client.status().get("commit") is None:
            raise NotFoundError(f"nothing is committed at {client}")
        committed = client.committed()
        names = _raw_names(committed["definitions"], wanted)
        document = part_of(committed["definitions"], names)
        after = None if reach is None else to_micros(client.status()["now"]) - reach
        native: Any = importlib.import_module("thyme._thyme")
        attachment = native.Attachment(committed["commit"], json.dumps(without_sources(document)))
        until, stamp, lacking = _download(client, attachment, _parts(document, names, after, sample))
    _warn_of_reach(document, last, reach, lacking)
    _warn_of_sample(document, sample)
    host: Any = importlib.import_module("thyme._host")
    options = {"clock": clock, "now_us": now_us}
    try:
        return LocalTransport(attachment.open(until, stamp, json.dumps(options), host.Host()))
    except (ValueError, RuntimeError) as error:
        raise UnavailableError(str(error)) from None


class _Part(NamedTuple):
    """What is copied of a dataset."""

    dataset: str
    after: int | None
    sample: float | None


def _parts(document: Document, names: Sequence[str], after: int | None, sample: float | None) -> list[_Part]:
    """What to copy of each raw dataset: all of one that is joined, which other rows would miss."""
    joined = _joined(document)
    return [_Part(name, *((None, None) if name in joined else (after, sample))) for name in names]


def _joined(document: Document) -> set[str]:
    """The datasets that are joined, and those that they are made of."""
    pipelines = (each for dataset in document["datasets"] for each in dataset.get("pipelines") or ())
    joins = {op["dataset"] for pipeline in pipelines for op in pipeline["operators"] if op["op"] == "join"}
    return joins.union(*(_behind(document, name) for name in joins))


def _behind(document: Document, name: str) -> set[str]:
    """All datasets that one is made of."""
    reads, found, todo = reads_of(document), set[str](), [name]
    while todo:
        new = reads.get(todo.pop(), set()) - found
        found |= new
        todo.extend(new)
    return found


def _download(
    client: ThymeClient, attachment: Any, parts: Sequence[_Part]
) -> tuple[str, int, dict[str, int]]:
    """Adds the rows of all of these datasets, as of one position.

    Returns:
        The position, its stamp, and the event times after which the datasets begin that have older rows.
    """
    from thyme._progress import progress

    until: str | None = None
    stamp, erasures, rows = 0, None, 0
    begins: dict[str, int] = {}
    with progress(f"attaching {', '.join(part.dataset for part in parts)}") as advance:
        for name, after, sample in parts:
            following: str | None = None
            while True:
                params = {
                    "dataset": name,
                    "after": None if after is None else repr(after / 1e6),
                    "sample": sample,
                    "until": until,
                    "next": following,
                }
                answer = run(
                    client._calls._session.request(
                        "GET", "/api/v1/rows", params, accept=ARROW_STREAM, repeatable=True
                    )
                )
                page = _metadata(answer.body)
                try:
                    total = attachment.add(name, answer.body)
                    if page["after"] is not None:
                        begins[name] = page["after"]
                        attachment.rows_begin(name, page["after"])
                    if page["log_from"] is not None:
                        attachment.log_begins(page["log_from"])
                except (ValueError, RuntimeError) as error:
                    raise InvalidDataError(str(error)) from None
                until, stamp = page["until"], page["stamp"] or stamp
                if erasures not in (None, page["erasures"]):
                    raise UnavailableError("somebody was erased while rows were copied; attach again")
                erasures = page["erasures"]
                advance(total - rows)
                rows, following = total, page["next"]
                if following is None:
                    break
    if until is None:
        raise InvalidDataError("there is no dataset to attach")
    return until, stamp, begins


def _metadata(body: bytes) -> dict[str, Any]:
    import pyarrow as pa

    found: dict[str, Any] = json.loads(pa.ipc.open_stream(body).schema.metadata[b"thyme"])
    return found


def _raw_names(document: Document, wanted: Definition | Sequence[Definition] | None) -> list[str]:
    """The raw datasets that what is wanted is made of; all of them if nothing is named."""
    reads = reads_of(document)
    featuresets = {each["name"]: each for each in document.get("featuresets") or ()}
    if wanted is None:
        return [name for name, read in reads.items() if not read]
    todo = [name_of(each) for each in ([wanted] if isinstance(wanted, (str, type)) else wanted)]
    raw: list[str] = []
    seen: set[str] = set()
    while todo:
        name = todo.pop(0)
        if name in seen:
            continue
        seen.add(name)
        # A ref may name a version of a dataset.
        dataset = name.partition("@")[0]
        if name in featuresets:
            todo.extend(sorted(taken_by(featuresets[name])))
        elif dataset not in reads:
            known = ", ".join([*reads, *featuresets]) or "nothing"
            raise NotFoundError(f'the server has no dataset or featureset named "{name}"; it has {known}')
        elif reads[dataset]:
            todo.extend(sorted(reads[dataset]))
        elif dataset not in raw:
            raw.append(dataset)
    return raw


def reads_of(document: Document) -> dict[str, set[str]]:
    """The datasets that each one reads, in all of its versions; a raw one reads none."""
    reads: dict[str, set[str]] = {}
    for dataset in document.get("datasets") or ():
        reads.setdefault(dataset["name"], set()).update(_read(dataset))
    return reads


def part_of(document: Document, raw: Iterable[str]) -> dict[str, Any]:
    """The definitions that rest on these raw datasets alone, with them."""
    kept = set(raw)
    datasets = list(document.get("datasets") or ())
    reads = reads_of(document)
    while True:
        more = {name for name, read in reads.items() if read and kept >= read}
        if kept >= more:
            break
        kept |= more
    featuresets = list(document.get("featuresets") or ())
    names = {each["name"] for each in featuresets}
    versions = {f"{each['name']}@{each.get('version', 1)}" for each in datasets if each["name"] in kept}
    while True:
        there = kept | versions | names
        gone = {each["name"] for each in featuresets if each["name"] in names and not there >= taken_by(each)}
        if not gone:
            break
        names -= gone
    return {
        **document,
        "datasets": [each for each in datasets if each["name"] in kept],
        "featuresets": [each for each in featuresets if each["name"] in names],
    }


def _read(dataset: Mapping[str, Any]) -> list[str]:
    """The datasets that the pipelines of one read."""
    found = []
    for pipeline in dataset.get("pipelines") or ():
        found.extend(pipeline["inputs"])
        found.extend(each["dataset"] for each in _all(pipeline["operators"]) if each["op"] == "join")
    return found


def _all(operators: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The operators, with those of the rows that unions add."""
    for operator in operators:
        for other in operator.get("others") or ():
            yield from _all(other.get("operators") or ())
        yield operator


def taken_by(featureset: Mapping[str, Any]) -> set[str]:
    """The datasets and the other featuresets that a featureset takes."""
    refs = (feature.get("ref") for feature in featureset.get("features") or ())
    # A ref may name a version of a dataset.
    found = {ref["dataset"] for ref in refs if ref}
    for extractor in featureset.get("extractors") or ():
        found.update(extractor.get("deps") or ())
        found.update(each["featureset"] for each in extractor["inputs"] if each.get("featureset"))
    return found


def _warn_of_reach(
    document: Document, last: str | None, reach: int | None, begins: Mapping[str, int]
) -> None:
    """Says which values lack what is older than what was copied."""
    if reach is None:
        return
    datasets = {each["name"]: each for each in document["datasets"]}
    lacking = {name for name in begins if not _kept(datasets[name], reach)}
    further = []
    for dataset in document["datasets"]:
        if dataset["name"] in lacking and dataset.get("index"):
            further.append(f"{dataset['name']} (its latest rows)")
        for pipeline in dataset.get("pipelines") or ():
            if lacking.isdisjoint(_behind(document, dataset["name"])):
                continue
            for operator in pipeline["operators"]:
                for each in operator.get("aggregates") or ():
                    text, back = "since the beginning", None
                    if each.get("window") is not None:
                        _, text, back = parse_window(each["window"])
                    if back is None or back > reach:
                        text = text.strip('"')
                        further.append(f"{dataset['name']}.{each['name']} ({text})")
    if further:
        _warn(f'with last="{last}" these lack what is older: {_shown(further)}')


def _warn_of_sample(document: Document, sample: float | None) -> None:
    """Says which values have a part of their rows: their entities have rows of several of those sampled."""
    if sample is None or sample >= 1:
        return
    joined = _joined(document)
    keys = {
        dataset["name"]: {each["name"] for each in dataset["fields"] if each.get("role") == "key"}
        for dataset in document["datasets"]
        if not dataset.get("pipelines") and dataset["name"] not in joined
    }
    partial = []
    for dataset in document["datasets"]:
        for pipeline in dataset.get("pipelines") or ():
            operators = list(_all(pipeline["operators"]))
            # Rows are of the entities that their dataset's key names.
            grouped = {each["name"] for each in dataset["fields"] if each.get("role") == "key"}
            makers = [each for each in operators if each["op"] in ("assign", "rename")]
            made = {column["name"] for each in makers for column in each["columns"]}
            # Of rows that a pipeline makes it is not known whose they were.
            inputs = pipeline["inputs"]
            whole = {name: set[str]() if name in joined else {name} for name in inputs}
            by = [set(each["by"]) - made for each in operators if each["op"] == "dedup"]
            if any(keys.get(name, whole[name]) - of for name in inputs for of in (grouped - made, *by)):
                partial.append(dataset["name"])
    if partial:
        _warn(f"with sample={sample} these are made of a part of their rows: {_shown(partial)}")


def _warn(text: str) -> None:
    # Points at who called `thyme.local`.
    warnings.warn(text, ThymeWarning, stacklevel=5)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _kept(dataset: Mapping[str, Any], reach: int) -> bool:
    """Whether a dataset reaches no further back anyway."""
    retention = dataset.get("retention")
    return retention is not None and parse_duration(retention) <= reach
