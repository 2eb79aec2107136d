"""The stories of signing in, told by the Python SDK's client: it starts from a bare address and finds
its own way through challenge, metadata and registration; `../ts/browser.mjs` is the person.

One line per story, as in `client.py`. `../ts/oauth.mjs` tells the same stories under the same names.
"""

import argparse
import asyncio
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from mcp.shared.exceptions import MCPDeprecationWarning

from wire import Exchange, Wire

STORY_LIMIT = 40.0
"""Real time a story may take, in seconds, beside the lifetimes it waits for."""

MARGIN = 1.1
"""A second past a token's end, since lifetimes are whole seconds."""

SERVERS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "fixture": ("echo", {"text": "hello"}, "hello"),
    "everything": ("echo", {"message": "hello"}, "Echo: hello"),
    # Its answer names the person instead.
    "gitea": ("get_server_info", {}, None),
}
"""What each kind of server is asked, and the answer where it is known to the letter."""


class Skip(Exception):
    """Says that a story does not apply here."""


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


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[str, "asyncio.Future[dict[str, str]]"]]:
    """A loopback redirect address, and what the browser brings there."""
    brought: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        while (await reader.readline()).strip():
            pass
        target = urlsplit(line.split(" ")[1])
        if target.path == "/callback" and not brought.done():
            brought.set_result({name: values[0] for name, values in parse_qs(target.query).items()})
        page = b"<title>Done</title>You may close this page."
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(page), page))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback", brought
    finally:
        server.close()


@dataclass
class Session:
    """A connected client, what it kept and what went over its wire."""

    client: Client
    kept: Kept
    wire: Wire

    def session_ids(self) -> set[str]:
        """Every session its requests named."""
        exchanges: list[Exchange] = self.wire.exchanges.all
        return {name for one in exchanges if (name := one.request.headers.get("mcp-session-id"))}

    def refreshes(self) -> list[Exchange]:
        return [one for one in self.wire.exchanges.all if "grant_type=refresh_token" in one.body]


def text_of(result: types.CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))


class Stories:
    """All stories, by name."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.told: dict[str, Callable[[], Awaitable[None]]] = {
            "a person signs in and calls a tool": self.signs_in,
            "calls go on past the end of the access token, in the same session": self.goes_on,
            "two people share nothing": self.two_people,
            "who says no is sent back with access_denied": self.denies,
        }

    async def visit(self, url: str, person: str, password: str, deny: bool) -> None:
        """Lets a person with a browser go to `url`."""
        words = [self.flags.node, self.flags.browser, "--person", person, "--password", password]
        if self.flags.provider:
            words += ["--provider", self.flags.provider]
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
        self, person: str, password: str | None, *, deny: bool = False
    ) -> AsyncIterator[Session]:
        """A session from nothing: challenge, registration, browser, code, tokens."""
        assert password is not None
        async with listener() as (redirect_uri, brought):

            async def show(url: str) -> None:
                await self.visit(url, person, password, deny)

            async def returned() -> AuthorizationCodeResult:
                fields = await brought
                if "error" in fields:
                    raise Refused(fields["error"])
                return AuthorizationCodeResult(
                    code=fields["code"], state=fields.get("state"), iss=fields.get("iss")
                )

            metadata = OAuthClientMetadata(
                client_name="The end-to-end stories",
                redirect_uris=[redirect_uri],  # type: ignore[list-item]
                grant_types=["authorization_code", "refresh_token"],
                response_types=["code"],
                token_endpoint_auth_method="none",
            )
            kept, wire = Kept(), Wire()
            auth = OAuthClientProvider(
                server_url=self.flags.url,
                client_metadata=metadata,
                storage=kept,
                redirect_handler=show,
                callback_handler=returned,
            )
            timeout = httpx2.Timeout(STORY_LIMIT)
            async with httpx2.AsyncClient(transport=wire, auth=auth, timeout=timeout) as http:
                transport = streamable_http_client(self.flags.url, http_client=http)
                async with Client(transport, mode="legacy") as client:
                    yield Session(client, kept, wire)

    async def call(self, session: Session, person: str) -> None:
        """Calls the server's tool and checks what is known of the answer."""
        name, arguments, text = SERVERS[self.flags.server]
        result = await session.client.call_tool(name, arguments)
        assert not result.is_error, text_of(result)
        if text is None:
            assert f'"{person}"' in text_of(result), f"not for {person}: {text_of(result)}"
        else:
            assert text_of(result) == text, text_of(result)

    async def signs_in(self) -> None:
        async with self.sign_in(self.flags.person, self.flags.password) as session:
            tools = await session.client.list_tools()
            assert any(tool.name == SERVERS[self.flags.server][0] for tool in tools.tools)
            await self.call(session, self.flags.person)
            assert session.kept.registrations == 1

    async def goes_on(self) -> None:
        if self.flags.access_ttl is None:
            raise Skip("no --access-ttl")
        async with self.sign_in(self.flags.person, self.flags.password) as session:
            for rounds in (1, 2):
                await asyncio.sleep(self.flags.access_ttl + MARGIN)
                await self.call(session, self.flags.person)
                refreshes = session.refreshes()
                # It refreshes for its open stream as well, should that have to come again.
                assert len(refreshes) >= rounds, f"{len(refreshes)} refreshes"
                assert all(one.status == 200 for one in refreshes), [one.status for one in refreshes]
            assert len(session.session_ids()) == 1, "there were other sessions"
            initializations = [one for one in session.wire.exchanges.all if '"initialize"' in one.body]
            answered = [one for one in initializations if one.status == 200]
            assert len(answered) == 1, f"{len(answered)} initializations"
            access = {tokens.access_token for tokens in session.kept.saved}
            assert len(access) >= 3, "an access token came again"

    async def two_people(self) -> None:
        if self.flags.other_password is None:
            raise Skip("no --other-password")
        one = self.sign_in(self.flags.person, self.flags.password)
        two = self.sign_in(self.flags.other, self.flags.other_password)
        async with one as first, two as second:
            await self.call(first, self.flags.person)
            await self.call(second, self.flags.other)
            assert not first.session_ids() & second.session_ids()
            # Somebody else's session, asked for with one's own token.
            headers = {
                "authorization": f"Bearer {second.kept.saved[-1].access_token}",
                "mcp-session-id": first.session_ids().pop(),
                "accept": "application/json, text/event-stream",
            }
            ask = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
            async with httpx2.AsyncClient() as http:
                reply = await http.post(self.flags.url, headers=headers, json=ask)
            assert reply.status_code in (403, 404), f"answered with {reply.status_code}"
            await self.call(first, self.flags.person)

    async def denies(self) -> None:
        try:
            async with self.sign_in(self.flags.person, self.flags.password, deny=True):
                pass
        except BaseException as error:  # noqa: BLE001 - the SDK wraps it in groups
            if any(str(leaf) == "access_denied" for leaf in leaves(error) if isinstance(leaf, Refused)):
                return
            raise
        raise AssertionError("the client got in")


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group, and the causes of each."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    below = [cause for cause in (error.__cause__, error.__context__) if cause is not None]
    return [error, *(leaf for cause in below for leaf in leaves(cause))]


