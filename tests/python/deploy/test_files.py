"""The unit and the Dockerfile: their form, and that what they name is there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from running import PYTHON
from thyme.cli import main
from thyme.cli.serve import serve

ROOT = PYTHON.parent
UNIT = ROOT / "deploy" / "systemd" / "thyme.service"
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
INSTRUCTIONS = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL",
                "ENTRYPOINT", "CMD"}  # fmt: skip


def assert_serves(arguments: list[str]) -> None:
    """Arguments of `thyme` that begin a server."""
    assert arguments[0] == "serve"
    assert "serve" in main.list_commands(click.Context(main))
    options = {name for each in serve.params for name in each.opts}
    assert {each for each in arguments if each.startswith("--")} <= options


def test_the_unit_starts_a_server_that_is_stopped_by_a_signal() -> None:
    section, settings = "", {}
    for line in UNIT.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line
            continue
        name, equals, value = line.partition("=")
        assert equals, line
        settings[section, name] = value
    assert {each for each, _ in settings} == {"[Unit]", "[Service]", "[Install]"}
    command = shlex.split(settings["[Service]", "ExecStart"])
    assert command[0] == "/opt/thyme/bin/thyme"
    assert_serves(command[1:])
    assert settings["[Service]", "KillSignal"] == "SIGTERM"
    # The one place that it may write to.
    state = f"/var/lib/{settings['[Service]', 'StateDirectory']}"
    assert command[command.index("--data") + 1].startswith(f"{state}/")


def test_systemd_takes_the_unit_where_there_is_one(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    installed = tmp_path / "thyme.service"
    installed.write_text(UNIT.read_text().replace("/opt/thyme/bin/thyme", sys.executable))
    if tool is None:  # not a Linux with systemd; the test above has read it
        return
    result = subprocess.run([tool, "verify", installed], capture_output=True, text=True, check=False)
    assert "thyme.service" not in result.stderr, result.stderr


def test_the_dockerfile_copies_what_is_there_and_runs_a_server() -> None:
    text = re.sub(
        r"\\\n",
        " ",
        "\n".join(each for each in DOCKERFILE.read_text().splitlines() if not each.startswith("#")),
    )
    lines = [each.split(maxsplit=1) for each in text.splitlines() if each.strip()]
    assert lines[0][0] == "FROM"
    assert {name for name, _ in lines} <= INSTRUCTIONS
    ignored = [each.strip() for each in (ROOT / ".dockerignore").read_text().splitlines()]
    stages = [rest.split(" AS ")[1] for name, rest in lines if name == "FROM" and " AS " in rest]
    for name, rest in lines:
        if name == "COPY":
            *sources, _ = [each for each in shlex.split(rest) if not each.startswith("--")]
            stage = re.match(r"--from=(\w+)", rest)
            if stage is not None:
                assert stage[1] in stages
                continue
            for each in sources:
                assert (ROOT / each).exists(), each
                assert each not in ignored
    settings = dict(lines)
    entry, command = (eval(settings[name]) for name in ("ENTRYPOINT", "CMD"))
    assert entry == ["thyme"]
    assert_serves(command)
    assert command[command.index("--data") + 1].startswith(settings["VOLUME"] + "/")
    assert command[command.index("--listen") + 1].endswith(f":{settings['EXPOSE']}")


def test_the_dockerfile_has_all_that_the_build_needs() -> None:
    members = re.findall(
        r'"([\w/*-]+)"', re.search(r"members = \[(.*?)\]", (ROOT / "Cargo.toml").read_text(), re.S)[1]
    )  # type: ignore[index]
    copied = {
        each
        for line in DOCKERFILE.read_text().splitlines()
        if line.startswith("COPY ")
        for each in line.split()[1:-1]
    }
    for member in members:
        assert member.split("/")[0] in copied, member
    assert {"Cargo.lock", "pyproject.toml", ".cargo"} <= copied
