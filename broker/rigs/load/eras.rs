//! `tools/call` in a session and without one (2026-07-28), in turn: what the stateless protocol costs.
//!
//! Either has one child, so that the difference is the broker's alone. Which comes first changes with each
//! round, and a ratio is taken within a round.

use std::{path::Path, time::Duration};

use crate::{
    point::{CONNECTIONS, DISTURBED, Point, Target, median},
    report::Report,
};

/// What calls without a session make of the others' rate at the least.
const LEAST: f64 = 0.95;

/// Measures and prints. Says whether calls without a session are fast enough.
pub(crate) async fn run(
    broker: &Path,
    window: Duration,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<bool> {
    let rounds = rounds.max(1);
    let targets = [
        Target::one_child("session", broker, true).await?,
        Target::one_child("no session", broker, false).await?,
    ];
    println!("tools/call in a session and without one, {rounds} rounds of {window:?} in turn");
    let mut is_fast = true;
    for connections in CONNECTIONS {
        let mut points: [Vec<Point>; 2] = Default::default();
        for round in 0..rounds {
            for turn in 0..2 {
                let which = (round + turn) % 2;
                let point = targets[which].measure(connections, window).await?;
                eprintln!(
                    "{connections:>2} connections, round {} of {rounds}: {} {:.0} calls/s",
                    round + 1,
                    targets[which].name,
                    point.rate
                );
                points[which].push(point);
            }
        }
        for (target, points) in targets.iter().zip(&points) {
            let Point { rate, p99, server, .. } = Point::median(points);
            let name = target.name;
            println!(
                "{connections:>2} connections, {name:<10} {rate:>8.0} calls/s, p99 {p99:>7.1} µs, \
                 {server:>6.1} µs of CPU per call"
            );
        }
        let [with, without] = &points;
        let ratio =
            median(without.iter().zip(with).map(|(without, with)| without.rate / with.rate));
        let is_enough = ratio >= LEAST;
        println!(
            "ratio no session / session at {connections:>2} connections: {ratio:.3} \
             (at least {LEAST}: {})",
            if is_enough { "yes" } else { "NO" }
        );
        is_fast &= is_enough;
        let others = points.iter().flatten().map(|point| point.others).fold(0.0, f64::max);
        if others > DISTURBED {
            println!(
                "DISTURBED: others took up to {others:.0} % of the CPU; measure again in quiet"
            );
        }
        report.add(format!("eras/{connections}/ratio"), ratio);
        report.add(format!("eras/{connections}/others_percent"), others);
    }
    for target in targets {
        target.server.stop().await?;
    }
    Ok(is_fast)
}
