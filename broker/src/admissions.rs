//! What lets clients in, as long as it does: streams that are to end with it, and what was withdrawn a
//! moment ago.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bridge::Admission;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long it is remembered what was withdrawn: longer than any request is on its way from the check of
/// its token to its session, its body and a child that starts included.
const MEMORY: Duration = Duration::from_secs(15 * 60);

/// Every stream that is open, by what let its client in, and what lets no client in any more.
///
/// A verifier forgets a token before it is withdrawn here. So a request was either refused by the
/// verifier, or it is found here, or it finds here that it came too late.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    book: Mutex<Book>,
    /// How many names are in the book as withdrawn: nearly always none, and then no lock is taken.
    withdrawn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Book {
    open: HashMap<Arc<str>, Open>,
    withdrawn: HashSet<Arc<str>>,
    oldest_first: VecDeque<(Instant, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Open {
    ended: CancellationToken,
    streams: usize,
}

/// What let a client in was withdrawn after its token had been judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Withdrawn;

impl Admissions {
    /// Whether what let a client in still stands. To be asked when its session has been found.
    pub(crate) fn check(&self, admission: &Admission) -> Result<(), Withdrawn> {
        if self.withdrawn.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        let mut book = self.lock();
        book.forget(Instant::now());
        self.withdrawn.store(book.withdrawn.len(), Ordering::SeqCst);
        if book.has_withdrawn(admission) { Err(Withdrawn) } else { Ok(()) }
    }

    /// Enters a stream, which is there as long as the value returned.
    pub(crate) fn enter(self: &Arc<Self>, admission: Admission) -> Result<Entered, Withdrawn> {
        let mut book = self.lock();
        if book.has_withdrawn(&admission) {
            return Err(Withdrawn);
        }
        let mut names = admission.names();
        let ended = [names.next(), names.next()].map(|name| {
            let open = book.open.entry(Arc::clone(name?)).or_default();
            open.streams += 1;
            Some(open.ended.clone())
        });
        drop(names);
        drop(book);
        Ok(Entered { admissions: Arc::clone(self), admission, ended })
    }

    /// Ends the streams of what has this name, and lets nothing in by it from now on.
    pub(crate) fn withdraw(&self, name: &Arc<str>) {
        let now = Instant::now();
        let mut book = self.lock();
        book.forget(now);
        if book.withdrawn.insert(Arc::clone(name)) {
            book.oldest_first.push_back((now, Arc::clone(name)));
        }
        self.withdrawn.store(book.withdrawn.len(), Ordering::SeqCst);
        let ended = book.open.get(name).map(|open| open.ended.clone());
        drop(book);
        // It wakes tasks, so the lock is not held.
        if let Some(ended) = ended {
            ended.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Nothing in here panics half-way through a change.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Takes out the names that were withdrawn too long ago to matter.
    fn forget(&mut self, now: Instant) {
        while self.oldest_first.front().is_some_and(|(at, _)| *at + MEMORY <= now) {
            if let Some((_, name)) = self.oldest_first.pop_front() {
                self.withdrawn.remove(&name);
            }
        }
    }

    fn has_withdrawn(&self, admission: &Admission) -> bool {
        admission.names().any(|name| self.withdrawn.contains(name))
    }
}

/// A stream that is entered; dropping this takes it out.
#[derive(Debug)]
pub(crate) struct Entered {
    admissions: Arc<Admissions>,
    admission: Admission,
    ended: [Option<CancellationToken>; 2],
}

impl Entered {
    /// Resolves when what let the client in is withdrawn.
    ///
    /// # Cancel safety
    /// Dropping the future takes the stream out.
    pub(crate) async fn ended(self) {
        let [first, second] = &self.ended;
        tokio::select! {
            () = withdrawn(first.as_ref()) => {}
            () = withdrawn(second.as_ref()) => {}
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut book = self.admissions.lock();
        for name in self.admission.names() {
            let Some(open) = book.open.get_mut(name) else { continue };
            open.streams -= 1;
            if open.streams == 0 {
                book.open.remove(name);
            }
        }
    }
}

async fn withdrawn(ended: Option<&CancellationToken>) {
    match ended {
        Some(ended) => ended.cancelled().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    fn by(grant: &str, token: &str) -> Admission {
        Admission::by([Some(grant.into()), Some(token.into())])
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_its_grant_or_its_token_and_with_no_other() {
        for name in ["g1", "t1"] {
            let admissions = Arc::new(Admissions::default());
            let mut ended = JoinSet::new();
            for (grant, token) in [("g1", "t1"), ("g2", "t2")] {
                let entered = admissions.enter(by(grant, token)).expect("it stands");
                ended.spawn(async move {
                    entered.ended().await;
                    grant
                });
            }
            assert_eq!(admissions.check(&by("g1", "t1")), Ok(()));
            admissions.withdraw(&name.into());
            assert_eq!(ended.join_next().await.expect("two streams").expect("no panic"), "g1");
            assert!(admissions.enter(by("g1", "t1")).is_err(), "it comes too late");
            assert_eq!(admissions.check(&by("g1", "t1")), Err(Withdrawn));
            assert_eq!(admissions.check(&by("g2", "t2")), Ok(()));
            ended.shutdown().await;
            assert!(admissions.lock().open.is_empty(), "nothing of a stream is left");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_withdrawn_is_forgotten_after_a_while() {
        let admissions = Admissions::default();
        for n in 0..100 {
            admissions.withdraw(&n.to_string().into());
        }
        tokio::time::advance(MEMORY).await;
        admissions.withdraw(&"last".into());
        assert_eq!(admissions.lock().withdrawn.len(), 1);
        assert_eq!(admissions.check(&by("0", "1")), Ok(()));
        tokio::time::advance(MEMORY).await;
        assert_eq!(admissions.check(&by("last", "1")), Ok(()));
        assert_eq!(admissions.withdrawn.load(Ordering::Relaxed), 0, "no call takes the lock");
    }
}
