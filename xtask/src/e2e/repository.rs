//! A repository for servers that look at one.

use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

/// Makes it at `path`, with one commit of a file `story.txt`.
pub(super) fn make(sh: &Shell, path: &Path) -> anyhow::Result<PathBuf> {
    let repository = sh.create_dir(path)?;
    sh.write_file(repository.join("story.txt"), "Once upon a time.\n")?;
    let git = |args: &[&str]| {
        let _in_repository = sh.push_dir(&repository);
        cmd!(sh, "git {args...}").quiet().ignore_stdout().run()
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "story.txt"])?;
    let author = ["-c", "user.name=Story Teller", "-c", "user.email=stories@example.org"];
    let commit = ["-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "Begin the story"];
    git(&[&author[..], &commit].concat())?;
    Ok(repository)
}
