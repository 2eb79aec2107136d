//! Bodies to compare: those of the corpus with something changed, and messages around any JSON.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
};

use self::mutated::mutated;

#[path = "../../../../corpus/mutated.rs"]
mod mutated;

/// What some reader of JSON, of lines or of text stumbles over.
const PIECES: &[&str] = &[
    "<00>",
    "<08>",
    "<09>",
    "<0A>",
    "<0B>",
    "<0C>",
    "<0D>",
    "<1F>",
    "<7F>",
    " ",
    "<C2><85>",
    "<C2><A0>",
    "<E2><80><A8>",
    "<E2><80><A9>",
    "<EF><BB><BF>",
    "<ED><A0><80>",
    "<C0><80>",
    "<FF>",
    "\\",
    "\\\"",
    "\\\\",
    "\\/",
    "\\u",
    "\\u0000",
    "\\u000a",
    "\\u2028",
    "\\ud83d",
    "\\ude00",
    "\\ud83d\\ude00",
    "\\uD83D\\uD83D",
    "\\x",
    "\\'",
    "1e400",
    "-1e-400",
    "-0",
    "-",
    "01",
    "0x1",
    "1.",
    ".5",
    "+1",
    "1E+2",
    "123456789012345678901234567890",
    "0.30000000000000004",
    "NaN",
    "Infinity",
    "null",
    "true",
    "'",
    "//",
    "/**/",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "{}",
    "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]",
    "\"id\":1,",
    "\"ID\":1,",
    "\"\\u0069d\":1,",
    "\"method\":\"x\",",
    "\"params\":{},",
    "\"a\":1,",
    "\"_meta\":{\"progressToken\":1},",
    "\"progressToken\":\"t\",",
    "\"param\u{17F}\":{},",
];

/// Values without others in them.
const ATOMS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "0e0",
    "1e400",
    "-1E+400",
    "1e-400",
    "5e-324",
    "9007199254740993",
    "18446744073709551616",
    "123456789012345678901234567890",
    "0.1000000000000000055511151231257827",
    "1.7976931348623159e308",
    "{}",
    "[]",
    "\"\"",
];

/// What strings are made of.
const TEXTS: &[&str] = &[
    "a",
    "é",
    "你好",
    "😀",
    "\\ud83d\\ude00",
    "\u{2028}",
    "\u{2029}",
    "\u{85}",
    "\u{feff}",
    "\u{7f}",
    "\u{a0}",
    "\\u2028",
    "\\u0000",
    "\\b\\f\\n\\r\\t",
    "\\\"",
    "\\\\",
    "\\/",
    "\\u000A",
    "{",
    "[",
    "]",
    "}",
    ":",
    ",",
    "'",
    "//",
    "progressToken",
    "_meta",
    "id",
    "\u{10ffff}",
    "\\uDBFF\\uDFFF",
];

/// What may stand between tokens.
const SPACES: &[&str] = &["", "", "", " ", "\t", "\n", "\r\n", "\r", "  \n\t"];

/// Ids, and what is none.
const IDS: &[&str] = &[
    "1",
    "-0",
    "1.5",
    "1e400",
    "\"a\"",
    "\"\"",
    "\"\u{2028}\"",
    "\"\\u2028\"",
    "null",
    "{}",
    "[1]",
];

pub(super) fn body() -> impl Strategy<Value = Vec<u8>> {
    let corpus = mutated(include_str!("../../../corpus/messages.txt"), PIECES);
    prop_oneof![corpus, message().prop_map(String::into_bytes)]
}

/// A request or notification with any parameters.
fn message() -> impl Strategy<Value = String> {
    let id = prop_oneof![1 => Just(""), 3 => select(IDS)];
    let meta = prop_oneof![Just(None), (select(IDS), space()).prop_map(Some)];
    (id, text(), meta, value(), space()).prop_map(|(id, method, meta, value, space)| {
        let id = if id.is_empty() { String::new() } else { format!("\"id\":{id}{space},") };
        let meta = meta.map_or_else(String::new, |(token, space)| {
            format!("\"_meta\":{{{space}\"progressToken\":{token}}},")
        });
        format!(
            "{space}{{{id}\"jsonrpc\":\"2.0\",{space}\"method\":{method},\
             \"params\":{{{meta}\"value\":{value}}}{space}}}{space}"
        )
    })
}

/// Any value, mostly flat; a few are about as deep as is allowed.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![select(ATOMS).prop_map(str::to_owned), text()].boxed();
    let deep = (120..132_usize, leaf.clone())
        .prop_map(|(depth, leaf)| format!("{}{leaf}{}", "[".repeat(depth), "]".repeat(depth)));
    let any_shape = leaf.prop_recursive(5, 24, 4, |inner| {
        let member = (text(), space(), inner.clone());
        prop_oneof![
            (vec(inner, 0..4), space()).prop_map(|(items, space)| {
                format!("[{space}{}{space}]", items.join(&format!("{space},{space}")))
            }),
            (vec(member, 0..4), space()).prop_map(|(members, space)| {
                let members: Vec<_> = members
                    .into_iter()
                    .map(|(key, space, value)| format!("{key}{space}:{space}{value}"))
                    .collect();
                format!("{{{space}{}{space}}}", members.join(","))
            }),
        ]
    });
    prop_oneof![30 => any_shape, 1 => deep]
}

/// Any string, quotes included.
fn text() -> impl Strategy<Value = String> {
    // As it stands, unless a string has to say it in another way.
    let char = any::<char>().prop_map(|char| match char {
        '\0'..' ' | '"' | '\\' => '?',
        char => char,
    });
    let part = prop_oneof![
        4 => select(TEXTS).prop_map(str::to_owned),
        1 => char.prop_map(String::from),
    ];
    vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn space() -> impl Strategy<Value = &'static str> {
    select(SPACES)
}
