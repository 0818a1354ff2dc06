"""Where the server is, and the key to it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from thyme._errors import ConfigError

DEFAULT_URL = "http://localhost:8080"
URL_NAMES = ("api_url", "query_url", "frontend_url")

# What each setting may be called in a file, and in the environment; the first name found wins.
_FILE_NAMES = {
    "api_url": ("api_url", "api_base", "url"),
    "query_url": ("query_url",),
    "frontend_url": ("frontend_url",),
    "api_key": ("api_key",),
    "ca_cert": ("ca_cert",),
}
_ENVIRONMENT_NAMES = {
    "api_url": ("THYME_API_URL", "THYME_API_BASE"),
    "query_url": ("THYME_QUERY_URL",),
    "frontend_url": ("THYME_FRONTEND_URL",),
    "api_key": ("THYME_API_KEY",),
    "ca_cert": ("THYME_CA_CERT",),
}


@dataclass(frozen=True)
class Config:
    """The settings of a client.

    Attributes:
        api_url: Base URL for definitions, pushes and state, without a path.
        query_url: Base URL for reads; `api_url` unless it is given (one server, one port).
        frontend_url: Base URL of the web pages; `api_url` unless it is given.
        api_key: Sent as a bearer token; never shown.
        ca_cert: A PEM file of the certificates that `https` servers may be known by, instead of public ones.
        timeout_s: How long to wait for the answer to a read or a push, in seconds, all tries together.
        tries: How often a request is sent at most when the server cannot be reached or is busy; 1 for once.
            What is sent again is safe to send again: see `docs/client.md`.
        connections: How many connections are open at once; more requests wait for one.
        push_keys: Whether a push without an idempotency key gets one of its own, so that it can be sent again
            when its answer is lost, and counts once. (It costs the server some 100 bytes on disk for a day.)

    Example:
        patient = ThymeClient(Config(api_url="http://localhost:8080", timeout_s=10, tries=8))
    """

    api_url: str = DEFAULT_URL
    query_url: str = ""
    frontend_url: str = ""
    api_key: str | None = field(default=None, repr=False)
    ca_cert: str | None = None
    timeout_s: float = 60.0
    tries: int = 4
    connections: int = 32
    push_keys: bool = True

    def __post_init__(self) -> None:
        """Checks the URLs and fills in those that were not given."""
        object.__setattr__(self, "api_url", _base_url(self.api_url, "api_url"))
        for name in ("query_url", "frontend_url"):
            given = getattr(self, name)
            object.__setattr__(self, name, _base_url(given, name) if given else self.api_url)
        for name in ("tries", "connections"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected 1 or more")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ConfigError(
                "the API key holds characters that cannot be sent; copy it again, without line breaks"
            )

    @classmethod
    def load(
        cls,
        *,
        api_url: str | None = None,
        query_url: str | None = None,
        frontend_url: str | None = None,
        api_key: str | None = None,
        ca_cert: str | None = None,
        timeout_s: float | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        home: Path | None = None,
    ) -> Config:
        """The settings in effect here; of each, the first of these that has it.

        The arguments; `THYME_API_URL` (or `THYME_API_BASE`), `THYME_QUERY_URL`, `THYME_FRONTEND_URL`,
        `THYME_API_KEY`, `THYME_CA_CERT`; `.thyme.yaml` in the working directory; `.thyme.yaml` in the home
        directory; `~/.thyme/credentials`; the defaults.

        A key in a file that also names a server is for that server only: it is left out when the URL in
        effect is another, so that no setting found on the way can have a key sent elsewhere.

        Raises:
            ConfigError: A file cannot be read, or a URL is not a base URL.
        """
        environ = os.environ if environ is None else environ
        home = Path.home() if home is None else home
        cwd = Path.cwd() if cwd is None else cwd
        arguments: dict[str, str | None] = {
            "api_url": api_url,
            "query_url": query_url,
            "frontend_url": frontend_url,
            "api_key": api_key,
            "ca_cert": ca_cert,
        }
        layers: list[Mapping[str, str | None]] = [arguments, _from_environment(environ)]
        files = dict.fromkeys((cwd / ".thyme.yaml", home / ".thyme.yaml", credentials_path(home)))
        file_layers = [_from_file(path) for path in files]
        settings: dict[str, Any] = {}
        for name in (*URL_NAMES, "ca_cert"):
            value = next(filter(None, (layer.get(name) for layer in [*layers, *file_layers])), None)
            if value:
                settings[name] = value
        key = next((layer["api_key"] for layer in layers if layer.get("api_key")), None)
        if key is None:
            used = {_base_url(settings.get("api_url", DEFAULT_URL), "api_url")}
            if "query_url" in settings:
                used.add(_base_url(settings["query_url"], "query_url"))
            key = next((layer["api_key"] for layer in file_layers if _gives_key(layer, used)), None)
        if timeout_s is not None:
            settings["timeout_s"] = timeout_s
        return cls(api_key=key, **settings)


def credentials_path(home: Path | None = None) -> Path:
    """`~/.thyme/credentials`, which `thyme login` writes."""
    return (Path.home() if home is None else home) / ".thyme" / "credentials"


def settings(given: Config | str | None, api_key: str | None, *, is_wired: bool) -> Config:
    """The settings of a client.

    Args:
        given: The settings, a server's base URL, or nothing.
        api_key: The API key, instead of theirs.
        is_wired: Whether requests go somewhere else than to a server that settings name.
    """
    if isinstance(given, Config):
        return given if api_key is None else replace(given, api_key=api_key)
    if given is None and is_wired:
        return Config(api_key=api_key)
    return Config.load(api_url=given, api_key=api_key)


def save_credentials(url: str, api_key: str, home: Path | None = None) -> Path:
    """Writes `~/.thyme/credentials`, readable by its owner only; gives its path."""
    path = credentials_path(home)
    text = json.dumps({"api_url": _base_url(url, "--url"), "api_key": api_key}, indent=2) + "\n"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    draft.replace(path)
    return path


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, variables in _ENVIRONMENT_NAMES.items():
        value = next((environ[v] for v in variables if environ.get(v)), None)
        if value:
            found[name] = value
    return found


def _from_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        content = json.loads(text)
    except ValueError:
        content = _yaml(text, path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} should hold settings such as `api_url: {DEFAULT_URL}`, one a line")
    found = {}
    for name, keys in _FILE_NAMES.items():
        value = next((content[k] for k in keys if content.get(k)), None)
        if value:
            found[name] = str(value)
    return found


def _yaml(text: str, path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        # The parser's own message quotes the text, and the text may hold the key.
        raise ConfigError(f"{path}{where} is not YAML") from None


def _gives_key(layer: Mapping[str, str], used: set[str]) -> bool:
    if not layer.get("api_key"):
        return False
    named = {_base_url(layer[name], name) for name in URL_NAMES if layer.get(name)}
    return not named or used <= named


def _base_url(url: str, name: str) -> str:
    """`url` without a trailing slash, if it is a base URL without a path."""
    text = str(url).strip().rstrip("/")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigError(f"{name} is not a URL: expected one such as {DEFAULT_URL}") from None
    if parts.username or parts.password:
        raise ConfigError(
            f"{name} holds a user name or password: give the key as api_key (THYME_API_KEY) instead"
        )
    if not valid:
        raise ConfigError(f'{name} "{text}" is not a URL: expected one such as {DEFAULT_URL}')
    if parts.path or parts.query or parts.fragment:
        raise ConfigError(
            f'{name} "{text}" should be a base URL without a path: {parts.scheme}://{parts.netloc}'
        )
    return text
