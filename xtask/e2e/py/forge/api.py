"""The forge's API: an administrator makes people, applications and repositories, and removes them."""

import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx2

APPLICATIONS = "/api/v1/user/applications/oauth2"


@dataclass
class Person:
    """Somebody with an account that these stories made, and one repository, `story`."""

    login: str
    password: str


@dataclass
class Forge:
    """The forge at `url`, by the hand of its administrator."""

    url: str
    admin: tuple[str, str]
    http: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(timeout=30))
    people: list[Person] = field(default_factory=list)
    run: str = field(default_factory=lambda: secrets.token_hex(3))
    """Part of every name, so that a run that was interrupted does not stand in the way of the next."""

    async def ask(
        self, method: str, path: str, body: Any = None, who: Person | None = None, expect: tuple[int, ...] = ()
    ) -> Any:
        """Asks as the administrator, or as `who`. Answers JSON, or nothing."""
        auth = (who.login, who.password) if who else self.admin
        answer = await self.http.request(method, self.url + path, json=body, auth=auth)
        if answer.status_code not in (expect or (200, 201, 204)):
            raise AssertionError(f"the forge answers {method} {path} with {answer.status_code}: {answer.text[:200]}")
        return answer.json() if answer.text.strip() and answer.status_code != 204 else None

    async def version(self) -> str:
        return (await self.ask("GET", "/api/v1/version"))["version"]

    async def person(self, name: str) -> Person:
        """Makes somebody new, with a repository."""
        # Long, and of every kind of character that a forge may insist on.
        person = Person(f"{name}-{self.run}", f"Aa1!{secrets.token_urlsafe(18)}")
        account = {
            "username": person.login,
            "email": f"{person.login}@example.org",
            "password": person.password,
            "must_change_password": False,
            "send_notify": False,
        }
        await self.ask("POST", "/api/v1/admin/users", account)
        self.people.append(person)
        await self.ask("POST", f"/api/v1/admin/users/{person.login}/repos", {"name": "story"})
        return person

    async def change(self, person: Person, **fields: Any) -> None:
        """Changes an account, as the administrator's page does."""
        # Some versions insist on these, and some have a password changed that they are given.
        about = {"source_id": 0, "login_name": person.login, "password": person.password}
        about["must_change_password"] = False
        await self.ask("PATCH", f"/api/v1/admin/users/{person.login}", about | fields)

    async def rename(self, person: Person, login: str) -> None:
        await self.ask("POST", f"/api/v1/admin/users/{person.login}/rename", {"new_username": login})
        person.login = login

    async def issues(self, person: Person) -> dict[str, str]:
        """Who opened the issues of somebody's repository, by title."""
        listed = await self.ask("GET", f"/api/v1/repos/{person.login}/story/issues?state=all", who=person)
        return {issue["title"]: issue["user"]["login"] for issue in listed}

    async def has_repository(self, person: Person, name: str) -> bool:
        listed = await self.ask("GET", "/api/v1/user/repos", who=person)
        return any(repository["name"] == name for repository in listed)

    async def add_application(self, owner: Person, redirect: str, confidential: bool) -> tuple[str, str]:
        """An application of `owner`'s: identifier and secret."""
        wanted = {"name": f"stories {self.run}", "redirect_uris": [redirect], "confidential_client": confidential}
        made = await self.ask("POST", APPLICATIONS, wanted, owner)
        return made["client_id"], made["client_secret"]

    async def applications(self, owner: Person) -> list[dict[str, Any]]:
        return await self.ask("GET", APPLICATIONS, who=owner)

    async def clear(self) -> None:
        """Removes everybody and everything that was made here."""
        for person in self.people:
            # A locked account cannot be asked for its applications; it goes with all it owns all the same.
            listed = await self.ask("GET", APPLICATIONS, who=person, expect=(200, 401, 403))
            for application in listed if isinstance(listed, list) else []:
                await self.ask("DELETE", f"{APPLICATIONS}/{application['id']}", who=person)
            await self.ask("DELETE", f"/api/v1/admin/users/{person.login}?purge=true", expect=(204, 404))

    async def left(self) -> list[str]:
        """Which of the people are still there."""
        there = []
        for person in self.people:
            answer = await self.http.get(f"{self.url}/api/v1/users/{person.login}", auth=self.admin)
            if answer.status_code != 404:
                there.append(person.login)
        return there
