"""Telling stories: one line each, and what the programs that tell them have in common."""

import asyncio
import json
import logging
import sys
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPDeprecationWarning

Story = Callable[[], Awaitable[str | None]]
"""What happens; it may return figures for its line."""


def takes(limit: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives one story a limit of its own, in seconds."""

    def mark(story: Callable[..., Any]) -> Callable[..., Any]:
        story.takes = limit  # type: ignore[attr-defined]
        return story

    return mark


class Skip(Exception):
    """Says that a story does not apply here."""


def check(holds: object, why: str) -> None:
    """An assertion that `python -O` keeps."""
    if not holds:
        raise AssertionError(why)


def text_of(result: types.CallToolResult) -> str:
    """The text blocks of a tool's result, joined."""
    return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group, and the causes of each."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    below = [cause for cause in (error.__cause__, error.__context__) if cause is not None]
    return [error, *(leaf for cause in below for leaf in leaves(cause))]


def reason(error: BaseException) -> str:
    """One line about what went wrong."""
    first = leaves(error)[0]
    return " ".join((str(first) or type(first).__name__).split())[:300]


@dataclass
class Teller:
    """Tells stories within a limit of real time each, in seconds, and counts how they went."""

    limit: float
    passed: int = 0
    failed: int = 0

    async def all(self, stories: Mapping[str, Story], only: str | None) -> None:
        """All stories whose name contains `only`."""
        for name, story in stories.items():
            if not only or only in name:
                await self.tell(name, story)

    async def tell(self, name: str, story: Story) -> None:
        limit = getattr(story, "takes", self.limit)
        try:
            async with asyncio.timeout(limit):
                figures = await story()
        except TimeoutError:
            self.fail(name, AssertionError(f"not done after {limit:.0f} s"))
        except Exception as error:
            skips = [leaf for leaf in leaves(error) if isinstance(leaf, Skip)]
            if skips:
                print(f"skipped - {name}: {skips[0]}", flush=True)
            else:
                self.fail(name, error)
        else:
            self.passed += 1
            print(f"ok - {name}{f': {figures}' if figures else ''}", flush=True)

    def fail(self, name: str, error: BaseException) -> None:
        self.failed += 1
        print(f"FAILED - {name}: {reason(error)}", flush=True)

    def end(self) -> int:
        """Prints the sum; what the program is to exit with."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.failed == 0 else 1


def main(run: Coroutine[Any, Any, int]) -> None:
    """Runs a program of stories and exits."""
    # The handshake era's methods are deprecated in the SDK, and they are what these stories are about.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(run))


@dataclass
class Kind:
    """What a kind of server is asked, and what is known of its answer."""

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)
    text: str | None = None
    """The answer, where it is known to the letter."""
    names: str | None = None
    """Where in the answer the person is named."""

    def check(self, result: types.CallToolResult, person: str) -> str:
        """Checks an answer that is for `person`, and returns its text."""
        text = text_of(result)
        check(not result.is_error, text)
        check(self.text is None or text == self.text, f"answered {text!r}")
        check(self.names is None or json.loads(text)[self.names] == person, f"not for {person}: {text}")
        return text


SERVERS = {
    "fixture": Kind("echo", {"text": "hello"}, text="hello"),
    "everything": Kind("echo", {"message": "hello"}, text="Echo: hello"),
    "gitea": Kind("get_server_info", names="gitea_user"),
    "who": Kind("who", names="login"),
}
