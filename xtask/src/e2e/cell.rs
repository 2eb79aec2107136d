//! What one client said in one place, and the table of all of them.

use std::time::Duration;

use xshell::Cmd;

use crate::{
    process::{self, Finished},
    tally::Tally,
};

/// One client with one server; every story has a limit of its own far below this.
pub(super) const LIMIT: Duration = Duration::from_mins(15);

/// What one client said about one server.
#[derive(Debug, Default)]
pub(super) struct Cell {
    passed: u64,
    failed: u64,
    skipped: u64,
    problems: Vec<String>,
}

impl Cell {
    /// No story could be told.
    pub(super) fn broken(why: anyhow::Error) -> Self {
        println!("FAILED - {why:#}");
        Self { failed: 1, problems: vec![format!("{why:#}")], ..Self::default() }
    }

    /// Counts one line of a client's output.
    pub(super) fn count(&mut self, line: &str) {
        if line.starts_with("ok - ") {
            self.passed += 1;
        } else if line.starts_with("skipped - ") {
            self.skipped += 1;
        } else if line.starts_with("FAILED - ") {
            self.failed += 1;
            self.problems.push(line.to_owned());
        }
    }

    /// The whole of it, once the client has ended; it told all its stories or those `only` names.
    pub(super) fn ended(mut self, finished: &Finished, only: Option<&str>) -> Self {
        if !finished.ok && self.failed == 0 {
            self.failed = 1;
            self.problems.push(format!("the client ended with {}", finished.how));
        }
        if finished.ok && self.passed == 0 && only.is_none() {
            self.failed += 1;
            self.problems.push("the client told no story".to_owned());
        }
        self
    }
}

/// Runs a client that tells its stories, all of them or those `only` names.
pub(super) fn follow(cmd: Cmd<'_>, only: Option<&str>) -> anyhow::Result<Cell> {
    let mut cell = Cell::default();
    let finished = process::watch(cmd, LIMIT, |line| {
        println!("{line}");
        cell.count(line);
    })?;
    Ok(cell.ended(&finished, only))
}

/// Prints the matrix and what failed, and sums it up.
pub(super) fn matrix(clients: &[&str], servers: &[&str], cells: &[(&str, &str, Cell)]) -> Tally {
    let mut total = Tally::default();
    println!();
    println!("passed/failed/skipped");
    print!("{:<18}", "");
    for server in servers {
        print!(" {server:>12}");
    }
    println!();
    for client in clients {
        print!("{client:<18}");
        for (_, _, cell) in cells.iter().filter(|(of, _, _)| of == client) {
            let counts = format!("{}/{}/{}", cell.passed, cell.failed, cell.skipped);
            print!(" {counts:>12}");
            total += Tally { passed: cell.passed, failed: cell.failed };
        }
        println!();
    }
    for (client, server, cell) in cells {
        for problem in &cell.problems {
            println!("{client} with {server}: {problem}");
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_are_counted_by_how_their_line_begins() {
        let mut cell = Cell::default();
        for line in
            ["ok - a", "skipped - b: no", "FAILED - c: why", "noise ok - d", "1 passed, 1 failed"]
        {
            cell.count(line);
        }
        assert_eq!((cell.passed, cell.failed, cell.skipped), (1, 1, 1));
        assert_eq!(cell.problems, ["FAILED - c: why"]);
    }
}
