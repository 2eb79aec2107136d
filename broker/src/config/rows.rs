//! The rows of the table: every key of this version with its kind, default and words.

mod access;

use super::kind::{Kind, Zero};
use super::table::{Default, Key, Reload, Section};

const fn row(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind,
        default: Default::Toml(default),
        reload: Reload::Restart,
        secret: false,
        example: default,
        doc,
    }
}

impl Key {
    const fn live(mut self) -> Self {
        self.reload = Reload::Live;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn computed(mut self, words: &'static str) -> Self {
        self.default = Default::Computed(words);
        self
    }

    const fn required(mut self) -> Self {
        self.default = Default::Required;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }
}

const UNBOUNDED: Zero = Zero::Means("no bound");
const UNLIMITED: Zero = Zero::Means("unlimited");
const NEVER: Zero = Zero::Means("never");

/// Who can judge a bearer token.
const VERIFIERS: &[&str] = &["oauth", "static", "jwt", "introspection", "none"];
/// Who can sign people in.
const IDENTITIES: &[&str] = &["local", "forgejo", "gitea", "oidc", "github"];
/// Whose credential a server's processes can get.
const UPSTREAMS: &[&str] = &["forgejo", "gitea", "oidc", "github", "user"];

/// The tables in the order of the example.
pub(super) static SECTIONS: &[Section] = &[
    Section { path: "tls", doc: "TLS of our own; without it, put a proxy with TLS in front." },
    Section { path: "log", doc: "What the broker tells on standard error." },
    Section { path: "http", doc: "Bounds against slow, large and many requests." },
    Section { path: "server", doc: "The MCP servers, by name." },
    Section {
        path: "server.*",
        doc: "One MCP server, served at /NAME/mcp. The name has 1 to 32 characters of a-z, 0-9, - \
              and _. Every session gets a process of its own. Changes hold for new sessions.",
    },
    Section { path: "session", doc: "How many sessions there may be, and for how long." },
    Section { path: "stream", doc: "What is kept so that a broken stream can be resumed." },
    Section { path: "auth", doc: "Who may connect." },
    Section { path: "auth.none", doc: "The verifier that lets everybody in as one owner." },
    Section {
        path: "auth.static",
        doc: "Tokens made by `mcp-broker token add`. They are good at every server.",
    },
    Section { path: "auth.jwt", doc: "The verifier of an outside issuer's signed tokens (JWT)." },
    Section {
        path: "auth.introspection",
        doc: "The verifier that asks an outside authorization server about each token (RFC 7662).",
    },
    Section {
        path: "auth.forgejo",
        doc: "Signing in with a Forgejo account. Register an OAuth2 application there (Settings, \
              Applications) as a confidential client with the redirect address \
              PUBLIC_URL/callback/forgejo.",
    },
    Section {
        path: "auth.gitea",
        doc: "Signing in with a Gitea account, as with Forgejo; the redirect address is \
              PUBLIC_URL/callback/gitea.",
    },
    Section {
        path: "auth.oidc",
        doc: "Signing in with an account at any OpenID provider; the redirect address is \
              PUBLIC_URL/callback/oidc.",
    },
    Section {
        path: "auth.github",
        doc: "Signing in with a GitHub account, through an OAuth or a GitHub App; the callback \
              address is PUBLIC_URL/callback/github.",
    },
    Section { path: "oauth", doc: "The broker's own authorization server." },
];

/// Every key, in the order of the example.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> + Clone {
    SERVING.iter().chain(access::KEYS)
}

