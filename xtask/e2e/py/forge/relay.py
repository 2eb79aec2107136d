"""The way between the broker and the forge, which can be cut: what an outage looks like from here."""

import asyncio
import contextlib
from urllib.parse import urlsplit


class Relay:
    """Passes bytes on to a forge, unless it is down."""

    def __init__(self, forge: str) -> None:
        place = urlsplit(forge)
        self._to = (place.hostname or "127.0.0.1", place.port or 80)
        self._path = place.path.rstrip("/")
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._path}"

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuses connections, and ends those that are there."""
        assert self._server
        self._server.close()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)
        far: asyncio.StreamWriter | None = None
        try:
            answers, far = await asyncio.open_connection(*self._to)
            await asyncio.gather(self._pump(reader, far), self._pump(answers, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, far):
                if end:
                    end.close()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