def reason(error: BaseException) -> str:
    """One line about what went wrong."""
    first = leaves(error)[0]
    lines = (str(first) or type(first).__name__).split("\n")
    return " ".join(line.strip() for line in lines[:3])


async def tell(story: Callable[[], Awaitable[None]], limit: float) -> BaseException | None:
    """Runs one story within its limit."""
    try:
        async with asyncio.timeout(limit):
            await story()
    except TimeoutError:
        return AssertionError(f"not done after {limit:.0f} s")
    except Exception as error:
        return error
    return None


async def run(flags: argparse.Namespace) -> int:
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    for name, story in Stories(flags).told.items():
        if flags.only and flags.only not in name:
            continue
        match await tell(story, STORY_LIMIT + 3 * (flags.access_ttl or 0)):
            case None:
                verdict, why = "ok", ""
            case Skip() as skip:
                verdict, why = "skipped", f": {skip}"
            case error:
                verdict, why = "FAILED", f": {reason(error)}"
        counts[verdict] += 1
        print(f"{verdict} - {name}{why}", flush=True)
    print(f"{counts['ok']} passed, {counts['FAILED']} failed", flush=True)
    return 0 if counts["FAILED"] == 0 else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="the broker's MCP endpoint")
    parser.add_argument("--server", required=True, choices=list(SERVERS))
    parser.add_argument("--browser", required=True, help="browser.mjs, beside its node_modules")
    parser.add_argument("--node", default="node", help="the program that runs it")
    parser.add_argument("--person", default="ada")
    parser.add_argument("--password", required=True)
    parser.add_argument("--other", default="bob")
    parser.add_argument("--other-password", help="without it, nobody else comes")
    parser.add_argument("--provider", help="the way of signing in to choose: local, forgejo or oidc")
    parser.add_argument("--access-ttl", type=float, help="lifetime of access tokens in seconds")
    parser.add_argument("--only", help="run the stories whose name contains this")
    flags = parser.parse_args()
    # The handshake era's methods are deprecated in the SDK, and they are what these stories are about.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(run(flags)))


if __name__ == "__main__":
    main()
