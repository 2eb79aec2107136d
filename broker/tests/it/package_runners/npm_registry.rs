//! A registry on loopback that speaks npm's protocol for one package, and counts what it hands out.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The only package there is.
pub(super) const PACKAGE: &str = "server-that-is-downloaded";

/// What the package does: it is the program that its first argument names, with the other ones.
const PROGRAM: &str = "#!/usr/bin/env node
const { spawn } = require('node:child_process');
const [program, ...words] = process.argv.slice(2);
spawn(program, words, { stdio: 'inherit' }).on('exit', (code) => process.exit(code ?? 1));
";

/// `npx` and its `npm`, from the same directory as this machine's Node.
#[derive(Debug)]
pub(super) struct Npm(PathBuf);

impl Npm {
    /// `None` on a machine without Node.
    #[expect(clippy::disallowed_methods, reason = "a test looks for the machine's own programs")]
    pub(super) fn find() -> Option<Self> {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).find(|at| at.join("npx").is_file()).map(Self)
    }

    pub(super) fn npx(&self) -> PathBuf {
        self.0.join("npx")
    }

    /// Where programs are looked for: `npx` starts Node, and packages may start anything.
    #[expect(clippy::disallowed_methods, reason = "as above")]
    pub(super) fn path() -> String {
        env::var("PATH").expect("npm was found on it")
    }

    /// Packs the package; its bytes, and what its author's npm says of them.
    fn pack(&self) -> (Vec<u8>, Value) {
        let directory = TempDir::new().expect("a directory");
        let file = |name: &str| directory.path().join(name);
        fs::write(file("package.json"), manifest().to_string()).expect("a file");
        fs::write(file("program.js"), PROGRAM).expect("a file");
        #[expect(clippy::disallowed_methods, reason = "it is the author's, who runs no broker")]
        let mut pack = Command::new(self.0.join("npm"));
        pack.args(["pack", "--json", "--offline", "--ignore-scripts", "--loglevel=error"]);
        pack.current_dir(directory.path()).env("npm_config_cache", file("cache"));
        let packed = pack.output().expect("npm runs");
        let said: Value = serde_json::from_slice(&packed.stdout).expect("npm says it in JSON");
        // An array, or an object by the names of the packages, as the version of npm has it.
        let said = said.get(0).or_else(|| said.get(PACKAGE)).expect("it was packed").clone();
        let tarball =
            fs::read(file(said["filename"].as_str().expect("a name"))).expect("it is there");
        (tarball, said)
    }
}

fn manifest() -> Value {
    json!({ "name": PACKAGE, "version": "1.0.0", "bin": { PACKAGE: "program.js" } })
}

/// Serves until it is dropped.
pub(super) struct NpmRegistry {
    address: SocketAddr,
    bytes: Arc<AtomicUsize>,
    package: usize,
    _serving: JoinSet<()>,
}

impl NpmRegistry {
    pub(super) async fn start(npm: &Npm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let (tarball, packed) = npm.pack();
        let package = tarball.len();
        let mut version = manifest();
        version["dist"] = json!({
            "tarball": format!("http://{address}/{PACKAGE}/-/{PACKAGE}-1.0.0.tgz"),
            "integrity": packed["integrity"],
            "shasum": packed["shasum"],
        });
        let document = json!({
            "name": PACKAGE,
            "dist-tags": { "latest": "1.0.0" },
            "versions": { "1.0.0": version },
        });
        let shelf = Arc::new((document.to_string().into_bytes(), tarball));
        let bytes = Arc::<AtomicUsize>::default();
        let (counted, mut serving) = (Arc::clone(&bytes), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, Arc::clone(&shelf), Arc::clone(&counted)));
            }
        });
        Self { address, bytes, package, _serving: serving }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many bytes it has handed out.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// How large the package is.
    pub(super) fn package(&self) -> usize {
        self.package
    }
}

/// Answers one request.
async fn serve(connection: TcpStream, shelf: Arc<(Vec<u8>, Vec<u8>)>, counted: Arc<AtomicUsize>) {
    let mut connection = BufStream::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(connection.read_line(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let nothing = Vec::new();
    let (status, body) = match path {
        PACKAGE => ("200 OK", &shelf.0),
        path if path.ends_with(".tgz") => ("200 OK", &shelf.1),
        _ => ("404 Not Found", &nothing),
    };
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    // Counted first: whoever has the answer may look at the count.
    counted.fetch_add(head.len() + body.len(), Ordering::SeqCst);
    let answer = [head.as_bytes(), body].concat();
    // A client that left needs no answer.
    let _ = connection.write_all(&answer).await;
    let _ = connection.flush().await;
}
