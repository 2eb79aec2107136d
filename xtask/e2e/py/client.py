"""The end-to-end stories, told by the Python SDK's client.

Every story prints one line: `ok - STORY`, `skipped - STORY: why` or `FAILED - STORY: reason`. The
SDK does the talking throughout; `wire` only watches its HTTP exchanges and cuts connections on
request. `../ts/client.mjs` tells the same stories under the same names.
"""

import argparse
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

import stories
from stories import Skip, Teller, check, takes, text_of
from wire import Arrivals, Exchange, Wire, is_open_get

# Real time a story may take on a busy machine, in seconds: less than the tool takes that is cancelled.
STORY_LIMIT = 45.0
"""Real time a story may take, in seconds."""

VISITS = 100
"""How often a client comes, calls once and leaves."""

MOST_PROCESSES = 2
"""How many processes all visits together may take."""

MODEL_SAYS = "the model of the end-to-end stories says hello"
"""What the imaginary model answers to a sampling request."""


@dataclass
class Call:
    """One tool call; `text` is the whole answer where it is known to the letter."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    text: str | None = None


def long_call(duration: float, steps: int) -> Call:
    """A call of the everything server that takes `duration` seconds and reports `steps` times."""
    text = f"Long running operation completed. Duration: {duration} seconds, Steps: {steps}."
    return Call("trigger-long-running-operation", {"duration": duration, "steps": steps}, text)


def abilities(kind: str, path: str | None) -> dict[str, Any]:
    """What a kind of server can be asked. A story whose entry is missing is skipped."""
    match kind:
        case "fixture":
            watched = "test://watched-resource"
            return {
                "tools": ["test_simple_text", "test_tool_with_progress", "test_sampling", "test_elicitation", "sleep"],
                "content": Call("test_simple_text", text="This is a simple text response for testing."),
                "progress": Call("test_tool_with_progress"),
                "sampling": Call("test_sampling", {"prompt": "Say hello."}),
                "elicitation": Call("test_elicitation", {"message": "Who are you?"}),
                "logging": Call("test_tool_with_logging"),
                "at_once": [
                    Call("sleep", {"ms": 200}),
                    Call("echo", {"text": "one"}, "one"),
                    Call("echo", {"text": "two"}, "two"),
                ],
                "slow": Call("sleep", {"ms": 60_000}),
                "after": Call("echo", {"text": "still here"}, "still here"),
                "resumed": Call("test_tool_with_progress"),
                "roots": Call("test_input_required_result_list_roots"),
                "update": (watched, Call("touch_resource", {"uri": watched})),
                "process": Call("pid"),
                "crash": Call("crash"),
            }
        case "everything":
            odd = 'grüße – 你好 \u2028 "q"'
            return {
                "tools": ["echo", "get-sum", "trigger-long-running-operation", "toggle-simulated-logging"],
                "content": Call("echo", {"message": odd}, f"Echo: {odd}"),
                "progress": long_call(0.3, 3),
                "sampling": Call("trigger-sampling-request", {"prompt": "Say hello."}),
                "elicitation": Call("trigger-elicitation-request"),
                "logging": Call("toggle-simulated-logging"),
                "at_once": [
                    long_call(0.4, 4),
                    long_call(0.3, 2),
                    Call("get-sum", {"a": 2, "b": 40}, "The sum of 2 and 40 is 42."),
                ],
                "slow": long_call(6, 60),
                "after": Call("echo", {"message": "still here"}, "Echo: still here"),
                "resumed": long_call(1, 5),
                "roots": Call("get-roots-list"),
                "update": ("demo://resource/dynamic/text/1", Call("toggle-subscriber-updates")),
            }
        case "filesystem":
            return {
                "tools": ["read_text_file", "write_file", "list_directory", "list_allowed_directories"],
                "content_steps": write_and_read,
                "at_once": [
                    Call("list_allowed_directories", text=f"Allowed directories:\n{path}"),
                    Call("list_directory", {"path": path}),
                    Call("get_file_info", {"path": path}),
                ],
                "roots": Call("list_allowed_directories"),
            }
        case "git":
            return {
                "tools": ["git_status", "git_log", "git_show", "git_diff"],
                "content_steps": read_the_log,
                "at_once": [
                    Call("git_status", {"repo_path": path}),
                    Call("git_log", {"repo_path": path}),
                    Call("git_show", {"repo_path": path, "revision": "HEAD"}),
                ],
            }
        case "go-sdk":
            return {
                "tools": ["greet", "log", "sample", "elicit (form)", "roots"],
                "content": Call("greet", {"name": "Ada"}, "Hi Ada"),
                "at_once": [Call("greet", {"name": name}, f"Hi {name}") for name in ("one", "two", "three")],
            }
        case "mcp-go":
            odd = 'grüße – 你好 \u2028 "q"'
            return {
                "tools": ["echo", "add", "longRunningOperation", "getTinyImage"],
                "content": Call("echo", {"message": odd}, f"Echo: {odd}"),
                "progress": Call("longRunningOperation", {"duration": 1, "steps": 4}),
                # None that counts its progress: the last one may come after the result, and is nobody's then.
                "at_once": [
                    Call("add", {"a": 2, "b": 40}, "The sum of 2.000000 and 40.000000 is 42.000000."),
                    Call("echo", {"message": "one"}, "Echo: one"),
                    Call("echo", {"message": "two"}, "Echo: two"),
                ],
                "slow": Call("longRunningOperation", {"duration": 6, "steps": 60}),
                "after": Call("echo", {"message": "still here"}, "Echo: still here"),
            }
        case other:
            raise AssertionError(f"no such kind: {other}")


async def write_and_read(client: Client, path: str) -> None:
    """The filesystem server's content story."""
    file = str(Path(path) / "told-by-the-python-client.txt")
    content = "one\r\ntwo\n\tthree – drei\u2029\n"
    await client.call_tool("write_file", {"path": file, "content": content})
    read = await client.call_tool("read_text_file", {"path": file})
    check(text_of(read) == content, f"read back {text_of(read)!r}")
    check(read.structured_content == {"content": content}, f"structured: {read.structured_content!r}")


