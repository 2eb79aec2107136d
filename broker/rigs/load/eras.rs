//! `tools/call` in a session and without one (2026-07-28), in turn: what the stateless protocol costs.
//!
//! Either has one child, so that the difference is the broker's alone. The turns are short and many, each
//! on connections of its own: at one connection the rate depends on which threads a connection and its
//! child happen to get, by more than the eras differ, and few long turns draw that lot too seldom. In each
//! round either has two turns, and which has the outer ones changes with the round, so that a machine that
//! warms up or slows down favours neither. A ratio is taken within a round, and printed is between which
//! two the median of all rounds there could ever be lies, so that a figure is not taken for more than it
//! is.

use std::{path::Path, time::Duration};

use crate::{
    point::{CONNECTIONS, DISTURBED, Point, Target, median, median_within},
    report::Report,
};

/// What calls without a session make of the others' rate at the least.
const LEAST: f64 = 0.95;

/// Whose turn it is in a round.
const TURNS: [usize; 4] = [0, 1, 1, 0];

/// How long a turn warms up, and how many of them one window is divided into.
const WARM_UP: Duration = Duration::from_millis(100);
const TURNS_OF_A_WINDOW: u32 = 16;

/// Rounds for each that the other parts have. The ratios of single rounds lie a tenth apart and more, and
/// what is to be told is whether their median lies some hundredths from one.
const ROUNDS: usize = 32;

/// Measures and prints. Says whether calls without a session are fast enough.
pub(crate) async fn run(
    broker: &Path,
    window: Duration,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<bool> {
    let turn = window / TURNS_OF_A_WINDOW;
    let rounds = rounds.max(1) * ROUNDS;
    let targets = [
        Target::one_child("session", broker, true).await?,
        Target::one_child("no session", broker, false).await?,
    ];
    println!(
        "tools/call in a session and without one, {rounds} rounds of 2 turns of {turn:?} for each"
    );
    let mut is_fast = true;
    for connections in CONNECTIONS {
        let mut points: [Vec<Point>; 2] = Default::default();
        let mut ratios = Vec::new();
        for round in 0..rounds {
            let mut sums = [0.0; 2];
            for which in TURNS {
                let which = (which + round) % 2;
                let point = targets[which].measure_after(WARM_UP, connections, turn).await?;
                sums[which] += point.rate;
                points[which].push(point);
            }
            let ratio = sums[1] / sums[0];
            eprintln!("{connections:>2} connections, round {} of {rounds}: {ratio:.3}", round + 1);
            ratios.push(ratio);
        }
        for (target, points) in targets.iter().zip(&points) {
            let Point { rate, p99, .. } = Point::median(points);
            let [server, children, load] = [
                mean(points, |point| point.server),
                mean(points, |point| point.children),
                mean(points, |point| point.load),
            ];
            let name = target.name;
            println!(
                "{connections:>2} connections, {name:<10} {rate:>8.0} calls/s, p99 {p99:>7.1} µs, \
                 {server:>6.1} µs of CPU per call, {children:.1} of the child, \
                 {load:.1} of the load generator"
            );
        }
        let ratio = median(ratios.iter().copied());
        let (low, high) = median_within(&ratios);
        let is_enough = ratio >= LEAST;
        println!(
            "ratio no session / session at {connections:>2} connections: {ratio:.3} \
             (95 % sure: {low:.3} to {high:.3}; at least {LEAST}: {})",
            if is_enough { "yes" } else { "NO" }
        );
        is_fast &= is_enough;
        let others = mean(&points.concat(), |point| point.others);
        if others > DISTURBED {
            println!("DISTURBED: others took {others:.0} % of the CPU; measure again in quiet");
        }
        report.add(format!("eras/{connections}/ratio"), ratio);
        report.add(format!("eras/{connections}/ratio_low"), low);
        report.add(format!("eras/{connections}/ratio_high"), high);
        report.add(format!("eras/{connections}/others_percent"), others);
    }
    for target in targets {
        target.server.stop().await?;
    }
    Ok(is_fast)
}

/// Of all turns: one is too short for the clock ticks that CPU time is counted in.
fn mean(points: &[Point], figure: fn(&Point) -> f64) -> f64 {
    points.iter().map(figure).sum::<f64>() / points.len() as f64
}
