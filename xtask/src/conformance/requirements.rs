//! Which scenarios a revision asks of a server, from the suite's own list.

/// Scenario names, in the order of the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Requirements {
    /// Count for the suite's verdict.
    pub(super) scored: Vec<String>,
    /// Are run and reported by the suite, and count for nothing there.
    pub(super) unscored: Vec<String>,
}

impl Requirements {
    /// Reads `requirements/REVISION.yaml`. It uses so little of YAML that lines are enough: lists
    /// of names under `server:`, and of records with `scenario` and `leg` under `not_scored:`.
    pub(super) fn parse(list: &str) -> Self {
        let mut found = Self::default();
        let mut section = "";
        let mut scenario = None;
        for line in list.lines().filter(|line| !line.trim_start().starts_with('#')) {
            if !line.starts_with([' ', '-']) {
                section = line.trim().trim_end_matches(':');
                continue;
            }
            let line = line.trim();
            match section {
                "server" => found.scored.extend(line.strip_prefix("- ").map(str::to_owned)),
                "not_scored" => {
                    if let Some(name) = line.strip_prefix("- scenario: ") {
                        scenario = Some(name.to_owned());
                    } else if line == "leg: server" {
                        found.unscored.extend(scenario.take());
                    }
                }
                _ => (),
            }
        }
        found
    }

    /// Keeps the scenarios that `keep` says.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.scored.retain(|name| keep(name));
        self.unscored.retain(|name| keep(name));
    }

    /// Every name.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.scored.iter().chain(&self.unscored).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_for_servers_are_read_and_those_for_clients_are_not() {
        let list = "# a list\nserver:\n  - ping\n  # why\n  - tools-list\n\nclient:\n  - sse-retry\n\n\
                    not_scored:\n  - scenario: auth/dpop\n    leg: client\n    reason: extension\n  \
                    - scenario: server-sse-polling\n    leg: server\n    reason: pending\n    note: >-\n      words\n";
        let found = Requirements::parse(list);
        assert_eq!(found.scored, ["ping", "tools-list"]);
        assert_eq!(found.unscored, ["server-sse-polling"]);
    }
}
