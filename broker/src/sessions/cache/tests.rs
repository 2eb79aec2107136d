//! Who gets which cache, when one is filled, and when it is removed.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use super::*;
use crate::config::{Config, Sources};

fn settings(directory: &Path, cache: &str, package: &str) -> Settings {
    let environment = std::collections::BTreeMap::<String, String>::new();
    let mut sources = Sources::new(&environment);
    sources.set = vec![
        format!("data_dir={:?}", directory.display().to_string()),
        "server.notes.command=npx".to_owned(),
        format!("server.notes.args=[\"-y\", {package:?}]"),
        format!("server.notes.cache={cache:?}"),
    ];
    let config = Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
    let server = config.server.values().next().expect("one server");
    Settings::of(&config, server)
}

fn person(name: &str, client: &str) -> Owner {
    Owner::new("https://id.example", name, client)
}

fn caches() -> Arc<Caches> {
    Arc::new(Caches::new(Clock::system()))
}

/// Whether a start would have to wait for its turn. The clock is paused, and it stands still as long as
/// a file is looked at: what takes no time does not wait.
async fn waits(caches: &Arc<Caches>, settings: &Settings, owner: &Owner) -> bool {
    timeout(Duration::from_secs(1), caches.prepare(settings, "notes", owner)).await.is_err()
}

#[tokio::test]
async fn a_persons_cache_is_the_same_in_every_session_and_no_other_persons() {
    let directory = tempfile::tempdir().expect("a directory");
    let caches = caches();
    let own = settings(directory.path(), "owner", "notes");
    let path = async |settings: &Settings, owner: &Owner| {
        let cache = caches.prepare(settings, "notes", owner).await.expect("it is made");
        cache.map(|cache| cache.in_use.path.clone())
    };
    let ada = path(&own, &person("ada", "editor")).await.expect("there is one");
    assert_eq!(path(&own, &person("ada", "browser")).await.as_ref(), Some(&ada));
    for (issuer, subject) in [("https://id.example", "bob"), ("https://other.example", "ada")] {
        let other = path(&own, &Owner::new(issuer, subject, "editor")).await;
        assert_ne!(other.expect("there is one"), ada);
    }
    let evil = path(&own, &person("../../ada", "editor")).await.expect("there is one");
    assert_eq!(evil.parent(), ada.parent(), "a name leads nowhere");
    let shared = settings(directory.path(), "shared", "notes");
    let everybodys = path(&shared, &person("ada", "editor")).await;
    assert_eq!(everybodys, path(&shared, &person("bob", "editor")).await);
    let none = settings(directory.path(), "none", "notes");
    assert_eq!(path(&none, &person("ada", "editor")).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_first_start_on_an_empty_cache_runs_alone_and_later_ones_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (caches, ada) = (caches(), person("ada", "editor"));
    let own = settings(directory.path(), "owner", "notes@1");
    let prepare = async |settings: &Settings| {
        caches.prepare(settings, "notes", &ada).await.expect("it is made").expect("one")
    };
    let first = prepare(&own).await;
    assert!(waits(&caches, &own, &ada).await, "the first one fills it");
    let child = first.in_use();
    drop(first);
    assert!(waits(&caches, &own, &ada).await, "its child has yet to end");
    drop(child);
    let second = prepare(&own).await;
    assert!(waits(&caches, &own, &ada).await, "the first one has failed");
    caches.filled(second).await;
    assert!(!waits(&caches, &own, &ada).await, "it is filled");
    let (third, fourth) = (prepare(&own).await, prepare(&own).await);
    assert!(third.filling.is_none() && fourth.filling.is_none());
    let prefers_cache = |cache: &Cache| cache.environment().any(|(name, _)| name == PREFER_CACHE.0);
    assert!(prefers_cache(&third));
    let marker = File::open(beside(&third.in_use.path, FILLED)).expect("it was filled");
    marker.set_modified(SystemTime::UNIX_EPOCH).expect("a day and more passes");
    let next_day = prepare(&own).await;
    assert!(next_day.filling.is_some() && !prefers_cache(&next_day), "it asks again");
    caches.filled(next_day).await;
    assert!(prefers_cache(&prepare(&own).await));
    let newer = settings(directory.path(), "owner", "notes@2");
    caches.filled(prepare(&newer).await).await;
    assert!(caches.turns.lock().expect("no test panics").is_empty(), "nothing is left behind");
}

#[tokio::test]
async fn what_a_child_that_was_ended_has_left_is_removed_before_the_next_one_fills_the_cache() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut caches, ada) = (caches(), person("ada", "editor"));
    let own = settings(directory.path(), "owner", "notes");
    // Leaves something in the cache and says whether there was something before.
    let start = async |caches: &Arc<Caches>| {
        let cache = caches.prepare(&own, "notes", &ada).await.expect("it is made");
        let cache = cache.expect("one");
        let download = cache.path().join("download");
        let was_there = download.exists();
        fs::write(download, "half").expect("it can be written");
        (cache, was_there)
    };
    let (refused, _) = start(&caches).await;
    caches.uninterrupted(&refused).await;
    drop(refused);
    let (ended, was_there) = start(&caches).await;
    assert!(was_there, "its child has answered");
    let path = ended.path().to_owned();
    drop(ended);
    fs::create_dir_all(beside(&path, REMOVED).join("left")).expect("a directory");
    let (killed, was_there) = start(&caches).await;
    assert!(!was_there && !beside(&path, REMOVED).exists(), "it begins anew");
    std::mem::forget(killed);
    // Of another process.
    caches = self::caches();
    let (cache, was_there) = start(&caches).await;
    assert!(!was_there, "the broker was killed meanwhile");
    let child = cache.in_use();
    caches.filled(cache).await;
    let (cache, was_there) = start(&caches).await;
    assert!(was_there && !cache.is_filling());
    drop(cache);

    // A day later, beside a child that still runs.
    let age = || {
        let marker = File::open(beside(&path, FILLED)).expect("it was filled");
        marker.set_modified(SystemTime::UNIX_EPOCH).expect("a day and more passes");
    };
    age();
    drop(start(&caches).await);
    let (cache, was_there) = start(&caches).await;
    assert!(was_there, "a child works with what is there");
    drop((cache, child));
    assert!(!start(&caches).await.1, "none is left that does");
}

