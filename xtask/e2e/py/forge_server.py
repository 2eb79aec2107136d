#!/usr/bin/env python3
"""A stand-in for `forgejo-mcp` and `gitea-mcp` where neither is at hand: a few of their tools under their
names, and their habits. It asks the forge in its handshake and exits when the token is not taken there;
what the forge refuses is a JSON-RPC error with the forge's own words.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

URL = os.environ.get("FORGEJO_URL") or os.environ["GITEA_HOST"]
TOKEN = os.environ.get("FORGEJO_ACCESS_TOKEN") or os.environ["GITEA_ACCESS_TOKEN"]
LIMIT = 40


class Refused(Exception):
    """The forge said no."""


def ask(method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(f"{URL}/api/v1{path}", method=method)
    request.add_header("authorization", f"token {TOKEN}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        try:
            text = json.loads(text)["message"]
        except (ValueError, KeyError):
            pass
        raise Refused(text) from error
    except OSError as error:
        raise Refused(str(error)) from error


def schema(*required: str) -> dict[str, Any]:
    properties = {name: {"type": "string"} for name in required}
    return {"type": "object", "properties": properties, "required": list(required)}


TOOLS = {
    "get_my_user_info": (schema(), lambda _: ask("GET", "/user")),
    "create_repo": (schema("name"), lambda given: ask("POST", "/user/repos", {"name": given["name"]})),
    "create_issue": (
        schema("owner", "repo", "title", "body"),
        lambda given: ask(
            "POST",
            f"/repos/{given['owner']}/{given['repo']}/issues",
            {"title": given["title"], "body": given["body"]},
        ),
    ),
    "check_notifications": (schema(), lambda _: ask("GET", "/notifications")),
    "create_org": (schema("username"), lambda given: ask("POST", "/orgs", {"username": given["username"]})),
}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    params = message.get("params") or {}
    match message["method"]:
        case "initialize":
            return {
                "result": {
                    "protocolVersion": params.get("protocolVersion", "2025-06-18"),
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "forge stand-in", "version": "1"},
                }
            }
        case "tools/list":
            return {"result": {"tools": [{"name": name, "inputSchema": own[0]} for name, own in TOOLS.items()]}}
        case "tools/call" if params.get("name") in TOOLS:
            name = params["name"]
            try:
                found = TOOLS[name][1](params.get("arguments") or {})
            except Refused as error:
                return {"error": {"code": -32603, "message": f"{name.replace('_', ' ')} err: {error}"}}
            return {"result": {"content": [{"type": "text", "text": json.dumps(found)}]}}
        case "ping":
            return {"result": {}}
    return {"error": {"code": -32601, "message": f"no {message['method']}"}}


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        if message["method"] == "initialize":
            try:
                ask("GET", "/version")
            except Refused as error:
                sys.exit(f"the forge does not take the token: {error}")
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer(message)}), flush=True)


if __name__ == "__main__":
    main()
