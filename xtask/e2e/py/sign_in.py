"""Signing in with the Python SDK's client, from a bare address: challenge, registration, browser, code,
tokens, session. `../ts/browser.mjs` is the person.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

from stories import SERVERS
from wire import Exchange, Wire

CALL_LIMIT = 40.0
"""Real time a call may take, in seconds."""


class Refused(Exception):
    """The authorization server sent the browser back with an error."""


@dataclass
class Kept:
    """Token storage in memory, which remembers every token answer."""

    saved: list[OAuthToken] = field(default_factory=list)
    client: OAuthClientInformationFull | None = None
    registrations: int = 0

    async def get_tokens(self) -> OAuthToken | None:
        return self.saved[-1] if self.saved else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.saved.append(tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.registrations += 1
        self.client = client_info


class Listener:
    """A loopback redirect address, and what the browser brings there.

    A callback counts for the attempt whose `state` it carries. A browser may load an address more
    than once, a client may sign in more than once, and a port may have belonged to another story.
    """

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._attempts: dict[str, asyncio.Future[dict[str, str]]] = {}
        self._current: asyncio.Future[dict[str, str]] | None = None

    async def __aenter__(self) -> "Listener":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()

    @property
    def redirect_uri(self) -> str:
        assert self._server
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/callback"

    def expect(self, authorization_url: str) -> None:
        """Begins the attempt that this address is opened for."""
        state = parse_qs(urlsplit(authorization_url).query)["state"][0]
        self._current = asyncio.get_running_loop().create_future()
        self._attempts[state] = self._current

    async def brought(self) -> dict[str, str]:
        """What the browser brought for the latest attempt."""
        assert self._current, "nothing is expected"
        return await self._current

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        while (await reader.readline()).strip():
            pass
        status = "404 Not Found"
        if line:
            target = urlsplit(line.split(" ")[1])
            fields = {name: values[0] for name, values in parse_qs(target.query).items()}
            attempt = self._attempts.get(fields.get("state", ""))
            if target.path == "/callback" and attempt:
                status = "200 OK"
                if not attempt.done():
                    attempt.set_result(fields)
        page = b"<title>Done</title>You may close this page."
        writer.write(f"HTTP/1.1 {status}\r\ncontent-type: text/html\r\n".encode())
        writer.write(b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page))
        await writer.drain()
        writer.close()


@dataclass
class Session:
    """A connected client, what it kept and what went over its wire."""

    client: Client
    kind: str
    person: str
    kept: Kept
    wire: Wire

    def session_ids(self) -> set[str]:
        """Every session its requests named."""
        exchanges: list[Exchange] = self.wire.exchanges.all
        return {name for one in exchanges if (name := one.request.headers.get("mcp-session-id"))}

    def refreshes(self) -> list[Exchange]:
        return [one for one in self.wire.exchanges.all if "grant_type=refresh_token" in one.body]

    async def call(self) -> str:
        """Calls the server's tool, checks what is known of the answer, and returns its text."""
        server = SERVERS[self.kind]
        return server.check(await self.client.call_tool(server.tool, server.arguments), self.person)


@dataclass
class Visitor:
    """Somebody with a browser."""

    browser: str
    """`browser.mjs`, beside its node_modules."""
    node: str
    """The program that runs it."""
    provider: str | None
    """The way of signing in to choose."""
    name: str
    password: str

    async def visit(self, url: str, deny: bool) -> None:
        """Goes through the pages behind `url`."""
        words = [self.node, self.browser, "--person", self.name, "--password", self.password]
        if self.provider:
            words += ["--provider", self.provider]
        if deny:
            words.append("--deny")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*words, url, stdout=pipe, stderr=pipe)
        try:
            _, said = await process.communicate()
        finally:
            if process.returncode is None:
                # The story was given up; asked politely, it takes its browser along.
                process.terminate()
        if process.returncode != 0:
            raise AssertionError(f"the browser got stuck: {said.decode().strip()}")

    @asynccontextmanager
    async def sign_in(
        self, url: str, kind: str, *, deny: bool = False, **handlers: Any
    ) -> AsyncIterator[Session]:
        """A session from nothing at `url`, where a server of that kind is."""
        async with Listener() as listener:

            async def show(url: str) -> None:
                listener.expect(url)
                await self.visit(url, deny)

            async def returned() -> AuthorizationCodeResult:
                fields = await listener.brought()
                if "error" in fields:
                    raise Refused(fields["error"])
                return AuthorizationCodeResult(
                    code=fields["code"], state=fields.get("state"), iss=fields.get("iss")
                )

            metadata = OAuthClientMetadata(
                client_name="The end-to-end stories",
                redirect_uris=[listener.redirect_uri],  # type: ignore[list-item]
                grant_types=["authorization_code", "refresh_token"],
                response_types=["code"],
                token_endpoint_auth_method="none",
            )
            kept, wire = Kept(), Wire()
            auth = OAuthClientProvider(
                server_url=url,
                client_metadata=metadata,
                storage=kept,
                redirect_handler=show,
                callback_handler=returned,
            )
            timeout = httpx2.Timeout(CALL_LIMIT)
            async with httpx2.AsyncClient(transport=wire, auth=auth, timeout=timeout) as http:
                transport = streamable_http_client(url, http_client=http)
                async with Client(transport, mode="legacy", **handlers) as client:
                    yield Session(client, kind, self.name, kept, wire)
