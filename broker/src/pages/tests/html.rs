//! A small and strict reader of HTML: it takes what our templates should write and panics at
//! everything a browser would silently mend.

/// Elements without an end tag.
const VOID: [&str; 4] = ["input", "link", "meta", "br"];
/// Elements that may only hold words and other such elements (HTML, "phrasing content").
const PHRASING: [&str; 15] = [
    "p", "h1", "h2", "h3", "span", "bdi", "code", "strong", "time", "label", "button", "a",
    "title", "pre", "dt",
];
/// Elements that are more than words.
const BLOCKS: [&str; 16] = [
    "div", "p", "ul", "li", "dl", "dt", "dd", "form", "section", "details", "main", "header", "h1",
    "h2", "h3", "pre",
];

/// One element.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    /// The elements around it, the nearest last.
    pub(super) around: Vec<usize>,
    /// All text in it, decoded.
    pub(super) text: String,
}

impl Element {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// A document.
#[derive(Debug)]
pub(super) struct Document(pub(super) Vec<Element>);

impl Document {
    pub(super) fn parse(html: &str) -> Self {
        let mut rest = html.strip_prefix("<!doctype html>").expect("a doctype");
        let mut elements: Vec<Element> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        while !rest.is_empty() {
            let Some(inner) = rest.strip_prefix('<') else {
                let end = rest.find('<').unwrap_or(rest.len());
                let text = decoded(&rest[..end]);
                assert!(!open.is_empty() || text.trim().is_empty(), "text outside: {text}");
                open.iter().for_each(|at| elements[*at].text.push_str(&text));
                rest = &rest[end..];
                continue;
            };
            let end = inner.find('>').expect("a tag ends");
            let (tag, after) = (&inner[..end], &inner[end + 1..]);
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                let at = open.pop().unwrap_or_else(|| panic!("</{name}> ends nothing"));
                assert_eq!(elements[at].name, name, "ends in the wrong order");
                continue;
            }
            let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()), "<{tag}>");
            if BLOCKS.contains(&name) {
                let narrow = open.iter().find(|at| PHRASING.contains(&&*elements[**at].name));
                assert!(narrow.is_none(), "<{name}> in {:?}", narrow.map(|at| &elements[*at]));
            }
            elements.push(Element {
                name: name.to_owned(),
                attributes: read_attributes(attributes),
                around: open.clone(),
                text: String::new(),
            });
            let in_svg = open.iter().any(|at| elements[*at].name == "svg");
            assert!(!closed || in_svg, "<{tag}/> closes itself outside of a drawing");
            if !closed && !VOID.contains(&name) {
                open.push(elements.len() - 1);
            }
        }
        assert!(open.is_empty(), "not ended: {:?}", open.iter().map(|at| &elements[*at].name));
        Self(elements)
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.0.iter().filter(move |element| element.name == name)
    }

    pub(super) fn one<'a>(&'a self, name: &'a str) -> &'a Element {
        let mut all = self.all(name);
        let one = all.next().unwrap_or_else(|| panic!("no <{name}>"));
        assert!(all.next().is_none(), "more than one <{name}>");
        one
    }

    /// The elements inside the `at`th.
    pub(super) fn inside(&self, at: usize) -> impl Iterator<Item = &Element> {
        self.0.iter().filter(move |element| element.around.contains(&at))
    }

    pub(super) fn has_id(&self, id: &str) -> bool {
        self.0.iter().any(|element| element.get("id") == Some(id))
    }
}

/// `name="value"` or `name`, separated by single blanks.
fn read_attributes(mut text: &str) -> Vec<(String, String)> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    while !text.is_empty() {
        let end = text.find([' ', '=']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        assert!(!name.is_empty() && name.bytes().all(plain), "attribute in {text:?}");
        assert!(attributes.iter().all(|(own, _)| own != name), "{name} twice");
        let (value, rest) = match rest.strip_prefix("=\"") {
            Some(rest) => rest.split_once('"').expect("a quote ends"),
            None => ("", rest),
        };
        attributes.push((name.to_owned(), decoded(value)));
        text = match rest.strip_prefix(' ') {
            Some(rest) => rest,
            None => {
                assert_eq!(rest, "", "after {name}");
                rest
            }
        };
    }
    attributes
}

/// Text with its character references replaced. Only those that the templates' escaping makes.
fn decoded(text: &str) -> String {
    let mut parts = text.split('&');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(';').unwrap_or_else(|| panic!("bare & before {part}"));
        decoded.push(match name {
            "#38" => '&',
            "#60" => '<',
            "#62" => '>',
            "#34" => '"',
            "#39" => '\'',
            _ => panic!("&{name};"),
        });
        decoded.push_str(rest);
    }
    assert!(!decoded.contains('\0'));
    decoded
}

#[test]
fn what_a_browser_would_mend_is_found() {
    let bad = |body: &str| {
        let html = format!("<!doctype html><html>{body}</html>");
        assert!(std::panic::catch_unwind(|| Document::parse(&html)).is_err(), "{body}");
    };
    for body in [
        "<p>a",
        "a</p>",
        "<p><b></p></b>",
        "<p><div></div></p>",
        "<a href=x></a>",
        "<p id=\"a\" id=\"b\"></p>",
        "a & b",
        "<div/>",
        "< p></p>",
        "<p title=\"a\"b=\"c\"></p>",
    ] {
        bad(body);
    }
    let good = "<!doctype html><html><p title=\"&#34;\">a &#38; <b>b</b></p></html>";
    let document = Document::parse(good);
    assert_eq!(document.one("p").text, "a & b");
    assert_eq!(document.one("p").get("title"), Some("\""));
}
