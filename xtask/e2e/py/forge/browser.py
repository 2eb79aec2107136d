"""A person with a browser that knows links, forms and cookies: enough for the pages of the broker and of
a forge, and for any forge that can be used without scripts.
"""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

from forge.api import Person

BACK = "http://127.0.0.1:9/callback"
"""Where the applications of these stories are sent back to. Nothing listens there; the browser stops."""

MOST_STEPS = 30


@dataclass
class Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def has(self, name: str, value: str) -> bool:
        return (name, value) in self.buttons or self.fields.get(name) == value


class Forms(HTMLParser):
    """Every form of a page, and the words on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.words: list[str] = []
        self._open: Form | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._open = Form(found.get("action", ""), found.get("method", "get").lower())
            self.forms.append(self._open)
        elif self._open and tag == "button" and found.get("type", "submit") == "submit":
            self._open.buttons.append((found.get("name", ""), found.get("value", "")))
        elif self._open and tag == "input" and found.get("name"):
            if found.get("type") == "submit":
                self._open.buttons.append((found["name"], found.get("value", "")))
            elif found.get("type") not in ("checkbox", "radio") or "checked" in found:
                self._open.fields[found["name"]] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@dataclass
class Page:
    url: str
    status: int
    text: str
    forms: list[Form]
    seen: str
    """The words on it, for errors."""

    @property
    def brought(self) -> dict[str, str] | None:
        """What the application got, once the browser has arrived there."""
        if not self.url.startswith(BACK):
            return None
        return {name: values[0] for name, values in parse_qs(urlsplit(self.url).query).items()}

    def form(self, name: str, value: str) -> Form | None:
        return next((form for form in self.forms if form.has(name, value)), None)

    def asking(self, *names: str) -> Form | None:
        """The form that asks for all of these."""
        return next((form for form in self.forms if all(name in form.fields for name in names)), None)


class Browser:
    def __init__(self) -> None:
        self.http = httpx2.AsyncClient(timeout=30, headers={"user-agent": "stories"})

    async def open(self, url: str) -> Page:
        return await self._go("GET", url, None)

    async def press(self, page: Page, name: str, value: str, **typed: str) -> Page:
        """Presses the button, or the one button of the form that carries this field."""
        form = page.form(name, value)
        assert form, f"no {name}={value} on {page.seen}"
        return await self.send(page, form, **typed, **{name: value})

    async def send(self, page: Page, form: Form, **typed: str) -> Page:
        place = urljoin(page.url, form.action)
        fields = form.fields | typed
        if form.method != "post":
            return await self._go("GET", str(httpx2.URL(place, params=fields)), None)
        return await self._go("POST", place, fields)

    async def as_person(self, page: Page, person: Person) -> Page:
        """Answers what the broker and the forge ask on the way of a sign-in, until one of them shows
        something else or the application is reached."""
        for _ in range(MOST_STEPS):
            if page.brought is not None:
                return page
            login = page.asking("user_name", "password")
            if page.form("choice", "approve"):
                page = await self.press(page, "choice", "approve")
            elif login:
                page = await self.send(page, login, user_name=person.login, password=person.password)
                assert not page.asking("user_name", "password"), f"the forge does not sign in: {page.seen}"
            elif page.form("granted", "true"):
                page = await self.press(page, "granted", "true")
            else:
                return page
        raise AssertionError(f"no end after {MOST_STEPS} pages: {page.seen}")

    async def withdraw(self, forge: str, person: Person) -> None:
        """Withdraws, on the forge's own page, whatever the person granted to applications."""
        page = await self.as_person(await self.open(f"{forge}/user/settings/applications"), person)
        if "/user/settings/applications" not in page.url:
            page = await self.open(f"{forge}/user/settings/applications")
        # A button with a script on some forges, a form on others; both carry the address.
        place = r'(?:data-url|action)="([^"]*/applications/oauth2/\d+/revoke/(\d+))"'
        found = re.findall(place, page.text)
        assert found, f"nothing to withdraw on {page.seen}"
        tokens = re.findall(r'name="_csrf" value="([^"]+)"|csrfToken: \'([^\']+)\'', page.text)
        csrf = next((one or other for one, other in tokens), "")
        for action, number in found:
            form = Form(action, "post", {"_csrf": csrf, "id": number})
            answer = await self.send(page, form)
            assert answer.status == 200, f"withdrawing: {answer.status} {answer.seen}"

    async def _go(self, method: str, url: str, fields: dict[str, str] | None) -> Page:
        for _ in range(MOST_STEPS):
            if url.startswith(BACK):
                return Page(url, 200, "", [], "the application")
            headers = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}
            if method == "POST":
                parts = urlsplit(url)
                headers["origin"] = f"{parts.scheme}://{parts.netloc}"
            answer = await self.http.request(method, url, data=fields, headers=headers)
            if answer.status_code not in (301, 302, 303, 307, 308):
                read = Forms(answer.text)
                seen = " ".join(" ".join(read.words).split())[:300]
                return Page(url, answer.status_code, answer.text, read.forms, f"{url.split('?')[0]}: {seen}")
            url = urljoin(url, answer.headers["location"])
            if answer.status_code not in (307, 308):
                method, fields = "GET", None
        raise AssertionError("redirects without an end")
