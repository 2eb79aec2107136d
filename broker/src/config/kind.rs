//! The kinds of settings: what a value may look like, in words and as JSON Schema.

use serde_json::{Value as Json, json};

/// What the name of a table below `auth` is, for the schema.
const TABLE_NAME_PATTERN: &str = "^[a-z0-9-]{1,64}$";

/// What zero does to a number, a duration or a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// It is a mistake.
    Refused,
    /// It is accepted and means this.
    Means(&'static str),
}

/// The shape of one setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An address with port, or `unix:PATH`.
    Listen,
    /// The broker's public URL.
    Url,
    /// A path in the file system.
    Path,
    /// The path of a file that is there.
    File,
    /// The path of a directory that is there.
    Directory,
    /// Text without further rules.
    Text,
    /// An absolute http or https address; a slash at its end does not count.
    Address,
    /// The same, exactly as it is written.
    Issuer,
    /// One OAuth scope.
    Scope,
    /// The name of a file, without a directory.
    FileName,
    /// The name of a host, without a port.
    HostName,
    /// A log filter.
    Filter,
    /// `true` or `false`.
    Bool,
    /// `true`, `false`, or this word.
    BoolOr(&'static str),
    /// A time with a unit.
    Duration(Zero),
    /// Bytes, with or without a unit.
    Size(Zero),
    /// A whole number.
    Count(Zero),
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these numbers.
    Number(&'static [i64]),
    /// A list of browser origins.
    Origins,
    /// A list of host names.
    Hosts,
    /// A list of addresses or ranges of them.
    Networks,
    /// A list of texts.
    Texts,
    /// A list of URI schemes.
    Schemes,
    /// A list of names of environment variables.
    Variables,
    /// A list of names of tables, each once and at least one; an example of it.
    Names(&'static str),
    /// The former name of a table. The example of such a key is its present name, without quotes.
    Name,
    /// The name of a kind of tables. The example of such a key is that name, without quotes.
    Registered,
    /// A server's upstream: the name of a table, or `user`.
    Upstream,
    /// Rules that name people.
    Rules,
    /// What a server's processes reach over the network: a word, or a list of ports.
    NetworkAccess,
    /// A number of processors, with a fraction.
    Processors,
    /// A table of environment variables with templates as values.
    Environment,
    /// A table.
    Table,
    /// Tables by name.
    Tables,
    /// Tables by name, beside the keys of the table that they are in.
    Beside,
    /// No key at all: a field that is filled in after reading.
    Derived,
}

/// The largest number a count may be; above it some channel or semaphore would refuse.
pub(super) const MOST: i64 = 1_000_000_000;

impl Kind {
    /// What a value should be, to follow "expected".
    pub(super) fn expects(self) -> String {
        match self {
            Self::Listen => "an address such as \"127.0.0.1:8080\"".to_owned(),
            Self::Url => "a URL such as \"https://mcp.example.org\"".to_owned(),
            Self::Path | Self::File | Self::Directory => "a path in quotes".to_owned(),
            Self::Text
            | Self::Address
            | Self::Issuer
            | Self::Scope
            | Self::FileName
            | Self::HostName => "text in quotes".to_owned(),
            Self::Name | Self::Registered | Self::Upstream => "a name in quotes".to_owned(),
            Self::Filter => "a filter such as \"info\" or \"info,bridge=debug\"".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::BoolOr(word) => format!("true, false or {word:?}"),
            Self::Duration(_) => "a duration such as \"15m\"".to_owned(),
            Self::Size(_) => "a size such as \"64MiB\"".to_owned(),
            Self::Count(_) => "a whole number".to_owned(),
            Self::Word(words) => format!("one of {}", list(words)),
            Self::Number(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                format!("one of {}", numbers.join(", "))
            }
            Self::Names(example) => format!("a list such as {example}"),
            Self::Origins => "a list such as [\"https://app.example.org\"]".to_owned(),
            Self::Hosts => "a list such as [\"mcp.example.org\"]".to_owned(),
            Self::Networks => "a list such as [\"127.0.0.1\", \"10.0.0.0/8\"]".to_owned(),
            Self::Texts | Self::Schemes => "a list such as [\"--verbose\"]".to_owned(),
            Self::Variables => "a list such as [\"PATH\", \"LANG\"]".to_owned(),
            Self::Rules => {
                "\"everyone\", or a list such as [\"login:ada\", \"org:acme\"]".to_owned()
            }
            Self::NetworkAccess => {
                "\"any\", \"none\", \"egress\" or a list such as [443]".to_owned()
            }
            Self::Processors => "a number of processors such as 1.5".to_owned(),
            Self::Environment => "a table such as { NAME = \"value\" }".to_owned(),
            Self::Table | Self::Tables | Self::Beside | Self::Derived => "a table".to_owned(),
        }
    }

    /// The same kind with another meaning of zero.
    pub(super) const fn with_zero(self, zero: Zero) -> Self {
        match self {
            Self::Duration(_) => Self::Duration(zero),
            Self::Size(_) => Self::Size(zero),
            Self::Count(_) => Self::Count(zero),
            _ => panic!("only quantities can be zero"),
        }
    }

    /// What zero does, where zero is special.
    pub(super) const fn zero(self) -> Option<Zero> {
        match self {
            Self::Duration(zero) | Self::Size(zero) | Self::Count(zero) => Some(zero),
            _ => None,
        }
    }

    /// Whether a bare word of the command line or the environment is the value itself, so that
    /// `--set server.notes.command=7zip` and `=true` are texts.
    pub(super) const fn is_text(self) -> bool {
        matches!(
            self,
            Self::Listen
                | Self::Url
                | Self::Path
                | Self::File
                | Self::Directory
                | Self::Text
                | Self::Address
                | Self::Issuer
                | Self::Scope
                | Self::FileName
                | Self::HostName
                | Self::Name
                | Self::Registered
                | Self::Upstream
                | Self::Filter
                | Self::NetworkAccess
                | Self::Word(_)
        )
    }

    /// The JSON Schema of a value, without its description.
    pub(super) fn schema(self) -> Json {
        let texts = |item: Json| json!({ "type": "array", "items": item });
        match self {
            Self::Listen
            | Self::Path
            | Self::File
            | Self::Directory
            | Self::Text
            | Self::Address
            | Self::Issuer
            | Self::Scope
            | Self::FileName
            | Self::HostName
            | Self::Registered
            | Self::Filter => {
                json!({ "type": "string", "minLength": 1 })
            }
            Self::Url => {
                json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+/?$" })
            }
            Self::Bool => json!({ "type": "boolean" }),
            Self::BoolOr(word) => json!({ "enum": [true, false, word] }),
            Self::Duration(zero) => {
                let pattern = "^([0-9]+(ms|s|m|h|d))+$";
                match zero {
                    Zero::Refused => json!({ "type": "string", "pattern": pattern }),
                    Zero::Means(_) => json!({ "anyOf": [
                        { "type": "string", "pattern": pattern },
                        { "enum": [0, "0"] },
                    ] }),
                }
            }
            Self::Size(zero) => json!({ "anyOf": [
                { "type": "string", "pattern": "^[0-9]+ *([kK]B|[MG]B|[KMG]iB|B)?$" },
                { "type": "integer", "minimum": least(zero) },
            ] }),
            Self::Count(zero) => {
                json!({ "type": "integer", "minimum": least(zero), "maximum": MOST })
            }
            Self::Word(words) => json!({ "enum": words }),
            Self::Number(numbers) => json!({ "enum": numbers }),
            Self::Names(_) => json!({
                "type": "array", "items": { "type": "string", "pattern": TABLE_NAME_PATTERN },
                "minItems": 1, "uniqueItems": true,
            }),
            Self::Name | Self::Upstream => {
                json!({ "type": "string", "pattern": TABLE_NAME_PATTERN })
            }
            Self::Origins | Self::Hosts | Self::Networks | Self::Variables => {
                texts(json!({ "type": "string", "minLength": 1 }))
            }
            Self::Texts | Self::Schemes => texts(json!({ "type": "string" })),
            Self::Rules => json!({ "anyOf": [
                { "const": "everyone" },
                { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 },
            ] }),
            Self::NetworkAccess => json!({ "anyOf": [
                { "enum": ["any", "none", "egress"] },
                { "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": 65535 } },
            ] }),
            Self::Processors => json!({ "type": "number", "minimum": 0, "maximum": 1024 }),
            Self::Environment => {
                json!({ "type": "object", "additionalProperties": { "type": "string" } })
            }
            Self::Table | Self::Tables | Self::Beside | Self::Derived => {
                json!({ "type": "object" })
            }
        }
    }
}

const fn least(zero: Zero) -> i64 {
    match zero {
        Zero::Refused => 1,
        Zero::Means(_) => 0,
    }
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    quoted.join(", ")
}
