"""Runs each case of `tests/cases` through every door."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .case_file import Case, Push, all_cases
from .checks import lacking, offline_failures, read_failures, refusal_failures
from .conftest import Prepared, Restarted
from .doors import PUSH_ROWS_SHARDS, ClientDoor, Door, MockDoor, cut, native, shuffled
from .modules import import_case
from .oracle import Log, Refused, lookup
from .oracle_features import FeatureOracle

if TYPE_CHECKING:
    from thyme import ThymeClient

CASES = all_cases()
VALUE_CASES = [case for case in CASES if not case.definition_error]
DEFINITION_CASES = [case for case in CASES if case.definition_error]


def through(door: str) -> Callable[..., Any]:
    """Parametrizes a test over the cases that go through a door."""
    cases = [case for case in VALUE_CASES if case.runs_through(door)]
    if door == "shuffled":
        cases = [case for case in cases if not case.order_matters]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def ready(prepared: dict[str, Prepared | Exception], case: Case) -> Prepared:
    found = prepared[case.name]
    if isinstance(found, Exception):
        raise found
    return found


def check(case: Case, door: Door, pushes: list[Push], ours: Prepared) -> None:
    """Pushes, then expects refusals, then reads."""
    for push in pushes:
        door.push(push.dataset, push.rows)
    failures = refusal_failures(case, door)
    failures += read_failures(case, door, ours.definitions, ours.types)
    assert not failures, "\n".join([case.title, *failures])


def check_client(client: "ThymeClient", case: Case, pushes: list[Push], ours: Prepared) -> None:
    door = ClientDoor(client, ours.definitions)
    door.commit()
    check(case, door, pushes, ours)


@through("python")
def test_python(case: Case, prepared: dict[str, Prepared | Exception]) -> None:
    from thyme.testing import MockContext

    ours = ready(prepared, case)
    with MockContext() as context:
        check(case, MockDoor(context, ours.definitions), case.pushes, ours)


@through("local")
def test_local(case: Case, prepared: dict[str, Prepared | Exception]) -> None:
    import thyme

    with thyme.local() as client:
        check_client(client, case, case.pushes, ready(prepared, case))


@through("shuffled")
def test_shuffled(case: Case, prepared: dict[str, Prepared | Exception]) -> None:
    import thyme

    ours = ready(prepared, case)
    fields = {name: ours.types[ours.definitions.names[name]] for name in ours.definitions.shapes}
    pushes = [native(push, fields[push.dataset]) for push in shuffled(case)]
    with thyme.local() as client:
        check_client(client, case, pushes, ours)


@through("shards")
def test_shards(case: Case, prepared: dict[str, Prepared | Exception], shards_client: "ThymeClient") -> None:
    pushes = list(cut(case.pushes, PUSH_ROWS_SHARDS))
    check_client(shards_client, case, pushes, ready(prepared, case))


@through("http")
def test_http(case: Case, prepared: dict[str, Prepared | Exception], http_client: "ThymeClient") -> None:
    check_client(http_client, case, case.pushes, ready(prepared, case))


@through("restart")
def test_restart(case: Case, prepared: dict[str, Prepared | Exception], restarted: Restarted) -> None:
    ours = ready(prepared, case)
    assert case.name not in restarted.errors, restarted.errors[case.name]
    check(case, ClientDoor(restarted.client, ours.definitions), [], ours)


@through("offline")
def test_offline(
    case: Case, prepared: dict[str, Prepared | Exception], offline_client: "ThymeClient"
) -> None:
    ours = ready(prepared, case)
    door = ClientDoor(offline_client, ours.definitions)
    door.commit()
    for push in case.pushes:
        door.push(push.dataset, push.rows)
    failures = offline_failures(case, door, ours.definitions, ours.types)
    assert not failures, "\n".join([case.title, *failures])


class OracleDoor:
    """The naive oracle as a door."""

    def __init__(self, ours: Prepared) -> None:
        self.names = ours.definitions.names
        self.log = Log(ours.document)
        source = Path(str(ours.definitions.module.__file__)).read_text()
        self.features = FeatureOracle(ours.document, self.log, ours.definitions.module, source)

    def push(self, dataset: str, rows: list[dict[str, Any]]) -> None:
        self.log.push(self.names[dataset], rows)

    def lookup(self, dataset: str, key: Any, at: Any, *, row_or_none: bool) -> dict[str, Any] | None:
        return lookup(self.log, self.names[dataset], key, at)

    def query(self, featureset: str, entity: Any, at: Any, inputs: dict[str, Any] | None) -> dict[str, Any]:
        return self.features.query(self.names[featureset], entity, at, inputs)


@through("oracle")
def test_oracle(case: Case, prepared: dict[str, Prepared | Exception]) -> None:
    """Values only: how errors are worded is the engine's."""
    ours = ready(prepared, case)
    door = OracleDoor(ours)
    for push in case.pushes:
        door.push(push.dataset, push.rows)
    for refusal in case.refusals:
        with pytest.raises(Refused):
            door.push(refusal["push_error"], refusal.get("rows") or [refusal["row"]])
    valued = [read for read in case.reads if "error" not in read]
    values_only = Case(**vars(case) | {"reads": valued})
    failures = read_failures(values_only, door, ours.definitions, ours.types)
    assert not failures, "\n".join([case.title, *failures])


@pytest.mark.parametrize("case", DEFINITION_CASES, ids=lambda case: case.name)
def test_definition(case: Case, tmp_path: Path) -> None:
    """A wrong definition is refused where it is decorated, or at the latest when it is committed."""
    import thyme

    def commit() -> None:
        definitions = import_case(case, tmp_path)
        with thyme.local() as client:
            client.commit(definitions.module)

    with pytest.raises((ValueError, TypeError)) as caught:
        commit()
    assert not lacking(case.definition_error or [], caught.value)


def test_titles_are_statements_of_their_own() -> None:
    titles = [case.title for case in CASES]
    assert len(set(titles)) == len(titles)
    assert len({case.suffix for case in CASES}) == len(CASES)
