//! What a process executes, in the form that the kernel reads.

use std::{
    ffi::{CString, OsStr, OsString, c_char},
    io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    ptr,
};

use rustix::io::Errno;
use zeroize::Zeroizing;

/// A program, its arguments and its environment. The environment's copy is wiped when it is dropped.
#[derive(Debug)]
pub(crate) struct Image {
    path: CString,
    /// Own the strings that the lists below point to.
    _arguments: Vec<CString>,
    _environment: Vec<Zeroizing<Vec<u8>>>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
}

impl Image {
    /// A later entry of `environment` replaces an earlier one of the same name.
    ///
    /// # Errors
    /// When there is a NUL byte in any of them.
    pub(crate) fn new<'a>(
        path: &Path,
        arguments: impl IntoIterator<Item = &'a OsStr>,
        environment: &[(OsString, OsString)],
    ) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let arguments = arguments.into_iter().map(|word| CString::new(word.as_bytes()));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let replaced =
            |at: usize| environment[at + 1..].iter().any(|(name, _)| *name == environment[at].0);
        let in_force = (0..environment.len()).filter(|at| !replaced(*at));
        let entries = in_force.map(|at| entry(&environment[at].0, &environment[at].1));
        let entries = entries.collect::<io::Result<Vec<_>>>()?;
        let argv = arguments.iter().map(|word| word.as_ptr());
        let envp = entries.iter().map(|entry| entry.as_ptr().cast());
        let argv = argv.chain([ptr::null()]).collect();
        let envp = envp.chain([ptr::null()]).collect();
        Ok(Self { path, _arguments: arguments, _environment: entries, argv, envp })
    }

    /// Becomes the program; returns why not. Async-signal-safe.
    pub(super) fn exec(&self) -> Errno {
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: the strings, and the lists of pointers to them with their nulls, are this value's.
        unsafe {
            libc::execve(self.path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
        }
        Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOEXEC)
    }
}

/// `name=value` with its NUL, in memory that was never anywhere else.
fn entry(name: &OsStr, value: &OsStr) -> io::Result<Zeroizing<Vec<u8>>> {
    let (name, value) = (name.as_bytes(), value.as_bytes());
    if name.contains(&0) || value.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // At once as large as it gets, since growing would leave a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(name.len() + value.len() + 2));
    text.extend_from_slice(name);
    text.push(b'=');
    text.extend_from_slice(value);
    text.push(0);
    Ok(text)
}
