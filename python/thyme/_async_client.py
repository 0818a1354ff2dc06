"""The client for coroutines."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from thyme._async_transport import AsyncHttpTransport
from thyme._calls import Calls
from thyme._config import Config, settings
from thyme._session import Session
from thyme._steps import AsyncTransport, loses_answers


class AsyncThymeClient(Calls):
    """`ThymeClient` for `asyncio`: the same methods, arguments, results and errors, to be awaited.

    Calls may run side by side, as many as you like: they share `Config.connections` connections. A
    cancelled call lets its connection go. What reads or writes files does so on a thread. One client is for
    one event loop.

    Example:
        async def score(drivers: list[str]) -> list[float]:
            async with AsyncThymeClient("http://localhost:8080") as client:
                rows = await asyncio.gather(*(client.query(DriverFeatures, each) for each in drivers))
                return [row["fare_7d"] for row in rows]

    Attributes:
        config: The settings in effect.
    """

    def __init__(
        self,
        config: Config | str | None = None,
        *,
        api_key: str | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        """Connects on first use.

        Args:
            config: The settings, or the server's base URL; None means `Config.load()`.
            api_key: The API key, instead of the settings' own.
            transport: Carries the requests instead of HTTP.
        """
        config = self.config = settings(config, api_key, is_wired=transport is not None)
        transport = transport or AsyncHttpTransport(config)
        makes_keys = config.push_keys and loses_answers(transport)
        super().__init__(Session(transport, config.timeout_s, makes_keys=makes_keys))

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.transport.close()

    async def __aenter__(self) -> Self:
        """Gives itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes."""
        await self.close()

    def __repr__(self) -> str:
        """Names the server."""
        return f"{type(self).__name__}({self._session.transport.origin!r})"
