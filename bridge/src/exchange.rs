//! What a call waits for that has no stream of a session: its answer, and what comes before it.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    ops::Range,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    error::Outcome,
    message::{Incoming, Message},
    rpc,
    stream::OnComplete,
};

const PROGRESS: &str = "notifications/progress";

/// What a [`Call`](crate::Call) is told.
#[derive(Debug)]
pub enum Told {
    /// A notification that belongs to the call, under the client's own token or subscription.
    Notification(Bytes),
    /// [`CallOptions::overdue_after`] has passed. The answer is still to come.
    Overdue,
    /// The child asks something. It waits for [`Call::answer`](crate::Call::answer).
    Question(Question),
    /// The child's answer, under its own id. Nothing follows.
    Answer(Message),
    /// There will be no answer. Nothing follows.
    Failed {
        /// How it ended.
        outcome: Outcome,
        /// What happened, for the client.
        words: Cow<'static, str>,
    },
}

/// A request that the child made during a call.
#[derive(Debug, Clone)]
pub struct Question {
    /// The request as the child wrote it.
    pub message: Message,
}

/// What a call may meet with.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions {
    /// The child may ask something during it.
    pub may_be_asked: bool,
    /// Log messages of the child are wanted.
    pub wants_logs: bool,
    /// It has no time limit: it is open until one side ends it.
    pub is_open_ended: bool,
    /// When its reader is told that there is no answer yet. The driver watches the time, whose one timer
    /// costs less than one for each call.
    pub overdue_after: Option<Duration>,
}

/// Something about the child as a whole.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A list or a resource has changed: the child's notification.
    Changed(Message),
    /// The child is gone.
    Ended,
}

/// One call, between the pipe and its reader.
pub(crate) struct Exchange {
    pub(crate) options: CallOptions,
    /// As its options say, until another reader says something else.
    wants_logs: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    told: VecDeque<Told>,
    /// Bytes of the notifications among them.
    bytes: usize,
    /// Told last. Most calls are told nothing else.
    end: Option<Told>,
    waker: Option<Waker>,
    /// Requests of the child that wait for an answer, by the child's raw ids.
    open: Vec<Box<str>>,
    on_complete: Option<OnComplete>,
}

impl Exchange {
    pub(crate) fn new(options: CallOptions, on_complete: OnComplete) -> Self {
        let state = State { on_complete: Some(on_complete), ..State::default() };
        Self { options, wants_logs: options.wants_logs.into(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a notification on, unless the reader is too far behind: a slow client costs itself
    /// notifications, and the child nothing.
    pub(crate) fn notify(&self, data: Bytes, max_bytes: usize) {
        let mut state = self.state();
        if state.bytes + data.len() > max_bytes && state.bytes > 0 {
            return;
        }
        state.bytes += data.len();
        state.tell(Told::Notification(data));
    }

    /// Tells the reader that it has waited for long.
    pub(crate) fn overdue(&self) {
        self.state().tell(Told::Overdue);
    }

    /// Whether log messages of the child are wanted.
    pub(crate) fn wants_logs(&self) -> bool {
        self.wants_logs.load(Ordering::Relaxed)
    }

    /// Gets another reader, who has waited for nothing yet: puts `token` into the progress that waits to be
    /// read; drops it where there is none.
    pub(crate) fn hand_over(&self, token: Option<&str>, wants_logs: bool) {
        self.wants_logs.store(wants_logs, Ordering::Relaxed);
        let mut state = self.state();
        let state = &mut *state;
        let mut bytes = 0;
        state.told.retain_mut(|told| {
            let Told::Notification(data) = told else { return !matches!(told, Told::Overdue) };
            match (progress(data), token) {
                (Some((message, place)), Some(token)) => {
                    let params = message.payload().unwrap_or("{}");
                    let params = [&params[..place.start], token, &params[place.end..]];
                    *data = rpc::call(None, &message, Some(&params)).into();
                }
                (Some(_), None) => return false,
                (None, _) => {}
            }
            bytes += data.len();
            true
        });
        state.bytes = bytes;
    }

    /// Passes a question on; `false` when as many wait as may.
    pub(crate) fn ask(&self, childs_id: &str, message: Message, max: usize) -> bool {
        let mut state = self.state();
        if state.open.len() >= max {
            return false;
        }
        state.open.push(childs_id.into());
        state.tell(Told::Question(Question { message }));
        true
    }

    /// Takes a question back: it was answered, or withdrawn by the child, and need not be told any more.
    /// `None` when it was not open; else whether others are.
    pub(crate) fn close_question(&self, childs_id: &str) -> Option<bool> {
        let mut state = self.state();
        let at = state.open.iter().position(|id| **id == *childs_id)?;
        state.open.remove(at);
        let untold = state.told.iter().position(|told| match told {
            Told::Question(question) => question.message.id() == Some(childs_id),
            _ => false,
        });
        if let Some(at) = untold {
            state.told.remove(at);
        }
        Some(!state.open.is_empty())
    }

    /// Whether a question of the child's waits for an answer.
    pub(crate) fn is_open(&self, childs_id: &str) -> bool {
        self.state().open.iter().any(|id| **id == *childs_id)
    }

    /// The end: nothing is told after it.
    pub(crate) fn finish(&self, told: Told, outcome: Outcome) {
        let mut state = self.state();
        state.open.clear();
        let on_complete = state.on_complete.take();
        state.end = Some(told);
        let waker = state.waker.take();
        // The reader may run at once, and looks here first.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(on_complete) = on_complete {
            on_complete(outcome);
        }
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Told> {
        let mut state = self.state();
        match state.told.pop_front().or_else(|| state.end.take()) {
            Some(told) => {
                if let Told::Notification(data) = &told {
                    state.bytes -= data.len();
                }
                Poll::Ready(told)
            }
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// A notification of progress, and where its token stands in the parameters.
fn progress(data: &Bytes) -> Option<(Message, Range<usize>)> {
    let incoming = Incoming::parse(data, 1).ok()?;
    let message = incoming.single().filter(|message| message.method() == PROGRESS)?;
    Some((message.clone(), message.param("progressToken")?))
}

impl State {
    fn tell(&mut self, told: Told) {
        self.told.push_back(told);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(exchange: &Exchange) -> Vec<String> {
        let told = std::mem::take(&mut exchange.state().told);
        let text = |told| match told {
            Told::Notification(data) => String::from_utf8(data.to_vec()).expect("text"),
            other => panic!("{other:?}"),
        };
        told.into_iter().map(text).collect()
    }

    fn waiting() -> Exchange {
        let exchange = Exchange::new(CallOptions::default(), Box::new(drop));
        let step = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":19}}"#;
        let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"progressToken"}}"#;
        exchange.notify(step.into(), 1000);
        exchange.notify(log.into(), 1000);
        exchange
    }

    #[test]
    fn progress_of_a_call_that_waited_comes_under_the_token_of_its_retry() {
        let exchange = waiting();
        exchange.hand_over(Some(r#""the retry's""#), false);
        let told = told(&exchange);
        assert!(told[0].contains(r#""progress":1,"progressToken":"the retry's"}"#), "{told:?}");
        assert!(told[1].contains(r#""data":"progressToken""#), "{told:?}");
    }

    #[test]
    fn a_retry_that_names_no_token_hears_of_no_progress() {
        let exchange = waiting();
        exchange.hand_over(None, false);
        let told = told(&exchange);
        assert_eq!(told.len(), 1, "{told:?}");
    }
}
