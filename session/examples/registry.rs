//! Sessions of anything: here, a number that each owner counts up.
//!
//! `cargo run -p session --example registry`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use session::{Backend, BoxFuture, Limits, Owner, Registry, Spawn, StopReason};
use tokio::{sync::watch, task::JoinSet, time::Instant};

/// What answers a session: a count, and whether it was asked to stop.
#[derive(Debug)]
struct Counter {
    count: AtomicU32,
    stopped: watch::Sender<bool>,
}

impl Backend for Counter {
    fn stop(&self, reason: StopReason) {
        println!("a counter at {} stops: {reason:?}", self.count.load(Ordering::Relaxed));
        self.stopped.send_replace(true);
    }

    fn kind(&self) -> &'static str {
        "counter"
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut stopped = self.stopped.subscribe();
        Box::pin(async move {
            // An error means that the counter is gone, which is an end as well.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        })
    }
}

/// Makes a counter that begins where its session asks for.
#[derive(Debug)]
struct Counters;

impl Spawn<u32, Counter, Infallible> for Counters {
    fn spawn(&self, _: &Owner, start: u32) -> BoxFuture<'static, Result<Counter, Infallible>> {
        Box::pin(async move {
            Ok(Counter { count: AtomicU32::new(start), stopped: watch::Sender::new(false) })
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (registry, driver) = Registry::new(Arc::new(Counters), Limits::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    let ada = Owner::new("https://issuer.example", "ada", "a-client");
    let bob = Owner::new("https://issuer.example", "bob", "a-client");
    let id = *registry.open(ada.clone(), 40).await?.id();

    // A lease keeps the session from being idle; only its owner gets one.
    let lease = registry.lease(&id, &ada)?;
    let count = lease.count.fetch_add(1, Ordering::Relaxed) + 1;
    println!("ada's session {} is at {count}", id.short());
    println!("bob asks for it: {}", registry.lease(&id, &bob).expect_err("it is not his"));
    drop(lease);

    // Unknown at once, whatever the counter still has to do.
    registry.end(&id, &ada, "counter", StopReason::Deleted).await?;
    println!("ada asks again: {}", registry.lease(&id, &ada).expect_err("it has ended"));

    registry.stop(Instant::now() + Duration::from_secs(1)).await;
    Ok(())
}
