//! A terminal for a program that wants a person in front of it.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::unix::fs::OpenOptionsExt,
    process::Stdio,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::sync::oneshot;

/// The person's side: what the program says there.
pub(super) struct Terminal {
    invitation: oneshot::Receiver<String>,
}

impl Terminal {
    /// A new terminal, and its end for the program.
    pub(super) fn open() -> (Self, Stdio) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let no_controlling_terminal = OpenptFlags::NOCTTY.bits().cast_signed();
        let slave = File::options()
            .read(true)
            .write(true)
            .custom_flags(no_controlling_terminal)
            .open(name.to_str().expect("text"))
            .expect("its other end");
        let (tell, invitation) = oneshot::channel();
        // Ends when the program has closed its end.
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in BufReader::new(File::from(master)).lines().map_while(Result::ok) {
                if let Some(tell) = tell.take_if(|_| line.trim().starts_with("http")) {
                    let _ = tell.send(line.trim().to_owned());
                }
            }
        });
        (Self { invitation }, Stdio::from(slave))
    }

    /// The address that the program asks the person to open.
    pub(super) async fn invitation(self) -> String {
        self.invitation.await.expect("the program says an address")
    }
}
