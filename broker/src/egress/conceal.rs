//! An upstream that repeats the token in its answer, as one does that shows a request's headers, tells the
//! child the dummy.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    head::basic_pair,
    replace::{Follows, Replacements},
};
use crate::config::EgressStyle;

/// What is as short as a word stands there for other reasons, in bytes.
const MIN_TOKEN: usize = 8;

/// What was sent in a dummy's place, now and before, and the dummy.
#[derive(Debug)]
pub(super) struct SentTokens(Arc<Replacements>);

impl SentTokens {
    /// `tokens` went out in this style in the place of `dummy`. `None` when they cannot be told from words.
    pub(super) fn new<'a>(
        tokens: impl IntoIterator<Item = &'a str>,
        style: EgressStyle,
        dummy: &str,
    ) -> Option<Self> {
        let encoded = |own: &str| STANDARD.encode(basic_pair(own));
        let pairs = |token: &str| {
            let basic = (style == EgressStyle::Basic).then(|| (encoded(token), encoded(dummy)));
            [Some((token.to_owned(), dummy.to_owned())), basic].into_iter().flatten()
        };
        let tokens = tokens.into_iter().filter(|token| token.len() >= MIN_TOKEN);
        let mut pairs = tokens.flat_map(pairs).peekable();
        pairs.peek()?;
        Some(Self(Arc::new(Replacements::new(pairs, Follows::Any))))
    }

    /// What bodies are searched with.
    pub(super) fn in_bodies(&self) -> Arc<Replacements> {
        Arc::clone(&self.0)
    }

    /// In values; a header whose name has the token in it goes.
    pub(super) fn in_headers(&self, headers: &mut HeaderMap) {
        let repeats = |name: &&HeaderName| self.0.in_whole(name.as_str().as_bytes()).is_some();
        let repeating: Vec<HeaderName> = headers.keys().filter(repeats).cloned().collect();
        for name in &repeating {
            headers.remove(name);
        }
        for value in headers.values_mut() {
            if let Some(new) = self.0.in_whole(value.as_bytes()) {
                let new = HeaderValue::from_maybe_shared(new);
                *value = new.unwrap_or_else(|_| HeaderValue::from_static("concealed"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::{
        super::{pieces::Pieces, replace::Replaced},
        *,
    };

    const TOKEN: &str = "the+token/with=signs";

    fn sent(style: EgressStyle) -> SentTokens {
        SentTokens::new([TOKEN], style, "dummy").expect("it is long enough")
    }

    #[test]
    fn a_token_that_the_upstream_repeats_in_a_header_becomes_the_dummy() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-seen", "Bearer the+token/with=signs"),
            (
                "location",
                "https://elsewhere.example/?a=the+token/with=signs&b=the+token/with=signs",
            ),
            ("x-other", "the+token/with=sign"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.insert("x-0123456789abcdef", HeaderValue::from_static("a name"));
        let hex = SentTokens::new(["0123456789abcdef"], EgressStyle::Bearer, "dummy");
        hex.expect("it is long enough").in_headers(&mut headers);
        assert_eq!(headers.len(), 3, "its name was the token");
        sent(EgressStyle::Bearer).in_headers(&mut headers);
        assert_eq!(headers["x-seen"], "Bearer dummy");
        assert_eq!(headers["location"], "https://elsewhere.example/?a=dummy&b=dummy");
        assert_eq!(headers["x-other"], "the+token/with=sign");
    }

    #[tokio::test]
    async fn a_token_that_the_upstream_repeats_in_a_body_becomes_the_dummy_however_it_is_cut() {
        let pair = |own: &str| STANDARD.encode(format!("oauth2:{own}"));
        let text = format!(
            "{TOKEN}{{\"seen\":\"token {TOKEN}\",\"escaped\":\"the+token\\/with=signs\",\
             \"basic\":\"Basic {}\",\"cut\":\"the+token/wit\"}}the+token",
            pair(TOKEN)
        );
        let becomes = format!(
            "dummy{{\"seen\":\"token dummy\",\"escaped\":\"dummy\",\
             \"basic\":\"Basic {}\",\"cut\":\"the+token/wit\"}}the+token",
            pair("dummy")
        );
        for length in [1, 2, 3, 5, 7, 19, 20, 21, 1000] {
            let pieces = Pieces::cut(&text, &[length]);
            let body = Replaced::new(pieces, sent(EgressStyle::Basic).in_bodies());
            let whole = body.collect().await.expect("it is whole").to_bytes();
            assert_eq!(whole, becomes.as_bytes(), "by {length}");
        }
    }

    #[test]
    fn a_token_as_short_as_a_word_is_not_looked_for_and_none_is_shown() {
        assert!(SentTokens::new(["secret1"], EgressStyle::Bearer, "dummy").is_none());
        assert!(SentTokens::new(["secret1", TOKEN], EgressStyle::Bearer, "dummy").is_some());
        assert!(!format!("{:?}", sent(EgressStyle::Basic)).contains("token/"));
    }
}
