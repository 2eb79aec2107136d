//! What the stories need to be built and installed.

use std::{fs, path::PathBuf};

use xshell::Shell;

use crate::{
    cargo::{self, root},
    pinned,
};

/// Where everything is.
#[derive(Debug)]
pub(super) struct Harness {
    pub(super) dir: PathBuf,
    pub(super) python: PathBuf,
    /// The directory of the programs in Go, where Go is.
    pub(super) go: Option<PathBuf>,
}

/// Servers on the two SDKs for Go: the one under `forgejo-mcp`, and the official one.
const GO: [(&str, &str); 2] = [
    ("mcp-go", "github.com/mark3labs/mcp-go/examples/everything@v1.2.1"),
    ("go-sdk", "github.com/modelcontextprotocol/go-sdk/examples/server/everything@v1.8.0"),
];

/// Our own programs in Go: the client that tells the stories, and a server that acts at a forge.
const OWN_GO: [(&str, &str); 2] = [("client", "."), ("forge", "forge")];

impl Harness {
    /// Builds and installs what is needed and not there yet.
    pub(super) fn prepare(sh: &Shell) -> anyhow::Result<Self> {
        build(sh)?;
        let (python, go) = packages(sh)?;
        let dir = dir();
        // A copy, so that its processes can be told from those of other tests by their path. One that
        // is there already may be running for another part.
        let (built, copy) = (root().join("target/debug/examples/everything"), dir.join("fixture"));
        if fs::read(&copy).ok() != Some(fs::read(&built)?) {
            sh.remove_path(&copy)?;
            sh.copy_file(built, copy)?;
        }
        Ok(Self { dir, python, go })
    }
}

/// The directory of everything that the stories leave behind.
pub(super) fn dir() -> PathBuf {
    root().join("target/e2e")
}

/// Builds the broker, the fixture server and the client in Rust.
pub(super) fn build(sh: &Shell) -> anyhow::Result<()> {
    cargo::build_broker(sh)?;
    cargo::build_examples(sh, &["client"])
}

/// Installs what the programs in JavaScript, Python and Go need; returns what [`python`] and [`go`] do.
pub(super) fn packages(sh: &Shell) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    pinned::npm(sh, &root().join("xtask/e2e/ts"), &dir().join("ts"))?;
    Ok((python(sh)?, go(sh)?))
}

/// The `bin` of an environment with what the programs in Python need.
pub(super) fn python(sh: &Shell) -> anyhow::Result<PathBuf> {
    let requirements = root().join("xtask/e2e/py/requirements.txt");
    pinned::pip(sh, &requirements, &dir().join("py"))
}

/// The directory of the programs in Go, each at `NAME/NAME`, where Go is.
pub(super) fn go(sh: &Shell) -> anyhow::Result<Option<PathBuf>> {
    pinned::go(sh, &GO, &root().join("xtask/e2e/go"), &OWN_GO, &dir().join("go"))
}
