//! A terminal for a program that wants a person in front of it.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    process::Stdio,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::{sync::watch, time::timeout};

use crate::wire::TIMEOUT;

/// The person's side.
pub(crate) struct Terminal {
    keyboard: File,
    screen: watch::Receiver<String>,
    program: File,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let no_controlling_terminal = OpenptFlags::NOCTTY.bits().cast_signed();
        let program = File::options()
            .read(true)
            .write(true)
            .custom_flags(no_controlling_terminal)
            .open(name.to_str().expect("text"))
            .expect("its other end");
        let keyboard = File::from(master);
        let mut output = keyboard.try_clone().expect("another handle");
        let (show, screen) = watch::channel(String::new());
        // Ends when nobody has the program's end any more.
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                show.send_modify(|screen| screen.push_str(&text));
            }
        });
        Self { keyboard, screen, program }
    }

    /// The program's end, for one of its three streams.
    pub(crate) fn end(&self) -> Stdio {
        Stdio::from(OwnedFd::from(self.program.try_clone().expect("another handle")))
    }

    /// Everything on the screen, once it has these words.
    pub(crate) async fn shows(&mut self, words: &str) -> String {
        let seen = timeout(TIMEOUT, self.screen.wait_for(|screen| screen.contains(words))).await;
        let seen = seen.map(|screen| screen.expect("somebody reads it").clone());
        seen.unwrap_or_else(|_| panic!("{words:?} is not in {:?}", *self.screen.borrow()))
    }

    /// Types.
    pub(crate) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes it");
    }
}