async def read_the_log(client: Client, path: str) -> None:
    """The git server's content story; the `git` on this machine is the second opinion."""
    log = await client.call_tool("git_log", {"repo_path": path, "max_count": 1})
    head = (await anyio.run_process(["git", "-C", path, "rev-parse", "HEAD"])).stdout.decode().strip()
    check(head in text_of(log), f"no HEAD commit in {text_of(log)!r}")


def fill_in(schema: dict[str, Any]) -> dict[str, Any]:
    """Content that fits the form a server shows: every required field, strings marked as ours."""

    def value(shape: dict[str, Any]) -> Any:
        if "enum" in shape:
            return shape["enum"][0]
        if shape.get("type") == "boolean":
            return True
        if shape.get("type") in ("integer", "number"):
            return shape.get("minimum", 1)
        return "stories@example.org" if shape.get("format") == "email" else "told by the stories"

    return {name: value(schema["properties"][name]) for name in schema.get("required", [])}


@dataclass
class Session:
    """A connected client with its wire and all that was asked of it."""

    wire: Wire
    roots: list[str]
    client: Client = field(init=False)
    asked: Arrivals = field(default_factory=Arrivals)
    logged: Arrivals = field(default_factory=Arrivals)
    updated: Arrivals = field(default_factory=Arrivals)

    @property
    def id(self) -> str | None:
        """What the server called this session."""
        ids = (e.response.headers.get("mcp-session-id") for e in self.wire.exchanges.all if e.response)
        return next((id for id in ids if id), None)

    async def call(self, call: Call, on_step: Callable[[], None] | None = None) -> tuple[str, list[float]]:
        """Calls a tool, checks its answer where it is known, and returns its text and the progress seen."""
        progress: list[float] = []

        async def step(done: float, total: float | None, message: str | None) -> None:
            progress.append(done)
            if on_step is not None:
                on_step()

        result = await self.client.call_tool(call.name, call.arguments, progress_callback=step)
        check(not result.is_error, f"{call.name} failed: {text_of(result)}")
        if call.text is not None:
            check(text_of(result) == call.text, f"{call.name} answered {text_of(result)!r}")
        return text_of(result), progress


def check_increasing(values: list[float]) -> None:
    check(len(values) >= 2, f"expected progress at least twice, got {values}")
    check(all(a < b for a, b in pairwise(values)), f"progress went {values}")


def is_call(exchange: Exchange) -> bool:
    return '"tools/call"' in exchange.body


