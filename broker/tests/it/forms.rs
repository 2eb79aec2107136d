//! The forms of a page, as far as a browser needs them.

/// One form.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) action: String,
    pub(crate) hidden: Vec<(String, String)>,
    /// The names of what a person fills in.
    pub(crate) inputs: Vec<String>,
    pub(crate) buttons: Vec<(String, String)>,
}

impl Form {
    /// Whether it has a button or field of this name, and value unless that is empty.
    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        let same =
            |(own, held): &(String, String)| own == name && (value.is_empty() || held == value);
        self.hidden.iter().chain(&self.buttons).any(same)
            || (value.is_empty() && self.inputs.iter().any(|own| own == name))
    }

    pub(crate) fn hidden(&self, name: &str) -> &str {
        let found = self.hidden.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// The body it sends, filled in, when `button` is pressed.
    pub(crate) fn filled(&self, button: (&str, &str), fields: &[(&str, &str)]) -> String {
        for (name, _) in fields {
            assert!(self.inputs.iter().any(|own| own == name), "nobody asks for {name}: {self:?}");
        }
        let hidden = self.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let pressed = self.buttons.iter().any(|(name, _)| name == button.0).then_some(button);
        let all: Vec<_> = hidden.chain(fields.iter().copied()).chain(pressed).collect();
        crate::browser::body(&all)
    }
}

/// The forms of a page, in their order.
pub(crate) fn forms(html: &str) -> Vec<Form> {
    let parts = html.split("<form").skip(1);
    parts.map(|part| form(part.split_once("</form>").expect("a form ends").0)).collect()
}

fn form(text: &str) -> Form {
    let (own, inner) = text.split_once('>').expect("a tag ends");
    let mut form = Form {
        action: attribute(own, "action").unwrap_or_default(),
        hidden: Vec::new(),
        inputs: Vec::new(),
        buttons: Vec::new(),
    };
    for tag in inner.split('<').filter_map(|piece| piece.split_once('>')).map(|(tag, _)| tag) {
        let Some(name) = attribute(tag, "name") else { continue };
        let value = attribute(tag, "value").unwrap_or_default();
        if tag.starts_with("button") {
            form.buttons.push((name, value));
        } else if tag.starts_with("input") {
            match attribute(tag, "type").as_deref() {
                Some("hidden") => form.hidden.push((name, value)),
                _ => form.inputs.push(name),
            }
        }
    }
    form
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescape(rest.split('"').next()?))
}

/// The text that an escaped one stands for.
pub(crate) fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let (entity, behind) = after.split_once(';').expect("an entity ends");
        plain.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            number => {
                let number = number.strip_prefix('#').expect("an entity").parse::<u32>();
                number.ok().and_then(char::from_u32).expect("a character")
            }
        });
        rest = behind;
    }
    plain + rest
}

/// Text as it is in a query or a form.
pub(crate) fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
