//! What a bridge tells while its session runs: into the metrics, and now and then into the log.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;
use tracing::warn;

use super::session_span::SessionSpan;
use crate::{
    metrics::{Metrics, ServerLabel},
    server::Server,
};

/// How often one session is warned of.
const PAUSE: Duration = Duration::from_secs(60);

/// Counts what happens in one session.
#[derive(Debug)]
pub(super) struct SessionObserver {
    dropped_lines: Counter,
    unread_answers: Counter,
    /// When the last warning was.
    warned: Mutex<Option<Instant>>,
    span: SessionSpan,
}

impl SessionObserver {
    pub(super) fn new(server: &Server, span: SessionSpan) -> Self {
        let label = ServerLabel { server: server.name.to_string() };
        let Metrics { dropped_lines, unread_answers, .. } = &*server.metrics;
        Self {
            dropped_lines: dropped_lines.get_or_create_owned(&label),
            unread_answers: unread_answers.get_or_create_owned(&label),
            warned: Mutex::default(),
            span,
        }
    }
}

impl bridge::Observer for SessionObserver {
    fn line_dropped(&self) {
        self.dropped_lines.inc();
    }

    fn answer_given_up(&self) {
        self.unread_answers.inc();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if warned.is_some_and(|at| now < at + PAUSE) {
            return;
        }
        *warned = Some(now);
        drop(warned);
        self.span.in_scope(|| {
            warn!(
                "the broker dropped an answer before its client had read it: unread answers \
                 exceed stream.max_unread or stream.max_unread_per_owner"
            );
        });
    }
}
