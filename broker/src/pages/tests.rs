mod hostile;
mod html;
mod sheet;

use auth::oauth::{Page, Params, Standing, Warning};
use http::{HeaderMap, HeaderValue, header};

use self::html::{Document, Element};
use super::{AccountAction, AuthMode, Pages, SetupAnswer, finish, samples, stylesheet_response};

fn site() -> Pages {
    Pages::at("https://mcp.example.org")
}

/// Every page, read.
fn all() -> Vec<(&'static str, Document)> {
    let pages = samples::all(&site());
    pages.into_iter().map(|(name, html)| (name, Document::parse(&html))).collect()
}

/// One page of the samples, as it is.
fn page(name: &str) -> String {
    samples::all(&site()).into_iter().find(|(own, _)| *own == name).expect("a sample").1
}

/// Lines without the blank ones that templates leave behind.
fn tight(html: &str) -> String {
    html.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// The part of `html` from `from` up to and with `to`.
fn part(html: &str, from: &str, to: &str) -> String {
    let start = html.find(from).expect("it begins");
    let end = html[start..].find(to).expect("it ends") + to.len();
    tight(&html[start..start + end])
}

/// What a browser would send for the form that is the `at`th element, with this button.
fn filled(document: &Document, at: usize, button: &Element, typed: &str) -> Params {
    let inputs = document.inside(at).filter(|element| element.name == "input");
    let pairs = inputs
        .map(|input| (input.get("name").expect("a name"), input.get("value").unwrap_or(typed)));
    let button = button.get("name").zip(button.get("value"));
    pairs.chain(button).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Every form of the document, filled in, once for each of its buttons.
fn forms(document: &Document, typed: &str) -> Vec<(String, Params)> {
    let mut forms = Vec::new();
    for (at, form) in document.0.iter().enumerate().filter(|(_, element)| element.name == "form") {
        for button in document.inside(at).filter(|element| element.name == "button") {
            let action = form.get("action").expect("an action").to_owned();
            forms.push((action, filled(document, at, button, typed)));
        }
    }
    forms
}

#[test]
fn every_page_is_a_sound_document() {
    for (name, document) in all() {
        assert_eq!(document.one("html").get("lang"), Some("en"), "{name}");
        assert!(document.one("title").text.ends_with(" · mcp.example.org"), "{name}");
        document.one("main");
        document.one("header");
        assert!(!document.one("h1").text.trim().is_empty(), "{name}");
        let viewport = document.all("meta").find(|meta| meta.get("name") == Some("viewport"));
        assert!(viewport.is_some(), "{name}");
        let mut ids: Vec<_> = document.0.iter().filter_map(|element| element.get("id")).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{name}: an id twice");
        let mut level = 0;
        for heading in
            document.0.iter().filter(|element| ["h1", "h2", "h3"].contains(&&*element.name))
        {
            let own = usize::from(heading.name.as_bytes()[1] - b'0');
            assert!(own <= level + 1, "{name}: a level is left out before {:?}", heading.text);
            level = own;
        }
    }
}

#[test]
fn every_input_has_its_label_and_every_reference_leads_somewhere() {
    for (name, document) in all() {
        for label in document.all("label") {
            let id = label.get("for").expect("for");
            assert!(document.all("input").any(|input| input.get("id") == Some(id)), "{name}: {id}");
        }
        for input in document.all("input").filter(|input| input.get("type") != Some("hidden")) {
            let id = input.get("id").expect("an id");
            let labels = document.all("label").filter(|label| label.get("for") == Some(id));
            assert_eq!(labels.count(), 1, "{name}: {id}");
            assert!(input.get("autocomplete").is_some(), "{name}: {id}");
        }
        for element in &document.0 {
            for attribute in ["aria-describedby", "aria-labelledby"] {
                for id in element.get(attribute).unwrap_or_default().split(' ') {
                    assert!(id.is_empty() || document.has_id(id), "{name}: {attribute}={id}");
                }
            }
            let speaks = ["button", "summary", "a"].contains(&&*element.name);
            assert!(!speaks || !element.text.trim().is_empty(), "{name}: {element:?}");
            let section = element.name == "section";
            assert!(!section || element.get("aria-labelledby").is_some(), "{name}: {element:?}");
        }
    }
}

#[test]
fn buttons_that_look_alike_sound_different() {
    for (name, document) in all() {
        let mut names: Vec<_> = document.all("summary").map(|summary| &summary.text).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{name}: {names:?}");
    }
}

#[test]
fn no_page_runs_or_fetches_anything() {
    for (name, document) in all() {
        assert_inert(name, &document);
    }
}

/// No scripts, no styles in the document, no resource but the sheet, no address of another host.
fn assert_inert(name: &str, document: &Document) {
    for element in &document.0 {
        const TAGS: [&str; 37] = [
            "html", "head", "meta", "title", "link", "body", "header", "main", "section", "div",
            "p", "h1", "h2", "h3", "ul", "li", "dl", "dt", "dd", "span", "bdi", "code", "pre",
            "strong", "time", "a", "form", "input", "label", "button", "details", "summary", "svg",
            "path", "circle", "br", "rect",
        ];
        assert!(TAGS.contains(&&*element.name), "{name}: <{}>", element.name);
        for (attribute, value) in &element.attributes {
            let bad = attribute.starts_with("on")
                || ["style", "src", "srcset", "ping", "formaction", "background", "http-equiv"]
                    .contains(&&**attribute);
            assert!(!bad, "{name}: {attribute}={value}");
            if ["href", "action"].contains(&&**attribute) {
                let icon =
                    element.get("rel") == Some("icon") && value.starts_with("data:image/svg");
                let own = value.starts_with('/') && !value.starts_with("//");
                // The one way out, to an address that passed the policy for redirects.
                let away = name == "leave"
                    && element.get("rel") == Some("noreferrer nofollow")
                    && value.starts_with("https://app.example.org/callback?");
                // The provider's page, whose address follows from the configuration.
                let upstream = element.get("rel") == Some("noreferrer")
                    && value == "https://git.example.org/user/settings/applications";
                assert!(icon || own || away || upstream, "{name}: {attribute}={value}");
            }
        }
        if element.name == "link" {
            assert!(matches!(element.get("rel"), Some("icon" | "stylesheet")), "{name}");
        }
        if element.name == "form" {
            assert_eq!(element.get("method"), Some("post"), "{name}");
        }
        if element.get("type") == Some("password") {
            assert_eq!(element.get("value"), None, "{name}: a secret is never shown again");
        }
    }
}

#[test]
fn every_page_gets_the_headers_of_a_page_and_keeps_its_own() {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    headers.append(header::SET_COOKIE, HeaderValue::from_static("a=1"));
    headers.append(header::SET_COOKIE, HeaderValue::from_static("b=2"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    finish(&mut headers);
    let all =
        |name| headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>();
    assert_eq!(
        all(header::CONTENT_SECURITY_POLICY),
        ["default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
          frame-ancestors 'none'"]
    );
    assert_eq!(all(header::X_FRAME_OPTIONS), ["DENY"]);
    assert_eq!(all(header::REFERRER_POLICY), ["no-referrer"]);
    assert_eq!(all(header::CACHE_CONTROL), ["no-store"]);
    assert_eq!(all(header::X_CONTENT_TYPE_OPTIONS), ["nosniff"]);
    assert_eq!(all(header::CONTENT_TYPE), ["text/html; charset=utf-8"]);
    assert_eq!(all(header::SET_COOKIE), ["a=1", "b=2"]);
    assert_eq!(all(header::RETRY_AFTER), ["5"]);
    let sheet = stylesheet_response();
    assert_eq!(sheet.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    assert_eq!(sheet.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
}

#[test]
fn links_and_forms_of_ours_stay_below_the_public_path() {
    let site = Pages::at("https://example.org/mcp-broker/");
    for (name, html) in samples::all(&site) {
        // The authorization server's forms bring their own addresses.
        if ["consent", "sign-in", "fewer-rights"].iter().any(|own| name.starts_with(own)) {
            continue;
        }
        for element in Document::parse(&html).0 {
            for attribute in ["href", "action"] {
                let value = element.get(attribute).filter(|value| value.starts_with('/'));
                assert!(value.is_none_or(|v| v.starts_with("/mcp-broker/")), "{name}: {value:?}");
            }
        }
    }
    assert_eq!(Pages::at("http://[::1]:8080").layout.host, "[::1]:8080");
}

#[test]
fn the_consent_form_sends_what_was_given_and_the_pressed_button() {
    let document = Document::parse(&page("consent-web"));
    let sent: Vec<_> = forms(&document, "")
        .into_iter()
        .map(|(action, form)| {
            let one = |name| form.one(name).unwrap().unwrap().to_owned();
            [action, one("t"), one("csrf"), one("choice")]
        })
        .collect();
    let expected = ["approve", "deny", "switch"];
    assert_eq!(
        sent,
        expected.map(|choice| ["/consent", "handle", "token", choice].map(str::to_owned))
    );
    let stranger = Document::parse(&page("consent-loopback"));
    assert_eq!(forms(&stranger, "").len(), 2, "no user is signed in, so none can be switched");
}

#[test]
fn the_consent_page_shows_who_asks_and_where_the_access_goes() {
    let html = page("consent-loopback");
    assert_eq!(
        part(&html, "<dt>Access", "</dd>"),
        "<dt>Access goes to</dt>\n\
         <dd><code class=\"host\">127.0.0.1:33418</code>\n\
         <span class=\"soft\">a program on this computer</span>\n\
         </dd>"
    );
    assert_eq!(
        part(&html, "<dt>Application", "</dd>"),
        "<dt>Application</dt>\n\
         <dd><bdi class=\"strong\">Claude Code</bdi>\n\
         <span class=\"chip warn\">name not verified</span>\n\
         </dd>"
    );
    assert!(part(&html, "<section", "</section>").contains("any program here could have opened"));
    assert!(!page("consent-web").contains("<section"), "no warning without a reason");
}

#[test]
fn every_warning_has_its_own_words() {
    let told = |warnings: &[Warning]| {
        let page = samples::consent("x", Standing::Nobody, "cursor:", warnings, None);
        let document = Document::parse(&site().render(&Page::Consent(Box::new(page))));
        let lines: Vec<_> = document.all("li").map(|li| li.text.trim().to_owned()).collect();
        lines.into_iter().skip(1).collect::<Vec<_>>()
    };
    let all = told(&[Warning::Loopback, Warning::InstalledApp, Warning::UnverifiedName]);
    assert_eq!(all.len(), 3);
    assert!(all[0].contains("a program on this computer"), "{all:?}");
    assert!(all[1].contains("opens cursor: links"), "{all:?}");
    assert!(all[2].contains("This server has not verified the name"), "{all:?}");
    assert_eq!(told(&[]), [""; 0]);
}

#[test]
fn a_wrong_password_is_told_first_and_tied_to_the_fields() {
    let document = Document::parse(&page("sign-in-wrong"));
    assert_eq!(document.one("title").text, "Wrong name or password · Sign in · mcp.example.org");
    let alert = document.0.iter().find(|element| element.get("role") == Some("alert"));
    assert_eq!(alert.and_then(|alert| alert.get("id")), Some("problem"));
    let fields: Vec<_> =
        document.all("input").filter(|i| i.get("type") != Some("hidden")).collect();
    assert_eq!(fields.len(), 2);
    for field in &fields {
        assert_eq!(field.get("aria-invalid"), Some("true"));
        assert_eq!(field.get("aria-describedby"), Some("problem"));
    }
    let waiting = Document::parse(&page("sign-in-wait"));
    assert!(waiting.one("main").text.contains("Wait 5 minutes, then try again."));
    assert!(waiting.all("input").all(|input| input.get("aria-invalid").is_none()));
}

#[test]
fn only_the_first_field_of_a_sign_in_takes_the_focus() {
    for (name, document) in all() {
        let focused: Vec<_> =
            document.0.iter().filter(|element| element.get("autofocus").is_some()).collect();
        let form = name.starts_with("sign-in") && name != "sign-in-choice";
        assert_eq!(focused.len(), usize::from(form), "{name}");
        assert!(focused.iter().all(|field| field.get("name") == Some("username")), "{name}");
    }
}

#[test]
fn every_form_of_the_account_page_is_understood() {
    let document = Document::parse(&page("account"));
    let mut actions = Vec::new();
    for (action, form) in forms(&document, "secret-token") {
        assert_eq!(action, "/account");
        assert_eq!(form.one("csrf").unwrap(), Some("csrf-token"));
        actions.push(match AccountAction::read(&form).expect("an action") {
            AccountAction::RevokeClient { grant_id } => format!("revoke {grant_id}"),
            AccountAction::EndSession { session } => format!("end {session}"),
            AccountAction::RemoveConnection { provider } => format!("disconnect {provider}"),
            AccountAction::SetToken { server, token } => format!("set {server} {}", token.expose()),
            AccountAction::RemoveToken { server } => format!("unset {server}"),
            AccountAction::SignOut => "sign out".to_owned(),
        });
    }
    assert_eq!(
        actions,
        [
            "sign out",
            "revoke grant-1",
            "revoke grant-2",
            "revoke grant-3",
            "end handle-of-4f1c0e9a",
            "end handle-of-b72d11c3",
            "disconnect git",
            "disconnect forge",
            "disconnect locked",
            "disconnect wiki",
            "disconnect github",
            "disconnect codeberg",
            "disconnect sso",
            "set weather secret-token",
            "unset weather",
            "set tickets secret-token",
            "set notes secret-token",
            "unset notes",
        ]
    );
}

#[test]
fn nothing_is_taken_back_without_a_second_step() {
    let document = Document::parse(&page("account"));
    for button in document.all("button") {
        let confirmed = button.around.iter().any(|at| document.0[*at].name == "details");
        assert!(confirmed || button.get("value") == Some("sign_out"), "{button:?}");
    }
    assert!(document.all("details").all(|details| details.get("open").is_none()));
}

#[test]
fn the_account_page_says_how_old_things_are() {
    assert_eq!(
        part(&page("account"), "<p class=\"fine\">Approved", "</p>"),
        "<p class=\"fine\">Approved <time datetime=\"2026-08-12T14:13:20Z\" title=\"12 August 2026, \
         14:13 UTC\">12 August 2026</time>, last renewed <time datetime=\"2026-09-21T14:10:20Z\" \
         title=\"21 September 2026, 14:10 UTC\">3 minutes ago</time></p>"
    );
}

#[test]
fn an_outcome_stands_first_in_the_title_and_is_announced() {
    let done = Document::parse(&page("account-done"));
    assert_eq!(
        done.one("title").text,
        "Access of Visual Studio Code was removed. · Your account · mcp.example.org"
    );
    assert!(done.0.iter().any(|element| element.get("role") == Some("status")));
    let problem = Document::parse(&page("account-problem"));
    assert!(problem.0.iter().any(|element| element.get("role") == Some("alert")));
}

#[test]
fn what_a_user_does_not_have_is_not_talked_about() {
    let text = Document::parse(&page("account-empty")).one("main").text.clone();
    assert!(text.contains("None yet.") && text.contains("No session is open"), "{text}");
    assert!(!text.contains("Connected accounts") && !text.contains("Your tokens"), "{text}");
}

#[test]
fn the_set_up_form_is_understood_and_its_problems_stand_with_their_fields() {
    let document = Document::parse(&page("setup-problems"));
    let form = forms(&document, "correct horse battery").remove(0);
    assert_eq!(form.0, "/login/setup");
    let answer = SetupAnswer::read(&form.1).expect("an answer");
    assert_eq!((answer.secret.expose(), &*answer.name), ("link-secret", "Ada Lovelace"));
    assert!(answer.agrees() && answer.password.expose() == "correct horse battery");
    let described = |name: &str| {
        let input = document.all("input").find(|input| input.get("name") == Some(name));
        input.and_then(|input| input.get("aria-describedby")).map(str::to_owned)
    };
    assert_eq!(described("name").as_deref(), Some("problem-1"));
    assert_eq!(described("password").as_deref(), Some("problem-2 hint"));
    assert_eq!(described("again").as_deref(), Some("problem-3"));
    assert!(SetupAnswer::read(&[("name", "ada")].into_iter().collect()).is_none(), "no secret");
}

#[test]
fn an_error_page_says_what_happened_what_to_do_and_its_code() {
    let html = page("error");
    assert_eq!(
        part(&html, "<h1>", "</code></p>"),
        "<h1>Unknown application</h1>\n\
         <p>This server does not know the application “4f1c0e”.</p>\n\
         <h2>What you can do</h2>\n\
         <p>Go back to your application, remove this connection there, and add it again.</p>\n\
         <p class=\"fine\">If you ask for help, mention this code: <code>unknown_client</code></p>"
    );
    assert!(html.contains("<title>Unknown application · mcp.example.org</title>"));
}

#[test]
fn an_account_with_many_applications_leads_to_the_older_ones() {
    let leads = |page: &super::AccountPage| {
        let document = Document::parse(&site().account(page));
        let older = document.all("a").find(|link| link.text == "Older applications");
        older.and_then(|link| link.get("href").map(str::to_owned))
    };
    let page = samples::account(None);
    assert_eq!(leads(&page).as_deref(), Some("/account?after=grant-3"));
    assert_eq!(leads(&super::AccountPage { more_clients: None, ..page }), None);
}

#[test]
fn the_front_page_tells_each_client_its_line() {
    let told = |access| {
        let document = Document::parse(&site().front(&samples::front(access)));
        document.all("pre").map(|pre| pre.text.clone()).collect::<Vec<_>>()
    };
    let lines = told(AuthMode::SignIn);
    let address = "https://mcp.example.org/forgejo/mcp";
    assert_eq!(lines[0], format!("claude mcp add --transport http forgejo {address}"));
    assert_eq!(
        lines[1],
        format!(r#"code --add-mcp '{{"name":"forgejo","type":"http","url":"{address}"}}'"#)
    );
    let cursor: serde_json::Value = serde_json::from_str(&lines[2]).expect("JSON");
    assert_eq!(cursor["mcpServers"]["forgejo"]["url"], address);
    assert_eq!(lines[3], format!("curl -si {address}"));
    assert!(told(AuthMode::Token).iter().all(|line| line.contains("TOKEN")));
    assert!(!told(AuthMode::Open).iter().any(|line| line.contains("TOKEN")));
}
