//! A user's token in a file of the child's private directory, for servers that read it again: a
//! renewed token then takes no new child.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use auth::oauth::Secret;
use supervisor::Reload;
use tokio::task::spawn_blocking;

use crate::config;

/// What the next token is called until it is there as a whole. No name of an operator's begins so:
/// see `config::TokenFile`.
const UNFINISHED: &str = ".next-token";

/// The file. It goes with the directory that it is in.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    signal: Option<Reload>,
    user: Option<u32>,
}

impl TokenFile {
    /// In the child's private directory, for the child of `user`, if it is not the broker's.
    pub(super) fn new(directory: &Path, wanted: &config::TokenFile, user: Option<u32>) -> Self {
        Self { path: directory.join(&wanted.name), signal: wanted.signal, user }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the child wants to be sent when there is another token.
    pub(super) fn signal(&self) -> Option<Reload> {
        self.signal
    }

    /// Puts `token` in the place of what was there. A reader finds one of the two, whole: the
    /// token and nothing else, no line break either.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the file either as it was or replaced, and does not tell which.
    pub(super) async fn write(&self, token: &Secret) -> io::Result<()> {
        let (path, token, user) = (self.path.clone(), token.clone(), self.user);
        let written = spawn_blocking(move || replace(&path, token.expose().as_bytes(), user)).await;
        written.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}

fn replace(path: &Path, content: &[u8], user: Option<u32>) -> io::Result<()> {
    let next = path.with_file_name(UNFINISHED);
    // One that was left by a write that failed, or put there by the child.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // A new file and no other: what the child could have put there is not followed.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(content)?;
    if user.is_some() {
        fchown(&file, user, user)?;
    }
    drop(file);
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn file(directory: &Path) -> TokenFile {
        TokenFile::new(
            directory,
            &config::TokenFile { name: "token".to_owned(), signal: None },
            None,
        )
    }

    #[tokio::test]
    async fn a_token_is_replaced_as_a_whole_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file(directory.path());
        for token in ["first", "the second, and longer", "3"] {
            file.write(&Secret::new(token)).await.expect("it can be written");
            assert_eq!(fs::read_to_string(file.path()).expect("it is there"), token);
            let mode = fs::metadata(file.path()).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let reader = fs::File::open(file.path()).expect("it is there");
        file.write(&Secret::new("4")).await.expect("it can be written");
        let old = reader.metadata().expect("it is open").ino();
        assert_ne!(old, fs::metadata(file.path()).expect("it is there").ino(), "never in place");
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 1);
    }

    #[tokio::test]
    async fn a_link_that_a_child_put_in_the_way_leads_nowhere() {
        let directory = tempfile::tempdir().expect("a directory");
        let victim = directory.path().join("victim");
        fs::write(&victim, "untouched").expect("it can be written");
        let file = file(directory.path());
        symlink(&victim, file.path()).expect("a link");
        symlink(&victim, directory.path().join(UNFINISHED)).expect("a link");
        file.write(&Secret::new("secret")).await.expect("it can be written");
        assert_eq!(fs::read_to_string(&victim).expect("it is there"), "untouched");
        assert_eq!(fs::read_to_string(file.path()).expect("it is there"), "secret");
    }
}
