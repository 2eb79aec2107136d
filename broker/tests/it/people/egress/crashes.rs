//! A process of a child's that crashes, and what is left of it.

use std::{fs, os::unix::process::ExitStatusExt};

use serde_json::json;

use super::{
    super::{
        deployment::{Deployment, child},
        forge::ForgeOptions,
    },
    sessions,
};
use crate::harness::with_timeout;

/// Whether a process here that may dump its core does so. Where the system hands cores to a program, or keeps
/// none, there is nothing to find.
#[expect(clippy::disallowed_methods, reason = "a process that is no child of the broker")]
async fn dumps_cores() -> bool {
    let folder = tempfile::tempdir().expect("a directory");
    let mut crash = tokio::process::Command::new("/bin/sh");
    crash.args(["-c", "ulimit -c unlimited && kill -SEGV $$"]).current_dir(folder.path());
    crash.status().await.expect("there is a shell").core_dumped()
}

#[test]
fn a_process_of_a_child_that_crashes_leaves_no_core_file() {
    with_timeout(async {
        if !dumps_cores().await {
            return;
        }
        let options = ForgeOptions::default();
        let deployment = Deployment::at_forge_by_egress(options, "", "").await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let cwd =
            fs::read_link(format!("/proc/{}/cwd", child(&session).await)).expect("it is ours");
        let files = || {
            let names = fs::read_dir(&cwd).expect("it is there").flatten();
            names.map(|own| own.file_name()).collect::<Vec<_>>()
        };
        let before = files();
        for (name, number) in [("ABRT", 6), ("SEGV", 11), ("QUIT", 3)] {
            let told = session.call("crash_below", json!({ "signal": name })).await.json();
            assert_eq!(told["result"], json!({ "signal": number, "dumped": false }), "{name}");
            assert_eq!(files(), before, "{name}");
        }
    });
}
