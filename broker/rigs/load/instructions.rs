//! Instructions per call of two brokers, as valgrind counts them: the same on a busy machine.
//!
//! Each broker answers few calls and then, started anew, many; the difference is free of its start
//! and its end. Time is another matter: what waits costs none of these.

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
pub(crate) async fn run(baseline: &Path, broker: &Path, report: &mut Report) -> anyhow::Result<()> {
    let (before, now) = (per_call(baseline).await?, per_call(broker).await?);
    println!("instructions per tools/call, one connection");
    println!("baseline {before:>8.0}  {}", baseline.display());
    println!("current  {now:>8.0}  {}", broker.display());
    println!("ratio    {:>8.3}", now / before);
    report.add("instructions/baseline".to_owned(), before);
    report.add("instructions/current".to_owned(), now);
    Ok(())
}

async fn per_call(broker: &Path) -> anyhow::Result<f64> {
    let (few, many) = (whole(broker, FEW).await?, whole(broker, MANY).await?);
    Ok((many - few) / f64::from(MANY - FEW))
}

/// What a broker executes that answers `calls` and ends.
async fn whole(broker: &Path, calls: u32) -> anyhow::Result<f64> {
    let counts = tempfile::tempdir()?;
    let file = format!("--callgrind-out-file={}/%p", counts.path().display());
    // The broker forks a helper, which counts for itself and into a file of its own.
    let under = ["valgrind", "--quiet", "--tool=callgrind", &file];
    let setup = Setup { under: under.map(str::to_owned).to_vec(), ..Setup::default() };
    let server = Server::broker_with(broker, &setup).await?;
    let mut wire = Wire::connect(server.endpoint.address).await?;
    let session = wire.open(&server.endpoint).await?;
    for _ in 0..calls {
        wire.call(&session).await?;
    }
    wire.end(&session).await?;
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
