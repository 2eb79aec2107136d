"""The stories of `packaged.py`, told by the Python SDK 1.12 with httpx-sse 0.4.1.

That version reads event streams with a decoder of its time: a block without data is a message that is no
JSON, and an event without a name is one it does not know.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared._httpx_utils import create_mcp_http_client
from pydantic import AnyUrl

from packaged import (
    QUESTIONS,
    SEPARATORS,
    WATCHED,
    check,
    check_answer,
    check_tools,
    main,
    only_fixture,
    under_localhost,
)


@dataclass
class Connected:
    session: ClientSession
    responses: list[httpx.Response] = field(default_factory=list)
    heard: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    progress: list[float] = field(default_factory=list)

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        async def reported(progress: float, _total: float | None, _message: str | None) -> None:
            self.progress.append(progress)

        result = await self.session.call_tool(name, arguments, progress_callback=reported)
        text = "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))
        check(not result.isError, text)
        return text

    async def ask(self, server: str) -> None:
        name, arguments, _ = QUESTIONS[server]
        check_answer(server, await self.call(name, arguments))


@asynccontextmanager
async def connected(flags: argparse.Namespace, url: str | None = None, **headers: str) -> AsyncIterator[Connected]:
    responses: list[httpx.Response] = []
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def saw(response: httpx.Response) -> None:
        responses.append(response)

    def client(*args: Any, **kwargs: Any) -> httpx.AsyncClient:
        made = create_mcp_http_client(*args, **kwargs)
        made.event_hooks["response"].append(saw)
        return made

    async def hears(message: Any) -> None:
        await heard.put(message)

    headers = {"authorization": f"Bearer {flags.token}", **{name.replace("_", "-"): it for name, it in headers.items()}}
    async with (
        streamablehttp_client(url or flags.url, headers=headers, httpx_client_factory=client) as (read, write, _),
        ClientSession(read, write, message_handler=hears) as session,
    ):
        await session.initialize()
        yield Connected(session, responses, heard)


async def calls(flags: argparse.Namespace, **how: str) -> None:
    async with connected(flags, **how) as client:
        check_tools(flags.server, (await client.session.list_tools()).tools)
        await client.ask(flags.server)


async def streams(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    async with connected(flags) as client:
        text = await client.call("echo", {"text": SEPARATORS, "log": True})
        check(text == SEPARATORS, f"answered {text!r}")
        # The last one: the SDK asks for the tools afterwards, to check the answer by.
        answers = [response for response in client.responses if b'"tools/call"' in response.request.content]
        kind = answers[-1].headers["content-type"]
        check(kind.startswith("text/event-stream"), f"the answer came as {kind}")
        await client.call("test_tool_with_progress", {})
        check(client.progress == [0, 50, 100], f"progress went {client.progress}")


async def listens(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    async with connected(flags) as client:
        await client.session.subscribe_resource(AnyUrl(WATCHED))
        await client.call("touch_resource", {"uri": WATCHED, "after_ms": 300})
        while True:
            note = await client.heard.get()
            check(not isinstance(note, Exception), repr(note))
            if isinstance(note.root, types.ResourceUpdatedNotification):
                break


async def json_alone(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    async with connected(flags, accept="application/json") as client:
        await client.ask(flags.server)
        kinds = {response.headers.get("content-type") for response in client.responses if response.request.method == "POST"}
        check(not any("event-stream" in (kind or "") for kind in kinds), f"answers came as {kinds}")


async def reconnects(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    for _ in range(10):
        await calls(flags)


async def calls_elsewhere(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    await calls(flags, url=under_localhost(flags.url))


async def calls_anew(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    await calls(flags, mcp_session_id="0123456789abcdef" * 3)


async def closes(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    async with connected(flags) as client:
        pass
    farewell = [response.status_code for response in client.responses if response.request.method == "DELETE"]
    check(farewell in ([200], [204]), f"DELETE was answered with {farewell}")


main(
    {
        "it connects, lists the tools and calls one": calls,
        "it reads an answer that comes as a stream, with line separators in it": streams,
        "its stream brings what the server says unasked": listens,
        "it is answered with JSON alone when it takes nothing else": json_alone,
        "it connects and leaves ten times in a row": reconnects,
        "it is let in under localhost and with a slash at the end": calls_elsewhere,
        "it gets a session although its settings still name an old one": calls_anew,
        "it ends its session": closes,
    },
    library="mcp",
)
