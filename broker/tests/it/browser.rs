//! A browser, as far as it matters here: cookies, redirects, forms, and the headers by which a server
//! tells its own pages from those of others.

use std::{collections::BTreeMap, net::SocketAddr};

use url::Url;

use crate::{
    forms::{Form, encode, forms},
    wire::{Answer, Client},
};

/// One browser with its cookies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Browser {
    /// By host and name: browsers share cookies among the ports of a host.
    jar: BTreeMap<(String, String), String>,
    /// Hosts that are found at another address.
    hosts: BTreeMap<String, SocketAddr>,
    /// Every page it was shown, and every redirect it followed.
    pub(crate) history: Vec<Page>,
}

/// What the browser shows, or the redirect that would lead it out of here.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) answer: Answer,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From<'a> {
    /// The address bar, or another program.
    User,
    Page(&'a Page),
}

impl Browser {
    /// Finds `host` at this address from now on.
    pub(crate) fn find(&mut self, host: &str, address: SocketAddr) {
        self.hosts.insert(host.to_owned(), address);
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.jar.iter().find(|((_, own), _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The cookies whose names begin like this.
    pub(crate) fn cookies(&self, prefix: &str) -> Vec<(String, String)> {
        let own = self.jar.iter().filter(|((_, name), _)| name.starts_with(prefix));
        own.map(|((_, name), value)| (name.clone(), value.clone())).collect()
    }

    /// Goes to an address that the user typed, or that another program opened.
    pub(crate) async fn open(&mut self, address: &str) -> Page {
        let url = Url::parse(address).expect("an address");
        self.follow("GET", url, From::User, String::new()).await
    }

    /// Presses a button of `page`: the form that has a button, or a field, of this name (and value,
    /// unless it is empty), filled in with `fields`.
    pub(crate) async fn press(
        &mut self,
        page: &Page,
        (name, value): (&str, &str),
        fields: &[(&str, &str)],
    ) -> Page {
        let form = page.form(name, value);
        let action = page.url.join(&form.action).expect("an address");
        let body = form.filled((name, value), fields);
        self.follow("POST", action, From::Page(page), body).await
    }

    /// Approves on the consent page, and answers what is asked on the way to the application.
    pub(crate) async fn approve(&mut self, consent: &Page, user: (&str, &str)) -> Page {
        let mut page = self.press(consent, ("choice", "approve"), &[]).await;
        for _ in 0..3 {
            if page.answer.status >= 300 || forms(page.answer.text()).is_empty() {
                break;
            }
            page = self.identify(&page, user).await;
        }
        page
    }

    /// Answers a login form with the user's name and password, or the forge's question for consent.
    pub(crate) async fn identify(&mut self, page: &Page, (name, password): (&str, &str)) -> Page {
        if page.has_form("user_name", "") {
            let fields = [("user_name", name), ("password", password)];
            self.press(page, ("user_name", ""), &fields).await
        } else if page.has_form("granted", "true") {
            self.press(page, ("granted", "true"), &[]).await
        } else {
            let fields = [("name", name), ("password", password)];
            self.press(page, ("step", "finish"), &fields).await
        }
    }

    /// Sends a request and follows where it leads, as long as a server is there.
    pub(crate) async fn follow(
        &mut self,
        method: &str,
        mut url: Url,
        from: From<'_>,
        body: String,
    ) -> Page {
        let mut method = method.to_owned();
        let mut body = body;
        let mut site = from.site(&url);
        loop {
            let origin = (method == "POST").then(|| from.origin());
            let answer = self.request(&method, &url, site, origin.as_deref(), &body).await;
            let page = Page { url: url.clone(), answer };
            self.history.push(page.clone());
            let Some(next) = page.leads_to() else { return page };
            if next.port() == Some(AWAY) || next.scheme() != url.scheme() {
                return Page { url: next, answer: page.answer };
            }
            if site == "same-origin" && next.origin() != url.origin() {
                site = "same-site";
            }
            // 303, and 302 as browsers do it.
            (method, body, url) = ("GET".to_owned(), String::new(), next);
        }
    }

    /// One request, with the cookies for its host; those of the answer are kept.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        url: &Url,
        site: &str,
        origin: Option<&str>,
        body: &str,
    ) -> Answer {
        let mut client = self.client(url).with("sec-fetch-site", site);
        if let Some(origin) = origin {
            client = client.with("origin", origin);
        }
        if method == "POST" {
            client = client.with("content-type", "application/x-www-form-urlencoded");
        }
        let answer = client.ask(method, body).await;
        let host = url.host_str().expect("a host").to_owned();
        for (_, line) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').expect("a cookie");
            let key = (host.clone(), name.to_owned());
            if attributes.contains("Max-Age=0") {
                self.jar.remove(&key);
            } else {
                self.jar.insert(key, value.to_owned());
            }
        }
        answer
    }

    /// What asks for `url` with this browser's cookies and nothing else of a browser's.
    pub(crate) fn client(&self, url: &Url) -> Client {
        let (host, port) = (url.host_str().expect("a host"), url.port());
        let named = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let address = self.hosts.get(host).copied();
        let address = address.unwrap_or_else(|| named.parse().expect("an address and a port"));
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let mut client = Client::new(address).at(&path).with("host", &named);
        client = client.without("content-type").with("accept", "text/html,*/*;q=0.8");
        let own = self.jar.iter().filter(|((of, _), _)| of == host);
        let cookies: Vec<_> = own.map(|((_, name), value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { client } else { client.with("cookie", &cookies.join("; ")) }
    }
}

/// No server listens there: the redirect addresses of applications have this port.
pub(crate) const AWAY: u16 = 9;

impl From<'_> {
    /// `Sec-Fetch-Site`: <https://w3c.github.io/webappsec-fetch-metadata/#sec-fetch-site-header>.
    fn site(self, to: &Url) -> &'static str {
        match self {
            From::User => "none",
            From::Page(page) if page.url.origin() == to.origin() => "same-origin",
            From::Page(page) if page.url.host() == to.host() => "same-site",
            From::Page(_) => "cross-site",
        }
    }

    /// `Origin` of a form: a page that sends no referrer keeps it back.
    fn origin(self) -> String {
        match self {
            From::User => "null".to_owned(),
            From::Page(page) if page.answer.header("referrer-policy") == Some("no-referrer") => {
                "null".to_owned()
            }
            From::Page(page) => page.url.origin().ascii_serialization(),
        }
    }
}

impl Page {
    /// Where it redirects to.
    fn leads_to(&self) -> Option<Url> {
        let to =
            self.answer.header("location").filter(|_| [302, 303].contains(&self.answer.status));
        to.map(|to| self.url.join(to).expect("an address"))
    }

    pub(crate) fn form(&self, name: &str, value: &str) -> Form {
        let found = forms(self.answer.text()).into_iter().find(|form| form.has(name, value));
        found.unwrap_or_else(|| panic!("no form with {name}={value}: {}", self.seen()))
    }

    pub(crate) fn has_form(&self, name: &str, value: &str) -> bool {
        forms(self.answer.text()).iter().any(|form| form.has(name, value))
    }

    /// A parameter of the address.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let mut pairs = self.url.query_pairs();
        pairs.find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
    }

    pub(crate) fn is_away(&self) -> bool {
        self.url.port() == Some(AWAY)
    }

    /// The code it brings to the application.
    pub(crate) fn code(&self) -> String {
        let code = self.query("code").filter(|_| self.is_away());
        code.unwrap_or_else(|| panic!("no code: {}", self.seen()))
    }

    /// For the words of a test that fails.
    pub(crate) fn seen(&self) -> String {
        format!("{} {} {}", self.answer.status, self.url, self.answer.text())
    }
}

/// A form's body.
pub(crate) fn body(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}
