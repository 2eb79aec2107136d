//! What a killed process leaves behind. The fixture `parent` stands for any program that embeds the
//! crate.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::process::geteuid;
use supervisor::Exit;
use tokio::task::yield_now;

use crate::harness::{BROOD, Harness, OtherProcess, PARENT, run_spec, soon, spec};

/// The parent, told from others by its last argument, with its child and grandchild.
async fn family(habit: &str, mark: &str) -> (Harness, OtherProcess, OtherProcess) {
    let mut parent = run_spec(spec(PARENT, &[habit, BROOD, "wait", mark])).await;
    let line = parent.line().await;
    let (child, grandchild) = line.split_once(' ').expect("two numbers");
    let family = (OtherProcess::new(child), OtherProcess::new(grandchild));
    (parent, family.0, family.1)
}

/// The orphan-cleanup process of the parent with this mark: its folder in `/proc`.
fn cleanup_process(mark: &str) -> Option<PathBuf> {
    let folders = fs::read_dir("/proc").expect("a proc file system");
    folders.flatten().map(|folder| folder.path()).find(|folder| {
        // A process may end between two looks.
        let read = |file| fs::read_to_string(folder.join(file)).unwrap_or_default();
        // Its environment is hidden from everybody but root.
        read("comm") == "orphan-cleanup\n" && read("cmdline").ends_with(&format!("\0{mark}\0"))
    })
}

/// The same, once it is there: it may get its first turn after the children's first words.
async fn running_cleanup(mark: &str) -> PathBuf {
    soon(async {
        loop {
            match cleanup_process(mark) {
                Some(folder) => return folder,
                None => yield_now().await,
            }
        }
    })
    .await
}

fn process(folder: &Path) -> OtherProcess {
    OtherProcess::new(folder.file_name().and_then(|name| name.to_str()).expect("a number"))
}

#[tokio::test]
async fn the_groups_of_a_killed_program_that_embeds_this_crate_end_with_it() {
    let (parent, child, grandchild) = family("covered", "killed").await;
    let cleanup = process(&running_cleanup("killed").await);
    assert!(child.lives() && grandchild.lives());
    parent.child.kill();
    assert_eq!(parent.ended().await, Exit::Signal(9));
    child.is_gone().await;
    grandchild.is_gone().await;
    cleanup.is_gone().await;
}

#[tokio::test]
async fn without_cleanup_a_grandchild_outlives_a_killed_program() {
    let (parent, child, grandchild) = family("uncovered", "uncovered").await;
    assert_eq!(cleanup_process("uncovered"), None);
    parent.child.kill();
    assert_eq!(parent.ended().await, Exit::Signal(9));
    child.is_gone().await;
    assert!(grandchild.lives(), "or the test above shows nothing");
    grandchild.kill();
}

#[tokio::test]
async fn the_cleanup_process_keeps_neither_memory_nor_descriptors_nor_a_folder_of_its_parent() {
    let (parent, ..) = family("covered", "frugal").await;
    let folder = running_cleanup("frugal").await;
    let status = fs::read_to_string(folder.join("status")).expect("it lives");
    let kib = |field: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a line");
        line.trim().trim_end_matches("kB").trim().parse().expect("a number")
    };
    // The parent had 32 MiB more when it forked.
    assert!(kib("RssAnon:") < 2048, "{status}");
    // Nobody but root sees more of it.
    if geteuid().is_root() {
        assert_eq!(fs::read_dir(folder.join("fd")).expect("it lives").count(), 1, "the pipe");
        assert_eq!(fs::read_link(folder.join("cwd")).expect("it lives"), PathBuf::from("/"));
    } else {
        assert_eq!(fs::metadata(folder.join("environ")).expect("it lives").uid(), 0, "hidden");
    }
    drop(parent);
}

#[tokio::test]
async fn a_service_manager_that_signals_every_process_ends_the_program_first() {
    let (parent, child, grandchild) = family("covered", "signalled").await;
    let cleanup = process(&running_cleanup("signalled").await);
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::HUP] {
        cleanup.signal(signal);
    }
    parent.child.kill();
    child.is_gone().await;
    grandchild.is_gone().await;
    cleanup.is_gone().await;
}

#[tokio::test]
async fn the_cleanup_process_ends_with_a_program_that_ends_by_itself() {
    let (parent, ..) = family("covered", "orderly").await;
    let cleanup = process(&running_cleanup("orderly").await);
    drop(parent.stdin);
    assert_eq!(soon(parent.child.ended()).await, Exit::Code(0), "{}", parent.child.stderr_tail());
    cleanup.is_gone().await;
}
