//! What a paused clock on one thread cannot show: requests on several threads at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{AfterStop, Replacement, Selection, StopWhen};

const SESSIONS: usize = 12;
const ROUNDS: usize = 1_500;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without IO needs nothing")
}

/// A small generator: the threads must differ, and that is all.
fn next(seed: &mut usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn threads_that_wake_rotate_and_end_the_same_sessions_agree_in_the_end() {
    let runtime = runtime();
    let records = MemoryRecords::new();
    let limits = Limits { evict_idle: Duration::from_nanos(1), slot_wait: MINUTE, ..capped(4) };
    let (registry, mut backends) = runtime.block_on(async { testing::recorded(limits, &records) });
    backends.answer(Answer::SucceedAndObey);
    let ids: Vec<_> = runtime.block_on(async {
        let mut ids = Vec::new();
        for at in 0..SESSIONS {
            let lease = registry.open(owner(&format!("owner {at}")), ()).await.expect("a slot");
            let backend = backends.next().await;
            backend.remember(Some(at.to_string().as_bytes()));
            ids.push(*lease.id());
        }
        ids
    });
    let deleted: Arc<Vec<AtomicBool>> =
        Arc::new((0..SESSIONS).map(|_| AtomicBool::new(false)).collect());
    let workers: Vec<_> = (1..=3)
        .map(|worker| {
            let (registry, ids, deleted) = (registry.clone(), ids.clone(), Arc::clone(&deleted));
            std::thread::spawn(move || {
                self::runtime().block_on(work(worker, &registry, &ids, &deleted));
            })
        })
        .collect();
    // The driver lives on this thread's runtime.
    runtime.block_on(async {
        while !workers.iter().all(|worker| worker.is_finished()) {
            sleep(Duration::from_millis(1)).await;
        }
        for worker in workers {
            worker.join().expect("no worker panics");
        }
        assert!(backends.peak() <= 4, "{} at once", backends.peak());
        for (at, id) in ids.iter().enumerate() {
            let name = format!("owner {at}");
            let woken = wake(&registry, id, &name).await;
            match deleted[at].load(Ordering::SeqCst) {
                true => assert!(matches!(woken, Err(WakeError::Unknown)), "{woken:?}"),
                false => drop(woken.expect("it was not ended")),
            }
        }
        registry.stop(Instant::now() + MINUTE).await;
        assert_eq!((registry.slots(), registry.stopping(), registry.active()), (0, 0, 0));
        assert_eq!(backends.alive(), 0);
    });
}

async fn work(worker: usize, registry: &FakeRegistry, ids: &[SessionId], deleted: &[AtomicBool]) {
    let mut seed = worker;
    for round in 0..ROUNDS {
        let at = next(&mut seed) % SESSIONS;
        let name = format!("owner {at}");
        match next(&mut seed) % 100 {
            0..80 => match wake(registry, &ids[at], &name).await {
                Ok(lease) => {
                    let state = crate::Backend::snapshot(&*lease).expect("none is stateful");
                    assert_eq!(state, at.to_string().into_bytes());
                }
                Err(WakeError::Unknown) => {
                    assert!(deleted[at].load(Ordering::SeqCst), "the session was lost");
                }
                Err(other) => panic!("{other}"),
            },
            80..98 => {
                let when = [StopWhen::Idle, StopWhen::Drained, StopWhen::Now][next(&mut seed) % 3];
                let then = [AfterStop::Asleep, AfterStop::Awake][next(&mut seed) % 2];
                registry.replace(|view| view.id == &ids[at], Replacement { when, then });
            }
            // A third of the sessions ends in the second half.
            _ if round > ROUNDS / 2 && at.is_multiple_of(3) => {
                deleted[at].store(true, Ordering::SeqCst);
                if worker == 1 {
                    let ended =
                        registry.end(&ids[at], &owner(&name), KIND, StopReason::Deleted).await;
                    assert!(!matches!(ended, Err(EndError::Foreign | EndError::Records(_))));
                } else {
                    let which = Selection::Owner(owner(&name));
                    registry.revoke_all(which).durable().await.expect("the store is there");
                }
                let woken = wake(registry, &ids[at], &name).await;
                assert!(matches!(woken, Err(WakeError::Unknown)), "{woken:?}");
            }
            _ => {}
        }
    }
}
