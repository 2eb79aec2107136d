use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use session::{
    Limits, Records,
    testing::{self, Backends, FakeRegistry, MemoryRecords, owner},
};

use super::*;

/// A token and the record of the session it opened, which another process takes back in one step, just
/// after the broker has looked for revocations.
#[derive(Debug)]
struct RevokedBetweenLooks {
    records: MemoryRecords,
    key: session::RecordKey,
    is_revoked: AtomicBool,
}

impl Source for RevokedBetweenLooks {
    fn revoked_since(
        &self,
        _: UnixTime,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<Revoked>, StoreError>> {
        Box::pin(async {
            if self.is_revoked.swap(true, Ordering::SeqCst) {
                return Ok(vec![Revoked {
                    issuer: "static".into(),
                    subject: "ada".into(),
                    client: "static".into(),
                    grant_id: "t1".into(),
                    left: Left::Nothing,
                }]);
            }
            self.records.remove(&[self.key]).await.expect("the store is there");
            Ok(Vec::new())
        })
    }

    fn left<'a>(
        &'a self,
        _: &'a Revoked,
        _: SystemTime,
    ) -> BoxFuture<'a, Result<Left, StoreError>> {
        Box::pin(async { Ok(Left::Nothing) })
    }
}

/// Notes whether the session was there when the token was refused.
#[derive(Debug)]
struct Verifier {
    sessions: FakeRegistry,
    id: session::SessionId,
    heard: Arc<Mutex<Vec<bool>>>,
}

impl RevocationListener for Verifier {
    fn revoked(&self, _: &Revoked) {
        let is_there = self.sessions.lease(&self.id, &owner("ada")).is_ok();
        self.heard.lock().expect("no panic").push(is_there);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_another_process_revokes_is_refused_before_its_session_is_not_found() {
    let records = MemoryRecords::new();
    let (sessions, mut backends): (FakeRegistry, Backends) =
        testing::recorded(Limits::default(), &records);
    let lease = sessions.open(owner("ada"), ()).await.expect("there is room");
    let id = *lease.id();
    drop(lease);
    let backend = backends.next().await;
    let heard = Arc::<Mutex<Vec<bool>>>::default();
    let verifier = Verifier { sessions: sessions.clone(), id, heard: Arc::clone(&heard) };
    let source = RevokedBetweenLooks { records, key: id.key(), is_revoked: AtomicBool::new(false) };
    let revocations = Revocations { source: Box::new(source), listeners: vec![Arc::new(verifier)] };
    let clock = Clock::new(auth::testing::now);
    let mut following = tokio::task::JoinSet::new();
    following.spawn(follow(vec![revocations], sessions, clock));
    backend.asked_to_stop().await;
    assert_eq!(*heard.lock().expect("no panic"), [true]);
}
