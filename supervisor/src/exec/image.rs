//! What a process executes, in the form that the kernel reads.

use std::{
    ffi::{OsStr, OsString, c_char},
    io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    ptr,
};

use rustix::io::Errno;
use zeroize::Zeroizing;

/// A program, its arguments and its environment. The memory is wiped when it is dropped.
#[derive(Debug)]
pub(crate) struct Image {
    /// The program, the arguments, and the entries of the environment, each with its NUL. The lists below
    /// point into it, so it stays as it is.
    text: Zeroizing<Vec<u8>>,
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
        let arguments: Vec<&[u8]> = arguments.into_iter().map(OsStr::as_bytes).collect();
        let replaced =
            |at: usize| environment[at + 1..].iter().any(|(name, _)| *name == environment[at].0);
        let in_force = (0..environment.len()).filter(|at| !replaced(*at));
        let entries: Vec<_> = in_force.map(|at| &environment[at]).collect();

        let mut pieces = vec![path.as_os_str().as_bytes(), b"\0"];
        arguments.iter().for_each(|argument| pieces.extend([*argument, b"\0"]));
        for (name, value) in &entries {
            pieces.extend([name.as_bytes(), b"=", value.as_bytes(), b"\0"]);
        }
        // At once as large as it gets, since growing would leave a copy of secrets behind.
        let length = pieces.iter().map(|piece| piece.len()).sum();
        let mut text = Zeroizing::new(Vec::with_capacity(length));
        pieces.iter().for_each(|piece| text.extend_from_slice(piece));
        let strings = 1 + arguments.len() + entries.len();
        let is_whole = text.iter().filter(|byte| **byte == 0).count() == strings;
        let image = if is_whole { Self::from_text(text, arguments.len()) } else { None };
        image.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// From the [text](Self::text) of another image, which has so many arguments.
    pub(crate) fn from_text(text: Zeroizing<Vec<u8>>, arguments: usize) -> Option<Self> {
        let mut strings = text.split_inclusive(|byte| *byte == 0);
        if !text.ends_with(b"\0") {
            return None;
        }
        let pointer = |string: &[u8]| string.as_ptr().cast::<c_char>();
        strings.next()?;
        let mut argv: Vec<_> = strings.by_ref().take(arguments).map(pointer).collect();
        let mut envp: Vec<_> = strings.map(pointer).collect();
        if argv.len() != arguments {
            return None;
        }
        argv.push(ptr::null());
        envp.push(ptr::null());
        Some(Self { text, argv, envp })
    }

    /// All that it is made of but for the number of arguments.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn arguments(&self) -> usize {
        self.argv.len() - 1
    }

    /// Becomes the program; returns why not. Async-signal-safe.
    pub(crate) fn exec(&self) -> Errno {
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: the text begins with the program, and has each string that is pointed to, with its NUL; the
        // lists end in nulls. All are this value's.
        unsafe {
            libc::execve(self.text.as_ptr().cast(), self.argv.as_ptr(), self.envp.as_ptr());
        }
        Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOEXEC)
    }
}
