"""Where settings come from."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from thyme._config import Config, save_credentials
from thyme._errors import ConfigError

FULL = "api_url: http://here:1\nquery_url: http://here:2\napi_key: from-here\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    return tmp_path / "home"


def load(home: Path, environ: dict[str, str] | None = None, **arguments: str) -> Config:
    return Config.load(environ=environ or {}, cwd=home.parent / "work", home=home, **arguments)  # type: ignore[arg-type]


def test_one_server_by_default(home: Path) -> None:
    config = load(home)
    assert config.api_url == config.query_url == config.frontend_url == "http://localhost:8080"
    assert config.api_key is None


def test_the_first_place_that_has_a_setting_wins(home: Path) -> None:
    save_credentials("http://stored:1", "stored-key", home)
    assert load(home).api_url == "http://stored:1"
    (home / ".thyme.yaml").write_text("api_url: http://home:1\n")
    assert load(home).api_url == "http://home:1"
    (home.parent / "work" / ".thyme.yaml").write_text(FULL)
    assert (load(home).api_url, load(home).query_url) == ("http://here:1", "http://here:2")
    environ = {"THYME_API_URL": "http://env:1", "THYME_FRONTEND_URL": "http://env:3"}
    assert load(home, environ).api_url == "http://env:1"
    assert load(home, environ).query_url == "http://here:2"
    assert load(home, environ, api_url="http://arg:1/").api_url == "http://arg:1"


def test_the_base_url_has_two_names_in_the_environment(home: Path) -> None:
    assert load(home, {"THYME_API_BASE": "http://base:1"}).api_url == "http://base:1"
    both = {"THYME_API_BASE": "http://base:1", "THYME_API_URL": "http://url:1"}
    assert load(home, both).query_url == "http://url:1"


def test_a_key_in_a_file_is_for_the_server_that_the_file_names(home: Path) -> None:
    save_credentials("http://mine:1", "mine", home)
    assert load(home).api_key == "mine"
    assert load(home, {"THYME_API_URL": "http://mine:1"}).api_key == "mine"
    assert load(home, {"THYME_API_URL": "http://other:1"}).api_key is None
    assert load(home, {"THYME_QUERY_URL": "http://other:1"}).api_key is None
    (home.parent / "work" / ".thyme.yaml").write_text("api_url: http://trap:1\n")
    assert load(home).api_key is None
    assert load(home, {"THYME_API_KEY": "env"}).api_key == "env"


def test_a_key_in_a_file_without_a_server_is_for_any(home: Path) -> None:
    (home / ".thyme.yaml").write_text("api_key: any\n")
    assert load(home, {"THYME_API_URL": "http://other:1"}).api_key == "any"


def test_credentials_are_readable_by_their_owner_only(home: Path) -> None:
    path = save_credentials("http://mine:1", "k", home)
    path.chmod(0o644)
    assert save_credentials("http://mine:1", "k2", home) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load(home).api_key == "k2"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8080", "is not a URL"),
        ("ftp://x", "is not a URL"),
        ("http://", "is not a URL"),
        ("http://x:port", "is not a URL"),
        ("http://x/api/v1", "base URL without a path: http://x"),
        ("http://me:pass@x", "holds a user name or password"),
    ],
)
def test_a_url_is_a_base_without_a_path(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        Config(api_url=url)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("text", ["api_key: [secret", "secret\n  x: y: z"])
def test_a_broken_file_is_named_and_not_quoted(home: Path, text: str) -> None:
    (home / ".thyme.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"\.thyme\.yaml") as caught:
        load(home)
    assert "secret" not in str(caught.value)


def test_a_key_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(ConfigError, match="line breaks") as caught:
        Config(api_key="a\nb")
    assert "a\nb" not in str(caught.value)