#[tokio::test]
async fn a_cache_that_nobody_uses_for_long_is_removed_and_one_in_use_never() {
    const DAY: Duration = Duration::from_secs(86_400);
    let directory = tempfile::tempdir().expect("a directory");
    let days = Arc::new(AtomicU32::new(20_000));
    let clock = {
        let days = Arc::clone(&days);
        Clock::new(move || SystemTime::UNIX_EPOCH + DAY * days.load(Ordering::Relaxed))
    };
    let caches = Arc::new(Caches::new(clock));
    let own = settings(directory.path(), "owner", "notes");
    let start = async |name: &str| {
        let prepared = caches.prepare(&own, "notes", &person(name, "editor")).await;
        let cache = prepared.expect("it is made").expect("one");
        let (path, child) = (cache.in_use.path.clone(), cache.in_use());
        fs::write(path.join("download"), "x").expect("it can be written");
        caches.filled(cache).await;
        (path, child)
    };
    let ((ada, adas), (bob, bobs)) = (start("ada").await, start("bob").await);
    drop(adas);
    let sweep = |after: u32| {
        days.fetch_add(after, Ordering::Relaxed);
        caches.remove_unused(&own.caches, DAY * 30)
    };
    assert_eq!(sweep(29), 0);
    assert_eq!(sweep(1), 1);
    assert!(!ada.exists() && bob.join("download").exists(), "bob's child runs");
    drop(bobs);
    assert_eq!(sweep(29), 0, "it was used until then");
    fs::create_dir(own.caches.join("notes/old.removed")).expect("a directory");
    fs::create_dir(own.caches.join("notes/older")).expect("a directory");
    assert_eq!(sweep(1), 1);
    assert_eq!(sweep(29), 0, "one without a mark counts from when it was found");
    assert_eq!(sweep(1), 1);
    let left: Vec<_> = fs::read_dir(own.caches.join("notes")).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
    let (again, _child) = start("ada").await;
    assert_eq!(again, ada);
}
