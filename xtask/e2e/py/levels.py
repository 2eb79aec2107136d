"""Servers that others wrote, at each level of isolation: each lists its tools and answers a call.

`--plan` is a list of `{"name", "path", "tool", "arguments", "says"}` in JSON: the story's name, where the server
is at the broker, and what a good answer to this call says. One line for each, as in `client.py`.
"""

import argparse
import json
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

import stories
from stories import Story, Teller, check, text_of

STORY_LIMIT = 120.0
"""Real time a story may take, in seconds. A server that downloads itself needs most of it."""


def story(flags: argparse.Namespace, part: dict[str, Any]) -> Story:
    async def tell() -> str:
        headers = {"Authorization": f"Bearer {flags.token}"}
        timeout = httpx2.Timeout(30, read=STORY_LIMIT)
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout) as http,
            Client(streamable_http_client(flags.url + part["path"], http_client=http), cache=None) as client,
        ):
            names = [tool.name for tool in (await client.list_tools()).tools]
            check(part["tool"] in names, f"it lists {names}")
            result = await client.call_tool(part["tool"], part["arguments"])
            text = text_of(result)
            check(not result.is_error and part["says"] in text, f"answered {text!r}")
            return f"{len(names)} tools"

    return tell


async def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--only")
    flags = parser.parse_args()
    teller = Teller(STORY_LIMIT)
    await teller.all({part["name"]: story(flags, part) for part in json.loads(flags.plan)}, flags.only)
    return teller.end()


if __name__ == "__main__":
    stories.main(run())
