"""The README's tour does what it says."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx

from running import PYTHON, free_port

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (info.strip(), body) for lang, info, body in BLOCK.findall(README.read_text()) if lang == language
    ]


def wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server of the tour is not ready")


def test_the_python_of_the_tour_runs(tmp_path: Path) -> None:
    script = ""
    for info, body in blocks("python"):
        if info.startswith("file="):
            (tmp_path / info.removeprefix("file=")).write_text(body)
        else:
            script += body
    assert "MockContext" in script
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PYTHON)},
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_tour_run_in_order(tmp_path: Path) -> None:
    for info, body in blocks("python"):
        if info.startswith("file="):
            (tmp_path / info.removeprefix("file=")).write_text(body)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "THYME_API_URL": url, "HOME": str(tmp_path), "PYTHONPATH": str(PYTHON)}
    commands = [
        line[2:] for _, body in blocks("console") for line in body.splitlines() if line.startswith("$ ")
    ]
    assert len(commands) > 8
    server = None
    try:
        for command in commands:
            command = command.replace("localhost:8080", f"127.0.0.1:{port}")
            command = re.sub(r"\bthyme ", f"{sys.executable} -m thyme ", command, count=1)
            if command.endswith("&"):
                words = command.removesuffix("&").split()
                server = subprocess.Popen(
                    [*words, "--listen", f"127.0.0.1:{port}"], cwd=tmp_path, env=environment
                )
                wait_until_healthy(url, server)
                continue
            done = subprocess.run(
                ["bash", "-ec", command],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            if "hour=23" in command:
                assert "42.5" in done.stdout
                assert "4.0" in done.stdout
    finally:
        if server:
            server.terminate()
            server.wait(30)
    assert (tmp_path / "training.parquet").exists()
