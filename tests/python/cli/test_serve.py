"""The options of `thyme serve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from running import free_port
from thyme._errors import ConfigError
from thyme.cli.serve import options_from

Run = Callable[..., "CompletedProcess[str]"]


def test_what_is_typed_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "thyme.yaml"
    path.write_text("listen: 127.0.0.1:9000\nclock: event=Ride\napi_keys:\n  - name: ci\n")
    assert options_from({"data": None, "listen": None, "clock": "wall", "shards": 2}, str(path)) == {
        "data": "thyme-data",
        "listen": "127.0.0.1:9000",
        "clock": "wall",
        "shards": 2,
        "api_keys": [{"name": "ci"}],
    }


@pytest.mark.parametrize("listen", ["8080", ":8080", "localhost:", "localhost:http", "localhost:99999"])
def test_an_address_has_a_host_and_a_port(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"expected HOST:PORT such as 127\.0\.0\.1:8080"):
        options_from({"listen": listen}, None)


@pytest.mark.parametrize("text", ["- a", "a: [", "1: 2"])
def test_a_file_that_is_no_settings_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "thyme.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"thyme\.yaml"):
        options_from({}, str(path))


def test_a_file_that_is_not_there_is_named(run: Run) -> None:
    result = run("serve", "--config", "nowhere.yaml")
    assert (result.returncode, result.stderr) == (
        1,
        'cannot read "nowhere.yaml": No such file or directory\n',
    )


def test_a_server_that_is_not_there_is_one_sentence(run: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = run("status", THYME_API_URL=url)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"could not reach {url}: is `thyme serve` running?\n"


def test_an_unknown_setting_names_the_file_it_is_in(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "thyme.yaml"
    path.write_text(f"data: {tmp_path / 'data'}\nlistn: 127.0.0.1:9000\n")
    result = run("serve", "--config", str(path))
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"{path}: unknown field `listn`, expected one of")
    assert not last.endswith(tuple("0123456789"))
