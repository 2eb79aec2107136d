"""The broker as an operator runs it, and a client of it that shows every status."""

import asyncio
import base64
import hashlib
import json
import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2

from forge.api import Person
from forge.browser import BACK, Browser, Page

START_LIMIT = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Broker:
    """One broker's binary, configuration and process."""

    binary: str
    directory: Path
    programs: Path
    """Where `forgejo-mcp` or `gitea-mcp` is."""
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.directory / "mcp-broker.toml"

    @property
    def log(self) -> str:
        path = self.directory / "broker.log"
        return path.read_text() if path.exists() else ""

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MCP_BROKER_")}
        return kept | {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "MCP_BROKER_DATA_DIR": str(self.directory / "data"),
        }

    async def run(self, *arguments: str, typed: str = "") -> tuple[int, str]:
        """Runs a subcommand: exit code, and all it said."""
        process = await asyncio.create_subprocess_exec(
            self.binary,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self.environment(),
            cwd=self.directory,
        )
        said, _ = await process.communicate(typed.encode())
        assert process.returncode is not None
        return process.returncode, said.decode(errors="replace")

    async def start(self) -> None:
        with (self.directory / "broker.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                self.binary,
                "serve",
                "--config",
                str(self.config),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self.environment(),
                cwd=self.directory,
            )
        assert self.process.stdout
        line = await asyncio.wait_for(self.process.stdout.readline(), START_LIMIT)
        assert line.startswith(b"listening on "), f"the broker does not start: {self.log[-600:]}"

    async def stop(self, *, kill: bool = False) -> None:
        if self.process is None:
            return
        process, self.process = self.process, None
        if kill:
            process.kill()
            await process.wait()
            return
        process.terminate()
        code = await asyncio.wait_for(process.wait(), 30)
        assert code == 0, f"the broker ended with {code}: {self.log[-600:]}"

    def rewrite(self, before: str, after: str) -> None:
        """Edits the configuration, as an operator does."""
        text = self.config.read_text()
        assert before in text, f"{before} is not in the configuration"
        self.config.write_text(text.replace(before, after))


@dataclass
class Application:
    """A client that has registered itself for one server."""

    broker: Broker
    path: str
    client_id: str
    http: httpx2.AsyncClient
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @classmethod
    async def connect(cls, broker: Broker, path: str = "/mcp") -> "Application":
        http = httpx2.AsyncClient(timeout=40)
        wanted = {
            "client_name": "stories",
            "redirect_uris": [BACK],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        }
        made = await http.post(f"{broker.url}/oauth/register", json=wanted)
        assert made.status_code == 201, made.text
        return cls(broker, path, made.json()["client_id"], http)

    @property
    def question(self) -> str:
        """The address that the client opens in a browser."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest())
        fields = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": BACK,
            "state": "stories",
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
            "resource": self.broker.url + self.path,
        }
        return f"{self.broker.url}/oauth/authorize?{urlencode(fields)}"

    async def redeem(self, page: Page) -> "Session":
        brought = page.brought
        assert brought and "code" in brought, f"no code: {brought or page.seen}"
        fields = {
            "grant_type": "authorization_code",
            "client_id": self.client_id,
            "code": brought["code"],
            "redirect_uri": BACK,
            "code_verifier": self.verifier,
        }
        answer = await self.http.post(f"{self.broker.url}/oauth/token", data=fields)
        assert answer.status_code == 200, answer.text
        return Session(self, answer.json()["access_token"])

    async def sign_in(self, person: Person, browser: Browser | None = None) -> "Session":
        """Signs somebody in from a fresh browser; a client with a token and no session yet."""
        browser = browser or Browser()
        page = await browser.as_person(await browser.open(self.question), person)
        return await self.redeem(page)


@dataclass
class Answer:
    """What a call met: the status, and the message."""

    status: int
    message: dict[str, Any]

    @property
    def words(self) -> str:
        """The text of a result, or of an error, whosever it is."""
        if "error" in self.message:
            return str(self.message["error"].get("message", ""))
        content = self.message.get("result", {}).get("content", [])
        return "\n".join(block.get("text", "") for block in content)

    @property
    def is_good(self) -> bool:
        result = self.message.get("result")
        return self.status == 200 and result is not None and not result.get("isError")


@dataclass
class Session:
    application: Application
    token: str
    id: str | None = None
    last: int = 0

    async def post(self, message: dict[str, Any]) -> Answer:
        headers = {"authorization": f"Bearer {self.token}", "accept": "application/json, text/event-stream"}
        if self.id:
            headers["mcp-session-id"] = self.id
        url = self.application.broker.url + self.application.path
        answer = await self.application.http.post(url, json=message, headers=headers)
        self.id = self.id or answer.headers.get("mcp-session-id")
        text = answer.text
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            events = (line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:"))
            read = [json.loads(event) for event in events if event.strip()]
            return Answer(answer.status_code, next((one for one in read if one.get("id") == message.get("id")), {}))
        try:
            body = json.loads(text) if text.strip() else {}
        except ValueError:
            body = {"error": {"message": text[:300]}}
        return Answer(answer.status_code, body if isinstance(body, dict) else {})

    async def ask(self, method: str, params: dict[str, Any]) -> Answer:
        self.last += 1
        return await self.post({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params})

    async def open(self) -> Answer:
        about = {"name": "stories", "version": "1"}
        wanted = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about}
        answer = await self.ask("initialize", wanted)
        if answer.status == 200:
            await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        return await self.ask("tools/call", {"name": tool, "arguments": arguments})
