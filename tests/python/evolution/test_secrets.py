"""What looks like a secret is not committed, and not shown."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from evolution.rides import written
from thyme import local
from thyme._secrets import secrets_in
from thyme.errors import DefinitionValueError

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Put together here, so that this file holds none.
AWS = "AKIA" + "IOSFODNN7Q4TRBZM"
GITHUB = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
URL = "postgres://app:" + "t0psecr3t" + "@db.internal/rides"
JWT = ".".join(["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkw", "SflKxwRJSMeKKF2QT4fwpMeJ"])

SECRETS = [
    (f'KEY = "{AWS}"', "an AWS access key"),
    (f"# used to be {GITHUB}", "a GitHub token"),
    (f'connect("{URL}")', "a URL with a password"),
    (f'HEADERS = {{"x": "Bearer {JWT}"}}', "a signed token"),
    ('connect(password="correct-horse")', "a password"),
    ('DB_PASSWORD = "correct-horse"', "a password"),
    ('settings["api_key"] = "f00ba7f00ba7"', "a secret"),
    ('options = {"token": "f00ba7f00ba7"}', "a secret"),
    ('connect("host=db user=app password=t0psecr3t")', "a password"),
    ('PEM = """-----BEGIN RSA PRIVATE KEY-----"""', "a private key"),
]

PLAIN = [
    'password = os.environ["DB_PASSWORD"]',
    'connect(password=password, token="access_token")',
    'connect("host=db password={password}")',
    'f"postgres://app:{password}@db/rides"',
    '"postgres://user:<password>@db/rides"',
    'password = "your-password"',
    "token: str = field(key=True)",
    'rides.groupby("token").aggregate(tokens=Count(of="token"))',
    'description = "the password, hashed, of https://example.com:8080/a@b"',
    'path = "s3://bucket/key=1/part"',
    'password = ""',
    'sk_learn = "sk-learn"',
]


@pytest.mark.parametrize(("line", "what"), SECRETS)
def test_secrets_are_found_by_their_look_or_their_name(line: str, what: str) -> None:
    (found,) = secrets_in(f"import os\n\n{line}\n")
    assert found.line == 3
    assert what in found.what
    assert list(secrets_in(f"{line}  # thyme: allow-secret\n")) == []


@pytest.mark.parametrize("line", PLAIN)
def test_what_only_speaks_of_secrets_is_none(line: str) -> None:
    assert list(secrets_in(line)) == []


def test_a_file_with_a_secret_is_not_committed_unless_it_stays_or_is_allowed(tmp_path: Path) -> None:
    path = written(tmp_path, "S")
    file = Path(path)
    text = file.read_text()
    file.write_text(f'URL = "{URL}"\n{text}')
    with local() as client:
        with pytest.raises(DefinitionValueError, match=r"looks like a URL with a password.*:1\)") as refused:
            client.commit(path)
        assert "t0psecr3t" not in str(refused.value)
        assert "--no-source" in str(refused.value)
        assert list(client.history()) == []
        client.commit(path, source=False)
        assert client.committed()["source"] == {}
    file.write_text(f'URL = "{URL}"  # thyme: allow-secret\n{text}')
    with local() as client:
        assert client.commit(path)["changed"]


def test_an_extractor_does_not_take_a_secret_along() -> None:
    code = f"KEY = '{AWS}'\n\ndef scored(cls, ts, inputs):\n    return KEY\n"
    extractor = {"name": "scored", "code": code, "at": {"file": "fs.py", "line": 7}}
    document = {"format": 1, "featuresets": [{"name": "F", "features": [], "extractors": [extractor]}]}
    with local() as client:
        with pytest.raises(DefinitionValueError, match=r"F\.scored.*AWS access key.*\(fs\.py:7\)") as refused:
            client.commit(document, source=False)
        assert AWS not in str(refused.value)


@pytest.mark.parametrize("options", [{"path": URL}, {"path": "rides.csv", "password": "correct-horse"}])
def test_options_of_a_source_hold_no_secret(options: dict[str, str]) -> None:
    document = {"format": 1, "datasets": [{"name": "Ride", "source": {"kind": "file", "options": options}}]}
    with local() as client, pytest.raises(DefinitionValueError, match="of its source holds") as refused:
        client.commit(document)
    assert not any(value in str(refused.value) for value in options.values() if value != "rides.csv")


def test_the_command_says_where_and_shows_nothing(run: Run, tmp_path: Path) -> None:
    path = Path(written(tmp_path, "S"))
    path.write_text(f"{path.read_text()}\nconnect = lambda: '{URL}'\n")
    line = len(path.read_text().splitlines())
    # Nobody listens there: it is refused before anything is sent.
    refused = run("commit", path.name, "--base", "none", THYME_API_URL="http://127.0.0.1:1")
    assert refused.returncode == 1
    assert f"features.py:{line}" in refused.stderr
    assert "a URL with a password" in refused.stderr
    assert "t0psecr3t" not in refused.stderr + refused.stdout
    unsent = run("commit", path.name, "--base", "none", "--no-source", THYME_API_URL="http://127.0.0.1:1")
    assert "password" not in unsent.stderr
