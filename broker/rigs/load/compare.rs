//! Two brokers in turn, under the same calls: what a change costs.
//!
//! Each round measures both, the one that was second before comes first, so that a machine that slows
//! down or warms up does so for both. A ratio is taken within a round and the median of all is told,
//! with the least and the most. Both binaries have to be built in the same way: the profile alone is
//! worth more than most changes.

use std::{path::Path, time::Duration};

use crate::{
    point::{CONNECTIONS, DISTURBED, Point, SESSIONS, Target, median},
    report::Report,
};

/// A change that costs no more is none, as far as this can tell.
const NOISE: f64 = 0.03;

/// Measures and prints; `window` is what counts of each point.
pub(crate) async fn run(
    baseline: &Path,
    broker: &Path,
    window: Duration,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let rounds = rounds.max(1);
    let targets =
        [Target::broker("baseline", baseline).await?, Target::broker("current", broker).await?];
    println!("tools/call, {SESSIONS} sessions, {rounds} rounds of {window:?} for each in turn");
    println!("baseline {}", baseline.display());
    println!("current  {}", broker.display());
    for connections in CONNECTIONS {
        let mut points: [Vec<Point>; 2] = Default::default();
        for round in 0..rounds {
            for turn in 0..2 {
                let which = (round + turn) % 2;
                points[which].push(targets[which].measure(connections, window).await?);
            }
        }
        println!();
        println!(
            "{:<20} {:>22} {:>22} {:>22}",
            format!("{connections} connections"),
            "baseline",
            "current",
            "ratio"
        );
        let rate = show("calls/s", &points, |point| point.rate);
        let cpu = show("µs of CPU per call", &points, |point| point.server);
        show("p99, µs", &points, |point| point.p99);
        let is_within = rate >= 1.0 - NOISE && cpu <= 1.0 + NOISE;
        let percent = 100.0 * NOISE;
        println!("within {percent:.0} %: {}", if is_within { "yes" } else { "NO" });
        let others = points.iter().flatten().map(|point| point.others).fold(0.0, f64::max);
        if others > DISTURBED {
            println!(
                "DISTURBED: others took up to {others:.0} % of the CPU; measure again in quiet"
            );
        }
        report.add(format!("compare/{connections}/rate_ratio"), rate);
        report.add(format!("compare/{connections}/cpu_ratio"), cpu);
        report.add(format!("compare/{connections}/others_percent"), others);
    }
    println!();
    println!("(medians, in parentheses the least and the most; a ratio is current / baseline)");
    for target in targets {
        target.server.stop().await?;
    }
    Ok(())
}

/// Prints one figure of both and returns the median of its ratios.
fn show(what: &str, [baseline, current]: &[Vec<Point>; 2], of: fn(&Point) -> f64) -> f64 {
    let ratios: Vec<_> = current.iter().zip(baseline).map(|(c, b)| of(c) / of(b)).collect();
    let figures = |points: &[Point]| points.iter().map(of).collect::<Vec<_>>();
    let (baseline, current) = (figures(baseline), figures(current));
    println!(
        "{what:<20} {:>22} {:>22} {:>22}",
        spread(&baseline, 1),
        spread(&current, 1),
        spread(&ratios, 3)
    );
    median(ratios.into_iter())
}

/// `MEDIAN (LEAST–MOST)`
fn spread(figures: &[f64], digits: usize) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    let middle = median(figures.iter().copied());
    format!("{middle:.digits$} ({least:.digits$}–{most:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_told_with_the_least_and_the_most() {
        assert_eq!(spread(&[3.0, 1.0, 2.0], 1), "2.0 (1.0–3.0)");
        assert_eq!(spread(&[0.5], 3), "0.500 (0.500–0.500)");
    }
}
