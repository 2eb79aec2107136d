//! The command line of `cargo xtask`.

use std::path::PathBuf;

xflags::xflags! {
    /// The tasks of this repository.
    cmd xtask {
        /// Each crate compiled alone, then every test, doc test and bench of the workspace once.
        cmd test {
            /// Only this crate, with its own features; or `threats` or `symptoms`: the tests that
            /// `docs/THREATS.md` or `docs/SYMPTOMS.md` names, and its rows with what became of them.
            optional package: String
            /// Run the tests in process, of `broker` unless given, this many times and tell which
            /// failed how often.
            optional --repeat times: u32
            /// Keep every processor busy meanwhile.
            optional --busy
        }
        /// Format, clippy, rustdoc and tidy; reports everything before it fails.
        cmd lint {
            /// Let rustfmt and clippy mend what they can.
            optional --fix
        }
        /// The floors of `broker`, circles between files, and what else the repository promises.
        cmd tidy {}
        /// Real clients against real servers through the broker.
        cmd e2e {
            /// Clients with servers, people who sign in, and sessions that outlive their process.
            default cmd stories {
                /// Only this server: fixture, everything, filesystem, git, go-sdk or mcp-go; of packages:
                /// memory or time.
                optional --server name: String
                /// Only this client: typescript, python, rmcp or go; signing in: typescript, python or
                /// mcp-remote; sessions that outlive their process: typescript or python; packages:
                /// ai-sdk, mcporter, codex, python-1.12 or fastmcp.
                optional --client name: String
                /// Only the stories of clients with servers.
                optional --calls
                /// Only the stories of signing in.
                optional --sign-in
                /// Only the stories of sessions that outlive their process.
                optional --outlive
                /// Only the stories of clients and servers that are packages of their own.
                optional --clients
                /// Only the stories of servers from elsewhere at each level of isolation.
                optional --levels
                /// How many seconds clients go on calling while tokens of five seconds come and go: 120
                /// with `--outlive`, otherwise 30 unless given.
                optional --rotate-for seconds: u64
                /// Only stories whose name contains this text.
                optional --only text: String
            }
            /// Setting the broker up at a forge, and what happens to accounts, grants and tokens
            /// there: at doubles of Forgejo and Gitea, or at the forge that is named.
            cmd forge {
                /// The forge's address.
                optional --forge url: String
                /// Its kind: forgejo or gitea.
                optional --kind kind: String
                /// An administrator there, as NAME:PASSWORD. People, repositories and applications are
                /// made as this one, and removed at the end.
                optional --admin credential: String
                /// The program of the MCP server: forgejo-mcp or gitea-mcp, or one that is used like it.
                optional --server path: PathBuf
                /// How long the forge's access tokens live, where that is short; without it, no story
                /// waits for their end.
                optional --token-seconds seconds: u64
                /// Of the stories after the setup, only those whose name contains this text.
                optional --only text: String
            }
        }
        /// The MCP conformance suite against the broker.
        cmd conformance {
            /// Only scenarios whose name contains this text.
            optional filter: String
        }
        /// Installs the packages of other languages that the stories and the suite need.
        cmd packages {}
        /// The load scenario, or the benches of one crate; keeps the result under `target/bench`.
        cmd bench {
            /// The crate whose benches run, instead of the load scenario; or `sleepers`: many more
            /// sessions than children, and every answer is its owner's; or `children`: nothing
            /// outlives a killed broker, and 10,000 sessions leave nothing behind; or `egress`: what
            /// the way of children to their upstreams costs, five minutes of renewed tokens, and 10,000
            /// generated requests.
            optional what: String
            /// Minutes of traffic among the sleepers; 10 unless given.
            optional --minutes minutes: String
            /// What to call the result; the current commit unless given.
            optional --name name: String
            /// Another broker's binary, built in the same way: both are measured in turn, and the
            /// ratio is printed.
            optional --baseline binary: PathBuf
            /// Rounds of `--baseline`; 10 unless given.
            optional --rounds number: u32
            /// Instructions per call of both instead, which a busy machine does not change; needs valgrind.
            optional --instructions
            /// An earlier result to print beside this one.
            optional --against name: String
        }
        /// A broker with the fixture server and a static token, and the lines to try it.
        cmd demo {
            /// Where it listens; 127.0.0.1:8080 unless given.
            optional --listen address: String
        }
        /// The stripped binary, inlined across all crates, with checksums and the list of licences, under
        /// `target/artifacts`.
        cmd dist {}
        /// Everything CI checks: lint, test, e2e and conformance.
        cmd ci {}
    }
}
