//! Instructions per call, as valgrind counts them: the same on a busy machine.
//!
//! Counted are calls in a session and calls without one (2026-07-28). Each broker answers few calls and
//! then, started anew, many; the difference is free of its start and its end. Time is another matter:
//! what waits costs none of these.

use std::{fs, path::Path};

use anyhow::ensure;

use crate::{
    report::Report,
    server::{Server, Setup},
    wire::Wire,
};

/// Calls of the two runs.
const FEW: u32 = 500;
const MANY: u32 = 4_500;

/// Measures and prints.
pub(crate) async fn run(
    baseline: Option<&Path>,
    broker: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    println!("instructions per tools/call, one connection");
    println!("{:<8} {:>10} {:>10} {:>10}", "", "session", "no session", "ratio");
    let before = match baseline {
        Some(baseline) => Some(both("baseline", baseline, report).await?),
        None => None,
    };
    let now = both("current", broker, report).await?;
    if let Some(before) = before {
        println!("{:<8} {:>10.3} {:>10.3}", "ratio", now[0] / before[0], now[1] / before[1]);
    }
    Ok(())
}

/// Of calls in a session and of those without one.
async fn both(name: &str, broker: &Path, report: &mut Report) -> anyhow::Result<[f64; 2]> {
    let counts = [per_call(broker, true).await?, per_call(broker, false).await?];
    let [session, none] = counts;
    println!(
        "{name:<8} {session:>10.0} {none:>10.0} {:>10.3}  {}",
        none / session,
        broker.display()
    );
    report.add(format!("instructions/{name}"), session);
    report.add(format!("instructions/{name}_no_session"), none);
    Ok(counts)
}

async fn per_call(broker: &Path, has_session: bool) -> anyhow::Result<f64> {
    let few = whole(broker, FEW, has_session).await?;
    let many = whole(broker, MANY, has_session).await?;
    Ok((many - few) / f64::from(MANY - FEW))
}

/// What a broker executes that answers `calls` and ends.
async fn whole(broker: &Path, calls: u32, has_session: bool) -> anyhow::Result<f64> {
    let counts = tempfile::tempdir()?;
    let file = format!("--callgrind-out-file={}/%p", counts.path().display());
    // The broker forks a helper, which counts for itself and into a file of its own.
    let under = ["valgrind", "--quiet", "--tool=callgrind", &file];
    let setup = Setup { under: under.map(str::to_owned).to_vec(), ..Setup::default() };
    let server = Server::broker_with(broker, &setup).await?;
    let mut wire = Wire::connect(server.endpoint.address).await?;
    let session = match has_session {
        true => wire.open(&server.endpoint).await?,
        false => server.endpoint.no_session(),
    };
    for _ in 0..calls {
        wire.call(&session).await?;
    }
    if has_session {
        wire.end(&session).await?;
    }
    server.stop().await?;
    let mut most = 0.0_f64;
    for file in fs::read_dir(counts.path())? {
        let text = fs::read(file?.path())?;
        most = most.max(total(&text).unwrap_or(0.0));
    }
    ensure!(most > 0.0, "valgrind has counted nothing");
    Ok(most)
}

/// The sum that a file of callgrind's ends with.
fn total(text: &[u8]) -> Option<f64> {
    let text = String::from_utf8_lossy(text);
    text.lines().find_map(|line| line.strip_prefix("summary:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_run_is_read_from_what_valgrind_wrote() {
        assert_eq!(total(b"events: Ir\nsummary: 1234\n\nfn=(1) main\n"), Some(1234.0));
        assert_eq!(total(b"events: Ir\n"), None);
    }
}
