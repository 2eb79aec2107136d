//! The words of a Rust source: identifiers, paths, brackets and literals, without comments.
//!
//! Far less than a parser: enough to tell where an item begins and which paths it names. `syn` knows
//! more and would be compiled before anything else that `cargo xtask` does.

/// One word and the line it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) line: usize,
}

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// An identifier or a keyword, `r#` left out.
    Word(&'a str),
    /// `::`
    PathSeparator,
    /// `(`, `[` or `{`
    Open(char),
    /// `)`, `]` or `}`
    Close(char),
    /// A string, as it is written, quotes included.
    Text(&'a str),
    /// Any other character that means something.
    Punctuation(char),
}

impl<'a> Token<'a> {
    /// The identifier or keyword, if it is one.
    pub(super) fn word(&self) -> Option<&'a str> {
        match self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Whether it is this character alone.
    pub(super) fn is(&self, character: char) -> bool {
        match self.kind {
            Kind::Open(c) | Kind::Close(c) | Kind::Punctuation(c) => c == character,
            _ => false,
        }
    }
}

/// Reads a source that rustc accepts. Numbers, characters and lifetimes are left out: no path begins
/// with one.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut found = Vec::new();
    while let Some(token) = lexer.next_token() {
        found.push(token);
    }
    found
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes on by `bytes` and counts the lines that they hold.
    fn skip(&mut self, bytes: usize) -> &'a str {
        let bytes = bytes.min(self.rest().len());
        let skipped = &self.rest()[..bytes];
        self.line += skipped.matches('\n').count();
        self.at += bytes;
        skipped
    }

    fn next_token(&mut self) -> Option<Token<'a>> {
        loop {
            let rest = self.rest();
            let first = rest.chars().next()?;
            let line = self.line;
            if first.is_whitespace() {
                self.skip(first.len_utf8());
            } else if rest.starts_with("//") {
                self.skip(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.skip(block_comment(rest));
            } else if let Some(length) = string(rest) {
                let kind = Kind::Text(self.skip(length));
                return Some(Token { kind, line });
            } else if first == '\'' || rest.starts_with("b'") {
                self.skip(character_or_lifetime(rest));
            } else if first.is_ascii_digit() {
                self.skip(number(rest));
            } else if is_word(first) {
                let raw = if rest.starts_with("r#") { 2 } else { 0 };
                self.skip(raw);
                let rest = self.rest();
                let word = self.skip(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
                return Some(Token { kind: Kind::Word(word), line });
            } else if rest.starts_with("::") {
                self.skip(2);
                return Some(Token { kind: Kind::PathSeparator, line });
            } else {
                self.skip(first.len_utf8());
                let kind = match first {
                    '(' | '[' | '{' => Kind::Open(first),
                    ')' | ']' | '}' => Kind::Close(first),
                    other => Kind::Punctuation(other),
                };
                return Some(Token { kind, line });
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a comment that begins with `/*`; comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of a string of any kind, if `text` begins with one.
fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            rest.starts_with('"')
                || (prefix.ends_with('r') && rest.trim_start_matches('#').starts_with('"'))
        })
    })?;
    let rest = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let end = format!("\"{}", &rest[..hashes]);
        let body = &rest[hashes + 1..];
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix.len() + hashes + 1 + length);
    }
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix.len() + at + 1),
            _ => (),
        }
    }
    Some(text.len())
}

/// The length of `'a'`, `'\n'`, `b'a'` or `'lifetime`.
fn character_or_lifetime(text: &str) -> usize {
    let start = text.find('\'').map_or(0, |quote| quote + 1);
    let body = &text[start..];
    let first = body.chars().next().map_or(0, char::len_utf8);
    if body.starts_with('\\') {
        // The character after the backslash may be the quote itself.
        let end = body.get(2..).and_then(|rest| rest.find('\'')).map_or(body.len(), |at| at + 3);
        return start + end;
    }
    if body.get(first..).is_some_and(|rest| rest.starts_with('\'')) {
        return start + first + 1;
    }
    start + body.find(|c| !is_word(c)).unwrap_or(body.len())
}

/// The length of a number. A range of numbers (`0..10`) ends the first one before its dots, and so
/// does a method or field of one.
fn number(text: &str) -> usize {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let next = text[at + c.len_utf8()..].chars().next();
        let fraction = c == '.' && next.is_some_and(|next| next.is_ascii_digit());
        if !is_word(c) && !fraction {
            break;
        }
        end = at + c.len_utf8();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).iter().filter_map(Token::word).collect()
    }

    #[test]
    fn comments_strings_and_lifetimes_hold_no_words() {
        let text =
            "a // b\n/* c /* d */ e */ f \"g \\\" h\" r#\"i\" j\"# 'k' '\\'' 'l: m<'n> b'o' b\"p\"";
        assert_eq!(words(text), ["a", "f", "m"].as_slice());
    }

    #[test]
    fn raw_identifiers_are_words_and_numbers_are_not() {
        assert_eq!(words("r#type 0x1f 1.5e3 0..x 1u8.max(y) r2"), ["type", "x", "max", "y", "r2"]);
    }

    #[test]
    fn a_word_knows_its_line_also_after_text_of_several_lines() {
        let found = tokens("\"one\ntwo\"\n/* three\n */ x::y");
        let line = |word: &str| found.iter().find(|token| token.word() == Some(word)).unwrap().line;
        assert_eq!((line("x"), line("y")), (4, 4));
        assert!(found.iter().any(|token| token.kind == Kind::PathSeparator));
    }
}
