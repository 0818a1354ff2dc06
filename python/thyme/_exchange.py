"""A request over HTTP, try by try, without the sending: shared by the blocking and the `async` transport."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from thyme._config import Config
from thyme._errors import ConfigError, ConnectionFailed, InvalidDataError, TooLargeError
from thyme._retries import Policy, Tries

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
# The server closes a connection that was idle for 75 s; one is given up well before.
KEEPALIVE_S = 30.0
# The head of a request, which its target is most of, has 64 KiB at most.
TARGET_BYTES_MAX = 65_000
# Whoever asks how the server is wants that answer, and not a better one later.
_ABOUT_THE_SERVER = ("/health", "/api/v1/status", "/metrics")


class Answer(NamedTuple):
    """What came back: status, headers (their names in lower case), body; and after how many tries."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    tries: int = 1


class Target:
    """The server that requests go to, and how."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def options(self) -> dict[str, Any]:
        """The arguments of an `httpx` client."""
        import httpx

        config = self._config
        hosts = {urlsplit(url).hostname for url in (config.api_url, config.query_url)}
        # Answers are made faster than they are compressed; whoever is far away asks for it by a proxy.
        headers = {"Accept-Encoding": "identity"}
        if config.api_key:
            headers["Authorization"] = f"Bearer {config.api_key}"
        return {
            "headers": headers,
            "verify": _trusted(config.ca_cert),
            # A proxy from the environment cannot reach this machine's own loopback.
            "trust_env": not hosts <= {"localhost", "127.0.0.1", "::1"},
            "limits": httpx.Limits(
                max_connections=config.connections,
                max_keepalive_connections=config.connections,
                keepalive_expiry=KEEPALIVE_S,
            ),
        }

    def exchange(self, target: str, repeatable: bool, timeout_s: float | None) -> Exchange:
        """One request to this server.

        Raises:
            TooLargeError: Its target is longer than any server takes.
        """
        _refuse_long(target)
        return Exchange(self._config, target, repeatable, timeout_s)


def _trusted(ca_cert: str | None) -> ssl.SSLContext | bool:
    """What an `https` server is known by.

    Raises:
        ConfigError: The file is none of certificates.
    """
    if ca_cert is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_cert)
    except ssl.SSLError:
        raise ConfigError(f"ca_cert: {ca_cert} holds no certificate; expected a PEM file") from None
    except OSError as error:
        raise ConfigError(f"ca_cert: cannot read {ca_cert}: {error.strerror or error}") from None


class Exchange:
    """The tries of one request, and what each of them means.

    Attributes:
        url: Where it is sent.
    """

    def __init__(self, config: Config, target: str, repeatable: bool, timeout_s: float | None) -> None:
        self._origin = config.query_url if target.startswith("/features") else config.api_url
        self.url = self._origin + target
        self._timeout_s = timeout_s
        self._connections = config.connections
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        policy = Policy(
            tries=config.tries,
            repeatable=repeatable,
            patient=target.partition("?")[0] not in _ABOUT_THE_SERVER,
            deadline=self._deadline,
        )
        # Pauses differ from client to client so that they do not all come back at once.
        self._tries = Tries(policy, random.random)

    def begin(self) -> httpx.Timeout:
        """Counts a try, and gives how long it may take."""
        self._tries.count += 1
        return self.timeout()

    def timeout(self) -> httpx.Timeout:
        """How long the try may take from now."""
        import httpx

        if self._deadline is None:
            return httpx.Timeout(None, connect=CONNECT_S)
        left = max(self._deadline - time.monotonic(), 0.001)
        return httpx.Timeout(left, connect=min(CONNECT_S, left))

    def failed(self, error: Exception) -> float:
        """How long to pause before the next try.

        Raises:
            ConnectionFailed: It was the last.
            InvalidDataError: It can never be sent.
        """
        import httpx

        if isinstance(error, RuntimeError):
            raise ConnectionFailed(f"this client is closed ({error})") from None
        if isinstance(error, httpx.InvalidURL):
            raise InvalidDataError(f"{self._origin} cannot be asked: {error}; is the URL right?") from None
        if not isinstance(error, httpx.TransportError):
            raise error
        pause = None
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            pause = self._tries.after_failure(time.monotonic(), may_have_arrived=False)
        elif not isinstance(error, httpx.TimeoutException):
            pause = self._tries.after_failure(time.monotonic(), may_have_arrived=True)
        if pause is None:
            raise ConnectionFailed(self._sentence(error) + self._tried()) from None
        return pause

    def answered(self, response: httpx.Response) -> Answer | float:
        """The answer, or how long to pause before the next try."""
        if response.status_code in (429, 503):
            pause = self._tries.after_refusal(
                time.monotonic(),
                retry_after_s=_seconds(response.headers.get("retry-after", "")),
                overloaded=response.status_code == 429
                and (b'"overloaded"' in response.content or b'"rate_limited"' in response.content),
            )
            if pause is not None:
                return pause
        return Answer(response.status_code, dict(response.headers), response.content, self._tries.count)

    def _sentence(self, error: Exception) -> str:
        import httpx

        origin = self._origin
        if isinstance(error, httpx.ConnectTimeout):
            return f"could not reach {origin}: no connection within {CONNECT_S:g} s"
        if isinstance(error, httpx.PoolTimeout):
            return (
                f"none of the {self._connections} connections to {origin} was free within "
                f"{self._timeout_s:g} s; allow more (Config.connections), or ask less at once"
            )
        if isinstance(error, httpx.TimeoutException):
            return f"{origin} did not answer within {self._timeout_s:g} s"
        if isinstance(error, httpx.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            why = str(error).partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
            return (
                f"{origin} has a certificate that is not trusted here ({why or error}); "
                "give the file to trust as Config(ca_cert=...) or THYME_CA_CERT"
            )
        if isinstance(error, httpx.ConnectError) and "[SSL" in str(error):
            return f"{origin} does not speak TLS: is it an http:// server?"
        if isinstance(error, httpx.ConnectError):
            return f"could not reach {origin}: is `thyme serve` running?"
        return f"the connection to {origin} broke before the answer came ({error or type(error).__name__})"

    def _tried(self) -> str:
        return f" (tried {self._tries.count} times)" if self._tries.count > 1 else ""


def _refuse_long(target: str) -> None:
    if len(target) <= TARGET_BYTES_MAX:
        return
    path, _, query = target.partition("?")
    name, value = max(parse_qsl(query), key=lambda pair: len(pair[1]), default=("", ""))
    shown = (
        f"{name} has {len(value.encode()):,} bytes ({value[:20]}...)" if name else f"it is {target[:20]}..."
    )
    raise TooLargeError(
        f"{path}: what is asked for has to fit into an address of {TARGET_BYTES_MAX:,} bytes, "
        f"and this one would have {len(target):,}: {shown}; give a shorter one"
    )


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() else None
