//! Removing what a child left behind, which it may have made to be hard to remove.

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, chmod, openat, renameat, unlinkat},
    io::Errno,
};
use tokio::time::Instant;

/// For what is there. A process that got away may go on making files.
const LONGEST: Duration = Duration::from_mins(10);

/// The directory that is removed, and the names that were given to what came from further down.
struct Top {
    folder: OwnedFd,
    moved: u64,
}

/// Removes `path` and all that is below it, and follows no link. Blocks.
///
/// Neither the stack nor the number of open descriptors grows with the depth, which is a child's choice
/// and not bounded by the length of a path: a directory that is not empty moves up before it is looked at.
///
/// # Errors
/// What could not be removed first, when something is left.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
        removed => return removed,
    }
    // A link may have taken its place since.
    let mut top = Top { folder: open(CWD, path)?, moved: 0 };
    let began = Instant::now();
    loop {
        let pass = top.pass()?;
        if fs::remove_dir(path).is_ok() {
            return Ok(());
        }
        match pass.failed {
            Some(failed) if !pass.has_changed => return Err(failed.into()),
            None if !pass.has_changed => return fs::remove_dir(path),
            _ if began.elapsed() > LONGEST => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
    }
}

/// What came of looking at every entry once.
#[derive(Default)]
struct Pass {
    has_changed: bool,
    failed: Option<Errno>,
}

impl Pass {
    fn note(&mut self, done: Result<(), Errno>) {
        match done {
            Ok(()) => self.has_changed = true,
            Err(errno) => self.failed = self.failed.or(Some(errno)),
        }
    }
}

impl Top {
    fn pass(&mut self) -> io::Result<Pass> {
        let mut pass = Pass::default();
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_of_the_directory(name) {
                continue;
            }
            match remove_one(&self.folder, name) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.empty(name, &mut pass),
                done => pass.note(done),
            }
        }
        Ok(pass)
    }

    /// Removes what is in the directory `name`; what is not empty itself moves up.
    fn empty(&mut self, name: &CStr, pass: &mut Pass) {
        let entries = open(&self.folder, name).and_then(|folder| {
            let entries = Dir::read_from(&folder)?;
            Ok((folder, entries))
        });
        let (folder, entries) = match entries {
            Ok(found) => found,
            Err(errno) => return pass.note(Err(errno)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => return pass.note(Err(errno)),
            };
            let inner = entry.file_name();
            if is_of_the_directory(inner) {
                continue;
            }
            pass.note(match remove_one(&folder, inner) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.move_up(&folder, inner),
                done => done,
            });
        }
        // Not yet, when something stays in there.
        if remove_one(&self.folder, name).is_ok() {
            pass.has_changed = true;
        }
    }

    fn move_up(&mut self, from: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        // Some file systems want to write to it, to note where it is now.
        drop(open(from, name));
        loop {
            let free = format!("up.{}", self.moved);
            self.moved += 1;
            match renameat(from, name, &self.folder, free) {
                // The child had one of that name.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                done => return done,
            }
        }
    }
}

fn is_of_the_directory(name: &CStr) -> bool {
    [c".", c".."].contains(&name)
}

/// Removes a file, or a directory that is empty.
fn remove_one(folder: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => unlinkat(folder, name, AtFlags::REMOVEDIR),
        done => done,
    }
}

/// Opens a directory, and lets its owner change it: some programs write-protect what they download, such
/// as Go its modules.
fn open(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(parent, name, flags, Mode::empty())?;
    // By its descriptor, since a link may be at its name by now.
    let _ = chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), Mode::RWXU);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(&place, c".", flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, net::UnixListener},
        thread,
    };

    use rustix::fs::mkdirat;

    use super::*;

    /// As deep as a child may make them; deeper than a thread has stack or a process descriptors for.
    fn nest(folder: &Path, depth: usize) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = openat(CWD, folder, flags, Mode::empty()).expect("it is there");
        for _ in 0..depth {
            mkdirat(&at, c"d", Mode::RWXU).expect("a directory");
            at = openat(&at, c"d", flags, Mode::empty()).expect("it is there");
        }
    }

    #[test]
    fn a_child_that_nested_directories_without_end_does_not_take_the_broker_down_when_they_go() {
        let place = tempfile::tempdir().expect("a directory");
        let home = place.path().join("home");
        fs::create_dir(&home).expect("a directory");
        nest(&home, 5_000);
        // Two on one level, and one that has the name of what is moved.
        for name in ["side", "up.0", "up.1"] {
            fs::create_dir_all(home.join(name).join("x/y")).expect("a directory");
        }
        fs::write(home.join("up.2"), "").expect("a file");
        let removed = thread::Builder::new().stack_size(64 << 10).spawn({
            let home = home.clone();
            move || remove_tree(&home)
        });
        removed.expect("a thread").join().expect("it has stack enough").expect("it is removed");
        assert!(!home.exists());
    }

    /// The modes say something where the tests do not run as root, whom none stops.
    #[test]
    fn what_a_child_protected_or_named_oddly_goes_and_what_it_links_to_stays() {
        let place = tempfile::tempdir().expect("a directory");
        let (home, outside) = (place.path().join("home"), place.path().join("outside"));
        fs::create_dir_all(home.join("closed/inner/deep")).expect("a directory");
        fs::create_dir_all(outside.join("kept")).expect("a directory");
        fs::write(outside.join("kept/file"), "kept").expect("a file");
        for odd in [&b"line\nbreak"[..], b"\xff\xfe", b"-rf", b" ", b"*", b"..."] {
            fs::create_dir_all(home.join(OsStr::from_bytes(odd)).join("x")).expect("a directory");
        }
        for link in ["link", "closed/link", "closed/inner/deep/link"] {
            std::os::unix::fs::symlink(&outside, home.join(link)).expect("a link");
        }
        fs::hard_link(outside.join("kept/file"), home.join("hard")).expect("a link");
        drop(UnixListener::bind(home.join("socket")).expect("a socket"));
        rustix::fs::mknodat(CWD, home.join("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .expect("a pipe with a name");
        for (path, mode) in
            [("closed/inner/deep", 0o000), ("closed/inner", 0o555), ("closed", 0o000), ("", 0o555)]
        {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(home.join(path), mode).expect("its mode");
        }
        let before = fs::metadata(&outside).expect("it is there").permissions().mode();
        remove_tree(&home).expect("it is removed");
        assert!(!home.exists());
        assert_eq!(fs::read(outside.join("kept/file")).expect("it is there"), b"kept");
        let after = fs::metadata(&outside).expect("it is there").permissions().mode();
        assert_eq!(before, after, "a link is not followed");
    }

    #[test]
    fn a_link_goes_by_itself_and_what_is_missing_is_told() {
        let place = tempfile::tempdir().expect("a directory");
        let (link, outside) = (place.path().join("link"), place.path().join("outside"));
        fs::create_dir_all(outside.join("kept")).expect("a directory");
        std::os::unix::fs::symlink(&outside, &link).expect("a link");
        remove_tree(&link).expect("it is removed");
        assert!(!link.exists() && outside.join("kept").exists());
        let again = remove_tree(&link).expect_err("it is gone");
        assert_eq!(again.kind(), io::ErrorKind::NotFound);
    }
}
