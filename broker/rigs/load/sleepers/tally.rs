//! What was asked, and what came of it.

use std::{
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::report::Report;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Initialize,
    Call,
    Wake,
    Together,
    SetLevel,
    InFlight,
    AfterKill,
    Delete,
    Deleted,
    Stranger,
    Last,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Right,
    Refused,
    Died,
    Wrong,
}

impl Kind {
    const ALL: [(Self, &'static str, &'static str); 11] = [
        (Self::Initialize, "initialize", "initialize, then its confirmation"),
        (Self::Call, "call", "a call"),
        (Self::Wake, "wake", "the first call of a session that sleeps"),
        (Self::Together, "together", "calls of one session at the same time"),
        (Self::SetLevel, "set_level", "logging/setLevel"),
        (Self::InFlight, "in_flight", "a call whose child is killed meanwhile"),
        (Self::AfterKill, "after_kill", "the call after a child was killed"),
        (Self::Delete, "delete", "DELETE"),
        (Self::Deleted, "deleted", "a call after it: 404"),
        (Self::Stranger, "stranger", "somebody else's session: 403"),
        (Self::Last, "last", "a last call of every session"),
    ];
}

/// Counts of everything.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: [[AtomicU64; 4]; Kind::ALL.len()],
    /// Bytes of other owners' marks.
    pub(crate) foreign: AtomicUsize,
    pub(crate) killed: AtomicUsize,
    /// Nanoseconds until the answer of calls that found a child, and of those that woke one.
    times: Mutex<[Histogram<u64>; 2]>,
    examples: Mutex<Vec<String>>,
}

/// Examples that are shown of each sort.
const EXAMPLES: usize = 5;

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            counts: Default::default(),
            foreign: AtomicUsize::new(0),
            killed: AtomicUsize::new(0),
            times: Mutex::new([Histogram::new(3)?, Histogram::new(3)?]),
            examples: Mutex::default(),
        })
    }

    pub(crate) fn count(&self, kind: Kind, outcome: Outcome) {
        self.counts[kind as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a wrong answer, and keeps what was wrong with it if it is one of the first.
    pub(crate) fn wrong(&self, kind: Kind, what: &str) {
        self.count(kind, Outcome::Wrong);
        self.example(kind, "WRONG", what);
    }

    /// Notes what is worth showing.
    pub(crate) fn example(&self, kind: Kind, how: &str, what: &str) {
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        let of_the_sort = examples.iter().filter(|example| example.starts_with(how)).count();
        if of_the_sort < EXAMPLES {
            examples.push(format!("{how} {kind:?}: {what}"));
        }
    }

    pub(crate) fn took(&self, woke: bool, time: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        // The histogram grows by itself, so nothing is out of its range.
        let _ = times[usize::from(woke)].record(time.as_nanos().try_into().unwrap_or(u64::MAX));
    }

    pub(crate) fn all(&self, outcome: Outcome) -> u64 {
        self.counts.iter().map(|counts| counts[outcome as usize].load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn of(&self, kind: Kind, outcome: Outcome) -> u64 {
        self.counts[kind as usize][outcome as usize].load(Ordering::Relaxed)
    }

    /// Prints everything, one line per kind.
    pub(crate) fn print(&self, report: &mut Report) {
        let line = |name: &str, figures: [u64; 5]| {
            let mut line = format!("{name:<40}");
            for figure in figures {
                let _ = write!(line, " {figure:>9}");
            }
            println!("{line}");
        };
        println!(
            "{:<40} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "answers", "asked", "right", "refused", "died", "wrong"
        );
        let mut sum = [0; 5];
        for (kind, key, name) in Kind::ALL {
            let [right, refused, died, wrong] =
                [Outcome::Right, Outcome::Refused, Outcome::Died, Outcome::Wrong]
                    .map(|outcome| self.of(kind, outcome));
            let figures = [right + refused + died + wrong, right, refused, died, wrong];
            line(name, figures);
            for (sum, figure) in sum.iter_mut().zip(figures) {
                *sum += figure;
            }
            for (what, figure) in ["asked", "right", "refused", "died", "wrong"].iter().zip(figures)
            {
                report.add(format!("sleepers/answers/{key}/{what}"), figure as f64);
            }
        }
        line("all", sum);
        println!("(refused: 503 or 429 with Retry-After, and asked again after that time)");
        println!(
            "(died: a JSON-RPC error for a call whose child was killed before it was answered)"
        );
        println!();
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        println!(
            "{:<40} {:>9} {:>9} {:>9} {:>9}",
            "until the answer, in the traffic", "calls", "p50 µs", "p99 µs", "max µs"
        );
        for (name, key, times) in [
            ("whose child was there", "awake", &times[0]),
            ("that got another child", "woken", &times[1]),
        ] {
            let us = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
            println!(
                "{name:<40} {:>9} {:>9.0} {:>9.0} {:>9.0}",
                times.len(),
                us(0.5),
                us(0.99),
                us(1.0)
            );
            report.add(format!("sleepers/traffic/{key}/calls"), times.len() as f64);
            report.add(format!("sleepers/traffic/{key}/p50_us"), us(0.5));
            report.add(format!("sleepers/traffic/{key}/p99_us"), us(0.99));
        }
        println!();
        let examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        for example in &*examples {
            println!("{example}");
        }
        if !examples.is_empty() {
            println!();
        }
    }
}
