"""What goes over the wire: versions of HTTP, encryption, compression."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import httpx
import pyarrow as pa
import pytest

from client.rides import DEFINITIONS, ClientFeatures
from running import PYTHON, Server, free_port, start_server
from thyme import AsyncThymeClient, Config, ThymeClient
from thyme.errors import ConfigError, ConnectionFailed

TLS = Path(__file__).parent / "tls"
CERT, KEY = TLS / "cert.pem", TLS / "key.pem"
DEADLINE_S = 60
DRIVERS = [f"driver {number % 50}" for number in range(400)]
EVENTS = [
    {"driver": driver, "fare": float(number), "seats": None, "at": "2026-03-15T10:00:00Z"}
    for number, driver in enumerate(DRIVERS)
]
BODY = json.dumps({"dataset": "ClientRide", "events": EVENTS}).encode()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("wire") / "data")
    with ThymeClient(running.url) as client:
        client.commit(DEFINITIONS)
        client.log("ClientRide", EVENTS)
    yield running
    running.process.terminate()
    running.process.wait(timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data, port = tmp_path_factory.mktemp("tls") / "data", free_port()
    command = [sys.executable, "-m", "thyme", "serve", "--data", str(data), "--listen", f"127.0.0.1:{port}"]
    command += ["--tls-cert", str(CERT), "--tls-key", str(KEY)]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(PYTHON)}, stderr=subprocess.DEVNULL
    )
    url, until = f"https://localhost:{port}", time.monotonic() + DEADLINE_S
    context = ssl.create_default_context(cafile=CERT)
    while True:
        assert process.poll() is None
        assert time.monotonic() < until
        try:
            if httpx.get(f"{url}/health", verify=context, trust_env=False).status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.05)
    yield url
    process.terminate()
    assert process.wait(timeout=DEADLINE_S) == 0


def asked(url: str, version: int, **options: object) -> httpx.Client:
    return httpx.Client(
        base_url=url, http1=version == 1, http2=version == 2, trust_env=False, timeout=DEADLINE_S, **options
    )


def batch(**more: object) -> bytes:
    ids = sorted(set(DRIVERS))
    return json.dumps({"featureset": "ClientFeatures", "entity_ids": ids} | more).encode()


def test_both_versions_of_http_answer_the_same_on_one_port(plain: Server) -> None:
    with asked(plain.url, 1) as one, asked(plain.url, 2) as two:
        at = one.post("/features/batch", content=batch()).json()["as_of"]
        again = batch(timestamp=at["time"], position=at["position"])
        answers = [client.post("/features/batch", content=again) for client in (one, two)]
        versions = [answer.http_version for answer in answers]
        assert versions == ["HTTP/1.1", "HTTP/2"]
        assert answers[0].content == answers[1].content
        assert two.get("/nothing").status_code == 404


def test_many_requests_of_one_http2_connection_are_all_answered(plain: Server) -> None:
    async def ask() -> list[int]:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            base_url=plain.url, limits=limits, http1=False, http2=True, trust_env=False, timeout=DEADLINE_S
        ) as client:
            content = batch(entity_ids=DRIVERS[:1])
            asking = (client.post("/features/batch", content=content) for _ in range(50))
            return [answer.status_code for answer in await asyncio.gather(*asking)]

    assert asyncio.run(ask()) == [200] * 50


def answered_beside_one_that_waits(url: str, bodies: list[bytes]) -> dict[int, int]:
    """The statuses of requests with these bodies on one HTTP/2 connection, by stream, beside one that waits.

    By hand: it sends what the windows let it and reads whatever comes. What httpx does with its windows while one of
    its requests waits is another matter (docs/client.md).
    """
    host, port = urlsplit(url).hostname, urlsplit(url).port
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()

    def head(method: str, path: str) -> int:
        stream = connection.get_next_available_stream_id()
        pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": f"{host}:{port}"}
        connection.send_headers(stream, [*pseudo.items()], end_stream=method == "GET")
        return stream

    with socket.create_connection((host, port), timeout=DEADLINE_S) as wire:
        head("GET", "/features?featureset=ClientFeatures&entity_id=x&min_position=e99999&wait_ms=60000")
        unsent = {head("POST", "/features/batch"): body for body in bodies}
        statuses: dict[int, int] = {}
        open_streams = set(unsent)
        while open_streams:
            for stream, body in list(unsent.items()):
                window = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size)
                if window > 0:
                    connection.send_data(stream, body[:window], end_stream=len(body) <= window)
                    unsent[stream] = body[window:]
                    if not unsent[stream]:
                        del unsent[stream]
            wire.sendall(connection.data_to_send())
            received = wire.recv(1 << 16)
            assert received, "the connection ended"
            for event in connection.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived):
                    statuses[event.stream_id] = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    open_streams.discard(event.stream_id)
        return statuses


def test_a_request_that_waits_holds_up_no_other_on_its_http2_connection(plain: Server) -> None:
    # Several times what the connection lets be on its way at once.
    bodies = [batch(entity_ids=DRIVERS * 10) for _ in range(60)]
    assert sum(map(len, bodies)) > 2 << 20
    statuses = answered_beside_one_that_waits(plain.url, bodies)
    assert list(statuses.values()) == [200] * 60


def test_a_page_of_another_name_is_refused_in_either_version(plain: Server) -> None:
    for version in (1, 2):
        with asked(plain.url, version) as client:
            refused = client.get("/api/v1/status", headers={"host": "evil.example"})
            assert refused.status_code == 403, version
            assert "evil.example" in refused.json()["detail"]


def test_half_a_beginning_of_http2_holds_nobody_up(plain: Server) -> None:
    parts = urlsplit(plain.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=DEADLINE_S) as half:
        half.sendall(b"PRI * HTT")
        with asked(plain.url, 1) as client:
            assert client.get("/health").status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_large_answer_is_compressed_for_who_asks_and_a_small_one_never(plain: Server, coding: str) -> None:
    with asked(plain.url, 1) as client:
        as_it_is = client.post("/features/batch", content=batch(), headers={"accept-encoding": "identity"})
        assert "content-encoding" not in as_it_is.headers
        with client.stream(
            "POST", "/features/batch", content=batch(), headers={"accept-encoding": coding}
        ) as answer:
            assert answer.headers["content-encoding"] == coding
            assert answer.headers["vary"] == "accept-encoding"
            raw = b"".join(answer.iter_raw())
        assert len(raw) < len(as_it_is.content)
        values = json.loads(pa.input_stream(pa.py_buffer(raw), compression=coding).read())["values"]
        assert values == as_it_is.json()["values"]
        small = client.get("/health", headers={"accept-encoding": coding})
        assert "content-encoding" not in small.headers


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_push_is_taken_and_a_damaged_or_unknown_one_is_not(plain: Server, coding: str) -> None:
    def compressed(body: bytes) -> bytes:
        if coding == "gzip":
            return gzip.compress(body)
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(body)
        return bytes(sink.getvalue())

    headers = {"content-type": "application/json", "content-encoding": coding}
    with asked(plain.url, 1) as client:

        def events() -> int:
            datasets = client.get("/api/v1/status").json()["datasets"]
            return next(int(each["events"]) for each in datasets if each["name"] == "ClientRide")

        before = events()
        taken = client.post("/api/v1/log", content=compressed(BODY), headers=headers)
        assert taken.status_code == 200
        assert taken.json()["accepted"] == len(EVENTS)
        cut = client.post("/api/v1/log", content=compressed(BODY)[:-20], headers=headers)
        assert cut.status_code == 400
        assert coding in cut.json()["detail"]
        assert client.post("/api/v1/log", content=BODY, headers=headers).status_code == 400
        unknown = client.post("/api/v1/log", content=BODY, headers={**headers, "content-encoding": "br"})
        assert unknown.status_code == 415
        assert "br" in unknown.json()["detail"]
        # 300 MB of spaces are more than a body may have.
        bomb = client.post("/api/v1/log", content=compressed(b" " * 300_000_000), headers=headers)
        assert bomb.status_code == 413
        assert events() == before + len(EVENTS)


def test_over_tls_the_clients_and_both_versions_work(encrypted: str) -> None:
    config = Config(api_url=encrypted, ca_cert=str(CERT))
    with ThymeClient(config) as client:
        client.commit(DEFINITIONS)
        pushed = client.log("ClientRide", EVENTS)
        expected = client.query(ClientFeatures, {"driver": "driver 1"}, min_position=pushed).to_dict()

        async def ask() -> object:
            async with AsyncThymeClient(config) as twin:
                return (await twin.query(ClientFeatures, {"driver": "driver 1"})).to_dict()

        assert asyncio.run(ask()) == expected
    context = ssl.create_default_context(cafile=CERT)
    with httpx.Client(base_url=encrypted, http2=True, verify=context, trust_env=False) as client:
        assert client.get("/health").http_version == "HTTP/2"
    with asked(encrypted, 1, verify=context) as client:
        assert client.get("/health").http_version == "HTTP/1.1"
    # Many connections begin at once.
    with ThreadPoolExecutor(8) as pool:
        asks = [
            pool.submit(httpx.get, f"{encrypted}/health", verify=context, trust_env=False) for _ in range(32)
        ]
        assert {ask.result().status_code for ask in asks} == {200}


def test_over_tls_nobody_is_trusted_or_answered_by_mistake(encrypted: str, tmp_path: Path) -> None:
    with (
        ThymeClient(Config(api_url=encrypted, tries=1)) as client,
        pytest.raises(ConnectionFailed, match="certificate"),
    ):
        client.status()
    with pytest.raises(httpx.TransportError):
        httpx.get(encrypted.replace("https", "http") + "/health", trust_env=False)
    http = start_server(tmp_path / "data")
    plain = Config(api_url=http.url.replace("http", "https"), tries=1)
    with ThymeClient(plain) as client, pytest.raises(ConnectionFailed, match="does not speak TLS"):
        client.status()
    http.process.terminate()
    http.process.wait(timeout=DEADLINE_S)
    with pytest.raises(ConfigError, match=r"ca_cert: cannot read .*missing\.pem"):
        ThymeClient(Config(api_url=encrypted, ca_cert=str(tmp_path / "missing.pem"))).status()
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="holds no certificate"):
        ThymeClient(Config(api_url=encrypted, ca_cert=str(tmp_path / "none.pem"))).status()


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        (CERT, None, "tls_cert is given without tls_key"),
        (None, KEY, "tls_key is given without tls_cert"),
        (KEY, KEY, "there is no certificate in it"),
        (CERT, CERT, "there is no key in it"),
        (TLS / "missing.pem", KEY, "cannot read the certificate"),
        (CERT, TLS / "other_key.pem", "do not make a server"),
    ],
)
def test_a_server_that_cannot_prove_itself_does_not_start(
    tmp_path: Path, cert: Path | None, key: Path | None, said: str
) -> None:
    options = [f"--tls-cert={cert}"] * (cert is not None) + [f"--tls-key={key}"] * (key is not None)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "thyme",
            "serve",
            "--data",
            str(tmp_path / "data"),
            "--listen",
            f"127.0.0.1:{free_port()}",
            *options,
        ],
        env={**os.environ, "PYTHONPATH": str(PYTHON)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "data").exists()
