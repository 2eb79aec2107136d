"""The stories of sessions that outlive their process, told by the Python SDK's client: the child goes,
or the whole broker, and the client does not notice.

One line per story, as in `client.py`. What befalls the broker is asked for on standard output
(`please - kill the child`) and has been done when a line comes on standard input (`done - 4711`); the
README has the list. `../ts/outlive.mjs` tells the same stories under the same names.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types

import stories
from sign_in import Session, Visitor
from stories import Story, Teller, check
from wire import Arrivals, is_open_get

STORY_LIMIT = 120.0
"""Real time a story may take, in seconds, beside the time it rotates for."""

ENOUGH = 3
"""How many children must have answered: so many that tokens ended in between."""

WATCHED = "test://watched-resource"
"""The fixture's resource that changes when told to."""


async def please(what: str) -> str:
    """Has something done to the broker, and returns what was said about it."""
    print(f"please - {what}", flush=True)
    said = (await asyncio.to_thread(sys.stdin.readline)).strip()
    check(said.startswith("done - "), f"asked to {what}: {said or 'nobody is there'}")
    return said.removeprefix("done - ")


@dataclass
class Heard:
    """What the server told without being asked."""

    logged: Arrivals = field(default_factory=Arrivals)
    updated: Arrivals = field(default_factory=Arrivals)

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logged.push(params)

    async def hear(self, message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.updated.push(str(message.params.uri))


Steps = Callable[[Session, Heard], Awaitable[str | None]]


def check_unnoticed(session: Session) -> None:
    ids = session.session_ids()
    check(len(ids) == 1, f"{len(ids)} sessions were used")
    posts = [e for e in session.wire.exchanges.all if e.method == "POST" and e.body.startswith("{")]
    # Until it has signed in, it is refused.
    answered = [e for e in posts if '"initialize"' in e.body and e.status == 200]
    check(len(answered) == 1, f"{len(answered)} initializations")
    # A token of the broker's own may have ended; the SDK renews it and asks again.
    refused = [f"{e.status} to {e.body}" for e in posts if e.status not in (200, 201, 202, 401)]
    check(not refused, f"calls that failed: {refused}")


async def while_the_stream_returns(
    session: Session, steps: Callable[[], Awaitable[str | None]]
) -> str | None:
    """Runs `steps`, after which the stream that was open has been opened once more."""
    before = len(session.wire.exchanges.all)
    figures = await steps()
    await session.wire.exchanges.until(is_open_get, before)
    return figures


async def sleep(session: Session) -> None:
    """The child ends because nobody calls. An open stream is use, so the network has to go first."""
    session.wire.go_away()
    await please("wait until there is no child")
    session.wire.come_home()


Event = Callable[[Session], Awaitable[str | None]]
"""Something that goes unnoticed; what it returns belongs into the story's line."""


def asked_to(what: str) -> Event:
    return lambda _: please(what)


async def kill_the_child(_: Session) -> None:
    await please("kill the child")


class Stories:
    """All stories, by name."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        restart, kill = asked_to("restart the broker"), asked_to("kill the broker")
        self.told: dict[str, Story] = {
            "an idle session sleeps, and the next call wakes it": self.another(sleep),
            "a killed child is replaced": self.another(kill_the_child),
            "the broker is stopped and started": self.another(restart),
            "the broker is killed and started": self.another(kill),
            "log level and subscription are in force after it slept": self.unnoticed("fixture", self.in_force),
            "notifications arrive after the broker was stopped and started": self.still_told(restart),
            "notifications arrive after the broker was killed and started": self.still_told(kill),
        }
        self.rotation: dict[str, Story] = {
            "no call fails while tokens come and go": self.unnoticed("who", self.rotates),
        }

    def unnoticed(self, kind: str, steps: Steps) -> Story:
        """A session with the server at `/KIND/mcp` to which something happens that goes unnoticed."""
        flags = self.flags
        visitor = Visitor(flags.browser, flags.node, flags.provider, flags.person, flags.password)

        async def story() -> str | None:
            await please("wait until there is no child")
            heard = Heard()
            handlers = {"logging_callback": heard.log, "message_handler": heard.hear}
            async with visitor.sign_in(f"{flags.url}/{kind}/mcp", kind, **handlers) as session:
                await session.wire.exchanges.until(is_open_get)
                figures = await steps(session, heard)
                check_unnoticed(session)
            return figures

        return story

    def another(self, happens: Event) -> Story:
        """The person is known to another child than before, once something has happened."""

        async def steps(session: Session, _: Heard) -> str | None:
            await session.call()
            before = await please("name the child")

            async def on() -> str | None:
                said = await happens(session)
                await session.call()
                return said

            figures = await while_the_stream_returns(session, on)
            after = await please("name the child")
            check(after != before, f"it is still {before}")
            return figures

        return self.unnoticed("gitea", steps)

    def still_told(self, happens: Event) -> Story:
        """A notification that no call waits for arrives once something has happened."""

        async def steps(session: Session, heard: Heard) -> str | None:
            exchanges = session.wire.exchanges
            await session.client.subscribe_resource(WATCHED)
            figures = await while_the_stream_returns(session, lambda: happens(session))
            # Whoever was asleep is told that it may have changed.
            await heard.updated.until(lambda uri: uri == WATCHED)
            before = len(exchanges.all)
            await session.client.call_tool("touch_resource", {"uri": WATCHED, "after_ms": 300})
            await heard.updated.until(lambda uri: uri == WATCHED, 1)
            carriers = [at for at, e in enumerate(exchanges.all) if "resources/updated" in e.text]
            check(exchanges.all[carriers[-1]].method == "GET", "it came over another stream")
            check(carriers[-1] < before, "it did not come over the stream that was open")
            return figures

        return self.unnoticed("fixture", steps)

    async def in_force(self, session: Session, heard: Heard) -> None:
        client = session.client

        async def log() -> None:
            await client.call_tool("test_tool_with_logging", {})

        await log()
        await heard.logged.until(lambda _: True)
        await client.set_logging_level("error")
        await client.subscribe_resource(WATCHED)
        before = len(heard.logged.all)

        async def on() -> None:
            await sleep(session)
            await log()

        await while_the_stream_returns(session, on)
        check(len(heard.logged.all) == before, "it says what it was told to keep to itself")
        await heard.updated.until(lambda uri: uri == WATCHED)
        told = len(heard.updated.all)
        await client.call_tool("touch_resource", {"uri": WATCHED})
        await heard.updated.until(lambda uri: uri == WATCHED, told)

    async def rotates(self, session: Session, _: Heard) -> str:
        children, failures = set(), []
        calls, longest = 0, 0.0
        begun = time.monotonic()
        rotate_for = self.flags.rotate_for
        # On a busy machine each child takes longer to come, and for that long it goes on.
        while (lasts := time.monotonic() - begun) < rotate_for or (
            len(children) < ENOUGH and lasts < rotate_for + STORY_LIMIT / 2
        ):
            asked = time.monotonic()
            calls += 1
            try:
                children.add(json.loads(await session.call())["pid"])
            except Exception as error:
                failures.append(f"call {calls}: {stories.reason(error)}")
            longest = max(longest, time.monotonic() - asked)
        figures = (
            f"{calls:,} calls, {len(children)} children, {len(failures)} failed,"
            f" the longest took {longest * 1000:.0f} ms"
        )
        check(not failures, f"{figures}; {failures[:1]}")
        check(len(children) >= ENOUGH, figures)
        return figures


async def run(flags: argparse.Namespace) -> int:
    told = Stories(flags)
    teller = Teller(STORY_LIMIT + flags.rotate_for)
    await teller.all(told.rotation if flags.rotate_for else told.told, flags.only)
    return teller.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="the broker")
    parser.add_argument("--browser", required=True, help="browser.mjs, beside its node_modules")
    parser.add_argument("--node", default="node", help="the program that runs it")
    parser.add_argument("--person", default="ada")
    parser.add_argument("--password", required=True)
    parser.add_argument("--provider", help="the way of signing in to choose")
    parser.add_argument("--rotate-for", type=float, default=0, help="only rotate, for so many seconds")
    parser.add_argument("--only", help="run the stories whose name contains this")
    stories.main(run(parser.parse_args()))


if __name__ == "__main__":
    main()
