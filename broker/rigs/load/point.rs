//! One measurement of `tools/call`: so many connections, against one server, for so long.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use hyper::header::HeaderValue;
use tokio::{task::JoinSet, time::sleep_until};

use crate::{
    floor, proc,
    server::Server,
    wire::{Session, Wire},
};

/// Sessions that take part, however many connections carry them.
pub(crate) const SESSIONS: usize = 32;
pub(crate) const CONNECTIONS: [usize; 2] = [1, SESSIONS];
const WARM_UP: Duration = Duration::from_secs(1);

/// Percent of [`Point::others`] above which the figures are not to be trusted.
pub(crate) const DISTURBED: f64 = 5.0;

/// A server and the sessions its calls belong to.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    sessions: Vec<Session>,
    answers: Answers,
}

/// What a call must be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answers {
    /// [`floor::FIXED`].
    Fixed,
    /// A result with the call's id.
    WithId,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Calls per second.
    pub(crate) rate: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// CPU time per call in microseconds: of the server, of its children, of this program.
    pub(crate) server: f64,
    pub(crate) children: f64,
    pub(crate) load: f64,
    /// Percent of the machine's CPU time that went to processes that are no part of this.
    pub(crate) others: f64,
}

impl Target {
    pub(crate) async fn floor(
        name: &'static str,
        role: &str,
        answers: Answers,
    ) -> anyhow::Result<Self> {
        let server = Server::floor(role).await?;
        // The floors know no sessions; the requests look the same.
        let sessions = (0..SESSIONS)
            .map(|n| {
                anyhow::Ok(server.endpoint.session(HeaderValue::try_from(format!("{n:048x}"))?))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name, server, sessions, answers })
    }

    pub(crate) async fn broker(name: &'static str, program: &Path) -> anyhow::Result<Self> {
        let server = Server::broker(program).await?;
        let mut wire = Wire::connect(server.endpoint.address).await?;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(wire.open(&server.endpoint).await?);
        }
        Ok(Self { name, server, sessions, answers: Answers::WithId })
    }

    /// A broker whose calls all go to one child: that of a session, or the warm one of a client without
    /// sessions.
    pub(crate) async fn one_child(
        name: &'static str,
        program: &Path,
        has_session: bool,
    ) -> anyhow::Result<Self> {
        let server = Server::broker(program).await?;
        let mut wire = Wire::connect(server.endpoint.address).await?;
        let session = match has_session {
            true => wire.open(&server.endpoint).await?,
            false => server.endpoint.no_session(),
        };
        // The child of a client without sessions starts with its first call.
        wire.call(&session).await?;
        let sessions = vec![session; SESSIONS];
        Ok(Self { name, server, sessions, answers: Answers::WithId })
    }

    pub(crate) async fn measure(
        &self,
        connections: usize,
        window: Duration,
    ) -> anyhow::Result<Point> {
        self.measure_after(WARM_UP, connections, window).await
    }

    /// As [`measure`](Self::measure), after another time to warm up in.
    pub(crate) async fn measure_after(
        &self,
        warm_up: Duration,
        connections: usize,
        window: Duration,
    ) -> anyhow::Result<Point> {
        let mut callers = Vec::new();
        for n in 0..connections {
            // Each connection goes round the sessions that are its own.
            let sessions: Vec<_> =
                self.sessions[n..].iter().step_by(connections).cloned().collect();
            let mut wire = Wire::connect(self.server.endpoint.address).await?;
            // Whatever a first call costs (a floor's child starts) is not this point's matter.
            self.answers.call(&mut wire, &sessions[0]).await?;
            callers.push((wire, sessions));
        }
        let begin = Instant::now() + warm_up;
        let end = begin + window;
        let mut tasks = JoinSet::new();
        for (wire, sessions) in callers {
            tasks.spawn(caller(wire, sessions, self.answers, begin, end));
        }
        sleep_until(begin.into()).await;
        let before = self.cpu()?;
        sleep_until(end.into()).await;
        let after = self.cpu()?;
        let mut latencies = Histogram::<u64>::new(3)?;
        while let Some(ended) = tasks.join_next().await {
            let (_wire, own) = ended??;
            latencies.add(own)?;
        }
        let calls = latencies.len() as f64;
        let us = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let [server, children, load, machine] =
            std::array::from_fn(|n| proc::ticks_to_us(after[n].saturating_sub(before[n])));
        let cores = std::thread::available_parallelism()?.get() as f64;
        let others = (machine - server - children - load).max(0.0);
        Ok(Point {
            rate: calls / window.as_secs_f64(),
            p50: us(0.5),
            p99: us(0.99),
            server: server / calls,
            children: children / calls,
            load: load / calls,
            others: 100.0 * others / (window.as_micros() as f64 * cores),
        })
    }

    /// Clock ticks so far of the server, its children, this program and the whole machine.
    fn cpu(&self) -> anyhow::Result<[u64; 4]> {
        let processes = proc::tree(self.server.pid, &self.server.mark)?;
        Ok([
            proc::process(self.server.pid)?.ticks,
            processes.iter().map(|process| process.ticks).sum(),
            proc::process(std::process::id())?.ticks,
            proc::machine_ticks()?,
        ])
    }
}

