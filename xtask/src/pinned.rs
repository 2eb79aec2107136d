//! Packages of other languages, pinned by lock files in this repository and installed under
//! `target/` when they are missing or the pins have changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::process;

/// Written last, so that an installation that was interrupted is done again. It holds all that the
/// installation came from, rather than a hash of it: equal means equal.
const STAMP: &str = "installed-from.txt";

/// Copies the files of `source` to `target` and installs what its `package-lock.json` names there.
pub(crate) fn npm(sh: &Shell, source: &Path, target: &Path) -> anyhow::Result<()> {
    let version = cmd!(sh, "npm --version")
        .quiet()
        .read()
        .context("npm is missing: install Node 20 or newer")?;
    sh.create_dir(target)?;
    for file in sh.read_dir(source)?.into_iter().filter(|path| path.is_file()) {
        // One that is the same may be read right now, by a client of another part.
        let name = file.file_name().context("a file has a name")?;
        let copy = target.join(name);
        if fs::read(&copy).ok() != Some(fs::read(&file)?) {
            sh.copy_file(&file, &copy)?;
        }
    }
    let lock = sh.read_file(source.join("package-lock.json"))?;
    install(target, &format!("npm {version}\n{lock}"), || {
        let _in_target = sh.push_dir(target);
        // No package gets to run something while it is installed.
        let cmd = cmd!(sh, "npm ci --ignore-scripts --no-audit --no-fund --loglevel=error");
        println!("$ cd {}", target.display());
        Ok(process::run(cmd)?.ok)
    })
}

/// The browser that plays the people. It comes from the system's packages, which is as pinned as a
/// browser should be: an old one is a hole.
pub(crate) fn browser(sh: &Shell) -> anyhow::Result<()> {
    let named = sh.var_os("CHROMIUM").is_some();
    let known = ["chromium", "chromium-browser", "google-chrome"];
    let is_there = |name: &str| Path::new("/usr/bin").join(name).exists();
    if named || known.into_iter().any(is_there) {
        return Ok(());
    }
    println!("there is no browser; asking apt for chromium");
    let quietly = ["-q", "-y", "--no-install-recommends"];
    let _lists = process::run(cmd!(sh, "apt-get update -q"));
    let installed = process::run(cmd!(sh, "apt-get install {quietly...} chromium"));
    match installed {
        Ok(done) if done.ok => Ok(()),
        _ => anyhow::bail!(
            "chromium is missing: install your system's package, or say where it is in CHROMIUM"
        ),
    }
}

/// Makes a virtual environment in `target` with what `requirements` pins. Returns its `bin`.
pub(crate) fn pip(sh: &Shell, requirements: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let version = cmd!(sh, "python3 --version")
        .quiet()
        .read()
        .context("python3 is missing: install Python 3.11 or newer")?;
    let bin = target.join("bin");
    let lock = sh.read_file(requirements)?;
    install(target, &format!("{version}\n{lock}"), || {
        // A virtual environment cannot be brought from one Python to another.
        sh.remove_path(target)?;
        if !process::run(cmd!(sh, "python3 -m venv {target}"))?.ok {
            anyhow::bail!("python3 has no working venv: install your system's python3-venv");
        }
        let python = bin.join("python");
        let quietly = ["--quiet", "--disable-pip-version-check", "--no-input"];
        let cmd = cmd!(
            sh,
            "{python} -m pip install {quietly...} --require-hashes --no-deps -r {requirements}"
        );
        Ok(process::run(cmd)?.ok)
    })?;
    Ok(bin)
}

