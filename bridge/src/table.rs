//! What is under way between the client and the child: requests of either side by the ids that the
//! bridge gave them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    admission::Admission,
    epoch::Epoch,
    error::{Closed, PostError},
    exchange::Exchange,
    message::Message,
    snapshot::{Change, Snapshot},
    stream::Stream,
};

/// Names of what was withdrawn that are kept. A request that was let in before and comes after is on its
/// way for a moment.
const MAX_WITHDRAWN: usize = 64;

/// Notifications whose answers are expected, from children that answer what has no answer.
const MAX_NOTIFIED: usize = 16;

/// Requests under way. Ids towards the child are minted here, because two clients' requests, or
/// two of one client, may carry the same id at the same time.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Requests of the client, by the id the child sees; newest last.
    pub(crate) pending: BTreeMap<u64, Pending>,
    /// Requests of the child, by the id the client sees.
    pub(crate) asked: BTreeMap<u64, Asked>,
    /// What a new child was sent in the client's name, by the id of the request.
    pub(crate) replayed: BTreeMap<u64, Change>,
    /// Event streams that are connected or can be resumed.
    pub(crate) streams: HashMap<(Epoch, u64), Arc<Stream>>,
    /// When finished streams were finished, oldest first.
    pub(crate) kept: Vec<(Instant, (Epoch, u64))>,
    /// The next number for a request or stream.
    next: u64,
    /// Notifications that the child may not have come to yet: the numbers of the newest requests
    /// sent before each.
    notified: Vec<u64>,
    /// What the driver's timer is set for. An entry that is due later need not wake the driver.
    pub(crate) timer: Option<Instant>,
    /// No more than one `initialize` is ever under way.
    pub(crate) initializing: bool,
    /// What the next child will have to know; `None` before the handshake. Stays after the end.
    pub(crate) memory: Option<Box<Snapshot>>,
    /// There was another child before this one.
    pub(crate) resumed: bool,
    /// The standalone stream of the one before, if that was in this process.
    pub(crate) standalone_before: Option<Arc<Stream>>,
    pub(crate) closed: Option<Closed>,
    /// What lets nothing in any more, newest last.
    withdrawn: VecDeque<Arc<str>>,
    /// The child may keep something of this session, or may still be at it.
    pub(crate) leaves_traces: bool,
    /// The session is over, and no client is told anything more.
    pub(crate) is_retired: bool,
    /// The next unlock of an idle or closed table has to notify the waiting tasks.
    pub(crate) idle_is_awaited: bool,
}

/// A request of the client that the child has not answered.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The client's own id, raw.
    pub(crate) id: Box<str>,
    /// The client's own progress token, raw. Towards the child the token is the minted id.
    pub(crate) token: Option<Box<str>>,
    pub(crate) sink: Sink,
    /// When it is given up.
    pub(crate) deadline: Option<Instant>,
    /// When its response becomes an event stream; of a call, when its reader is told that it is overdue.
    pub(crate) switch_at: Option<Instant>,
    /// What is to be remembered when the child accepts it.
    pub(crate) change: Option<Box<Change>>,
    /// What let it in.
    pub(crate) admission: Admission,
}

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Sink {
    /// To the client.
    Stream(Arc<Stream>),
    /// To a call that has no session.
    Call(Arc<Exchange>),
    /// To the broker itself.
    Own(oneshot::Sender<OwnAnswer>),
}

/// What the child answered to a request of the broker's own, or why that could not be read.
pub(crate) type OwnAnswer = Result<Message, Cow<'static, str>>;

/// A request of the child that the client has not answered.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The child's own id, raw.
    pub(crate) id: Box<str>,
    /// The child's own progress token, raw. Towards the client the token is the minted id.
    pub(crate) token: Option<Box<str>>,
    /// The stream it went to, where its cancellation goes as well.
    pub(crate) stream: Arc<Stream>,
    pub(crate) delivered: Arc<AtomicBool>,
    /// When it is given up unless it was delivered.
    pub(crate) undelivered_at: Instant,
}

