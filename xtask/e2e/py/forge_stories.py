"""The stories of the broker at a forge: an operator sets it up, people work through it, and accounts,
grants and tokens end in the ways they do at a forge.

It runs the broker itself, at a forge that the caller names, with a server that the caller names. It makes
its own people, repositories and applications through the forge's API and removes them at the end. One line
per story, as in `client.py`.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import stories
from forge.api import Forge, Person
from forge.broker import Answer, Application, Broker, Session
from forge.browser import Browser, Page
from forge.relay import Relay
from stories import Skip, Story, Teller, check

STORY_LIMIT = 120.0
"""Real time a story may take, in seconds."""

LOOK_AGAIN = 30.0
"""How long the broker takes the forge's last word on a credential for true, in seconds."""

HEALED_WITHIN = 10.0
"""How soon after an outage a call has to succeed, in seconds."""

CAREFUL = '["read:user", "write:repository", "write:issue", "read:organization"]'
ALL_TOOLS = '["write:user", "write:repository", "write:issue", "write:organization", "write:notification"]'
SECONDS_OF_AN_OUTAGE = 5.0


class Stories:
    def __init__(self, flags: argparse.Namespace, forge: Forge, broker: Broker, relay: Relay | None) -> None:
        self.flags, self.forge, self.broker, self.relay = flags, forge, broker, relay
        self.url = relay.url if relay else flags.forge
        """The forge as the broker knows it."""
        self.tools: dict[str, Any] = {}
        self.operator: Person
        self.sessions: dict[str, tuple[Person, Session]] = {}

        self.first: dict[str, Story] = {
            "setup registers the broker and writes a configuration that is valid": self.sets_up,
            "setup run again changes nothing": self.sets_up_again,
            "setup says what differs and changes nothing": self.sets_up_otherwise,
            "setup keeps an application that exists already": self.finds_its_application,
            "check --try asks the forge and starts the server": self.tries,
            "the broker starts": self.starts,
        }
        self.together: dict[str, Story] = {
            "two people are two people at the forge": self.two_people,
            "the careful scopes leave out what the documentation says": self.careful,
            "a locked account reads the forge's words, and heals when it is let in again": self.locked,
            "an account that must change its password reads that": self.must_change,
            "a grant withdrawn at the forge is 401, and a new sign-in goes on in the session": self.withdrawn,
            "a renamed account keeps its session": self.renamed,
            "a second sign-in from a fresh browser disturbs nothing": self.signs_in_twice,
            "calls go on through the ends of the forge's tokens": self.outlives_tokens,
        }
        self.after: dict[str, Story] = {
            "an outage of the forge heals without a sign-in": self.outage,
            "a broker that is stopped and started again keeps its sessions": self.restarted,
            "a broker that is killed and started again keeps its sessions": self.killed,
            "the operator widens the scopes": self.widens,
            "a narrower consent is shown, withdrawn at the forge, and asked for anew": self.narrower,
            "going on with fewer rights is remembered and shown on the account page": self.goes_on,
            "the operator reads who signed in, and with which scope": self.people_listed,
            "a public application is told to the operator": self.public,
            "a public application whose scopes were widened gets a page, not a fault": self.public_widened,
            "two forges of one kind have a server and an account each": self.two_forges,
        }

    # The operator sets the broker up.

    def setup(self, *more: str, config: Path | None = None) -> Any:
        arguments = ["setup", self.flags.kind, self.url, "--config", str(config or self.broker.config)]
        arguments += ["--public-url", self.broker.url, "--user", self.operator.login, *more]
        return self.broker.run(*arguments, typed=f"{self.operator.password}\n")

    async def sets_up(self) -> str:
        self.operator = await self.forge.person("operator")
        code, said = await self.setup()
        check(code == 0, said)
        secret = self.broker.config.with_name(f"{self.flags.kind}-secret").read_text().strip()
        check(secret and secret not in said and self.operator.password not in said, "the secret is shown")
        check("is installed" in said and "is not installed" not in said, said)
        written = self.broker.config.read_text()
        check("${egress.token}" in written and "upstream.access_token" not in written, "it gives tokens away")
        code, said = await self.broker.run("check", "--config", str(self.broker.config))
        check(code == 0, said)
        return f"version {await self.forge.version()}"

    async def sets_up_again(self) -> None:
        files = [self.broker.config, self.broker.config.with_name(f"{self.flags.kind}-secret")]
        before = [file.read_bytes() for file in files]
        code, said = await self.setup()
        check(code == 0 and "nothing was changed" in said, said)
        check([file.read_bytes() for file in files] == before, "a file changed")
        check(len(await self.forge.applications(self.operator)) == 1, "there is another application")

    async def sets_up_otherwise(self) -> None:
        code, said = await self.setup("--scopes", "all-tools")
        check(code == 1 and f"auth.{self.flags.kind}.scopes" in said, said)

    async def finds_its_application(self) -> None:
        directory = self.broker.directory / "other"
        directory.mkdir()
        code, said = await self.setup(config=directory / "mcp-broker.toml")
        check(code == 1 and "registered already" in said, said)
        check(not list(directory.iterdir()), "something was written")
        check(len(await self.forge.applications(self.operator)) == 1, "there is another application")

    async def tries(self) -> None:
        code, said = await self.broker.run("check", "--try", "--config", str(self.broker.config))
        check(code == 0 and f"identity provider {self.flags.kind}: answers" in said, said)
        check("public application" not in said, f"it is confidential: {said}")

    async def starts(self) -> None:
        await self.broker.start()

    # People work through it.

    async def person(self, name: str, browser: Browser | None = None) -> tuple[Person, Session]:
        """Somebody new, signed in, with a session."""
        person = await self.forge.person(name)
        return person, await self.session(person, browser)

    async def session(self, person: Person, browser: Browser | None = None) -> Session:
        application = await Application.connect(self.broker)
        session = await application.sign_in(person, browser)
        opened = await session.open()
        check(opened.status == 200, f"initialize: {opened.status} {opened.words}")
        return session

    async def tool(self, session: Session, *names: str) -> str:
        """The tool under the name that this server has for it."""
        if not self.tools:
            listed = await session.ask("tools/list", {})
            self.tools = {tool["name"]: tool for tool in listed.message["result"]["tools"]}
        found = next((name for name in names if name in self.tools), None)
        if found is None:
            raise Skip(f"the server has no {names[0]}")
        return found

    async def who(self, session: Session) -> Answer:
        return await session.call(await self.tool(session, "get_my_user_info", "get_me"), {})

    async def write(self, session: Session, owner: Person, title: str) -> Answer:
        """Opens an issue in the repository of `owner`."""
        tool = await self.tool(session, "create_issue", "issue_write")
        about = {"owner": owner.login, "repo": "story", "title": title, "body": title}
        return await session.call(tool, about | ({"method": "create"} if tool == "issue_write" else {}))

    async def create(self, session: Session, name: str) -> Answer:
        return await session.call(await self.tool(session, "create_repo"), {"name": name})

    async def until(self, session: Session, status: int, tries: int = 3) -> Answer:
        """Calls until an answer has this status. The first may be the server's own error: only then does
        the broker look at the credential."""
        for _ in range(tries):
            answer = await self.who(session)
            if answer.status == status:
                return answer
        raise AssertionError(f"{answer.status} instead of {status}: {answer.words}")

    async def works(self, session: Session, within: float) -> float:
        """Calls until one succeeds; how long that took. No answer on the way may be a 401."""
        start = time.monotonic()
        while True:
            answer = await self.who(session)
            took = time.monotonic() - start
            if answer.is_good:
                return took
            check(answer.status != 401, f"a sign-in is asked for: {answer.words}")
            check(took < within, f"not after {took:.0f} s: {answer.status} {answer.words}")
            await asyncio.sleep(0.5)

    async def two_people(self) -> None:
        names = ("ada", "bob")
        both = await asyncio.gather(*(self.person(name) for name in names))
        self.sessions |= dict(zip(names, both, strict=True))
        for person, session in both:
            answer = await self.who(session)
            check(answer.is_good and f'"{person.login}"' in answer.words, answer.words)
            answer = await self.write(session, person, "mine")
            check(answer.is_good, answer.words)
            found = await self.forge.issues(person)
            check(found == {"mine": person.login}, f"{found}")
        (_, first), (_, second) = both
        first_id, first.id = first.id, second.id
        crossed = await self.who(first)
        first.id = first_id
        check(crossed.status == 403, f"somebody else's session answers {crossed.status}")

    async def careful(self) -> None:
        person, session = await self.person("careful")
        answer = await self.create(session, "made")
        check(not answer.is_good and "scope" in answer.words, answer.words)
        check(not await self.forge.has_repository(person, "made"), "it was made all the same")
        check((await self.who(session)).is_good, "the session goes on")

    async def locked(self) -> str:
        person, session = await self.person("locked")
        check((await self.who(session)).is_good, "it works before")
        await self.forge.change(person, prohibit_login=True)
        refused = await self.until(session, 403)
        check("prohibited" in refused.words, refused.words)
        other = await Application.connect(self.broker)
        browser = Browser()
        page = await browser.open(other.question)
        check(page.brought is None, "the account authorizes nothing")
        await self.forge.change(person, prohibit_login=False)
        took = await self.works(session, LOOK_AGAIN + HEALED_WITHIN)
        return f"healed after {took:.0f} s"

    async def must_change(self) -> None:
        person, session = await self.person("mustchange")
        await self.forge.change(person, must_change_password=True)
        refused = await self.until(session, 403)
        check("password" in refused.words, refused.words)

    async def withdrawn(self) -> None:
        browser = Browser()
        person, session = await self.person("withdrawn", browser)
        await browser.withdraw(self.url, person)
        await self.until(session, 401)
        again = await session.application.sign_in(person)
        session.token = again.token
        answer = await self.who(session)
        check(answer.is_good and person.login in answer.words, f"{answer.status} {answer.words}")

    async def renamed(self) -> None:
        person, session = await self.person("before")
        await self.forge.rename(person, person.login.replace("before", "after"))
        answer = await self.who(session)
        check(answer.is_good and f'"{person.login}"' in answer.words, f"{answer.status} {answer.words}")

    async def signs_in_twice(self) -> str:
        person, session = await self.person("twice")
        other = await self.session(person)
        calls = 0
        # Past the end of the first sign-in's token, whose refresh token the second one may have ended.
        until = time.monotonic() + (self.flags.token_seconds or 0) * 1.3
        while calls < 4 or time.monotonic() < until:
            for one in (session, other):
                answer = await self.who(one)
                check(answer.is_good, f"after {calls} calls: {answer.status} {answer.words}")
                calls += 1
            await asyncio.sleep(0.3)
        return f"{calls} calls"

    async def outlives_tokens(self) -> str:
        if not self.flags.token_seconds:
            raise Skip("the forge's tokens live long; give their life with --token-seconds where it is short")
        _, session = await self.person("lasting")
        calls, lives = 0, 3
        until = time.monotonic() + self.flags.token_seconds * lives
        while time.monotonic() < until:
            answer = await self.who(session)
            check(answer.is_good, f"after {calls} calls: {answer.status} {answer.words}")
            calls += 1
            await asyncio.sleep(0.1)
        return f"{calls} calls in {lives} lives of {self.flags.token_seconds} s"

    # What happens to all at once.

    async def someone(self, name: str) -> tuple[Person, Session]:
        if name not in self.sessions:
            self.sessions[name] = await self.person(name)
        return self.sessions[name]

    async def outage(self) -> str:
        if self.relay is None:
            raise Skip("the way to a forge with https cannot be cut here")
        _, session = await self.someone("ada")
        check((await self.who(session)).is_good, "it works before")
        await self.relay.down()
        # Long enough that a short token ends meanwhile.
        lasts = max(SECONDS_OF_AN_OUTAGE, (self.flags.token_seconds or 0) + 1)
        until = time.monotonic() + lasts
        while time.monotonic() < until:
            answer = await self.who(session)
            check(not answer.is_good and answer.status != 401, f"{answer.status} {answer.words}")
            await asyncio.sleep(0.5)
        await self.relay.up()
        took = await self.works(session, HEALED_WITHIN)
        return f"{lasts:.0f} s down, healed after {took:.1f} s"

    async def restarted(self, *, kill: bool = False) -> None:
        both = [await self.someone(name) for name in ("ada", "bob")]
        await self.broker.stop(kill=kill)
        await self.broker.start()
        for person, session in both:
            answer = await self.who(session)
            check(answer.is_good and person.login in answer.words, f"{answer.status} {answer.words}")

    async def killed(self) -> None:
        await self.restarted(kill=True)

    # The operator wants more than people granted.

    async def widens(self) -> None:
        # Both have granted the careful scopes before.
        for name in ("ada", "bob"):
            await self.someone(name)
        self.broker.rewrite(CAREFUL, ALL_TOOLS)
        await self.broker.stop()
        await self.broker.start()

    async def stopped(self, broker: Broker, person: Person, browser: Browser) -> tuple[Application, Page]:
        """A new sign-in, as far as the page about missing rights."""
        application = await Application.connect(broker)
        page = await browser.as_person(await browser.open(application.question), person)
        check(page.brought is None, "nothing is said of the missing rights")
        check(page.status == 200 and f"{self.url}/user/settings/applications" in page.text, page.seen)
        return application, page

    async def narrower(self) -> None:
        person, _ = await self.someone("ada")
        browser = Browser()
        application, page = await self.stopped(self.broker, person, browser)
        check("write:user" in page.text and "write:notification" in page.text, page.seen)
        await browser.withdraw(self.url, person)
        page = await browser.as_person(await browser.press(page, "step", "begin"), person)
        session = await application.redeem(page)
        check((await session.open()).status == 200, "a session opens")
        answer = await self.create(session, "made")
        check(answer.is_good, f"{answer.status} {answer.words}")
        check(await self.forge.has_repository(person, "made"), "there is no such repository")

    async def goes_on(self) -> None:
        person, _ = await self.someone("bob")
        browser = Browser()
        application, page = await self.stopped(self.broker, person, browser)
        page = await browser.press(page, "step", "accept")
        session = await application.redeem(page)
        check((await session.open()).status == 200, "a session opens")
        check((await self.who(session)).is_good, "it works with what it has")
        account = await browser.open(f"{self.broker.url}/account")
        check("write:user" in account.text, account.seen)
        # A fresh browser is not asked again.
        await self.session(person)

    async def people_listed(self) -> None:
        people = [(await self.someone(name))[0] for name in ("ada", "bob")]
        code, said = await self.broker.run("person", "list", "--config", str(self.broker.config))
        check(code == 0 and all(person.login in said for person in people), said)
        lines = {person.login: line for person in people for line in said.splitlines() if person.login in line}
        check(len(lines) == 2 and "read:user" in said and "write:user" in said, said)

    # Another broker, whose application is public, and one with two forges.

    async def another(self, name: str, text: str, port: int) -> Broker:
        directory = self.broker.directory / name
        directory.mkdir()
        broker = Broker(self.broker.binary, directory, self.broker.programs, port)
        broker.config.write_text(text)
        return broker

    async def with_public_application(self) -> Broker:
        """A configuration as `setup` writes it, for an application that is not confidential."""
        other = Broker(self.broker.binary, self.broker.directory, self.broker.programs)
        redirect = f"{other.url}/callback/{self.flags.kind}"
        client_id, secret = await self.forge.add_application(self.operator, redirect, confidential=False)
        file = self.broker.directory / "public-secret"
        file.write_text(secret or "none")
        arguments = ["setup", self.flags.kind, self.url, "--public-url", other.url]
        config = self.broker.directory / "public" / "mcp-broker.toml"
        config.parent.mkdir()
        arguments += ["--config", str(config), "--client-id", client_id, "--client-secret-file", str(file)]
        code, said = await self.broker.run(*arguments)
        check(code == 0, said)
        check("confidential" in said, f"setup says nothing of it: {said}")
        return Broker(self.broker.binary, config.parent, self.broker.programs, other.port)

    async def public(self) -> None:
        self.public_broker = await self.with_public_application()
        broker = self.public_broker
        code, said = await broker.run("check", "--try", "--config", str(broker.config))
        check(code == 0 and "public application" in said and "confidential" in said, said)
        await broker.start()
        for _ in range(50):
            if "public application" in broker.log:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"the log says nothing of it: {broker.log[-600:]}")

    async def public_widened(self) -> None:
        broker = self.public_broker
        person = await self.forge.person("public")
        application = await Application.connect(broker)
        session = await application.sign_in(person)
        check((await session.open()).status == 200, "a session opens")
        broker.rewrite(CAREFUL, ALL_TOOLS)
        await broker.stop()
        await broker.start()
        browser = Browser()
        application, page = await self.stopped(broker, person, browser)
        await browser.withdraw(self.url, person)
        page = await browser.as_person(await browser.press(page, "step", "begin"), person)
        session = await application.redeem(page)
        check((await session.open()).status == 200, "a session opens")

    async def two_forges(self) -> None:
        """Two tables of one kind. To the broker, one forge at two addresses is two forges."""
        if self.relay is None:
            raise Skip("a forge with https has no second address here")
        far = Relay(self.forge.url)
        await far.up()
        kind, other = self.flags.kind, Broker(self.broker.binary, self.broker.directory, self.broker.programs)
        written = self.broker.config.read_text()
        server = written[written.index(f"[server.{kind}]") :].replace(f"[server.{kind}]", "")
        text = f'public_url = "{other.url}"\nlisten = "127.0.0.1:{other.port}"\n[auth]\nidentity = ["work", "home"]\n'
        for name, url in (("work", self.url), ("home", far.url)):
            redirect = f"{other.url}/callback/{name}"
            client_id, secret = await self.forge.add_application(self.operator, redirect, confidential=True)
            text += f'[auth.{name}]\nkind = "{kind}"\nlabel = "The forge at {name}"\nurl = "{url}"\n'
            text += f'client_id = "{client_id}"\nclient_secret = "{secret}"\nscopes = {CAREFUL}\n'
            default = str(name == "work").lower()
            own = server.replace(self.url, url).replace(f"[server.{kind}.", f"[server.{name}.")
            text += f'[server.{name}]\nupstream = "{name}"\ndefault = {default}\n{own}\n'
        broker = await self.another("two", text, other.port)
        await broker.start()
        try:
            for name, unlike in (("work", "home"), ("home", "work")):
                person = await self.forge.person(name)
                application = await Application.connect(broker, f"/{name}/mcp")
                browser = Browser()
                session = await application.sign_in(person, browser)
                check((await session.open()).status == 200, "a session opens")
                answer = await self.who(session)
                check(answer.is_good and f'"{person.login}"' in answer.words, answer.words)
                account = await browser.open(f"{broker.url}/account")
                check(f"The forge at {name}" in account.text, account.seen)
                check(f"The forge at {unlike}" not in account.text, account.seen)
        finally:
            await broker.stop()
            await far.down()

    # The end.

    async def clears(self) -> None:
        await self.forge.clear()
        left = await self.forge.left()
        check(not left, f"still there: {', '.join(left)}")


