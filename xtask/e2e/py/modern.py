"""The stories of revision 2026-07-28, told by the Python SDK's client in its modern mode: no session, no
stream that stays open, and what a server asks is the result of a call.

Output as in `client.py`, whose arguments this takes. `../ts/modern.mjs` tells the same stories.
"""

import argparse
from typing import Any

import anyio
from mcp import MCPError

import client
import stories
from client import MODEL_SAYS, Call, is_call
from stories import Skip, check, text_of

REVISION = "2026-07-28"
"""The revision of all this."""


class Stories(client.Stories):
    """Those of the other era that make sense without a session, and some of this one."""

    def __init__(self, flags: argparse.Namespace) -> None:
        super().__init__(flags)
        # That one asks for roots while no call is under way, and then nobody is there to answer.
        self.has_roots = flags.server != "everything"
        self.told = {
            "the server is found without a session": self.opens,
            "a client that takes the revision for granted is served": self.negotiates,
            "tools, resources and prompts are listed": self.lists,
            "a tool answers with the very content": self.answers,
            "progress arrives in order before the result": self.progresses,
            "a sampling request is answered by the retry of its call": self.samples,
            "an elicitation is answered by the retry of its call": self.elicits,
            "calls that ask at the same time get their own answers": self.asks_at_once,
            "roots are asked for and answered": self.shows_roots,
            "calls at the same time get their own answers": self.runs_at_once,
            "a cancelled call leaves the server working": self.cancels,
            "a hundred visits one after the other take two processes at most": self.visits,
            "a crash is an error of the call that met it": self.crashes,
            "a tool that does not exist is an error and no end": self.knows_its_tools,
            "a wrong bearer is refused": self.refuses,
        }

    def connect(self, token: str | None = None, *, mode: str = "auto", **more: Any) -> Any:
        return super().connect(token, mode=mode, **more)

    def sent(self, method: str) -> int:
        """How many requests of a method went over the shared wire."""
        return sum(e.request.headers.get("mcp-method") == method for e in self.shared.wire.exchanges.all)

    async def opens(self) -> None:
        check(self.shared.client.protocol_version == REVISION, f"found {self.shared.client.protocol_version}")
        check(self.shared.client.server_info, "the server has no name")
        check(self.shared.id is None, f"a session id came: {self.shared.id}")
        check(self.sent("initialize") == 0, "it was initialized")

    async def negotiates(self) -> None:
        async with self.connect(mode=REVISION) as session:
            check((await session.client.list_tools()).tools, "no tools")
            check(session.client.protocol_version == REVISION, f"found {session.client.protocol_version}")

    async def samples(self) -> None:
        before = self.sent("tools/call")
        await super().samples()
        check(self.sent("tools/call") - before == 2, "it is one call, and one retry")

    async def asks_at_once(self) -> None:
        calls: list[Call] = [self.ability("sampling"), self.ability("elicitation"), self.ability("sampling")]
        texts = [""] * len(calls)

        async def run(place: int) -> None:
            texts[place], _ = await self.shared.call(calls[place])

        async with anyio.create_task_group() as tasks:
            for place in range(len(calls)):
                tasks.start_soon(run, place)
        for place, text in enumerate(texts):
            check((MODEL_SAYS in text) == (place != 1), text)

    def check_steps(self, progress: list[float], steps: int) -> None:
        # The last one may be missing: where it comes in one read with the result, the SDK has forgotten
        # whose it is.
        check(len(progress) >= steps - 1, f"progress went {progress} of {steps}")
        check(progress == list(range(1, len(progress) + 1)), f"progress went {progress}")

    async def shows_roots(self) -> None:
        # As any other call: the client has had its root from the start.
        if not self.has_roots:
            raise Skip("the server asks outside of calls")
        listed = self.ability("roots")
        shown = self.flags.path or self.shared.roots[0]
        while shown not in (await self.shared.call(listed))[0]:
            pass

    async def cancels(self) -> None:
        slow, after = self.ability("slow"), self.ability("after")
        wire = self.shared.wire.exchanges
        before = sum(map(is_call, wire.all))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.shared.call, slow)
            await wire.until(lambda _: sum(map(is_call, wire.all)) > before)
            tasks.cancel_scope.cancel()
        await self.shared.call(after)

    async def crashes(self) -> None:
        crash = self.ability("crash")
        try:
            await self.shared.client.call_tool(crash.name)
        except MCPError:
            await self.shared.call(self.ability("after"))
            return
        raise AssertionError("the crashed call got a result")

    async def knows_its_tools(self) -> None:
        try:
            result = await self.shared.client.call_tool("no_such_tool")
        except MCPError:
            pass
        else:
            check(result.is_error, text_of(result))
        check((await self.shared.client.list_tools()).tools, "no tools")


if __name__ == "__main__":
    stories.main(client.run(Stories, client.parse(__doc__)))