impl Pending {
    /// The next moment at which it needs attention.
    pub(crate) fn due(&self) -> Option<Instant> {
        [self.deadline, self.switch_at].into_iter().flatten().min()
    }
}

impl Table {
    /// Whether nothing is under way, in either direction.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.asked.is_empty()
    }

    /// Lets nothing in by `name` from now on, and takes out the requests that it let in.
    pub(crate) fn withdraw(&mut self, name: &Arc<str>) -> Vec<(u64, Pending)> {
        if self.withdrawn.len() >= MAX_WITHDRAWN {
            self.withdrawn.pop_front();
        }
        self.withdrawn.push_back(Arc::clone(name));
        self.pending.extract_if(.., |_, pending| pending.admission.is_by(name)).collect()
    }

    /// Whether what let a request in was withdrawn.
    pub(crate) fn is_withdrawn(&self, admission: &Admission) -> bool {
        self.withdrawn.iter().any(|name| admission.is_by(name))
    }

    /// Mints no number that `before` did, and lets nothing in that it did not.
    pub(crate) fn continue_from(&mut self, before: &Self) {
        self.next = before.next;
        self.withdrawn.clone_from(&before.withdrawn);
        self.notified.clone_from(&before.notified);
    }

    /// A number never used before in this bridge.
    pub(crate) fn mint(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Enters a request: the number it goes under, and whether the driver has to look sooner for it.
    ///
    /// # Errors
    /// The bridge has closed, or what let the client in was withdrawn.
    pub(crate) fn enter(&mut self, pending: Pending) -> Result<(u64, bool), PostError> {
        if let Some(why) = self.closed {
            return Err(PostError::Closed(why));
        }
        if self.is_withdrawn(&pending.admission) {
            return Err(PostError::Withdrawn);
        }
        let wake = self.is_due(pending.due());
        let id = self.mint();
        self.pending.insert(id, pending);
        Ok((id, wake))
    }

    /// Notes that the child is sent a notification.
    pub(crate) fn note_notification(&mut self) {
        if self.notified.len() < MAX_NOTIFIED {
            self.notified.push(self.next);
        }
    }

    /// Takes the request `id` out, which the child has answered. It reads in order, so it has come
    /// to the notifications sent before as well.
    pub(crate) fn answered(&mut self, id: u64) -> Option<Pending> {
        if !self.notified.is_empty() {
            self.notified.retain(|newest| *newest >= id);
        }
        self.pending.remove(&id)
    }

    /// The request that an answer without an id belongs to: the only one under way. `None` also
    /// when the answer may be to a notification, as `for_notification` says: some children answer
    /// those, which has no id, and the next request is under way by then.
    pub(crate) fn only_pending(&mut self, for_notification: bool) -> Option<u64> {
        if for_notification && !self.notified.is_empty() {
            self.notified.remove(0);
            return None;
        }
        let mut pending = self.pending.keys();
        pending.next().copied().filter(|_| pending.next().is_none())
    }

    /// Notes that something is due; `true` when that is before the driver would look.
    pub(crate) fn is_due(&mut self, due: Option<Instant>) -> bool {
        let Some(due) = due else { return false };
        let sooner = self.timer.is_none_or(|timer| due < timer);
        if sooner {
            self.timer = Some(due);
        }
        sooner
    }

    /// Forgets the oldest finished streams until `max` are left.
    pub(crate) fn trim_kept(&mut self, max: usize) {
        let surplus = self.kept.len().saturating_sub(max);
        for (_, key) in self.kept.drain(..surplus) {
            self.streams.remove(&key);
        }
    }

    /// Sets the timer for the earliest moment at which an entry needs attention.
    pub(crate) fn set_timer(&mut self, retention: Duration) {
        let pending = self.pending.values().filter_map(Pending::due);
        let asked = self.asked.values().map(|asked| asked.undelivered_at);
        let kept = self.kept.first().map(|(finished, _)| *finished + retention);
        self.timer = pending.chain(asked).chain(kept).min();
    }
}
