"""The stories of `packaged.py`, told by FastMCP's client."""

import argparse
import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from mcp.shared.exceptions import MCPDeprecationWarning

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


@asynccontextmanager
async def connected(flags: argparse.Namespace, url: str | None = None, **options: Any) -> AsyncIterator[Client]:
    transport = StreamableHttpTransport(url or flags.url, auth=flags.token, headers=options.pop("headers", None))
    async with Client(transport, **options) as client:
        yield client


async def call(client: Client, name: str, arguments: dict[str, Any]) -> str:
    result = await client.call_tool_mcp(name, arguments)
    text = "\n".join(block.text for block in result.content if block.type == "text")
    check(not result.is_error, text)
    return text


async def calls(flags: argparse.Namespace, **how: Any) -> None:
    async with connected(flags, **how) as client:
        check_tools(flags.server, await client.list_tools())
        name, arguments, _ = QUESTIONS[flags.server]
        check_answer(flags.server, await call(client, name, arguments))


async def calls_elsewhere(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    await calls(flags, url=under_localhost(flags.url))


async def calls_anew(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    await calls(flags, headers={"mcp-session-id": "0123456789abcdef" * 3})


async def streams(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    logged: list[Any] = []

    async def log(message: Any) -> None:
        logged.append(message.data)

    async with connected(flags, log_handler=log) as client:
        text = await call(client, "echo", {"text": SEPARATORS, "log": True})
        check(text == SEPARATORS, f"answered {text!r}")
        check(SEPARATORS in logged, f"logged {logged}")


async def listens(flags: argparse.Namespace) -> None:
    only_fixture(flags)
    updated = asyncio.Event()

    async def hears(message: Any) -> None:
        note = getattr(message, "root", message)
        if type(note).__name__ == "ResourceUpdatedNotification":
            updated.set()

    async with connected(flags, message_handler=hears, mode="legacy") as client:
        await client.session.subscribe_resource(WATCHED)
        await call(client, "touch_resource", {"uri": WATCHED, "after_ms": 300})
        await updated.wait()


# Subscriptions are of the handshake era, which this is about.
warnings.simplefilter("ignore", MCPDeprecationWarning)
main(
    {
        "it connects, lists the tools and calls one": calls,
        "it reads an answer that comes as a stream, with line separators in it": streams,
        "its stream brings what the server says unasked": listens,
        "it is let in under localhost and with a slash at the end": calls_elsewhere,
        "it gets a session although its settings still name an old one": calls_anew,
    },
    library="mcp",
)
