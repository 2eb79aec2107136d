//! `tools/call` at 1 and at 32 connections, through the broker and against both floors.

use std::{path::Path, time::Duration};

use crate::{
    point::{Answers, CONNECTIONS, DISTURBED, Point, SESSIONS, Target, median},
    report::Report,
};

/// Measures and prints; `window` is what counts of each point.
pub(crate) async fn run(
    broker: &Path,
    window: Duration,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("starting the floors and the broker, and {SESSIONS} sessions");
    let targets = [
        Target::floor("floor A", "floor-a", Answers::Fixed).await?,
        Target::floor("floor B", "floor-b", Answers::WithId).await?,
        Target::broker("broker", broker).await?,
    ];
    println!("tools/call, {SESSIONS} sessions, {rounds} rounds of {window:?}, medians");
    println!("floor A answers at once; floor B asks one child per connection");
    println!();
    println!(
        "{:>11} {:<8} {:>10} {:>9} {:>9}   {:>9} {:>9} {:>9} {:>9}",
        "connections", "", "calls/s", "p50 µs", "p99 µs", "server", "children", "load", "others %"
    );
    let mut ratios = Vec::new();
    let mut disturbed = 0.0;
    for connections in CONNECTIONS {
        let mut points: [Vec<Point>; 3] = Default::default();
        for round in 1..=rounds.max(1) {
            // Alternating, so that a machine that slows down slows all three alike.
            for (target, points) in targets.iter().zip(&mut points) {
                let point = target.measure(connections, window).await?;
                eprintln!(
                    "{connections:>2} connections, round {round} of {rounds}: {} {:.0} calls/s",
                    target.name, point.rate
                );
                points.push(point);
            }
        }
        for (target, points) in targets.iter().zip(&points) {
            print(target.name, connections, &Point::median(points), report);
        }
        let [_, floor, broker] = &points;
        let pairs = broker.iter().zip(floor);
        ratios.push((connections, pairs.map(|(broker, floor)| broker.rate / floor.rate).collect()));
        let all = points.iter().flatten().map(|point| point.others);
        disturbed = all.fold(disturbed, f64::max);
    }
    println!("(server, children, load: µs of CPU per call; load is this program)");
    println!("(others: the machine's CPU time that went to processes that are no part of this)");
    println!();
    for (connections, ratios) in ratios {
        let ratios: Vec<f64> = ratios;
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let ratio = median(ratios.into_iter());
        println!(
            "ratio broker / floor B at {connections:>2} connections: {ratio:.3} \
             (rounds {least:.3} to {most:.3})"
        );
        report.add(format!("calls/{connections}/ratio"), ratio);
        report.add(format!("calls/{connections}/ratio_least"), least);
        report.add(format!("calls/{connections}/ratio_most"), most);
    }
    report.add("calls/others_percent", disturbed);
    if disturbed > DISTURBED {
        println!(
            "DISTURBED: others took up to {disturbed:.0} % of the CPU; measure again in quiet"
        );
    }
    println!();
    for target in targets {
        target.server.stop().await?;
    }
    Ok(())
}

fn print(name: &str, connections: usize, point: &Point, report: &mut Report) {
    let Point { rate, p50, p99, server, children, load, others } = *point;
    println!(
        "{connections:>11} {name:<8} {rate:>10.0} {p50:>9.1} {p99:>9.1}   {server:>9.1} \
         {children:>9.1} {load:>9.1} {others:>9.1}"
    );
    let name = name.replace(' ', "-").to_lowercase();
    let mut add = |what, figure| report.add(format!("calls/{connections}/{name}/{what}"), figure);
    add("per_second", rate);
    add("p50_us", p50);
    add("p99_us", p99);
    add("server_cpu_us", server);
    add("children_cpu_us", children);
    add("load_cpu_us", load);
}
