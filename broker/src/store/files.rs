//! Files that only their owner may read.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tracing::warn;
use zeroize::Zeroizing;

/// A directory that is there stays as the operator made it.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Makes the database with the right mode from the start, because SQLite gives its other files the
/// mode of the database. Files that were opened up since are closed again.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    match private().write(true).create_new(true).open(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for suffix in ["", "-wal", "-shm"] {
        close_to_others(&with_suffix(path, suffix))?;
    }
    Ok(())
}

/// Which file it is, whatever its name: device and inode.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|own| (own.dev(), own.ino()))
}

/// Takes the rights of group and others away, if there are any and the file is there.
fn close_to_others(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    if metadata.permissions().mode() & 0o077 != 0 {
        warn!(path = %path.display(), "others could read this file; its mode is 0600 now");
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// The text of a small file, or `None` when there is no such file.
pub(super) fn read(path: &Path, max_bytes: u64) -> io::Result<Option<Zeroizing<String>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    close_to_others(path)?;
    // Reserved at once: a text that grows leaves copies of itself behind.
    let mut text =
        Zeroizing::new(String::with_capacity(usize::try_from(max_bytes + 1).unwrap_or(usize::MAX)));
    file.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too long"));
    }
    Ok(Some(text))
}

/// Makes a file with this text, whole and on the disk, unless there is one already: of several
/// processes one makes it.
pub(super) fn create(path: &Path, text: &str) -> io::Result<()> {
    let draft = draft(path, text)?;
    // Unlike a rename, a link does not replace what is there.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(path),
    }
}

/// Puts a file with this text in the place of whatever is there, whole and on the disk.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let draft = draft(path, text)?;
    let renamed = fs::rename(&draft, path);
    if renamed.is_err() {
        let _ = fs::remove_file(&draft);
    }
    renamed?;
    sync_directory(path)
}

/// A file beside `path` that nobody else knows.
fn draft(path: &Path, text: &str) -> io::Result<PathBuf> {
    let mut name = [0; 8];
    getrandom::fill(&mut name).map_err(io::Error::other)?;
    let draft = with_suffix(path, &format!(".{}", hex::encode(name)));
    let mut file = private().write(true).create_new(true).open(&draft)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    Ok(draft)
}

/// A name is durable once its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
