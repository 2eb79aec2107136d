"""The stories of signing in, told by the Python SDK's client: it starts from a bare address and finds
its own way through challenge, metadata and registration; `../ts/browser.mjs` is the person.

One line per story, as in `client.py`. `../ts/oauth.mjs` tells the same stories under the same names.
"""

import argparse
import asyncio
from contextlib import AbstractAsyncContextManager

import httpx2

import stories
from sign_in import Refused, Session, Visitor
from stories import SERVERS, Skip, Story, Teller, leaves

STORY_LIMIT = 120.0
"""Real time a story may take, in seconds, beside the lifetimes it waits for."""

MARGIN = 1.1
"""A second past a token's end, since lifetimes are whole seconds."""


class Stories:
    """All stories, by name."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.told: dict[str, Story] = {
            "a person signs in and calls a tool": self.signs_in,
            "calls go on past the end of the access token, in the same session": self.goes_on,
            "two people share nothing": self.two_people,
            "who says no is sent back with access_denied": self.denies,
        }

    def sign_in(
        self, person: str | None = None, password: str | None = None, *, deny: bool = False
    ) -> AbstractAsyncContextManager[Session]:
        """A session from nothing, of the first person unless another is named."""
        flags = self.flags
        who = (person or flags.person, password or flags.password)
        visitor = Visitor(flags.browser, flags.node, flags.provider, *who)
        return visitor.sign_in(flags.url, flags.server, deny=deny)

    async def signs_in(self) -> None:
        async with self.sign_in() as session:
            tools = await session.client.list_tools()
            assert any(tool.name == SERVERS[self.flags.server].tool for tool in tools.tools)
            await session.call()
            assert session.kept.registrations == 1

    async def goes_on(self) -> None:
        if self.flags.access_ttl is None:
            raise Skip("no --access-ttl")
        async with self.sign_in() as session:
            for rounds in (1, 2):
                await asyncio.sleep(self.flags.access_ttl + MARGIN)
                await session.call()
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
        one = self.sign_in()
        two = self.sign_in(self.flags.other, self.flags.other_password)
        async with one as first, two as second:
            await first.call()
            await second.call()
            assert not first.session_ids() & second.session_ids()
            reply = await self.asked(second, first.session_ids().pop())
            # The token may have ended meanwhile; a call renews it.
            for _ in range(3):
                if reply.status_code == 401:
                    await second.call()
                    reply = await self.asked(second, first.session_ids().pop())
            assert reply.status_code in (403, 404), f"answered with {reply.status_code}"
            await first.call()

    async def asked(self, own: Session, session_id: str) -> httpx2.Response:
        """The answer of another person's session to one's own token."""
        headers = {
            "authorization": f"Bearer {own.kept.saved[-1].access_token}",
            "mcp-session-id": session_id,
            "accept": "application/json, text/event-stream",
        }
        ask = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
        async with httpx2.AsyncClient() as http:
            return await http.post(self.flags.url, headers=headers, json=ask)

    async def denies(self) -> None:
        try:
            async with self.sign_in(deny=True):
                pass
        except BaseException as error:  # noqa: BLE001 - the SDK wraps it in groups
            if any(str(leaf) == "access_denied" for leaf in leaves(error) if isinstance(leaf, Refused)):
                return
            raise
        raise AssertionError("the client got in")


async def run(flags: argparse.Namespace) -> int:
    teller = Teller(STORY_LIMIT + 3 * (flags.access_ttl or 0))
    await teller.all(Stories(flags).told, flags.only)
    return teller.end()


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
    stories.main(run(parser.parse_args()))


if __name__ == "__main__":
    main()
