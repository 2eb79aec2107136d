//! What a lookup costs: nanoseconds per `lease` and drop, and the memory of an idle session.
//!
//! `cargo bench -p session`. Plain timing, bounded by time rather than by rounds, so that it also
//! ends soon in a debug build. It prints the best of several rounds, which is the one least
//! disturbed by the machine.

#![expect(clippy::print_stdout, reason = "a bench prints its numbers")]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use session::{Backend, BoxFuture, Limits, Owner, Registry, SessionId, Spawn, StopReason};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

const ROUND: Duration = Duration::from_millis(80);
const ROUNDS: usize = 4;
const OWNERS: usize = 100;

/// About as large as a handle to a child and its pipes.
#[derive(Debug)]
struct Still(watch::Sender<bool>);

impl Backend for Still {
    fn stop(&self, _: StopReason) {
        self.0.send_replace(true);
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut over = self.0.subscribe();
        Box::pin(async move {
            let _ = over.wait_for(|&over| over).await;
        })
    }
}

#[derive(Debug)]
struct AtOnce;

impl Spawn<(), Still, std::io::Error> for AtOnce {
    fn spawn(&self, _: &Owner, (): ()) -> BoxFuture<'static, Result<Still, std::io::Error>> {
        Box::pin(async { Ok(Still(watch::Sender::new(false))) })
    }
}

type Sessions = Registry<(), Still, std::io::Error>;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without IO needs nothing");
    for sessions in [1, 10_000] {
        runtime.block_on(measure(sessions));
    }
}

async fn measure(sessions: usize) {
    let limits = Limits { max_sessions: None, max_per_owner: None, ..Limits::default() };
    let (registry, driver) = Registry::new(Arc::new(AtOnce), limits);
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());

    let owners: Vec<_> =
        (0..OWNERS).map(|at| Owner::new("https://id", at.to_string(), "bench")).collect();
    let before = resident();
    let begun = Instant::now();
    let mut known = Vec::with_capacity(sessions);
    for at in 0..sessions {
        let owner = &owners[at % OWNERS];
        let lease = registry.open(owner.clone(), ()).await.expect("there is no cap");
        known.push((*lease.id(), owner.clone()));
    }
    let opened = begun.elapsed();
    let per_session =
        resident().zip(before).map(|(now, before)| now.saturating_sub(before) / sessions);

    for threads in [1, 2] {
        let best = (0..ROUNDS).map(|_| round(&registry, &known, threads)).min_by(f64::total_cmp);
        let best = best.expect("there is at least one round");
        println!("{sessions:>6} sessions, {threads} threads: {best:>6.1} ns per lease and drop");
    }
    if sessions > 1 {
        let each = opened / u32::try_from(sessions).expect("the numbers above are small");
        println!("{sessions:>6} sessions: {:.1} µs per open", each.as_secs_f64() * 1e6);
        if let Some(bytes) = per_session {
            println!("{sessions:>6} sessions: {bytes} bytes of resident memory each");
        }
        full_house(&registry, &owners[0], sessions).await;
    }
    registry.stop(Instant::now() + Duration::from_secs(5)).await;
}

/// Nanoseconds per lease and drop on each of `threads` threads, over sessions in a fixed order
/// that is random to the table.
fn round(registry: &Sessions, known: &[(SessionId, Owner)], threads: usize) -> f64 {
    let gate = Barrier::new(threads);
    let times: Vec<f64> = std::thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|thread| {
                let gate = &gate;
                scope.spawn(move || {
                    gate.wait();
                    let begun = Instant::now();
                    let mut at = thread * known.len() / threads;
                    let mut done = 0u32;
                    while begun.elapsed() < ROUND {
                        for _ in 0..500 {
                            let (id, owner) = &known[at];
                            drop(black_box(registry.lease(id, owner)).expect("it lives"));
                            at = if at + 1 == known.len() { 0 } else { at + 1 };
                        }
                        done += 500;
                    }
                    begun.elapsed().as_secs_f64() * 1e9 / f64::from(done)
                })
            })
            .collect();
        runners.into_iter().map(|runner| runner.join().expect("no runner panics")).collect()
    });
    times.iter().sum::<f64>() / times.len() as f64
}

/// What an open costs that is refused because every place is taken and nothing is idle enough:
/// it looks at every session.
async fn full_house(registry: &Sessions, owner: &Owner, sessions: usize) {
    registry.set_limits(Limits {
        max_sessions: NonZeroUsize::new(sessions),
        max_per_owner: None,
        ..Limits::default()
    });
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        let refused = registry.open(owner.clone(), ()).await;
        best = best.min(begun.elapsed());
        assert!(refused.is_err(), "every place is taken");
    }
    println!(
        "{sessions:>6} sessions: {:.0} µs per open refused at the cap",
        best.as_secs_f64() * 1e6
    );
}

/// Resident memory in bytes, where the system tells it.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
