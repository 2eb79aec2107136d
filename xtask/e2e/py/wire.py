"""Watching a client's HTTP exchanges, and cutting the connection under one when a story asks for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2


@dataclass(eq=False)
class Exchange:
    """One HTTP request and what came back."""

    request: httpx2.Request
    body: str
    response: httpx2.Response | None = None
    text: str = ""
    cut: anyio.Event = field(default_factory=anyio.Event)

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def status(self) -> int | None:
        return None if self.response is None else self.response.status_code


class Arrivals:
    """Things that arrive, to be awaited."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._news = anyio.Event()

    def push(self, item: Any) -> None:
        self.all.append(item)
        self.wake()

    def wake(self) -> None:
        """Something about an item changed."""
        self._news.set()
        self._news = anyio.Event()

    async def until(self, matches: Callable[[Any], object], start: int = 0) -> Any:
        """Waits for an item that `matches`; the first `start` of them are not asked."""
        while True:
            for item in self.all[start:]:
                if matches(item):
                    return item
            await self._news.wait()


class Wire(httpx2.AsyncBaseTransport):
    """Watches every HTTP exchange of one client, and cuts the connection under one when asked."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self.exchanges = Arrivals()
        self._home = anyio.Event()
        self._home.set()

    def go_away(self) -> None:
        """The network goes, as it does when a lid is closed: open connections break, and nothing is asked."""
        self._home = anyio.Event()
        for exchange in self.exchanges.all:
            exchange.cut.set()

    def come_home(self) -> None:
        """It is there again, and what had to wait goes on."""
        self._home.set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await self._home.wait()
        exchange = Exchange(request, (await request.aread()).decode())
        self.exchanges.push(exchange)
        response = await self._inner.handle_async_request(request)
        response.stream = Cuttable(response.stream, exchange, self.exchanges)
        exchange.response = response
        self.exchanges.wake()
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def is_open_get(exchange: Exchange) -> bool:
    return exchange.method == "GET" and exchange.status == 200


class Cuttable(httpx2.AsyncByteStream):
    """A response body that ends in a read error, with its connection closed, once it is cut."""

    def __init__(self, inner: Any, exchange: Exchange, exchanges: Arrivals) -> None:
        self._inner, self._exchange, self._exchanges = inner, exchange, exchanges

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._inner.__aiter__()
        cut = asyncio.ensure_future(self._exchange.cut.wait())
        try:
            while True:
                chunk = asyncio.ensure_future(anext(chunks, None))
                try:
                    await asyncio.wait({chunk, cut}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not chunk.done():
                        chunk.cancel()
                        await asyncio.wait({chunk})
                if chunk.cancelled():
                    await self._inner.aclose()
                    raise httpx2.ReadError("cut by the story")
                if (data := chunk.result()) is None:
                    return
                self._exchange.text += data.decode(errors="replace")
                self._exchanges.wake()
                yield data
        finally:
            cut.cancel()

    async def aclose(self) -> None:
        await self._inner.aclose()