/// What is served, and how.
static SERVING: &[Key] = &[
    row(
        "listen",
        Kind::Listen,
        r#""127.0.0.1:8080""#,
        "Where to listen: an address with a port (port 0 lets the system choose), or \
         \"unix:/PATH\" for a Unix socket.",
    ),
    row(
        "public_url",
        Kind::Url,
        "",
        "The address under which clients reach the broker, as scheme, host and port. Every address \
         that the broker hands out comes from here and never from a request's headers. Its host is \
         an accepted Host, its origin an accepted Origin. Signing in needs it, unless listen is a \
         loopback address.",
    )
    .computed("not set; addresses are made from listen")
    .example(r#""https://mcp.example.org""#),
    row(
        "data_dir",
        Kind::Path,
        "",
        "The directory for what the broker keeps: accounts, authorizations and sealed credentials \
         (broker.db), the keys to them (server.key, keyring), tokens made by hand (tokens.json). It is \
         created when missing, for its owner only. A relative path counts from the working \
         directory.",
    )
    .computed(
        "the first of $STATE_DIRECTORY, $XDG_DATA_HOME/mcp-broker, \
         $HOME/.local/share/mcp-broker, /var/lib/mcp-broker that can be named",
    )
    .example(r#""/var/lib/mcp-broker""#),
    row(
        "store",
        Kind::Word(&["sqlite"]),
        r#""sqlite""#,
        "Where accounts, clients and tokens are kept: \"sqlite\" is a file in data_dir.",
    ),
    row(
        "allowed_origins",
        Kind::Origins,
        "[]",
        "Origins whose web pages may connect, as browsers send them. The origin of public_url is \
         always allowed; requests without an Origin header are not from a web page.",
    )
    .example(r#"["https://app.example.org"]"#)
    .live(),
    row(
        "allowed_hosts",
        Kind::Hosts,
        "[]",
        "Host names under which the broker answers besides that of public_url and, when it listens \
         on loopback, localhost. A name without a port holds for every port. Any other Host is \
         refused, so that a web page cannot reach the broker through a name of its own (DNS \
         rebinding).",
    )
    .example(r#"["broker.lan", "broker.lan:8080"]"#)
    .live(),
    row(
        "drain",
        Kind::Duration(Zero::Means("requests are not waited for")),
        r#""10s""#,
        "How long a shutdown waits for requests and children before it forces them.",
    )
    .live(),
    row(
        "tls.cert",
        Kind::Path,
        "",
        "The certificate chain as a PEM file. SIGHUP reads it again.",
    )
    .computed("not set; plain HTTP")
    .example(r#""/etc/mcp-broker/cert.pem""#)
    .live(),
    row("tls.key", Kind::Path, "", "The private key of the certificate as a PEM file.")
        .computed("not set; plain HTTP")
        .example(r#""/etc/mcp-broker/key.pem""#)
        .live(),
    row(
        "log.format",
        Kind::Word(&["auto", "pretty", "json"]),
        r#""auto""#,
        "How a log line looks. \"auto\" is pretty on a terminal and JSON elsewhere.",
    ),
    row(
        "log.level",
        Kind::Filter,
        r#""info""#,
        "What is logged: a level (error, warn, info, debug, trace, off), or several parts such as \
         \"info,bridge=debug\".",
    )
    .live(),
    row(
        "http.max_body",
        Kind::Size(Zero::Refused),
        r#""4MiB""#,
        "The largest request body; a larger one is answered 413.",
    ),
    row(
        "http.header_timeout",
        Kind::Duration(Zero::Refused),
        r#""30s""#,
        "How long a client may take to send the head of a request.",
    ),
    row(
        "http.body_timeout",
        Kind::Duration(Zero::Refused),
        r#""30s""#,
        "How long a client may take to send the body of a request.",
    ),
    row(
        "http.max_connections",
        Kind::Count(UNLIMITED),
        "4096",
        "How many connections may be open at once; more wait to be accepted.",
    ),
    row(
        "http.trusted_proxies",
        Kind::Networks,
        "[]",
        "Proxies in front of the broker whose X-Forwarded-For is believed, as addresses or ranges. \
         Limits per client address count by it; nothing else does. A Unix socket has no addresses: \
         there, any entry makes the header believed.",
    )
    .example(r#"["127.0.0.1", "10.0.0.0/8"]"#)
    .live(),
    row(
        "http.keep_alive",
        Kind::Duration(Zero::Refused),
        r#""15s""#,
        "How long an event stream may be silent before a comment is sent, so that proxies keep it \
         open and a vanished client is noticed.",
    ),
    row(
        "server.*.command",
        Kind::Text,
        "",
        "The program that speaks MCP on its standard input and output: a path, or a name that is \
         looked up in PATH. No shell is involved.",
    )
    .required()
    .example(r#""mcp-server-git""#)
    .live(),
    row(
        "server.*.args",
        Kind::Texts,
        "[]",
        "Its arguments, passed as they are. Nothing about a user can stand here, because command \
         lines are visible to every process of the machine; env can carry it.",
    )
    .example(r#"["--repository", "/srv/notes"]"#)
    .live(),
    row(
        "server.*.env",
        Kind::Environment,
        "{}",
        "Variables of its environment. ${user.subject}, ${user.issuer} and ${user.client} stand for \
         the user the process works for, ${upstream.access_token} and ${upstream.username} for \
         that user's own credential at the upstream, ${upstream.token_file} for the file of \
         token_file; $$ is one $. A value is a single line.",
    )
    .example(r#"{ NOTES_USER = "${user.subject}" }"#)
    .secret()
    .live(),
    row(
        "server.*.pass_env",
        Kind::Variables,
        r#"["PATH"]"#,
        "Variables copied from the broker's own environment when they are set there; the process \
         sees nothing else of it. A list replaces the default, so name PATH too if the program \
         needs it. (The server of `-- COMMAND` gets HOME, USER, LOGNAME, LANG, TERM and PATH, \
         because that is the operator's own desk.)",
    )
    .example(r#"["PATH", "LANG"]"#)
    .live(),
    row("server.*.cwd", Kind::Path, "", "The working directory of its processes.")
        .computed("not set; the broker chooses")
        .example(r#""/srv/notes""#)
        .live(),
    row(
        "server.*.default",
        Kind::Bool,
        "false",
        "Whether this server is also served at /mcp. With several servers exactly one has to be; \
         the only one is anyway.",
    )
    .example("true"),
    row("server.*.title", Kind::Text, "", "What the pages call it.")
        .computed("its name")
        .example(r#""Team notes""#)
        .live(),
    row(
        "server.*.upstream",
        Kind::Word(UPSTREAMS),
        "",
        "Whose credential ${upstream.…} in env means: that of the identity provider with this \
         name, obtained when the user signs in, or with \"user\" a token that each user sets on the \
         account page.",
    )
    .computed("the identity provider, if exactly one gives credentials")
    .example(r#""user""#),
    row(
        "server.*.token_file",
        Kind::Text,
        "",
        "For a server that reads its user's token from a file, and reads it again: the name of that \
         file in the private directory of each of its processes (mode 0600). It always has the \
         current token, replaced as a whole, so a renewed token takes no new process. \
         ${upstream.token_file} in env stands for its path.",
    )
    .computed("not set; a renewed token takes a new process")
    .example(r#""token""#),
    row(
        "server.*.token_signal",
        Kind::Word(&["SIGHUP", "SIGUSR1", "SIGUSR2"]),
        "",
        "A signal that tells such a process to read the file again. It goes to the process itself, and \
         ends one that does not expect it.",
    )
    .computed("none; it looks by itself")
    .example(r#""SIGHUP""#),
    row(
        "server.*.scope",
        Kind::Text,
        r#""mcp""#,
        "The OAuth scope that a token needs here, whoever issued it. Who signs in for this server is \
         asked for it; a token without it is answered 403, at which clients ask their user again. \
         Tokens made by `mcp-broker token add` may be used everywhere.",
    )
    .example(r#""notes""#),
    row(
        "server.*.stateful",
        Kind::Bool,
        "false",
        "Whether the process keeps state that a new one could not have: a session then ends with \
         its process. Otherwise sessions sleep when they are idle, survive a crash and a restart of \
         the broker, and go on with a new process.",
    )
    .live(),
    row(
        "server.*.initialize_timeout",
        Kind::Duration(Zero::Refused),
        r#""20s""#,
        "How long a new process may take to start and answer initialize.",
    )
    .live(),
    row(
        "server.*.request_timeout",
        Kind::Duration(UNBOUNDED),
        r#""5m""#,
        "How long a request may take; progress starts the time anew.",
    )
    .live(),
    row(
        "server.*.stop_grace",
        Kind::Duration(Zero::Means("it is killed at once")),
        r#""2s""#,
        "How long a process may take to end after its input is closed, and again after SIGTERM, \
         before it is killed.",
    )
    .live(),
    row(
        "server.*.max_line",
        Kind::Size(Zero::Refused),
        r#""16MiB""#,
        "The longest line it may write; a longer one ends the session.",
    )
    .live(),
    row(
        "session.max",
        Kind::Count(UNLIMITED),
        "256",
        "How many children may live at once, counting those that are still stopping.",
    )
    .live(),
    row(
        "session.max_per_owner",
        Kind::Count(UNLIMITED),
        "16",
        "How many of them one owner may have.",
    )
    .live(),
    row(
        "session.evict_idle",
        Kind::Duration(Zero::Means("any idle session makes room")),
        r#""5m""#,
        "When every place is taken, a session that has been idle this long makes room: it is put \
         to sleep, the longest idle first.",
    )
    .live(),
    row(
        "session.place_wait",
        Kind::Duration(Zero::Means("it is refused at once")),
        r#""5s""#,
        "When every place is taken and nobody is idle enough, how long a request waits for one. \
         Those who wait are served one owner after the other.",
    )
    .live(),
    row(
        "session.max_records",
        Kind::Count(UNLIMITED),
        "100000",
        "How many sessions there may be in all, asleep or not. At the cap a new one takes the place of \
         the one that has been asleep longest: its owner's, or if that has none asleep, anybody's.",
    )
    .live(),
    row(
        "session.max_records_per_owner",
        Kind::Count(UNLIMITED),
        "1000",
        "How many of them one owner may have. At the cap a new one takes the place of the owner's \
         that has been asleep longest.",
    )
    .live(),
    row(
        "session.idle",
        Kind::Duration(NEVER),
        r#""15m""#,
        "A session without a request or an open stream is put to sleep after this time: its process \
         ends, and the next request starts another one. With `stateful = true` the session ends.",
    )
    .live(),
    row(
        "session.lifetime",
        Kind::Duration(UNBOUNDED),
        r#""30d""#,
        "How long a session may last, counted from its start.",
    )
    .live(),
    row(
        "session.reap_interval",
        Kind::Duration(Zero::Refused),
        r#""30s""#,
        "How often idle and overdue sessions are looked for.",
    )
    .live(),
    row(
        "session.unknown_status",
        Kind::Number(&[404, 410]),
        "404",
        "The answer to a session id that is unknown, expired or deleted. The protocol asks for 404, \
         at which clients start anew; 410 is for clients that were built around it.",
    )
    .live(),
    row(
        "stream.replay_events",
        Kind::Count(Zero::Refused),
        "256",
        "How many events of a stream are kept for a client that comes back for them.",
    )
    .live(),
    row(
        "stream.replay_bytes",
        Kind::Size(Zero::Refused),
        r#""1MiB""#,
        "How many bytes of events of a stream are kept; the newest event is kept whatever its size.",
    )
    .live(),
    row(
        "stream.retention",
        Kind::Duration(Zero::Means("a finished stream cannot be resumed")),
        r#""5m""#,
        "How long a finished stream can still be resumed. A session that falls asleep before \
         forgets it.",
    )
    .live(),
    row(
        "stream.after",
        Kind::Duration(Zero::Means("a call that is not answered at once becomes a stream")),
        r#""5s""#,
        "How long a call may stay without an answer before its response becomes an event stream, so \
         that no proxy sees a silent connection and the client has an event id to come back with.",
    )
    .live(),
    row(
        "stream.rotate",
        Kind::Duration(Zero::Means("streams stay open")),
        r#""0""#,
        "The age at which an open stream is closed so that its client comes back for the rest, for \
         proxies that cut long responses off. Clients of revision 2025-11-25 and later do that.",
    )
    .live(),
];
