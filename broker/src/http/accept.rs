//! The `Accept` header (RFC 9110 section 12.5.1).

use http::{HeaderMap, header};

/// Whether the client takes the media type `wanted`: the range that names it best decides. A client
/// that names nothing takes anything.
pub(super) fn takes(headers: &HeaderMap, wanted: &str) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter();
    let mut ranges = lines
        // What is not text may be anything, so it refuses nothing.
        .map(|line| line.to_str().unwrap_or("*/*"))
        .flat_map(|line| pieces(line, ','))
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() {
        return true;
    }
    let judged = ranges.filter_map(|range| Some((precision(range, wanted)?, is_taken(range))));
    // Of two ranges that are alike, one that takes it is enough.
    judged.max().is_some_and(|(_, is_taken)| is_taken)
}

/// How closely a range names the media type `wanted`; `None` when it does not. Parameters of the range
/// say more about the type than there is to say of ours, so they do not matter.
fn precision(range: &str, wanted: &str) -> Option<u8> {
    let range = pieces(range, ';').next().unwrap_or_default();
    let (family, kind) = range.split_once('/')?;
    let (wanted_family, wanted_kind) = wanted.split_once('/')?;
    match (family, kind) {
        ("*", "*") => Some(0),
        (family, "*") if family.eq_ignore_ascii_case(wanted_family) => Some(1),
        (family, kind)
            if family.eq_ignore_ascii_case(wanted_family)
                && kind.eq_ignore_ascii_case(wanted_kind) =>
        {
            Some(2)
        }
        _ => None,
    }
}

/// Whether a range has a weight above zero. One that cannot be read is none.
fn is_taken(range: &str) -> bool {
    let weight = pieces(range, ';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    weight.and_then(|weight| weight.parse::<f32>().ok()).is_none_or(|weight| weight > 0.0)
}

/// The parts of `text` between `separator`, trimmed. One within quotes separates nothing.
fn pieces(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(move |next: char| {
        let separates = next == separator && !is_quoted;
        if next == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = is_quoted && next == '\\' && !is_escaped;
        separates
    });
    parts.map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes_json(accept: &str) -> bool {
        let value = accept.parse().expect("a header");
        takes(&HeaderMap::from_iter([(header::ACCEPT, value)]), "application/json")
    }

    #[test]
    fn the_range_that_names_a_media_type_best_decides() {
        for yes in [
            "",
            " , ",
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;q=0.001",
            "application/json ; Q=1.000",
            "*/*;q=0, application/json;q=0.1",
            "application/*;q=0,application/json",
            "application/json,application/json;q=0",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/plain; note=\"a,b;q=0\", application/json",
            "text/plain; note=\"\\\",\", application/json",
            "application/json;q=high",
        ] {
            assert!(takes_json(yes), "{yes}");
        }
        for no in [
            "text/event-stream",
            "application/json;q=0",
            "application/json;q=0.000, */*",
            "application/*;q=0, */*",
            "*/*;q=0",
            "application/jsonp",
            "application",
            "*",
            "*/json",
            "text/plain; note=\",application/json\"",
            "application/json;charset=utf-8;q=0",
        ] {
            assert!(!takes_json(no), "{no}");
        }
        assert!(takes(&HeaderMap::new(), "application/json"), "who says nothing takes anything");
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = ["text/event-stream", "application/json;q=0.5", "*/*;q=0"];
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, line.parse().expect("a header"));
        }
        assert!(takes(&headers, "application/json"));
        assert!(takes(&headers, "text/event-stream"));
        assert!(!takes(&headers, "text/html"));
    }
}