@contextlib.asynccontextmanager
async def prepared(flags: argparse.Namespace) -> AsyncIterator[Stories]:
    directory = Path(flags.directory).absolute()
    shutil.rmtree(directory, ignore_errors=True)
    programs = directory / "bin"
    programs.mkdir(parents=True)
    # Under the name that the configuration of `setup` has for it.
    (programs / f"{flags.kind}-mcp").symlink_to(Path(flags.server).absolute())
    name, _, password = flags.admin.partition(":")
    forge = Forge(flags.forge.rstrip("/"), (name, password))
    relay = Relay(forge.url) if forge.url.startswith("http://") else None
    if relay:
        await relay.up()
    broker = Broker(str(Path(flags.broker).absolute()), directory, programs)
    told = Stories(flags, forge, broker, relay)
    try:
        yield told
    finally:
        for one in (broker, getattr(told, "public_broker", None)):
            if one:
                with contextlib.suppress(Exception):
                    await one.stop()


async def run(flags: argparse.Namespace) -> int:
    teller = Teller(STORY_LIMIT + 3 * (flags.token_seconds or 0))
    async with prepared(flags) as told:
        # The rest needs a broker that was set up.
        await teller.all(told.first, None)
        if teller.failed == 0:
            chosen = [(name, story) for name, story in told.together.items() if not flags.only or flags.only in name]
            await asyncio.gather(*(teller.tell(name, story) for name, story in chosen))
            await teller.all(told.after, flags.only)
        await teller.tell("nothing is left at the forge", told.clears)
    return teller.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forge", required=True, help="the forge's address")
    parser.add_argument("--kind", required=True, choices=["forgejo", "gitea"])
    parser.add_argument(
        "--admin",
        default=os.environ.get("FORGE_ADMIN"),
        metavar="NAME:PASSWORD",
        help="an administrator there; without it, FORGE_ADMIN of the environment",
    )
    parser.add_argument("--server", required=True, help="the program of the MCP server")
    parser.add_argument("--broker", required=True, help="the program of the broker")
    parser.add_argument("--directory", required=True, help="for configurations and data; emptied first")
    parser.add_argument("--token-seconds", type=float, help="how long the forge's access tokens live, if short")
    parser.add_argument("--only", help="of the stories after the setup, those whose name contains this")
    flags = parser.parse_args()
    if not flags.admin:
        parser.error("there is no --admin")
    stories.main(run(flags))


if __name__ == "__main__":
    main()