class Stories:
    """Every method that is named in `told` is one story; they run in that order."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.able = abilities(flags.server, flags.path)
        self.has_roots = True
        self.shared: Session
        self.told: dict[str, Callable[[], Any]] = {
            "a session opens and has an id": self.opens,
            "tools, resources and prompts are listed": self.lists,
            "a tool answers with the very content": self.answers,
            "progress arrives in order before the result": self.progresses,
            "a sampling request is answered": self.samples,
            "an elicitation is answered": self.elicits,
            "roots are asked for and answered": self.shows_roots,
            "log messages arrive at the level that was set": self.logs,
            "the update of a subscribed resource arrives": self.subscribes,
            "calls at the same time get their own answers": self.runs_at_once,
            "a cancelled call leaves the session working": self.cancels,
            "a broken stream is resumed": self.resumes,
            "the GET stream delivers what no call asked for": self.listens,
            "a broken GET stream is resumed": self.listens_again,
            "two sessions have a process each": self.stays_apart,
            "a hundred visits one after the other take two processes at most": self.visits,
            "a crash is an error of the call that met it": self.crashes,
            "the SDK's default mode finds its era": self.negotiates,
            "a deleted session is gone": self.deletes,
            "a wrong bearer is refused": self.refuses,
        }

    @asynccontextmanager
    async def connect(
        self,
        token: str | None = None,
        *,
        mode: str = "legacy",
        wire: Wire | None = None,
        says_goodbye: bool = True,
    ) -> AsyncIterator[Session]:
        """A session; leaving it makes the SDK delete it, if it `says_goodbye`."""
        root = Path(self.flags.path).as_uri() if self.flags.path else "file:///stories/first"
        session = Session(wire or Wire(), [root])

        async def sample(_context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
            session.asked.push(("sampling", params))
            content = types.TextContent(type="text", text=MODEL_SAYS)
            return types.CreateMessageResult(role="assistant", model="stories", content=content)

        async def elicit(_context: Any, params: Any) -> types.ElicitResult:
            content = fill_in(params.requested_schema)
            session.asked.push(("elicitation", content))
            return types.ElicitResult(action="accept", content=content)

        async def list_roots(_context: Any) -> types.ListRootsResult:
            session.asked.push(("roots", list(session.roots)))
            return types.ListRootsResult(roots=[types.Root(uri=uri, name="stories") for uri in session.roots])

        async def logged(params: types.LoggingMessageNotificationParams) -> None:
            session.logged.push(params)

        async def heard(message: Any) -> None:
            if isinstance(message, types.ResourceUpdatedNotification):
                session.updated.push(str(message.params.uri))

        if token is None:
            token = self.flags.token
        async with httpx2.AsyncClient(
            headers={} if token is None else {"Authorization": f"Bearer {token}".strip()},
            timeout=httpx2.Timeout(30, read=300),
            transport=session.wire,
        ) as http:
            session.client = Client(
                streamable_http_client(self.flags.url, http_client=http, terminate_on_close=says_goodbye),
                mode=mode,
                cache=None,
                client_info=types.Implementation(name="e2e-python", version="1.0.0"),
                sampling_callback=sample,
                elicitation_callback=elicit,
                list_roots_callback=list_roots if self.has_roots else None,
                logging_callback=logged,
                message_handler=heard,
            )
            async with session.client:
                yield session

    def ability(self, key: str) -> Any:
        """The server's entry for a story, or a skip."""
        if key not in self.able:
            raise Skip("the server offers nothing for it")
        return self.able[key]

    async def opens(self) -> None:
        check(re.fullmatch(r"[\x21-\x7e]+", self.shared.id or ""), "no usable Mcp-Session-Id")
        check(self.shared.client.server_info, "the server has no name")
        await self.shared.client.send_ping()

    async def lists(self) -> None:
        client = self.shared.client
        offered = client.server_capabilities
        names = [tool.name for tool in (await client.list_tools()).tools]
        for tool in self.able["tools"]:
            check(tool in names, f"no {tool} in {names}")
        if offered.resources:
            # Some servers declare resources and have none.
            for resource in (await client.list_resources()).resources[:1]:
                read = await client.read_resource(str(resource.uri))
                check(str(read.contents[0].uri) == str(resource.uri), f"read {read.contents[0].uri}")
        if offered.prompts:
            await client.list_prompts()

    async def answers(self) -> None:
        if steps := self.able.get("content_steps"):
            await steps(self.shared.client, self.flags.path)
        else:
            await self.shared.call(self.able["content"])

    async def progresses(self) -> None:
        _, progress = await self.shared.call(self.ability("progress"))
        check_increasing(progress)

    async def samples(self) -> None:
        text, _ = await self.shared.call(self.ability("sampling"))
        check(MODEL_SAYS in text, f"no answer in {text!r}")

    async def elicits(self) -> None:
        text, _ = await self.shared.call(self.ability("elicitation"))
        content = next(content for kind, content in self.shared.asked.all if kind == "elicitation")
        for value in content.values():
            check(value in text, f"no {value!r} in {text!r}")

    async def shows_roots(self) -> None:
        list_them = self.ability("roots")
        async with self.connect() as session:
            shown = self.flags.path or session.roots[0]
            # Some servers ask when they please and digest the answer in their own time, so their
            # view is polled; the story's limit bounds it.
            while shown not in (await session.call(list_them))[0]:
                pass
            await session.asked.until(lambda asked: asked[0] == "roots")

    async def logs(self) -> None:
        tool = self.ability("logging")
        async with self.connect() as session:
            await session.client.set_logging_level("debug")
            await session.call(tool)
            message = await session.logged.until(lambda params: params.logger != "everything-server")
            check(message.level and message.data is not None, f"an empty message: {message}")

    async def subscribes(self) -> None:
        uri, touch = self.ability("update")
        async with self.connect() as session:
            await session.client.subscribe_resource(uri)
            await session.call(touch)
            await session.updated.until(lambda updated: updated == uri)
            await session.client.unsubscribe_resource(uri)

    async def runs_at_once(self) -> None:
        calls: list[Call] = self.ability("at_once")
        alone = [call.text or (await self.shared.call(call))[0] for call in calls]
        together: list[Any] = [None] * len(calls)

        async def run(place: int) -> None:
            together[place] = await self.shared.call(calls[place])

        async with anyio.create_task_group() as tasks:
            for place in range(len(calls)):
                tasks.start_soon(run, place)
        for call, expected, (text, progress) in zip(calls, alone, together, strict=True):
            check(text == expected, f"{call.name} answered {text!r}, alone {expected!r}")
            if steps := call.arguments.get("steps"):
                self.check_steps(progress, steps)

    def check_steps(self, progress: list[float], steps: int) -> None:
        check(progress == list(range(1, steps + 1)), f"progress went {progress}")

    async def cancels(self) -> None:
        slow, after = self.ability("slow"), self.ability("after")
        session = self.shared
        underway = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.call, slow, underway.set)
            # Some slow tools are silent; then an answered ping stands for "the call has been sent".
            await session.wire.exchanges.until(lambda exchange: f'"{slow.name}"' in exchange.body)
            if "ms" in slow.arguments:
                await session.client.send_ping()
            else:
                await underway.wait()
            tasks.cancel_scope.cancel()
        notice = await session.wire.exchanges.until(
            lambda exchange: "notifications/cancelled" in exchange.body and exchange.status
        )
        check(notice.status == 202, f"the cancellation was answered with {notice.status}")
        await session.call(after)

    async def resumes(self) -> None:
        call: Call = self.ability("resumed")
        async with self.connect() as session:
            exchanges = session.wire.exchanges
            _, progress = await session.call(call, lambda: next(filter(is_call, exchanges.all)).cut.set())
            resumption = next((e for e in exchanges.all if "last-event-id" in e.request.headers), None)
            check(resumption, "the result came without a resumption: nothing was cut")
            ids = re.findall(r"^id: ?(.+?)\r?$", next(filter(is_call, exchanges.all)).text, re.MULTILINE)
            check(resumption.request.headers["last-event-id"] in ids, "Last-Event-ID is not of the broken stream")
            check_increasing(progress)
            if steps := call.arguments.get("steps"):
                check(len(progress) == steps, f"progress went {progress}")

    async def listens(self) -> None:
        await self._hear_of_new_roots(cut=False)

    async def listens_again(self) -> None:
        await self._hear_of_new_roots(cut=True)

    async def _hear_of_new_roots(self, cut: bool) -> None:
        if self.flags.server != "everything":
            raise Skip("the server says nothing unasked")
        async with self.connect() as session:
            stream = await session.wire.exchanges.until(is_open_get)
            # With no call in flight the server asks for the roots and then logs that it has them.
            await session.logged.until(lambda params: str(params.data).startswith("Roots updated: 1 "))
            if cut:
                stream.cut.set()
            session.roots = ["file:///stories/first", "file:///stories/second"]
            await session.client.send_roots_list_changed()
            await session.logged.until(lambda params: str(params.data).startswith("Roots updated: 2 "))
            carrier = next(e for e in session.wire.exchanges.all if "Roots updated: 2 " in e.text)
            check(carrier.method == "GET", f"it came by {carrier.method}")
            asked = [roots for kind, roots in session.asked.all if kind == "roots" and len(roots) == 2]
            check(len(asked) == 1, f"the question was delivered {len(asked)} times")

    async def stays_apart(self) -> None:
        ask = self.ability("process")
        async with self.connect() as one, self.connect() as two:
            (first, _), (second, _) = await one.call(ask), await two.call(ask)
            check(first != second, f"both sessions run in process {first}")

    @takes(240)
    async def visits(self) -> str:
        ask = self.ability("process")
        processes = set()
        begun = time.monotonic()
        for visit in range(VISITS):
            # As hosted clients do: everything anew for one call. Some delete their sessions, others just leave.
            async with self.connect(says_goodbye=visit % 2 == 0) as session:
                check((await session.client.list_tools()).tools, "no tools")
                processes.add((await session.call(ask))[0])
        check(len(processes) <= MOST_PROCESSES, f"{VISITS} visits took {len(processes)} processes")
        return f"{VISITS} visits, processes: {len(processes)}, {time.monotonic() - begun:.1f} s"

    async def crashes(self) -> None:
        crash = self.ability("crash")
        async with self.connect() as session:
            try:
                await session.client.call_tool(crash.name)
            except MCPError:
                return
            raise AssertionError("the crashed call got a result")

    async def negotiates(self) -> None:
        async with self.connect(mode="auto") as session:
            check((await session.client.list_tools()).tools, "no tools")
            check(session.client.protocol_version, "no protocol version")

    async def deletes(self) -> None:
        async with self.connect() as session:
            pass
        farewell = next(e for e in session.wire.exchanges.all if e.method == "DELETE")
        check(farewell.status in (200, 204), f"DELETE was answered with {farewell.status}")
        # The SDK cannot be given an id to go on with, so what a late request gets is asked by hand.
        late = next(e for e in session.wire.exchanges.all if e.method == "GET" or "notifications/initialized" in e.body)
        headers = {**late.request.headers, "content-type": "application/json"}
        headers["accept"] = "application/json, text/event-stream"
        for stale in ("content-length", "last-event-id"):
            headers.pop(stale, None)
        async with httpx2.AsyncClient() as http:
            ping = {"jsonrpc": "2.0", "id": 99, "method": "ping"}
            reply = await http.post(self.flags.url, json=ping, headers=headers)
        check(reply.status_code == 404, f"a late ping was answered with {reply.status_code}")

    async def refuses(self) -> None:
        if self.flags.token is None:
            raise Skip("no --token")
        for token in ("no-such-token", ""):
            wire = Wire()
            try:
                async with self.connect(token, wire=wire):
                    pass
            except* MCPError:
                # The SDK's error keeps the status to itself, so the wire tells.
                statuses = [exchange.status for exchange in wire.exchanges.all]
                check(set(statuses) == {401}, f"a wrong bearer was answered with {statuses}")
            else:
                raise AssertionError("a wrong bearer was accepted")


async def run(kind: type[Stories], flags: argparse.Namespace) -> int:
    told = kind(flags)
    teller = Teller(STORY_LIMIT)
    try:
        async with told.connect() as told.shared:
            await teller.all(told.told, flags.only)
    except Exception as error:
        # Nothing can be told without the session that most stories share.
        teller.fail(next(iter(told.told)), error)
    return teller.end()


def parse(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--url", required=True, help="the broker's MCP endpoint")
    parser.add_argument("--token", help="the bearer token; without it none is sent")
    parser.add_argument("--server", required=True, choices=["fixture", "everything", "filesystem", "git", "go-sdk", "mcp-go"])
    parser.add_argument("--path", help="the directory or repository that `filesystem` or `git` was started with")
    parser.add_argument("--only", help="run the stories whose name contains this")
    flags = parser.parse_args()
    if flags.server in ("filesystem", "git") and not flags.path:
        parser.error("--path is needed for this server")
    return flags


if __name__ == "__main__":
    stories.main(run(Stories, parse(__doc__)))