impl Answers {
    async fn call(self, wire: &mut Wire, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::Fixed => wire.call_fixed(session, floor::FIXED).await,
            Self::WithId => wire.call(session).await,
        }
    }
}

/// Calls without a pause until `end`, and returns the nanoseconds of the calls after `begin`; with
/// the wire, because a floor's child ends with it and has yet to be asked for its CPU time.
async fn caller(
    mut wire: Wire,
    sessions: Vec<Session>,
    answers: Answers,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<(Wire, Histogram<u64>)> {
    let mut latencies = Histogram::new(3)?;
    let mut asked = Instant::now();
    for session in sessions.iter().cycle() {
        answers.call(&mut wire, session).await?;
        let answered = Instant::now();
        if answered >= end {
            break;
        }
        if asked >= begin {
            latencies.record(u64::try_from((answered - asked).as_nanos())?)?;
        }
        asked = answered;
    }
    Ok((wire, latencies))
}

impl Point {
    pub(crate) fn median(points: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(points.iter().map(figure));
        Self {
            rate: of(|point| point.rate),
            p50: of(|point| point.p50),
            p99: of(|point| point.p99),
            server: of(|point| point.server),
            children: of(|point| point.children),
            load: of(|point| point.load),
            others: of(|point| point.others),
        }
    }
}

/// The one in the middle, or between the two that are.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (lower, upper) = ((figures.len() - 1) / 2, figures.len() / 2);
    f64::midpoint(figures[lower], figures[upper])
}

/// Between which two of the figures the median lies of what they were drawn from, in 95 of 100 cases or
/// more: whatever the distribution, each figure is below it as often as above.
pub(crate) fn median_within(figures: &[f64]) -> (f64, f64) {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let count = figures.len();
    // How probable it is that so many are below it, and that no more are.
    let (mut exactly, mut at_most, mut cut) = (0.5_f64.powi(count as i32), 0.0, 0);
    for below in 0..count / 2 {
        at_most += exactly;
        if 2.0 * at_most > 0.05 {
            break;
        }
        cut = below;
        exactly *= (count - below) as f64 / (below + 1) as f64;
    }
    (figures[cut], figures[count - 1 - cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_where_the_table_of_the_sign_test_says() {
        // Ranks as tables print them, for 95 %.
        for (count, low, high) in [(1, 1, 1), (6, 1, 6), (9, 2, 8), (24, 7, 18), (50, 18, 33)] {
            let figures: Vec<f64> = (1..=count).rev().map(f64::from).collect();
            assert_eq!(median_within(&figures), (f64::from(low), f64::from(high)), "{count}");
        }
    }

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(median([4.0, 1.0, 3.0].into_iter()), 3.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
    }
}
