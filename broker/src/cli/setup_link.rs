//! Where the link to the first account is shown: whoever has it makes the account.

use std::{
    fmt, fs,
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Where the operator finds the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SetupLink {
    /// On the operator's terminal.
    Shown(String),
    /// In a file that its owner alone reads: what is printed ends in a log, which others read.
    InFile(PathBuf),
}

impl SetupLink {
    /// Hands the link out, if there is one. An earlier one in `data_dir` is void, and goes.
    pub(super) fn hand_out(link: Option<String>, data_dir: &Path) -> io::Result<Option<Self>> {
        Self::to(link, data_dir, io::stdout().is_terminal())
    }

    fn to(link: Option<String>, data_dir: &Path, is_terminal: bool) -> io::Result<Option<Self>> {
        let path = data_dir.join("setup-link");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let Some(link) = link else { return Ok(None) };
        if is_terminal {
            return Ok(Some(Self::Shown(link)));
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "{link}")?;
        Ok(Some(Self::InFile(path)))
    }
}

/// The link, or the place where it is.
impl fmt::Display for SetupLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shown(link) => f.write_str(link),
            Self::InFile(path) => write!(f, "the link is in {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_link_to_the_first_account_is_shown_to_a_terminal_and_else_kept_from_the_log() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("setup-link");
        let to = |link: Option<&str>, is_terminal| {
            SetupLink::to(link.map(str::to_owned), directory.path(), is_terminal)
                .expect("it writes")
        };
        let kept = to(Some("http://a/?t=secret"), false).expect("there is a link");
        assert!(!kept.to_string().contains("secret"), "{kept}");
        assert!(kept.to_string().contains(path.to_str().expect("a path")), "{kept}");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "http://a/?t=secret\n");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(to(Some("http://a/?t=other"), false), Some(kept));
        assert_eq!(fs::read_to_string(&path).expect("a file"), "http://a/?t=other\n");
        assert_eq!(to(Some("link"), true), Some(SetupLink::Shown("link".to_owned())));
        assert!(!path.exists(), "it is void");
        to(Some("link"), false);
        assert_eq!((to(None, false), path.exists()), (None, false), "there is an account");
    }
}