/// Installs a program in Rust, `(PACKAGE, VERSION)`, with what its own lock file names, below `target`;
/// returns its path.
pub(crate) fn cargo(
    sh: &Shell,
    (package, version): (&str, &str),
    target: &Path,
) -> anyhow::Result<PathBuf> {
    let compiler = cmd!(sh, "rustc --version").quiet().read()?;
    install(target, &format!("{compiler}\n{package} {version}\n"), || {
        let exactly = ["--locked", "--force", "--quiet", "--debug", "--version", version];
        let build = target.join("build").display().to_string();
        let cmd = cmd!(sh, "cargo install {exactly...} --root {target} {package}");
        // No debug information: it takes most of the time.
        let faster = ("CARGO_PROFILE_DEV_DEBUG", "0");
        let done = process::run_with(&[faster, ("CARGO_TARGET_DIR", &build)], cmd)?.ok;
        sh.remove_path(&build)?;
        Ok(done)
    })?;
    Ok(target.join("bin").join(package))
}

/// Installs programs in Go below `target`, each in a directory of its own: `programs`, as names and
/// `PACKAGE@VERSION`, and `own`, as names and directories of the module at `source`. `None` where Go is
/// missing or older than the module asks for; a line says so.
pub(crate) fn go(
    sh: &Shell,
    programs: &[(&str, &str)],
    source: &Path,
    own: &[(&str, &str)],
    target: &Path,
) -> anyhow::Result<Option<PathBuf>> {
    let module = sh.read_file(source.join("go.mod"))?;
    let needed = module.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or_default();
    let found = ["go", "/usr/local/go/bin/go"].into_iter().find_map(|go| {
        let version = cmd!(sh, "{go} version").quiet().ignore_stderr().read().ok()?;
        (release(version.split(' ').nth(2)?.strip_prefix("go")?) >= release(needed))
            .then_some((go, version))
    });
    let Some((go, version)) = found else {
        println!("skipped - what is in Go: Go {needed} or newer is missing");
        return Ok(None);
    };
    sh.create_dir(target)?;
    let mut from = format!("{version}\n{programs:?}\n{own:?}\n");
    for (_, directory) in own {
        let files = sh.read_dir(source.join(directory))?;
        for file in files.into_iter().filter(|path| path.is_file()) {
            from += &sh.read_file(file)?;
        }
    }
    install(target, &from, || {
        // The version that is here is the one that was asked about.
        let local = ("GOTOOLCHAIN", "local");
        for (name, package) in programs {
            let bin = target.join(name).display().to_string();
            let cmd = cmd!(sh, "{go} install {package}");
            if !process::run_with(&[local, ("GOBIN", &bin)], cmd)?.ok {
                return Ok(false);
            }
        }
        for (name, directory) in own {
            let built = target.join(name).join(name);
            let cmd = cmd!(sh, "{go} build -C {source} -mod=readonly -o {built} ./{directory}");
            if !process::run_with(&[local], cmd)?.ok {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(Some(target.to_owned()))
}

/// `1.26.8` in an order.
fn release(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

/// Installs unless the stamp in `target` says that just this is there.
fn install(
    target: &Path,
    from: &str,
    install: impl FnOnce() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let stamp = target.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|there| there == from) {
        return Ok(());
    }
    // Whatever happens now, the old stamp is not true any more.
    let _ = fs::remove_file(&stamp);
    anyhow::ensure!(install()?, "the packages for {} were not installed", target.display());
    fs::write(&stamp, from).with_context(|| format!("cannot write {}", stamp.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_go_are_ordered_by_number() {
        assert!(release("1.26.8") > release("1.25.0") && release("1.9") < release("1.10"));
        assert!(release("1.26rc1") < release("1.26"), "what is not released is older");
    }

    #[test]
    fn an_installation_is_repeated_after_a_failure_and_when_the_pins_change() {
        let sh = Shell::new().unwrap();
        let dir = sh.create_temp_dir().unwrap();
        let mut runs = 0;
        let mut attempt = |from: &str, works: bool| {
            let result = install(dir.path(), from, || {
                runs += 1;
                Ok(works)
            });
            (result.is_ok(), runs)
        };
        assert_eq!(attempt("a", true), (true, 1));
        assert_eq!(attempt("a", true), (true, 1), "it is there already");
        assert_eq!(attempt("b", false), (false, 2));
        assert_eq!(attempt("a", true), (true, 3), "a failure leaves nothing to rely on");
    }
}
