"""What the programs have in common that tell of clients which are packages of their own: `older.py`, `fast.py`.

`../ts/clients.mjs` is the same for those in JavaScript. This runs with any version of `mcp`.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

STORY_LIMIT = 120.0
"""Real time a story may take, in seconds. A server that downloads itself may need most of it."""

SEPARATORS = "one\u2028two\u2029three\u0085four"
"""What some reader of lines takes for the end of one."""

TOOLS = {
    "fixture": ["echo", "test_tool_with_logging"],
    "memory": ["create_entities", "read_graph"],
    "time": ["get_current_time", "convert_time"],
}

QUESTIONS: dict[str, tuple[str, dict[str, Any], Callable[[str], object]]] = {
    "fixture": ("echo", {"text": "hello"}, lambda text: text == "hello"),
    "memory": ("read_graph", {}, lambda text: isinstance(json.loads(text)["entities"], list)),
    "time": ("get_current_time", {"timezone": "UTC"}, lambda text: json.loads(text)["timezone"] == "UTC"),
}

WATCHED = "test://watched-resource"
"""Of the fixture: changes when it is touched, and those who subscribed hear of it."""

Story = Callable[[argparse.Namespace], Awaitable[str | None]]


class Skip(Exception):
    """Says that a story does not apply here."""


def only_fixture(flags: argparse.Namespace) -> None:
    """The story is about the client, and any server does: the one that starts at once."""
    if flags.server != "fixture":
        raise Skip("told with the fixture")


def check(holds: object, why: str) -> None:
    """An assertion that `python -O` keeps."""
    if not holds:
        raise AssertionError(why)


def check_tools(server: str, tools: list[Any]) -> None:
    names = [tool.name for tool in tools]
    for name in TOOLS[server]:
        check(name in names, f"{name} is missing in {', '.join(names)}")


def check_answer(server: str, text: str) -> None:
    check(QUESTIONS[server][2](text), f"answered {text!r}")


def under_localhost(url: str) -> str:
    """The same endpoint by another name and with a slash at its end."""
    return f"{url.replace('127.0.0.1', 'localhost')}/"


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group."""
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else None
    return [error] if inner is None else [leaf for one in inner for leaf in leaves(one)]


class Complaints(logging.Handler):
    """What a library says in the log and to nobody else."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.WARNING)
        self.all: list[str] = []
        logging.getLogger(name).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self.all.append(f"{record.getMessage()} {cause!r}" if cause else record.getMessage())


def main(stories: Mapping[str, Story], library: str) -> None:
    """Tells `stories`; one during which `library` logged a warning failed as well."""
    parser = argparse.ArgumentParser()
    for name in ("url", "token", "server"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--only")
    flags = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())
    sys.exit(asyncio.run(tell(stories, flags, Complaints(library))))


async def tell(stories: Mapping[str, Story], flags: argparse.Namespace, complaints: Complaints) -> int:
    passed = failed = 0
    for name, story in stories.items():
        if flags.only and flags.only not in name:
            continue
        complaints.all.clear()
        try:
            async with asyncio.timeout(STORY_LIMIT):
                figures = await story(flags)
            check(not complaints.all, f"the client logged {complaints.all}")
        except (Exception, asyncio.CancelledError) as error:
            first = leaves(error)[0]
            if isinstance(first, Skip):
                print(f"skipped - {name}: {first}", flush=True)
                continue
            failed += 1
            reason = " ".join((str(first) or type(first).__name__).split())[:300]
            print(f"FAILED - {name}: {reason}", flush=True)
        else:
            passed += 1
            print(f"ok - {name}{f': {figures}' if figures else ''}", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 else 1
