//! What templates do to untrusted texts before they show them. Escaping follows by itself.

#![expect(unreachable_pub, reason = "`filter_fn` makes public items whatever it stands on")]

use std::fmt::Display;

use askama::Values;
use auth::oauth::plain;

/// The longest name or address on a page, in characters (the bound of client names).
const NAME: usize = 200;
/// The longest name in the middle of our own words, in characters: a long one could pass for them.
const BRIEF: usize = 60;
/// The longest untrusted sentence on a page, in characters.
const SENTENCE: usize = 600;

/// A name or an address: short, on one line, without characters that deceive.
#[askama::filter_fn]
pub(super) fn shown(text: impl Display, _: &dyn Values) -> askama::Result<String> {
    Ok(cut(&text.to_string(), NAME))
}

/// A name in a heading or a sentence. Where it matters, it stands in full elsewhere on the page.
#[askama::filter_fn]
pub(super) fn brief(text: impl Display, _: &dyn Values) -> askama::Result<String> {
    Ok(cut(&text.to_string(), BRIEF))
}

/// A sentence.
#[askama::filter_fn]
pub(super) fn sentence(text: impl Display, _: &dyn Values) -> askama::Result<String> {
    Ok(cut(&text.to_string(), SENTENCE))
}

/// [`plain`], without reading a megabyte to show a line: past eight times what is shown, nothing
/// matters any more.
fn cut(text: &str, max: usize) -> String {
    let end = text.char_indices().nth(8 * max).map_or(text.len(), |(at, _)| at);
    plain(&text[..end], max)
}
